"""The log of a training job: a row whenever the net was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.tables import files
from pipeline.tables.schema import FRACTION, Column, schema

_KIND = "training"
_MAX_ROWS = 1 << 20
_REAL = pa.float64()


def _figures(prefix: str, of: str) -> list[Column]:
    return [
        Column(f"{prefix}_psnr_db", _REAL, "dB", f"PSNR {of} against the truth, mean over the held-out clips"),
        Column(f"{prefix}_ssim", _REAL, FRACTION, f"structural similarity of luma {of} to the truth"),
        Column(f"{prefix}_inside_db", _REAL, "dB", f"PSNR {of} over the damaged pixels; 100 where there are none"),
        Column(f"{prefix}_outside_db", _REAL, "dB", f"PSNR {of} over the undamaged pixels"),
        Column(f"{prefix}_temporal", _REAL, "8-bit code", f"error {of} of the change from frame to frame"),
    ]


TRAINING_COLUMNS: tuple[Column, ...] = (
    Column("step", pa.int64(), "step", "steps of the optimiser so far"),
    Column("seconds", _REAL, "s", "time spent training so far, all runs of the job together"),
    Column("loss", _REAL, "dB", "mean training loss since the row before; null in the row of step 0", True),
    Column("lr", _REAL, FRACTION, "learning rate of the next step"),
    Column("steps_per_second", _REAL, "1/s", "since the row before, measuring left out; null at step 0", True),
    Column("waited", _REAL, FRACTION, "share of that time spent waiting for samples; null at step 0", True),
    *_figures("net", "of the net's running mean"),
    *_figures("input", "of the damaged clips themselves"),
)
"""The columns of a training job's ``log.parquet``, in order."""


def write_training(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the log. Each row has every column. Equal rows give equal bytes."""
    full = schema(_KIND, TRAINING_COLUMNS)
    with files.writer(path, full, kept=True) as file:
        file.write_table(files.table(TRAINING_COLUMNS, [[r[c.name] for r in rows] for c in TRAINING_COLUMNS], full))


def read_training(source: files.Source) -> list[dict[str, Any]]:
    """Read what ``write_training`` wrote. Raises MissingError, or StorageError where the file is anything else."""
    table = files.read_all(source, _KIND, TRAINING_COLUMNS, _MAX_ROWS)
    columns = {c.name: files.to_list(table.column(c.name)) for c in TRAINING_COLUMNS}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
