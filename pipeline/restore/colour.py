"""Native planes ↔ RGB float32 on the device.

The way back is in delta form: source plane + round(T(rgb_out − rgb_in)), T the matrix and the chroma filter without
offset. So no change in means no change out, bit for bit, in every format, and nothing that the source held is clipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import SourceError
from pipeline.restore import chroma
from pipeline.restore.transfer import Transfer
from pipeline.types import Colour, Component, PixelFormat

KR_KB: Mapping[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
"""Luma weights of red and blue: ITU-R BT.601-7, BT.709-6, BT.2020-2 (non-constant luminance)."""

_GRAY = KR_KB["bt709"]
"""A gray picture has no matrix. The weights sum to 1, so a colourless change of its replicated RGB comes back as it
is."""


class Converter:
    """Pictures of one pixel format with one reading of its colours, on one device.

    Planes are tensors as ``pipeline.types.Frames`` lays them out, ``(B, h, w)`` or ``(B, h, w, samples)``, uint8 or
    uint16, or float16 or float32. RGB is (B, 3, H, W) float32 as it is shown (``transfer.py`` where the source's values
    are not): 0 black and 1 white of the nominal range, never clipped, so codes beyond that range (superwhite) lie below
    0 or above 1.

    ``field`` says that the pictures are one field of interlaced frames, where chroma at fewer lines lies otherwise.

    Raises SourceError for YUV whose matrix is none of BT.601, BT.709 and BT.2020.
    """

    def __init__(
        self,
        format: PixelFormat,  # noqa: A002 - the house's word
        colour: Colour,
        device: torch.device | str,
        *,
        field: Literal["upper", "lower"] | None = None,
    ):
        self.format = format
        self.device = torch.device(device)
        self._top = 1.0 if format.is_float else float((1 << format.depth) - 1)
        full = colour.full_range_used or format.is_float
        step = float(1 << (format.depth - 8))
        # Rec. ITU-T H.273, 8.3: code = offset + scale · value.
        self._offset, self._scale = (0.0, self._top) if full else (16.0 * step, 219.0 * step)
        self._middle, self._chroma_scale = 128.0 * step, self._top if full else 224.0 * step
        if format.model == "yuv":
            if colour.matrix_used not in KR_KB:
                raise SourceError(
                    f"a {format.name} picture is to be read with the matrix {colour.matrix_used!r}; "
                    f"known are {', '.join(KR_KB)}",
                    todo="Name one as source.untagged_matrix, or correct the source's tag",
                )
            self._kr, self._kb = KR_KB[colour.matrix_used]
            layout = format.planes[format.components[1].plane]
            across, down = chroma.siting(colour.chroma_location)
            if field is not None and down == "middle":
                down = field
            self._across = chroma.Filter(1 << layout.log2_w, across)
            self._down = chroma.Filter(1 << layout.log2_h, down)
        else:
            self._kr, self._kb = _GRAY
        self._kg = 1.0 - self._kr - self._kb
        self._transfer = Transfer(colour.transfer_used) if colour.transfer_used != "display" else None
        # Codes that fill their samples cannot lie above the top code; others can, in a broken source.
        self._fills = format.depth in (8, 16)

    def upload(self, planes: Sequence[NDArray[Any]]) -> tuple[Tensor, ...]:
        """One frame's numpy planes (read-only ones too), copied to the device, without a batch axis.

        To a GPU they go through pinned memory, and the copy does not wait.
        """
        pinned = self.device.type == "cuda"
        found = []
        for plane in planes:
            staged = torch.empty(plane.shape, dtype=DTYPES[plane.dtype], pin_memory=pinned)
            staged.numpy()[...] = plane
            found.append(staged.to(self.device, non_blocking=True) if pinned else staged)
        return tuple(found)

    def to_rgb(self, planes: Sequence[Tensor]) -> Tensor:
        """(B, 3, H, W) float32 of the native planes. Chroma is interpolated linearly, from where it is sited."""
        c = self.format.components
        first = self._code(planes, c[0])
        b, h, w = first.shape
        rgb = torch.empty((b, 3, h, w), dtype=torch.float32, device=first.device)
        if self.format.model == "yuv":
            y = first.sub_(self._offset).div_(self._scale)
            both = torch.stack((self._code(planes, c[1]), self._code(planes, c[2])), 1)
            both = both.sub_(self._middle).div_(self._chroma_scale)
            both = self._across.up(self._down.up(both, 2, h), 3, w)
            cb, cr = both[:, 0], both[:, 1]
            kr, kg, kb = self._kr, self._kg, self._kb
            torch.add(y, cr, alpha=2 * (1 - kr), out=rgb[:, 0])
            torch.add(y, cb, alpha=-2 * (1 - kb) * kb / kg, out=rgb[:, 1])
            rgb[:, 1].add_(cr, alpha=-2 * (1 - kr) * kr / kg)
            torch.add(y, cb, alpha=2 * (1 - kb), out=rgb[:, 2])
            return rgb
        for i in range(3):
            rgb[:, i] = self._code(planes, c[i]) if self.format.model == "rgb" and i else first
        if self.format.is_float:
            # What is no number is black to the nets; the plane keeps it.
            rgb.nan_to_num_(0.0, 0.0, 0.0)
        rgb.sub_(self._offset).div_(self._scale)
        return rgb if self._transfer is None else self._transfer.shown(rgb)

    def delta(self, rgb_in: Tensor, rgb_out: Tensor, planes: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The planes with the change from rgb_in to rgb_out (finite) put on them.

        ``rgb_in`` is ``to_rgb(planes)``. A code whose change rounds to zero stays as it is, whatever it is; others are
        clipped to [0, 2^depth − 1]. Floats are not clipped, and those that are no number stay what they are. Padding
        and alpha are carried. Planes that hold neither come back as the same tensors.
        """
        change = rgb_out - rgb_in
        c = self.format.components
        if self._transfer is not None:
            change = self._of_values(rgb_in, change, self._transfer)
        if self.format.model == "rgb":
            return self._put(planes, [(c[i], change[:, i] * self._scale) for i in range(3)])
        red, green, blue = change.unbind(1)
        y = (red * self._kr).add_(green, alpha=self._kg).add_(blue, alpha=self._kb)
        if self.format.model == "gray":
            return self._put(planes, [(c[0], y.mul_(self._scale))])
        both = torch.stack((blue - y, red - y), 1)
        both = self._across.down(self._down.down(both, 2), 3)
        cb = both[:, 0].mul_(self._chroma_scale / (2 * (1 - self._kb)))
        cr = both[:, 1].mul_(self._chroma_scale / (2 * (1 - self._kr)))
        return self._put(planes, [(c[0], y.mul_(self._scale)), (c[1], cb), (c[2], cr)])

    def _of_values(self, shown: Tensor, change: Tensor, transfer: Transfer) -> Tensor:
        """A change of what is shown as the change of the source's values that makes it."""
        if self.format.model == "gray":
            red, green, blue = change.unbind(1)
            change = (red * self._kr).add_(green, alpha=self._kg).add_(blue, alpha=self._kb)[:, None].expand_as(shown)
        of_values = transfer.values(shown + change) - transfer.values(shown)
        return torch.where(change == 0, 0.0, of_values)

    def _sample(self, planes: Sequence[Tensor], c: Component) -> Tensor:
        """A component's samples as they lie in memory, (B, h, w)."""
        plane = planes[c.plane]
        return plane if self.format.planes[c.plane].samples == 1 else plane[..., c.sample]

    def _code(self, planes: Sequence[Tensor], c: Component) -> Tensor:
        """A component's code values, (B, h, w) float32: whole numbers, exact."""
        # torch computes little in uint16, but float32 holds every code; a shift is an exact division.
        sample = self._sample(planes, c).to(torch.float32)
        return sample.div_(1 << c.shift).floor_() if c.shift else sample

    def _put(self, planes: Sequence[Tensor], changes: Sequence[tuple[Component, Tensor]]) -> tuple[Tensor, ...]:
        """New planes with each component's change, in codes and not yet rounded, added."""
        if self.format.is_float:
            return self._put_floats(planes, changes)
        out = list(planes)
        fresh: set[int] = set()
        for c, change in changes:
            code = self._code(planes, c)
            step = change.round_()
            new = (code + step).clamp_(0.0, self._top)
            if not self._fills:
                new = torch.where(step == 0, code, new)
            if c.shift:
                # Bits below the code are carried.
                new = self._sample(planes, c).to(torch.float32).add_(new.sub_(code), alpha=1 << c.shift)
            if self.format.planes[c.plane].samples == 1:
                out[c.plane] = new.to(planes[c.plane].dtype)
                continue
            if c.plane not in fresh:
                out[c.plane] = planes[c.plane].clone()
                fresh.add(c.plane)
            out[c.plane][..., c.sample] = new.to(planes[c.plane].dtype)
        return tuple(out)

    def _put_floats(self, planes: Sequence[Tensor], changes: Sequence[tuple[Component, Tensor]]) -> tuple[Tensor, ...]:
        """As ``_put``, of planes of floats: values as far below black or above white as they come out."""
        out = list(planes)
        for c, change in changes:
            plane = planes[c.plane]
            most = torch.finfo(plane.dtype).max
            new = (plane.to(torch.float32) + change).clamp_(-most, most).to(plane.dtype)
            # By bits: so -0.0 stays, and what is no number keeps its payload.
            bits = torch.int16 if plane.dtype == torch.float16 else torch.int32
            left = (change == 0) | ~change.isfinite() | ~plane.isfinite()
            out[c.plane] = torch.where(left, plane.view(bits), new.view(bits)).view(plane.dtype)
        return tuple(out)


DTYPES = {
    np.dtype(np.uint8): torch.uint8,
    np.dtype(np.uint16): torch.uint16,
    np.dtype(np.float16): torch.float16,
    np.dtype(np.float32): torch.float32,
}
"""numpy's type of a plane → torch's."""
