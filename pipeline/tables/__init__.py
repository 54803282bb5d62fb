"""Everything that is kept as Parquet: the columns' names, types, units and meanings, writing and reading."""

from pipeline.tables.index import read_index, write_index
from pipeline.tables.reports import read_columns, write_shots, write_tiles
from pipeline.tables.rows import ROW_GROUP, join_rows, read_rows, write_rows
from pipeline.tables.schema import FIGURES, FRAME_COLUMNS, SHOT_COLUMNS, TILE_COLUMNS, Column
from pipeline.tables.summary import JoinSummary
from pipeline.tables.training import TRAINING_COLUMNS, read_training, write_training

__all__ = [
    "FIGURES",
    "FRAME_COLUMNS",
    "ROW_GROUP",
    "SHOT_COLUMNS",
    "TILE_COLUMNS",
    "TRAINING_COLUMNS",
    "Column",
    "JoinSummary",
    "join_rows",
    "read_columns",
    "read_index",
    "read_rows",
    "read_training",
    "write_index",
    "write_rows",
    "write_shots",
    "write_tiles",
    "write_training",
]
