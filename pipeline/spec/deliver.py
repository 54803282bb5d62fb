"""What is written, as a config says it."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.treatments import Model

_MOST_CRF = 51
"""Of every codec but AV1, which counts to 63."""
_PARTS = re.compile(r"part\d{3,}")
"""What parts are called in file names, so that no deliverable may be."""
_IMAGES = frozenset(("dpx", "tiff", "exr", "png"))


class Split(Model):
    """How much of a deliverable goes into one file. Parts are cut between tiles, and hold at least one."""

    frames: int | None = Field(default=None, ge=1)
    """Frames of a part, at most; null: any number."""
    gib: float | None = Field(default=None, gt=0.0, le=1 << 20)
    """Coded pictures of a part, at most, in GiB; sound and all else come on top. Null: any size."""

    @model_validator(mode="after")
    def _says_one(self) -> Split:
        if (self.frames is None) == (self.gib is None):
            raise ValueError("split wants one of `frames` and `gib`")
        return self


class Output(Model):
    """One deliverable."""

    name: str = Field(default="master", pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    """Stands in the file name of the second deliverable and on."""
    codec: Literal["ffv1", "prores", "dnxhr", "h264", "hevc", "av1", "dpx", "tiff", "exr", "png"] = "ffv1"
    """``ffv1``: lossless, in Matroska. ``prores``: 422 HQ or 4444, ``dnxhr``: HQX or 444, for editing, in QuickTime.
    ``h264``, ``hevc`` (10 bit), ``av1``: viewing copies, in MP4. ``dpx``, ``tiff``, ``exr`` (floats), ``png``: a folder
    of numbered images, lossless, of gray and RGB."""
    pixel_format: str = Field(default="source", pattern=r"^[a-z0-9]{1,24}$")
    """FFmpeg's name, or ``source``: as the source has it (but for ffv1: the nearest that the codec holds)."""
    crf: int = Field(default=18, ge=0, le=63)
    """Quality of h264, hevc (0 to 51) and av1 (0 to 63), no unit: 18 is hardly to be told from the source, 23 small (of
    av1: 25 and 35)."""
    split: Split | None = None
    """Several files, each a film of its own, in place of one: where one would be larger than scratch or the storage
    takes. Null: one file. The residual is split as the first output is. No tile is redone for it."""

    @model_validator(mode="after")
    def _only_films_are_split(self) -> Output:
        if self.split is not None and self.codec in _IMAGES:
            raise ValueError(f"{self.codec} is a file a frame: there is nothing to split")
        if _PARTS.fullmatch(self.name):
            raise ValueError(f"no output may be called {self.name!r}: parts of a split one are called so")
        return self

    @model_validator(mode="after")
    def _crf_is_the_codec_s(self) -> Output:
        if self.crf > _MOST_CRF and self.codec != "av1":
            raise ValueError(f"crf is {self.crf}; {self.codec} takes 0 to {_MOST_CRF}")
        return self


RESIDUAL = Output(name="residual")
"""What ``deliver.residual`` writes; no other output may have its name."""


class Deliver(Model):
    """What is written."""

    outputs: tuple[Output, ...] = Field(default=(Output(),), min_length=1, max_length=4)
    """The first is the one that is hashed and verified frame by frame; the others are copies beside it."""
    residual: bool = False
    """Also write, losslessly, the source less the first output (no unit): ``reelmend undo`` then gives the source's
    frames back bit for bit. Wants a lossless first output; costs about as much again in encoding and storage."""

    @property
    def written(self) -> tuple[Output, ...]:
        """All that is encoded, in the order in which records name it."""
        return (*self.outputs, RESIDUAL) if self.residual else self.outputs

    @field_validator("outputs")
    @classmethod
    def _names_differ(cls, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
        names = [o.name for o in outputs]
        if len(set(names)) != len(names):
            raise ValueError("two outputs have the same name")
        if RESIDUAL.name in names:
            raise ValueError(f"no output may be called {RESIDUAL.name!r}: what `residual: true` writes is called so")
        return outputs

    @model_validator(mode="after")
    def _residual_wants_lossless(self) -> Deliver:
        if self.residual and self.outputs[0].codec != "ffv1":
            raise ValueError(
                f"residual: true wants a lossless first output (ffv1), not {self.outputs[0].codec}: of a lossy one "
                "another decoder may give other pictures, and the source would not come back"
            )
        return self
