"""Everything that is kept as Parquet: the columns' names, types, units and meanings, writing and reading."""

from pipeline.tables.edges import apart
from pipeline.tables.index import read_index, write_index
from pipeline.tables.reports import read_columns, write_shots, write_tiles
from pipeline.tables.rows import ROW_GROUP, join_rows, read_rows, read_tile, write_rows
from pipeline.tables.schema import FIGURES, FRAME_COLUMNS, SHOT_COLUMNS, TILE_COLUMNS, Column
from pipeline.tables.summary import JoinSummary
from pipeline.tables.survey import read_survey, write_survey

__all__ = [
    "FIGURES",
    "FRAME_COLUMNS",
    "ROW_GROUP",
    "SHOT_COLUMNS",
    "TILE_COLUMNS",
    "Column",
    "JoinSummary",
    "apart",
    "join_rows",
    "read_columns",
    "read_index",
    "read_rows",
    "read_survey",
    "read_tile",
    "write_index",
    "write_rows",
    "write_shots",
    "write_survey",
    "write_tiles",
]
