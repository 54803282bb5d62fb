"""What a job may say: the models of a config file. Every field says its unit and why it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.rules import Flags
from pipeline.spec.chain import FRAMEWISE, NetPass, Pass
from pipeline.spec.deliver import Deliver
from pipeline.spec.text import nearest, parse_as
from pipeline.treatments import Model


class Engine(Model):
    """How nets are computed. All of it can change code values, so it is the spec's to say, never the machine's."""

    precision: Literal["exact", "fast"] = "exact"
    """``exact``: float32. ``fast``: bfloat16 weights and activations; pictures stay float32."""
    tile: int | None = Field(default=None, ge=128, le=8192, multiple_of=64)
    """Side of a spatial tile in px; null: the whole frame at once where a net's maps fit into ``memory_gib``, else 512
    or 384."""
    memory_gib: float = Field(default=8.0, ge=0.25, le=1024.0)
    """GiB that the maps of one net may take in a call, by the plan's arithmetic. Said here, for spatial tiles do not
    quite give what the whole frame gives, and the machine found shall have no say in it."""
    kernels: Literal["torch", "compiled"] = "torch"
    """``compiled``: NAFNet and MPRNet on a CPU use kernels of our own between their products, built by every worker's
    C++ compiler when it starts; NAFNet on a GPU goes block by block in two passes, compiled by torch (wants Triton).
    Faster, above all in ``fast``; it rounds otherwise, so it is said here. A worker that cannot is an error."""
    halo: int = Field(default=32, ge=32, le=512, multiple_of=16)
    """Margin in px that a spatial tile reads beyond what it gives; cropped, not blended."""
    batch: int = Field(default=1, ge=1, le=64)
    """Frames in one call of a net. Fixed: a call of another shape may round otherwise, so short batches are padded."""
    cpu_threads: int = Field(default=1, ge=1, le=256)
    """Threads of one CPU restorer. Sums split over another number of threads round otherwise."""


class Tiles(Model):
    """How a reel is cut into temporal tiles."""

    frames: int = Field(default=24, ge=1, le=10_000)
    """Core length of a tile in frames: longer wastes less on halos, shorter loses less to a kill."""


class Source(Model):
    """How a source is read where it does not say, or says wrong."""

    untagged_matrix: Literal["auto", "bt601", "bt709", "bt2020"] = "auto"
    """Matrix of YUV that names none. ``auto``: BT.601 below 720 lines, else BT.709; what was assumed is reported."""
    untagged_range: Literal["auto", "limited", "full"] = "auto"
    """Range of YUV that names none. ``auto``: limited, save for FFmpeg's yuvj formats. Gray and RGB are full."""
    rate: str | None = Field(default=None, pattern=r"^[1-9]\d{0,5}(/[1-9]\d{0,5})?$")
    """Frame rate as ``18`` or ``24000/1001`` where the container's is wrong; pts stay as they are. Of a folder of
    images it is the film's; where neither it nor a header says one, 24 is taken and reported."""
    transfer: Literal["auto", "display", "log", "linear"] = "auto"
    """What code values mean. ``auto``: ``linear`` for floats (EXR), else ``display``. ``display``: as they are shown,
    which is what nets know. ``log``: a film scan's printing density, Cineon (10-bit black 95, white 685). ``linear``:
    light. Nets get both as they would be shown."""
    interlaced: Literal["refuse", "per_field"] = "refuse"
    """A frame of interlaced video is two pictures, line by line. ``refuse``: a net would take their comb for dirt.
    ``per_field``: all upper fields are restored as one film and all lower ones as another, then woven again."""
    damaged: Literal["quarantine", "flag"] = "quarantine"
    """Pictures whose checksum or decoder says that they are damaged. ``flag``: go on with what FFmpeg makes of them;
    each is flagged ``damaged`` in its row."""

    @field_validator("rate", mode="before")
    @classmethod
    def _a_whole_rate_may_be_a_number(cls, rate: object) -> object:
        return str(rate) if type(rate) is int else rate


