"""What names things: hashes, and the number of the engine."""

ENGINE_VERSION = 12
"""Raised whenever the same job would give other pictures; part of every tile's id."""

Sha256 = str
Md5 = str
