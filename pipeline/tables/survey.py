"""A survey as Parquet: kept beside the work, so that a source is looked at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StorageError
from pipeline.tables import files
from pipeline.tables.schema import SURVEY_COLUMNS, schema
from pipeline.types import Survey


def write_survey(path: Path, survey: Survey) -> None:
    """Write a span's signals. Equal ones give equal bytes."""
    values: list[NDArray[Any]] = [np.arange(survey.first, survey.last, dtype=np.int64)]
    for name in Survey.signals():
        signal = getattr(survey, name)
        values += [signal] if signal.ndim == 1 else list(signal.T)
    full = schema("survey", SURVEY_COLUMNS)
    with files.writer(path, full, kept=True) as file:
        file.write_table(files.table(SURVEY_COLUMNS, values, full))


def read_survey(source: files.Source, first: int, last: int) -> Survey:
    """Read what ``write_survey`` wrote of the frames ``[first, last)``.

    Raises MissingError, or StorageError where the file is anything else.
    """
    table = files.read_all(source, "survey", SURVEY_COLUMNS, files.MAX_FRAMES)
    columns = {c.name: table.column(c.name).to_numpy() for c in SURVEY_COLUMNS}
    if not np.array_equal(columns["frame"], np.arange(first, last)):
        raise StorageError(
            f"this is no survey of the frames {first}:{last}",
            where=files.place(source),
            todo="Delete it; it will be made again",
        )
    if not all(np.isfinite(v).all() for v in columns.values()):
        raise StorageError(
            "it holds values that are no numbers", where=files.place(source), todo="Delete it; it will be made again"
        )

    def signal(name: str) -> NDArray[Any]:
        if name in columns:
            return np.asarray(columns[name])
        parts = sorted(c for c in columns if c.rsplit("_", 1)[0] == name)
        return np.asarray(np.stack([columns[c] for c in parts], axis=1))

    return Survey(first, *(signal(name) for name in Survey.signals()))
