"""Other architectures (SCUNet, SwinIR, DRUNet, …), through the library spandrel, which tells them by their keys.

This is its only home. It is an extra, ``pip install reelmend[spandrel]``, and is given tensors, never a file:
``weights.files`` reads those, and unpickles nothing but tensors. Where the package spandrel_extra_arches is installed
too, its architectures (Restormer, MIRNetv2…) are known as well; their licences are for whoever installs it to read.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipeline.errors import WeightsError
from pipeline.restore.nets.live import Live, TooManyBytesError

INSTALL = "pip install reelmend[spandrel]"
_MEASURED = 2048
"""px of the square that a pass is counted on: about the pixels of a 2K frame. A net whose memory grows faster than the
picture is then estimated too high for what is smaller, and too low for what is larger."""
_TRIED = 128
"""px of the square that is computed where a pass cannot be counted without computing it."""
_KERNELS = 2.5
"""What is really taken, over the tensors that are counted: kernels copy maps into layouts of their own, and memory is
kept that was freed. Measured on a CPU: 1.1 (Restormer), 1.3 (SwinIR), 1.6 (DRUNet), 2.3 (SCUNet)."""
_SQUARED = 2.5
"""How many times a wide frame's pixels a net has that wants squares (2.39:1 is the widest usual format)."""
_BUILD_BYTES = 1 << 30
"""Bytes of tensors that building a net may take beside four times those of its file."""


