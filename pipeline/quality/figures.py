"""The figures of ``frames.parquet``, taken on the device while a tile is restored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.quality import measures
from pipeline.types import Colour, FrameFigures, PixelFormat

CHANGE_THRESHOLD = 4.0 / 255.0
"""A pixel counts as changed where an RGB channel moves by more than this share of full range."""

# A change of exactly 4/255 is none, though float32 may put it some ulps above.
_CHANGE_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class _Seen:
    """One frame's raw figures. ``values`` stays on the device, so that measuring a frame never waits for it."""

    values: Tensor
    """(14,) float64: square error, ssim, touched, changed; then five figures of the source and five of the output."""
    samples: int


class Meter:
    """Takes the figures of consecutive frames.

    A figure depends on its frame, or on its frame and the one before, alone: not on the tile, the number of threads, or
    what else was measured. On a GPU ``see`` only queues work; ``figures`` waits for it.
    """

    def __init__(self, pixel_format: PixelFormat, colour: Colour):
        self._format = pixel_format
        self._scale = measures.luma_scale(measures.code_depth(pixel_format), colour.full_range_used)
        self._seen: dict[int, _Seen] = {}
        self._last: int | None = None
        self._luma: tuple[Tensor, Tensor] | None = None

    def see(
        self,
        number: int,
        before: tuple[Tensor, ...],
        after: tuple[Tensor, ...],
        rgb_before: Tensor,
        rgb_after: Tensor,
    ) -> None:
        """Measure frame ``number``.

        ``before`` and ``after`` are the native planes of the source and of the restored frame, ``(h, w)`` or ``(h, w,
        samples)`` in the format's dtype; ``rgb_before`` and ``rgb_after`` are ``(3, H, W)`` float32 with 0..1 as full
        range. All on one device. Frames come in order without gaps, else ValueError. Of the tensors, at most Y is kept,
        and only to the next frame.
        """
        if self._last is not None and number != self._last + 1:
            raise ValueError(f"frame {number} does not follow frame {self._last}")
        codes = measures.component_codes(before, self._format)
        source = measures.luma_of(codes, self._format.model)
        # A GPU is not asked: that would mean waiting for it, to save it work that it does not feel.
        if not source.is_cuda and all(map(torch.equal, before, after)):
            output = source
            zero = torch.zeros((), dtype=torch.float64)
            changes = [zero, zero + 1.0, zero, zero]
            looks = [_look(source)] * 2
        else:
            others = measures.component_codes(after, self._format)
            output = measures.luma_of(others, self._format.model)
            touched, square_error = measures.touched(codes, others, self._format)
            changed = _changed(rgb_before, rgb_after).logical_and_(touched)
            similar = measures.ssim(source, output, float(2 ** measures.code_depth(self._format) - 1))
            changes = [square_error, similar, measures.share_of(touched), measures.share_of(changed)]
            looks = [_look(source), _look(output)]
        moves = self._ydif(source, output)
        values = [*changes, *looks[0], moves[0], *looks[1], moves[1]]
        self._seen[number] = _Seen(torch.stack(values), sum(c.numel() for c in codes))
        self._last, self._luma = number, (source, output)

    def _ydif(self, source: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        if self._luma is None:
            nothing = torch.zeros((), dtype=torch.float64, device=source.device)
            return nothing, nothing
        old_source, old_output = self._luma
        moved = measures.mean_difference(source, old_source)
        if output is source and old_output is old_source:
            return moved, moved
        return moved, measures.mean_difference(output, old_output)

    def figures(self, first: int, last: int, cuts_before: Collection[int]) -> list[FrameFigures]:
        """Figures of the frames ``[first, last)``, in order.

        ``cuts_before``: numbers of the frames before which the picture changes; those, and a frame whose predecessor
        was not seen, have no flicker and no ydif. Raises ValueError where a frame was not seen.
        """
        missing = next((n for n in range(first, last) if n not in self._seen), None)
        if missing is not None:
            raise ValueError(f"frame {missing} was not measured")
        start = first - 1 if first - 1 in self._seen else first
        if start >= last:
            return []
        # One transfer for all frames, where they lie on a device.
        rows = torch.stack([self._seen[n].values for n in range(start, last)]).tolist()
        told = []
        for n in range(first, last):
            previous = rows[n - 1 - start] if n > start and n not in cuts_before else None
            told.append(self._tell(rows[n - start], self._seen[n].samples, previous))
        return told

    def _tell(self, values: Sequence[float], samples: int, previous: Sequence[float] | None) -> FrameFigures:
        square_error, similar, touched, changed = values[:4]
        source, output = self._stream(values[4:9]), self._stream(values[9:14])
        flicker: list[float] | None = None
        if previous is not None:
            flicker = [abs(values[i] - previous[i]) * self._scale for i in (4, 9)]
        return FrameFigures(
            psnr_db=measures.psnr_db(square_error, samples, measures.code_depth(self._format)),
            ssim=similar,
            touched_fraction=touched,
            changed_fraction=changed,
            luma_source=source.luma,
            luma_output=output.luma,
            flicker_source=flicker[0] if flicker else None,
            flicker_output=flicker[1] if flicker else None,
            ydif_source=source.ydif if flicker else None,
            ydif_output=output.ydif if flicker else None,
            noise_source=source.noise,
            noise_output=output.noise,
            sharpness_source=source.sharpness,
            sharpness_output=output.sharpness,
        )

    def _stream(self, raw: Sequence[float]) -> _Stream:
        luma, variance, noise, energy, ydif = raw
        s = self._scale
        return _Stream(luma * s, noise * s, measures.sharpness(energy * s**2, variance * s**2, noise * s), ydif * s)


@dataclass(frozen=True, slots=True)
class _Stream:
    """What is told of one stream's frame alone, in 8-bit code units (sharpness in 1/px)."""

    luma: float
    noise: float
    sharpness: float
    ydif: float


def _look(luma: Tensor) -> tuple[Tensor, ...]:
    """Figures of one picture in code values: mean, variance, noise, gradient energy; float64 scalars."""
    mean = measures.mean_of(luma)
    return mean, measures.variance_of(luma, mean), measures.noise_sigma(luma), measures.gradient_energy(luma)


def _changed(before: Tensor, after: Tensor) -> Tensor:
    """Mask ``(H, W)`` of the pixels where an RGB channel moved by more than the threshold."""
    most = (after[0] - before[0]).abs_()
    for channel in (1, 2):
        torch.maximum(most, (after[channel] - before[channel]).abs_(), out=most)
    return most > CHANGE_THRESHOLD + _CHANGE_SLACK
