"""What a training job may say: the models of its config file. Every field says its unit and why it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.restore import nets
from pipeline.spec import parse_as
from pipeline.train.damage import Ranges
from pipeline.train.footage import Motion
from pipeline.treatments import Model


class DataSource(Model):
    """One folder of pictures or films."""

    uri: str
    """Any fsspec URI or path; searched to any depth."""
    kind: Literal["stills", "frames", "films"] = "stills"
    """``stills``: every picture by itself (DIV2K, Flickr2K). ``frames``: a folder of pictures is a clip, in the order
    of their names (REDS). ``films``: video files, by shots."""
    damaged: str | None = None
    """Folder with the damaged counterparts, under the same names: real examples. No damage is added to those."""

    @model_validator(mode="after")
    def _pairs_are_pictures(self) -> DataSource:
        if self.damaged is not None and self.kind == "films":
            raise ValueError("damaged counterparts are taken of stills and frames, not of films: export their frames")
        return self


class Data(Model):
    """What is trained on."""

    sources: tuple[DataSource, ...] = Field(default=(), max_length=64)
    """Clean pictures and films; usually given on the command line as ``--data``."""
    manifest: str | None = None
    """CSV with the columns path, source, licence, for the card; null: MANIFEST.csv in a source's folder or above it."""
    overlays: str | None = None
    """Folder of pictures of real dirt with an alpha channel; null: made blotches and hairs alone."""
    validation: float = Field(default=0.15, gt=0, lt=1)
    """Share of the pictures that is held out, whole: no picture is on both sides."""
    width: tuple[int, int] = (320, 1000)
    """px: how wide the film's picture is that crops are cut from; larger pictures are shrunk by a whole number."""
    memory_mib: int = Field(default=1024, ge=64, le=1 << 20)
    """MiB of decoded pictures that are kept."""


class Validation(Model):
    """How a net is measured while it is trained."""

    every: int = Field(default=500, ge=1)
    """Steps."""
    clips: int = Field(default=12, ge=1, le=1000)
    """Held-out clips, the same every time."""
    frames: int = Field(default=3, ge=2, le=100)
    """Frames of each that are restored: two or more, for the error over time."""
    crop: int = Field(default=96, ge=16, le=2048, multiple_of=8)
    """px, side."""


class Run(Model):
    """How the job uses the machine. Another number of threads rounds otherwise; nothing else here changes a result."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """``auto``: the GPU where there is one."""
    threads: int = Field(default=2, ge=1, le=256)
    """CPU threads of the net."""
    loaders: int = Field(default=1, ge=1, le=64)
    """Threads that make samples while the net computes."""
    ahead: int = Field(default=4, ge=1, le=256)
    """Batches made ahead."""
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    """Between two checkpoints: what a kill costs at most."""


class TrainSpec(Model):
    """A training job's whole config."""

    name: str = Field(default="film-net", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    """Of the weights: OUT/NAME.safetensors and OUT/NAME.md."""
    task: str = Field(default="", max_length=200)
    """What the net is for, in a few words; for the card."""
    licence: str = Field(default="not stated", max_length=200)
    """Of the weights; for the card."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Every draw hangs on it, the round, the step and the sample's number, and on nothing else."""
    round: int = Field(default=0, ge=0, lt=2**31)
    """Of a net that goes on from its own weights: with another number it sees samples that it has not seen yet, and is
    measured on the same held-out clips of the same held-out pictures, which another seed would not keep."""
    net: dict[str, Any] | None = None
    """``arch: nafnet`` or ``mprnet`` and its numbers, as in the registry; null: that of ``init``. With ``init``, a
    NAFNet may have more blocks than it: they begin as the identity."""
    init: str | None = None
    """Weights to begin from: a registry name, or a path or URI; null: from nothing."""
    init_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Hash that the file of ``init`` must have; wanted for a URI."""
    accept_licence: bool = False
    """The licence of ``init`` has been read and accepted; wanted for MPRNet's released weights (non-commercial)."""
    data: Data = Data()
    motion: Motion = Motion()
    damage: Ranges = Ranges()
    degrained: float = Field(default=0.0, ge=0, le=1)
    """Share of the shots made from stills that go through the pass ``degrain`` before the net sees them, without
    flicker and lines, as in a chain in which the net stands behind such passes: it is to leave fine detail alone."""
    steps: int = Field(default=20_000, ge=1, le=100_000_000)
    """Steps of the optimiser, in all; the learning rate falls over them."""
    batch: int = Field(default=8, ge=1, le=4096)
    """Samples a step, over all GPUs."""
    crop: int = Field(default=64, ge=16, le=1024, multiple_of=8)
    """px, side of a sample; also the size that ``tlc: true`` means."""
    lr: float = Field(default=1e-3, gt=0, le=1)
    """Learning rate at first (no unit)."""
    lr_last: float = Field(default=1e-7, ge=0, le=1)
    """Learning rate at the end of the cosine."""
    warm_up: int = Field(default=0, ge=0)
    """Steps over which the rate rises from nothing: a trained net is not to be thrown off by its first batches."""
    betas: tuple[float, float] = (0.9, 0.9)
    """AdamW's, as in the NAFNet paper."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """AdamW's."""
    clip: float = Field(default=0.01, gt=0)
    """Greatest norm of the gradient."""
    ema: float = Field(default=0.999, ge=0, lt=1)
    """Share of the running mean of the weights that a step keeps. The mean is what is measured and exported."""
    precision: Literal["bf16", "float32"] = "bf16"
    """``bf16``: autocast; the weights, their mean and the optimiser stay float32."""
    validation: Validation = Validation()
    run: Run = Run()

    @field_validator("net")
    @classmethod
    def _can_be_built(cls, net: dict[str, Any] | None) -> dict[str, Any] | None:
        if net is not None:
            nets.parse(net)
        return net

    @field_validator("betas")
    @classmethod
    def _below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= b < 1 for b in betas):
            raise ValueError("betas lie from 0 to below 1")
        return betas

    @model_validator(mode="after")
    def _has_a_net(self) -> TrainSpec:
        if self.net is None and self.init is None:
            raise ValueError("say `net:` (what to build) or `init:` (weights to begin from)")
        return self

    def canonical(self) -> dict[str, Any]:
        """As JSON values, with every default written out."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be gone on from."""
        return {k: v for k, v in self.canonical().items() if k != "run"}


def parse(text: str, *, where: str = "config", overrides: Sequence[str] = ()) -> TrainSpec:
    """Read a training config, with ``--set`` values put over it. Raises ConfigError as ``pipeline.spec.parse``."""
    return parse_as(TrainSpec, text, where=where, overrides=overrides)