class ShotOverride(Model):
    """Other parameters for a span of frames."""

    frames: str = Field(pattern=r"^\d{1,9}:\d{1,9}$")
    """``A:B``, half-open, in the source's frame numbers from 0."""
    reel: str | None = None
    """Name of the reel that this is about; null: every reel of the job."""
    skip: bool = False
    """Leave these frames alone: they come out bit for bit as they went in."""
    set: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Pass name → frame-wise parameter → value, e.g. ``{net: {strength: 0.5}}``."""

    @property
    def span(self) -> tuple[int, int]:
        a, b = self.frames.split(":")
        return int(a), int(b)

    @field_validator("frames")
    @classmethod
    def _not_empty(cls, frames: str) -> str:
        a, b = frames.split(":")
        if int(a) >= int(b):
            raise ValueError("the span is empty: A must be below B (half-open, from 0)")
        return frames


class Cluster(Model):
    """How a job uses the cluster. None of it changes a picture."""

    restorers: int | None = Field(default=None, ge=1, le=4096)
    """Restoring actors; null: as many as the cluster's GPUs carry, else as its CPUs do."""
    gpus_per_restorer: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of a GPU that one restorer takes; 0.5 puts two on each."""
    use_gpu: Literal["auto", "never"] = "auto"
    """``never`` keeps a job on CPUs though the cluster has GPUs."""
    task_cpus: float = Field(default=0.5, gt=0.0, le=64.0)
    """CPUs that one decode or encode task takes; its FFmpeg threads are this, rounded up."""
    local_cpus: int | None = Field(default=None, ge=1, le=4096)
    """CPUs of a Ray that the run starts itself (``--address local``); null: all of this machine. Fewer leave the others
    to other programs."""
    in_flight_gib: float | None = Field(default=None, gt=0.0)
    """GiB of pictures under way in the cluster at once; null: 40 % of its object stores."""
    tries: int = Field(default=2, ge=1, le=10)
    """Application errors on one tile before its reel is quarantined. Lost nodes and crashed workers do not count."""
    crashes: int = Field(default=4, ge=1, le=100)
    """Crashes of workers or actors (not of nodes) on one tile before its reel is quarantined."""
    scratch: str | None = None
    """Local folder on every node for segments and staged sources; null: the system's temporary folder."""
    stage: Literal["auto", "always", "never"] = "auto"
    """Whether a node copies a remote source to scratch once. ``auto``: when it expects to read more than half of it."""


class Stills(Model):
    """Pictures that are kept for a reel's page. None of it changes a picture of the film."""

    most: int = Field(default=48, ge=0, le=1000)
    """Frames of a reel that are shown before and after: an even sample, and the worst of every flag. 0: none."""
    side: int = Field(default=640, ge=64, le=2048)
    """Longer side in px of a kept picture; a piece of 320×240 px at full size goes with it."""


class Spec(Model):
    """A job's whole config."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of everything random; with the frame's number it fixes every draw."""
    chain: tuple[Pass, ...] = Field(default=(NetPass(),), max_length=16)
    """The passes, in order; an empty list copies the film."""
    shots: tuple[ShotOverride, ...] = Field(default=(), max_length=100_000)
    """Spans of frames with parameters of their own; later entries win."""
    engine: Engine = Engine()
    tiles: Tiles = Tiles()
    source: Source = Source()
    deliver: Deliver = Deliver()
    cluster: Cluster = Cluster()
    flags: Flags = Flags()
    stills: Stills = Stills()
    keep_work: bool = False
    """Keep segments and the ledger's records after success: for looking into a run."""

    @model_validator(mode="after")
    def _passes_are_named_apart(self) -> Spec:
        names = self.pass_names()
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two passes of the chain are called {twice[0]!r}: give each a name of its own")
        kinds = [p.kind for p in self.chain]
        if "grain" in kinds and "net" not in kinds[: kinds.index("grain")]:
            raise ValueError("chain: 'grain' gives back what a net before it took away: put it behind one")
        for shot in self.shots:
            for name, values in shot.set.items():
                if name not in names:
                    raise ValueError(
                        f"shots: {shot.frames} sets {name!r}, which is no pass of the chain{nearest(name, names)}"
                    )
                known = FRAMEWISE[self.chain[names.index(name)].kind]
                for key, value in values.items():
                    if key not in known:
                        raise ValueError(
                            f"shots: {shot.frames} sets {name}.{key}, which cannot change from frame to frame"
                            f"{nearest(key, known)}"
                        )
                    low, high = known[key]
                    if not low <= value <= high:
                        raise ValueError(
                            f"shots: {shot.frames} sets {name}.{key} to {value}, allowed is {low} to {high}"
                        )
        return self

    def pass_names(self) -> list[str]:
        """The passes' names, in the chain's order."""
        return [p.name or p.kind for p in self.chain]

    def canonical(self) -> dict[str, Any]:
        """As JSON values, with every default written out."""
        return self.model_dump(mode="json", by_alias=True)


def parse(text: str, *, where: str = "config", overrides: Sequence[str] = ()) -> Spec:
    """Read a config, with ``--set`` values (``a.b=c``, c in YAML, list items by number) put over it.

    Raises ConfigError naming the file, the key, and the nearest right key where one is unknown.
    """
    return parse_as(Spec, text, where=where, overrides=overrides)
