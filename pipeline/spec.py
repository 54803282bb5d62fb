"""What a job may say: the models of a config file. Every field says its unit and why it is there.

A config is YAML; ``load`` checks it, ``apply`` puts ``--set a.b=c`` over it. An unknown key is an error that names the
nearest right one.
"""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from pipeline.errors import ConfigError
from pipeline.rules import Flags
from pipeline.treatments import (
    TREATMENTS,
    DeflickerPass,
    DegrainPass,
    DirtPass,
    DuplicatesPass,
    FadePass,
    GrainPass,
    Model,
    PassBase,
    ScratchesPass,
    StabilisePass,
)

_MAX_CONFIG_BYTES = 1 << 20
_MOST_CRF = 51
"""Of every codec but AV1, which counts to 63."""


M = TypeVar("M", bound=Model)


class Guard(Model):
    """When a net's picture counts as broken, so that its frame is left as it was and flagged ``guard``.

    Both limits are about means over cells of 16 px and more; shares are of the picture's cells. The defaults let
    through all that denoising, deblurring, deraining and the repair of blotches do, and stop the false colours that
    deblurring nets are known to make of flat dark frames.
    """

    tint: float = Field(default=0.04, ge=0.0, le=1.0)
    """How far a cell may move beyond all colours that its frames show, in full range (0 to 1), on top of the frame's
    own contrast (standard deviation): restoration brings no colours of its own. 0.04 is 10 codes of 8 bit."""
    tint_area: float = Field(default=0.02, ge=0.0, le=1.0)
    """Share of the picture that may do so all the same: a lamp or a reflection that dirt has hidden."""
    change: float = Field(default=0.35, ge=0.0, le=1.0)
    """How far a cell may lie from what each of the frames shows in its place, in full range (0 to 1)."""
    change_area: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of the picture that may do so all the same: blotches are that large, damage to a whole frame is no net's
    to invent a picture for."""


class NetPass(PassBase):
    """A neural network over every frame."""

    kind: Literal["net"] = Field(default="net", alias="pass")
    weights: str = "nafnet-film"
    """A name of the registry, or a path or URI to a .safetensors or .pth of the NAFNet or MPRNet family; with the extra
    ``reelmend[spandrel]`` of other architectures too."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Hash that the weights' file must have: wanted for a URI, so that every worker runs the same net."""
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the net's change that is kept (no unit): 0 leaves the picture alone. A frame-wise parameter."""
    limit: float | None = Field(default=None, gt=0.0, le=1.0)
    """Largest change of a pixel that is kept whole, as a share of full range; from twice that on none is. For a net
    that is to take grain alone: what it would mend besides has no evidence but its looks. null: whatever it says; but a
    net that sees several frames leaves alone what a ``dirt`` before it left alone."""
    tlc: bool | tuple[int, int] = False
    """Test-time Local Converter: true for the size the weights were trained at, or that as [height, width] in px."""
    guard: Guard | None = Guard()
    """What a net's picture may not do; null: only values that are not finite are stopped. For nets whose task is to
    change brightness or colour of whole frames (dehazing, low light)."""
    accept_licence: bool = False
    """Says that the licence of weights under a restricted one (MPRNet's: non-commercial) has been read and accepted."""


def _kind(said: Any) -> str:
    """Which model a chain's item is of. A net where it does not say."""
    if isinstance(said, Mapping):
        return str(said.get("pass", said.get("kind", "net")))
    return str(getattr(said, "kind", "net"))


KINDS: Mapping[str, type[PassBase]] = {
    "net": NetPass,
    **{str(t.model_fields["kind"].default): t for t in TREATMENTS},
}
"""Pass kind → what it may say."""

Pass = Annotated[
    Annotated[NetPass, Tag("net")]
    | Annotated[DeflickerPass, Tag("deflicker")]
    | Annotated[StabilisePass, Tag("stabilise")]
    | Annotated[FadePass, Tag("fade")]
    | Annotated[DuplicatesPass, Tag("duplicates")]
    | Annotated[DegrainPass, Tag("degrain")]
    | Annotated[DirtPass, Tag("dirt")]
    | Annotated[ScratchesPass, Tag("scratches")]
    | Annotated[GrainPass, Tag("grain")],
    Discriminator(_kind),
]
"""The union of all passes; a new treatment is added here and to ``treatments.TREATMENTS``."""


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
                        f"shots: {shot.frames} sets {name!r}, which is no pass of the chain{_nearest(name, names)}"
                    )
                known = FRAMEWISE[self.chain[names.index(name)].kind]
                for key, value in values.items():
                    if key not in known:
                        raise ValueError(
                            f"shots: {shot.frames} sets {name}.{key}, which cannot change from frame to frame"
                            f"{_nearest(key, known)}"
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


FRAMEWISE: Mapping[str, Mapping[str, tuple[float, float]]] = {k: {"strength": (0.0, 1.0)} for k in KINDS}
"""Pass kind → parameters that may change from frame to frame → allowed range. Every kind has ``strength``: 0 is off."""


def parse(text: str, *, where: str = "config", overrides: Sequence[str] = ()) -> Spec:
    """Read a config, with ``--set`` values (``a.b=c``, c in YAML, list items by number) put over it.

    Raises ConfigError naming the file, the key, and the nearest right key where one is unknown.
    """
    return parse_as(Spec, text, where=where, overrides=overrides)


def parse_as(model: type[M], text: str, *, where: str = "config", overrides: Sequence[str] = ()) -> M:
    """As ``parse``, of a config of another kind of job."""
    if len(text) > _MAX_CONFIG_BYTES:
        raise ConfigError(f"the config has {len(text)} characters; at most {_MAX_CONFIG_BYTES} are read", where=where)
    data = _yaml(text, where)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"a config is a mapping of keys, this is a {type(data).__name__}", where=where)
    for item in overrides:
        _set(model, data, item)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(model, error), where=where) from None


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"not YAML{line}: {getattr(error, 'problem', None) or error}", where=where) from None


