"""What a net is made of, as plain data: read from a mapping, or off the shapes of a state dict. No torch here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from pipeline.errors import ConfigError

Shapes = Mapping[str, tuple[int, ...]]
"""State-dict key → shape."""

_MAX_CHANNELS = 1024
_MAX_BLOCKS = 256
_MAX_LEVELS = 6
_MAX_RADIUS = 16
_MAX_TRAIN_PX = 16_384


@dataclass(frozen=True, slots=True)
class NAFNetConfig:
    """NAFNet (Chen et al., ECCV 2022). Raises ConfigError where a value is out of bounds."""

    family: ClassVar[Literal["nafnet"]] = "nafnet"

    width: int
    """Channels at full resolution; every level has twice as many as the one above."""
    enc_blk_nums: tuple[int, ...]
    """Blocks of each encoder level, from full resolution down."""
    middle_blk_num: int
    dec_blk_nums: tuple[int, ...]
    """Blocks of each decoder level, from the deepest up."""
    in_frames: int = 1
    """Frames stacked on the channels, 2r+1; the residual is added to the middle one."""
    tlc_train_size: tuple[int, int] | None = None
    """[height, width] in px of the training crops, for the Test-time Local Converter form. None: the plain net."""

    def __post_init__(self) -> None:
        _check("width", self.width, 1, _MAX_CHANNELS)
        _check("enc_blk_nums (levels)", len(self.enc_blk_nums), 0, _MAX_LEVELS)
        if len(self.enc_blk_nums) != len(self.dec_blk_nums):
            raise ConfigError(
                f"NAFNet: enc_blk_nums has {len(self.enc_blk_nums)} levels and dec_blk_nums {len(self.dec_blk_nums)}; "
                "they must be as many"
            )
        for name, numbers in (("enc_blk_nums", self.enc_blk_nums), ("dec_blk_nums", self.dec_blk_nums)):
            for n in numbers:
                _check(name, n, 0, _MAX_BLOCKS)
        _check("middle_blk_num", self.middle_blk_num, 0, _MAX_BLOCKS)
        _check("width at the deepest level", self.width << len(self.enc_blk_nums), 1, 16 * _MAX_CHANNELS)
        _check("in_frames", self.in_frames, 1, 2 * _MAX_RADIUS + 1)
        if self.in_frames % 2 == 0:
            raise ConfigError(f"in_frames is {self.in_frames}; it must be odd: r frames, the one to restore, r frames")
        _check_train_size(self.tlc_train_size)

    @property
    def radius(self) -> int:
        """Frames read on each side."""
        return self.in_frames // 2

    @property
    def multiple(self) -> int:
        """The net pads height and width to a multiple of this many px."""
        return 1 << len(self.enc_blk_nums)

    @property
    def activation_bytes_px(self) -> float:
        """Peak bytes of live float32 tensors a pixel of the padded picture, the input included; a batch of one.

        Derived from the code, and held to a count of the live tensors of a real pass by a test. The peak stands in the
        last full-resolution level, after the depthwise convolution: the input stack, the level's input and the block's
        (one and the same in its first block), the block's two maps of twice the width, and the map of the level below.
        """
        blocks = max(self.dec_blk_nums[-1:] or (self.middle_blk_num,))
        return 4.0 * (self.width * (5.5 + (blocks > 1)) + 3 * self.in_frames)

    def mapping(self) -> dict[str, Any]:
        """As JSON values; what ``nets.build`` takes."""
        return {"arch": self.family} | _plain(self)


@dataclass(frozen=True, slots=True)
class MPRNetConfig:
    """MPRNet (Zamir et al., CVPR 2021). Raises ConfigError where a value is out of bounds."""

    family: ClassVar[Literal["mprnet"]] = "mprnet"
    radius: ClassVar[int] = 0
    multiple: ClassVar[int] = 8

    n_feat: int
    """Channels at full resolution."""
    scale_unetfeats: int
    """Channels that each level down adds."""
    scale_orsnetfeats: int
    """Channels that the full-resolution stage adds."""
    num_cab: int = 8
    """Channel attention blocks of each of the three groups of the full-resolution stage."""
    kernel_size: int = 3
    reduction: int = 4
    """Channels of a channel attention's bottleneck: a block's channels divided by this."""
    bias: bool = False
    tlc_train_size: tuple[int, int] | None = None
    """[height, width] in px of the training crops, for the Test-time Local Converter form. None: the plain net."""

    def __post_init__(self) -> None:
        _check("n_feat", self.n_feat, 1, _MAX_CHANNELS)
        _check("scale_unetfeats", self.scale_unetfeats, 0, _MAX_CHANNELS)
        _check("scale_orsnetfeats", self.scale_orsnetfeats, 0, _MAX_CHANNELS)
        _check("num_cab", self.num_cab, 1, _MAX_BLOCKS)
        _check("kernel_size", self.kernel_size, 1, 15)
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size is {self.kernel_size}; it must be odd, or the picture's size would change")
        _check("reduction", self.reduction, 1, self.n_feat)
        _check_train_size(self.tlc_train_size)

    @property
    def activation_bytes_px(self) -> float:
        """As NAFNet's. The peak stands in the full-resolution stage: stage 2's encoder and decoder maps, five maps of
        the stage's width, a quarter of one, and pictures; TLC adds one map (and 0.1 GB of scratch on a GPU).
        """
        n, wide = self.n_feat, self.n_feat + self.scale_orsnetfeats
        pyramid = n + (n + self.scale_unetfeats) / 4 + (n + 2 * self.scale_unetfeats) / 16
        maps = 5.25 + (self.tlc_train_size is not None)
        return 4.0 * (2 * pyramid + maps * wide + 16)

    def mapping(self) -> dict[str, Any]:
        """As JSON values; what ``nets.build`` takes."""
        return {"arch": self.family} | _plain(self)


NetConfig = NAFNetConfig | MPRNetConfig
_FAMILIES: Mapping[str, type[NAFNetConfig] | type[MPRNetConfig]] = {"nafnet": NAFNetConfig, "mprnet": MPRNetConfig}


def parse(config: Mapping[str, Any]) -> NetConfig:
    """Read a config: ``arch`` is ``nafnet`` or ``mprnet``, the other keys are the fields of that family's class.

    Raises ConfigError for an unknown family, an unknown or missing key (naming the nearest) and values out of bounds.
    """
    arch = config.get("arch")
    kind = _FAMILIES.get(arch) if isinstance(arch, str) else None
    if kind is None:
        raise ConfigError(f"a net's config needs arch: {' or '.join(_FAMILIES)}, got {arch!r}")
    known = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in config.items():
        if key == "arch":
            continue
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise ConfigError(
                f"{arch} has no {key!r}"
                + (f": did you mean {near[0]!r}?" if near else f": known are {', '.join(known)}")
            )
        values[key] = _typed(key, value, str(known[key].type))
    missing = [name for name, f in known.items() if f.default is MISSING and name not in values]
    if missing:
        raise ConfigError(f"{arch} needs {', '.join(missing)}")
    return kind(**values)


def infer(shapes: Shapes) -> NetConfig | None:
    """Read a config off the shapes of a state dict; None where the keys are of neither family.

    What comes back fits the keys that were looked at; whether *every* key fits is for the caller to compare. Raises
    ConfigError where the shapes are of a family, but out of its bounds.
    """
    if "intro.weight" in shapes and "ending.weight" in shapes:
        return _infer_nafnet(shapes)
    if "shallow_feat1.0.weight" in shapes and "stage3_orsnet.orb1.body.0.body.0.weight" in shapes:
        return _infer_mprnet(shapes)
    return None


def _infer_nafnet(shapes: Shapes) -> NAFNetConfig:
    width, channels = _axes(shapes, "intro.weight", 4)[:2]
    if channels % 3:
        raise ConfigError(f"intro.weight takes {channels} channels; a stack of RGB frames has a multiple of 3")
    levels = _count(shapes, "downs")
    return NAFNetConfig(
        width=width,
        enc_blk_nums=tuple(_count(shapes, f"encoders.{i}") for i in range(levels)),
        middle_blk_num=_count(shapes, "middle_blks"),
        dec_blk_nums=tuple(_count(shapes, f"decoders.{i}") for i in range(levels)),
        in_frames=channels // 3,
    )


def _infer_mprnet(shapes: Shapes) -> MPRNetConfig:
    blocks = {
        where: _axes(shapes, f"{where}.body.0.weight", 4)
        for where in (
            "shallow_feat1.1",
            "stage1_encoder.encoder_level2.0",
            "stage1_encoder.encoder_level3.0",
            "stage3_orsnet.orb1.body.0",
        )
    }
    n, level2, _, wide = (shape[0] for shape in blocks.values())
    # One number divides every block's channels, rounded down: with few channels a single block does not tell it.
    necks = [(shape[0], _axes(shapes, f"{where}.CA.conv_du.0.weight", 4)[0]) for where, shape in blocks.items()]
    reductions = [r for r in range(1, min(n, _MAX_CHANNELS) + 1) if all(c // r == neck for c, neck in necks)]
    if not reductions:
        raise ConfigError(
            f"the channel attentions' bottlenecks have no common reduction (channels, bottleneck): {necks}"
        )
    return MPRNetConfig(
        n_feat=n,
        scale_unetfeats=level2 - n,
        scale_orsnetfeats=wide - n,
        # The group's last entry is a plain convolution.
        num_cab=_count(shapes, "stage3_orsnet.orb1.body") - 1,
        kernel_size=blocks["shallow_feat1.1"][2],
        reduction=reductions[0],
        bias="shallow_feat1.0.bias" in shapes,
    )


def _axes(shapes: Shapes, key: str, dims: int) -> tuple[int, ...]:
    shape = shapes.get(key)
    if shape is None or len(shape) != dims:
        raise ConfigError(
            f"{key} should be there with {dims} axes, found {'nothing' if shape is None else list(shape)}"
        )
    return shape


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered entries stand below a prefix."""
    number = re.compile(re.escape(prefix) + r"\.(\d{1,4})\.")
    found = {int(m[1]) for key in shapes if (m := number.match(key))}
    return max(found) + 1 if found else 0


def _typed(key: str, value: Any, wanted: str) -> Any:
    """A JSON value as the field wants it; bool is no int here."""
    if wanted == "bool":
        right = isinstance(value, bool)
    elif wanted == "int":
        right = _is_int(value)
    elif value is None:
        right = wanted.endswith("| None")
    else:
        right = isinstance(value, list | tuple) and all(_is_int(v) for v in value)
        if right:
            return tuple(value)
    if not right:
        raise ConfigError(f"{key} is {str(value)[:60]!r}; wanted: {wanted}")
    return value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}; allowed is {low} to {high}")


def _check_train_size(size: tuple[int, ...] | None) -> None:
    if size is None:
        return
    if len(size) != 2 or not all(1 <= side <= _MAX_TRAIN_PX for side in size):
        raise ConfigError(
            f"the train size is {list(size)}; wanted are [height, width] in px, each from 1 to {_MAX_TRAIN_PX}",
            todo="Say the size of the crops that the weights were trained on, e.g. [256, 256]",
        )


def _plain(config: NetConfig) -> dict[str, Any]:
    """The fields as JSON values, without a train size that is not there."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(config).items()
        if value is not None
    }
