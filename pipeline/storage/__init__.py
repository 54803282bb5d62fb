"""Files and objects by URI, the sources of a call, and the ledger. fsspec lives here only."""