def _set(model: type[Model], data: dict[str, Any], item: str) -> None:
    path, sign, value = item.partition("=")
    keys = path.strip().split(".")
    if not sign or not all(keys):
        raise ConfigError(f"--set takes KEY=VALUE, got {item!r}", where="--set")
    here: object = data
    for at, key in enumerate(keys[:-1]):
        if isinstance(here, list):
            here = here[_place(here, key, item)]
        elif isinstance(here, dict):
            if here.get(key) is None:
                # A list that the file leaves out starts from its defaults: `chain.0.strength` has something to change.
                default = _default(model, keys[: at + 1])
                here[key] = default if isinstance(default, list) else {}
            here = here[key]
        else:
            raise ConfigError(f"{item!r}: {'.'.join(keys[:at])} has no keys below it", where="--set")
    parsed = _yaml(value, f"--set {path}")
    if isinstance(here, list):
        here[_place(here, keys[-1], item)] = parsed
    elif isinstance(here, dict):
        here[keys[-1]] = parsed
    else:
        raise ConfigError(f"{item!r}: {'.'.join(keys[:-1])} has no keys below it", where="--set")


def _place(items: list[Any], key: str, item: str) -> int:
    if not key.isdecimal() or int(key) >= len(items):
        raise ConfigError(f"{item!r}: {key!r} is no place in a list of {len(items)} (from 0)", where="--set")
    return int(key)


def _default(model: type[BaseModel], keys: Sequence[str]) -> Any:
    """What a field is where nothing is said of it, as JSON values; an empty mapping where there is no such field."""
    names = {f.alias or name: name for name, f in model.model_fields.items()}
    if keys[0] not in names or model.model_fields[names[keys[0]]].is_required():
        return {}
    found = model.model_fields[names[keys[0]]].get_default(call_default_factory=True)
    if isinstance(found, BaseModel) and len(keys) > 1:
        return _default(type(found), keys[1:])
    return TypeAdapter(Any).dump_python(found, mode="json", by_alias=True) if len(keys) == 1 else {}


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    told = []
    for e in error.errors(include_url=False):
        # A chain's item names its kind again, which is in no one's config.
        loc = e["loc"]
        where = ".".join(str(p) for i, p in enumerate(loc) if not _is_kind(loc, i))
        if e["type"] == "union_tag_invalid":
            said = str(e["input"].get("pass"))[:80] if isinstance(e["input"], Mapping) else ""
            told.append(f"{where}: there is no pass {said!r}{_nearest(said, KINDS)}")
        elif e["type"] == "extra_forbidden":
            known = _keys_at(model, e["loc"][:-1])
            told.append(f"unknown key {where!r}{_nearest(str(e['loc'][-1]), known)}")
        else:
            told.append(
                f"{where or 'the config'}: {e['msg'].removeprefix('Value error, ')}, got {str(e['input'])[:80]!r}"
                if where
                else e["msg"].removeprefix("Value error, ")
            )
    return "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")


def _is_kind(loc: tuple[int | str, ...], at: int) -> bool:
    return at == 2 and loc[0] == "chain" and loc[at] in KINDS


def _keys_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at this place of the config knows."""
    model: Any = root
    for at, part in enumerate(loc):
        if isinstance(part, int):
            continue
        if _is_kind(loc, at):
            model = KINDS[str(part)]
            continue
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = _model_in(field.annotation) if field is not None else None
    if model is None:
        return []
    return [f.alias or name for name, f in model.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and not typing.get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((m for a in typing.get_args(annotation) if (m := _model_in(a)) is not None), None)


def _nearest(word: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if near:
        return f": did you mean {near[0]!r}?"
    return f": known are {', '.join(names)}" if names else ""