class ExternalNet(nn.Module):
    """(B, 3, H, W) RGB, nominally in [0, 1], unclamped → the same shape, restored; any H, W ≥ 1.

    The library's nets take and give pictures in [0, 1]. What comes back is therefore the input plus the *change* that
    the net made to what it saw: values beyond [0, 1] survive, and where the net changes nothing nothing changes.

    Asked for bfloat16, the weights stay as they are and products are computed in bfloat16 (autocast), if the library
    vouches for the architecture there: casting the weights breaks some (SwinIR at any size but its own). A net that
    adds its result to the picture, as most do, then adds it in float32. One that gives the picture from its last
    convolution (SCUNet, DRUNet) gives it in eight significant bits, off by up to 1/512 of full scale: masters want
    ``exact`` then. The memory layout is always PyTorch's own, the only one that every architecture takes.
    """

    config: Mapping[str, Any]
    """What it is, as JSON values: ``arch``, ``library`` (with its version), ``bfloat16``, ``minimum``, ``multiple_of``,
    ``square`` (what sizes it takes; others are padded), ``tiling`` (what the library says of spatial tiles)."""

    def __init__(self, descriptor: Any, library: str):
        """descriptor: spandrel's ImageModelDescriptor. library: its package, with version."""
        super().__init__()
        size = descriptor.size_requirements
        self.config = {
            "arch": str(descriptor.architecture.name),
            "library": library,
            "bfloat16": bool(descriptor.supports_bfloat16),
            "minimum": int(size.minimum),
            "multiple_of": int(size.multiple_of),
            "square": bool(size.square),
            "tiling": str(descriptor.tiling.name).lower(),
        }
        self._descriptor = descriptor
        self._shorter = False
        """Whether bfloat16 was asked for, and may be had."""
        self.net: nn.Module = descriptor.model
        self.net.requires_grad_(False).register_forward_hook(_keep_infinities)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16) if self._shorter else nullcontext():
            return torch.cat([self._one(picture[None]) for picture in x])

    def _one(self, picture: Tensor) -> Tensor:
        h, w = picture.shape[-2:]
        more_w, more_h = self._descriptor.size_requirements.get_padding(w, h)
        seen = picture.clamp(0, 1).to(self._descriptor.dtype).contiguous()
        answer = cast(Tensor, self._descriptor(_mirrored(seen, h + more_h, w + more_w)))
        if answer.shape != (1, 3, h + more_h, w + more_w):
            raise ValueError(f"{self.config['arch']} gave {tuple(answer.shape)} for {h + more_h}x{w + more_w} px")
        return picture + (answer[..., :h, :w].to(picture.dtype) - seen.to(picture.dtype))

    def to(self, *args: Any, **kwargs: Any) -> ExternalNet:
        kwargs.pop("memory_format", None)
        return super().to(*args, **kwargs) if args or kwargs else self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ExternalNet:
        # All of to(), bfloat16(), cuda()… come through here.
        def allowed(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype in (torch.bfloat16, torch.float16):
                self._shorter = bool(self.config["bfloat16"]) and moved.dtype == torch.bfloat16
                moved = tensor.to(moved.device)
            return moved

        super()._apply(allowed, recurse)  # type: ignore[no-untyped-call]
        return self

    def activation_bytes_px(self) -> float:
        """Peak bytes of live float32 tensors for a pixel, input included, of a batch of one: counted in a pass over a
        square, as a rule without computing it. Raises WeightsError where the net fails."""
        shorter, self._shorter = self._shorter, False
        try:
            counted = self._count("meta", _MEASURED)
        except Exception:  # noqa: BLE001 - the code of an architecture may need real values at any place
            try:
                counted = self._count("cpu", _TRIED)
            except Exception as error:  # noqa: BLE001 - as above
                raise WeightsError(
                    f"a pass of {self.config['arch']} over a picture of {_TRIED}x{_TRIED} fails: {_words(error)}"
                ) from None
        finally:
            self._shorter = shorter
        return counted * _KERNELS * (_SQUARED if self.config["square"] else 1.0)

    def _count(self, device: str, side: int) -> float:
        net = self if device == "cpu" else self._without_values()
        with torch.device(device), torch.inference_mode(), Live([*net.parameters(), *net.buffers()]) as live:
            net(torch.zeros(1, 3, side, side))
        return float(live.peak / side**2)

    def _without_values(self) -> ExternalNet:
        """The same net on the device ``meta``, where nothing is computed. No value is copied on the way."""
        there: dict[int, Any] = {id(t): t.to("meta") for t in self.buffers()}
        there |= {id(p): nn.Parameter(p.to("meta"), requires_grad=False) for p in self.parameters()}
        return copy.deepcopy(self, there)


def installed() -> bool:
    """Whether the library is there."""
    return "spandrel" in sys.modules or importlib.util.find_spec("spandrel") is not None


def recognise(tensors: Mapping[str, Tensor]) -> ExternalNet | None:
    """The net that these tensors are the weights of, on the CPU, in evaluation mode; None where the library knows none.

    Raises WeightsError where the library cannot be used, the weights do not fit the architecture that their keys are
    of, or it is no net of this kind: pictures of three channels in, pictures of the same size and channels out.
    """
    library = _library()
    limit = 4 * sum(t.nbytes for t in tensors.values()) + _BUILD_BYTES
    try:
        with torch.random.fork_rng(devices=[]), Live(tensors.values(), limit=limit):
            torch.manual_seed(0)
            descriptor = library.ModelLoader("cpu").load_from_state_dict(dict(tensors))
    except library.UnsupportedModelError:
        return None
    except TooManyBytesError as error:
        raise WeightsError(f"building the net that its shapes speak of would take {error}") from None
    except Exception as error:  # noqa: BLE001 - what an architecture's reader trips over in odd shapes can be anything
        raise WeightsError(f"spandrel takes it for a net that it then cannot build ({_words(error)})") from None
    arch = descriptor.architecture.name
    if not isinstance(descriptor, library.ImageModelDescriptor):
        raise WeightsError(f"{arch} wants more than a picture (a mask); it cannot be a pass")
    if descriptor.scale != 1:
        raise WeightsError(f"{arch} enlarges {descriptor.scale} times; a pass must keep the picture's size")
    if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise WeightsError(
            f"{arch} of this file takes {descriptor.input_channels} channels and gives {descriptor.output_channels}; "
            "a pass takes and gives the three of RGB"
        )
    return ExternalNet(descriptor, _package(descriptor))


def _library() -> Any:
    if not installed():
        raise WeightsError("the library spandrel is not installed here", todo=INSTALL)
    try:
        import spandrel

        if importlib.util.find_spec("spandrel_extra_arches") is not None:
            import spandrel_extra_arches

            spandrel_extra_arches.install(ignore_duplicates=True)
    except Exception as error:  # noqa: BLE001 - torchvision of another build raises a RuntimeError
        raise WeightsError(
            f"spandrel is installed, but cannot be imported ({_words(error)})",
            todo="As a rule torchvision is missing, or of another build than torch: install the one that belongs to it",
        ) from None
    return spandrel


def _package(descriptor: Any) -> str:
    """The package that an architecture's code is of, with its version."""
    name = type(descriptor.architecture).__module__.partition(".")[0]
    name = name if name == "spandrel_extra_arches" else "spandrel"
    return f"{name} {sys.modules[name].__version__}"


def _mirrored(x: Tensor, height: int, width: int) -> Tensor:
    """(B, C, H, W) mirrored at right and bottom, edge not repeated, up to a size; however small it is."""
    for axis, wanted in ((2, height), (3, width)):
        n = x.shape[axis]
        if wanted != n:
            at = torch.arange(wanted, device=x.device) % max(1, 2 * (n - 1))
            x = x.index_select(axis, torch.minimum(at, 2 * (n - 1) - at))
    return x


def _keep_infinities(_: nn.Module, __: Any, output: Any) -> Any:
    """The library clamps what a net gives, and an infinity would become a white pixel; NaN stays and is found."""
    if isinstance(output, Tensor):
        return output.masked_fill(output.isinf(), float("nan"))
    return output


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
