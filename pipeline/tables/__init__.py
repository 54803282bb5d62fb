"""Everything that is kept as Parquet: the columns' names, types, units and meanings, writing and reading."""

from pipeline.tables.edges import apart
from pipeline.tables.index import read_index, write_index
from pipeline.tables.reports import read_columns, stream_numbers, write_shots, write_tiles
from pipeline.tables.rows import ROW_GROUP, join_rows, read_rows, read_tile, write_rows
from pipeline.tables.schema import FIGURES, FRAME_COLUMNS, SHOT_COLUMNS, TILE_COLUMNS, Column
from pipeline.tables.stills import MAX_JPEG, Kind, Still, read_stills, write_stills
from pipeline.tables.summary import JoinSummary
from pipeline.tables.survey import read_survey, write_survey
from pipeline.tables.training import TRAINING_COLUMNS, read_training, write_training

__all__ = [
    "FIGURES",
    "FRAME_COLUMNS",
    "MAX_JPEG",
    "ROW_GROUP",
    "SHOT_COLUMNS",
    "TILE_COLUMNS",
    "TRAINING_COLUMNS",
    "Column",
    "JoinSummary",
    "Kind",
    "Still",
    "apart",
    "join_rows",
    "read_columns",
    "read_index",
    "read_rows",
    "read_stills",
    "read_survey",
    "read_tile",
    "read_training",
    "stream_numbers",
    "write_index",
    "write_rows",
    "write_shots",
    "write_stills",
    "write_survey",
    "write_tiles",
    "write_training",
]
