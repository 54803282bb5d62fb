"""The figures of ``frames.parquet``, taken on the device while a tile is restored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.quality import changes, measures, signals
from pipeline.quality.warps import Shift, Warps
from pipeline.types import NO_SIGNALS, SIGNALS, Colour, FrameFigures, PixelFormat, Signals

_OF_THE_PAIR = 6
"""Raw figures of source and output together, before those of each."""
_OF_ONE = ("mean", "variance", "noise", "energy", "ydif", "tout", "vrep", "brng", "udif", "vdif")
"""Raw figures of one picture, before its levels."""
_LEVELS = (
    *(f"{c}{what}" for c in ("y", "u", "v", "sat") for what in ("min", "low", "avg", "high", "max")),
    *("huemed", "hueavg"),
)
_NO_LEVELS = frozenset(("huemed", "hueavg", "vrep"))
"""Signals that are not in code values."""
_BETWEEN = frozenset(("udif", "vdif"))
"""Signals that want a frame before."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One frame's raw figures. ``values`` stays on the device, so that measuring a frame never waits for it."""

    values: Tensor
    """float64: those of the pair, then those of the source and as many of the output."""
    samples: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of one picture until the next frame: luma, and chroma in as few bytes as hold its codes."""

    luma: Tensor
    u: Tensor | None
    v: Tensor | None

    @classmethod
    def of(cls, codes: signals.Codes) -> _Kept:
        u, v = (None if c is None else c.to(torch.uint16) for c in (codes.u, codes.v))
        return cls(codes.luma, u, v)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A frame's source and output, one object where they are equal."""

    source: _Kept
    output: _Kept


class Meter:
    """Takes the figures of consecutive frames.

    A figure depends on its frame, or on its frame and the one before, alone: not on the tile, the number of torch's
    threads, or what else was measured. On a GPU ``see`` only queues work; ``figures`` waits for it.
    """

    def __init__(
        self,
        pixel_format: PixelFormat,
        colour: Colour,
        *,
        borders: changes.Borders = changes.NO_BORDERS,
        edges: Collection[int] = (),
    ):
        """borders: where spatial tiles meet. edges: numbers of the frames whose ``blocks`` will be asked for."""
        self._format = pixel_format
        self._scale = measures.luma_scale(measures.code_depth(pixel_format), colour.full_range_used)
        # Black is below a tenth of the way from black to white, as FFmpeg's blackdetect has it.
        low, high = (0.0, 255.0) if colour.full_range_used else (16.0, 235.0)
        self._black = (low + 0.1 * (high - low)) / self._scale
        self._borders = borders
        self._edges = frozenset(edges)
        self._blocks: dict[int, Tensor] = {}
        self._warps = Warps(self._scale)
        self._seen: dict[int, _Seen] = {}
        self._last: int | None = None
        self._before: _Pair | None = None

    def see(
        self,
        number: int,
        before: tuple[Tensor, ...],
        after: tuple[Tensor, ...],
        rgb_before: Tensor,
        rgb_after: Tensor,
        *,
        shift: Shift = (0.0, 0.0),
    ) -> None:
        """Measure frame ``number``.

        ``before`` and ``after`` are the native planes of the source and of the restored frame, ``(h, w)`` or ``(h, w,
        samples)`` in the format's dtype; ``rgb_before`` and ``rgb_after`` are ``(3, H, W)`` float32 with 0..1 as full
        range. All on one device. ``shift``: px by which restoring moved the frame. Frames come in order without gaps,
        else ValueError. Of the tensors, none is kept; code values are, and only to the next frame.
        """
        self._follows(number)
        codes = measures.component_codes(before, self._format)
        luma = measures.luma_of(codes, self._format.model)
        source = signals.codes_of(codes, luma, self._format)
        look = _look(luma, source, self._format)
        zero = torch.zeros((), dtype=torch.float64, device=luma.device)
        black = measures.share_of(luma <= self._black)
        # A GPU is not asked: that would mean waiting for it, to save it work that it does not feel.
        if not luma.is_cuda and all(map(torch.equal, before, after)):
            output, look_output, luma_output = source, look, luma
            pair = [zero, zero + 1.0, zero, zero, black, zero]
        else:
            others = measures.component_codes(after, self._format)
            luma_output = measures.luma_of(others, self._format.model)
            output = signals.codes_of(others, luma_output, self._format)
            look_output = _look(luma_output, output, self._format)
            touched, square_error = measures.touched(codes, others, self._format)
            moved = changes.changed(rgb_before, rgb_after).logical_and_(touched)
            similar = measures.ssim(luma, luma_output, float(2 ** measures.code_depth(self._format) - 1))
            pair = [
                square_error,
                similar,
                measures.share_of(touched),
                measures.share_of(moved),
                black,
                changes.seam(luma_output - luma, self._borders),
            ]
        now = _Kept.of(source)
        kept = _Pair(now, now if output is source else _Kept.of(output))
        values = [*pair, *self._between(kept, look, look_output)]
        self._seen[number] = _Seen(torch.cat([v.reshape(-1) for v in values]), sum(c.numel() for c in codes))
        self._warps.see(number, luma, luma_output, shift)
        if number in self._edges:
            self._blocks[number] = measures.block_means(luma_output)
        self._last, self._before = number, kept

    def pass_by(self, number: int, planes: tuple[Tensor, ...]) -> None:
        """Look at frame ``number`` of the source, of which no figures are wanted, for the sake of its neighbours'.

        ``planes`` as in ``see``. Wanted are the ``FIGURES_RADIUS`` frames before those whose figures will be asked for,
        and as many after them, as far as there are any.
        """
        self._follows(number)
        luma = measures.luma_of(measures.component_codes(planes, self._format), self._format.model)
        self._warps.see(number, luma, luma)
        self._last, self._before = number, None

    def _follows(self, number: int) -> None:
        if self._last is not None and number != self._last + 1:
            raise ValueError(f"frame {number} does not follow frame {self._last}")

    def _between(self, kept: _Pair, look: _Look, look_output: _Look) -> list[Tensor]:
        """The looks with the differences to the frame before in their places."""
        if self._before is None:
            nothing = torch.zeros(3, dtype=torch.float64, device=look.alone.device)
            return [*look.all(nothing), *look_output.all(nothing)]
        old = self._before
        differences = _differences(kept.source, old.source)
        same = kept.output is kept.source and old.output is old.source
        others = differences if same else _differences(kept.output, old.output)
        return [*look.all(differences), *look_output.all(others)]

    def blocks(self, number: int) -> tuple[float, ...]:
        """Means of the restored luma's blocks (``measures.block_means``), in 8-bit codes; only of the ``edges``."""
        return tuple((self._blocks[number] * self._scale).tolist())

    def figures(self, first: int, last: int, cuts_before: Collection[int]) -> list[FrameFigures]:
        """Figures of the frames ``[first, last)``, in order.

        ``cuts_before``: numbers of the frames before which the picture changes; those, and a frame whose predecessor
        was not seen, have no flicker and nothing else that is between frames. Of the frames that were passed by it
        should know too. Raises ValueError where a frame was not seen.
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
            told.append(self._tell(n, rows[n - start], previous, cuts_before))
        return told

    def _tell(
        self, number: int, values: Sequence[float], previous: Sequence[float] | None, cuts_before: Collection[int]
    ) -> FrameFigures:
        warps = self._warps.errors(number) if previous is not None else (None, None)
        square_error, similar, touched, moved, black, seam = values[:_OF_THE_PAIR]
        size = (len(values) - _OF_THE_PAIR) // 2
        at = (_OF_THE_PAIR, _OF_THE_PAIR + size)
        source, output = (self._stream(values[a : a + size], previous is not None) for a in at)
        # The mean comes first in a stream.
        flicker = [abs(values[a] - previous[a]) * self._scale if previous is not None else None for a in at]
        return FrameFigures(
            psnr_db=measures.psnr_db(square_error, self._seen[number].samples, measures.code_depth(self._format)),
            ssim=similar,
            touched_fraction=touched,
            changed_fraction=moved,
            luma_source=source.luma,
            luma_output=output.luma,
            flicker_source=flicker[0],
            flicker_output=flicker[1],
            ydif_source=source.ydif,
            ydif_output=output.ydif,
            noise_source=source.noise,
            noise_output=output.noise,
            sharpness_source=source.sharpness,
            sharpness_output=output.sharpness,
            tout_source=source.tout,
            tout_output=output.tout,
            brng_source=source.brng,
            brng_output=output.brng,
            signals_source=source.signals,
            signals_output=output.signals,
            warp_error_source=warps[0],
            warp_error_output=warps[1],
            dirt_fraction=self._warps.dirt(number, cuts_before),
            scratch_columns=self._warps.scratches(number, cuts_before),
            black_fraction=black,
            unsupported_fraction=self._warps.unsupported(number) if previous is not None else None,
            seam_space=seam * self._scale if self._borders.any else None,
        )

    def _stream(self, raw: Sequence[float], follows: bool) -> _Stream:
        named = dict(zip((*_OF_ONE, *_LEVELS), raw, strict=False))
        s = self._scale
        noise = named["noise"] * s
        return _Stream(
            luma=named["mean"] * s,
            noise=noise,
            sharpness=measures.sharpness(named["energy"] * s**2, named["variance"] * s**2, noise),
            ydif=named["ydif"] * s if follows else None,
            tout=named["tout"],
            brng=named["brng"],
            signals=self._signals(named, follows),
        )

    def _signals(self, named: dict[str, float], follows: bool) -> Signals:
        found = list(NO_SIGNALS)
        colour = "umin" in named
        for n, name in enumerate(SIGNALS):
            if name not in named or (name in _BETWEEN and not (follows and colour)):
                continue
            found[n] = named[name] if name in _NO_LEVELS else named[name] * self._scale
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Stream:
    """What is told of one stream's frame, in 8-bit code units (sharpness in 1/px, tout and brng shares)."""

    luma: float
    noise: float
    sharpness: float
    ydif: float | None
    tout: float
    brng: float
    signals: Signals


@dataclass(frozen=True, slots=True)
class _Look:
    """Raw figures of one picture, float64 on the device: with the differences to the frame before, ``_OF_ONE``."""

    alone: Tensor
    """mean, variance, noise, energy"""
    filters: Tensor
    """tout, vrep, brng"""
    levels: Tensor

    def all(self, differences: Tensor) -> list[Tensor]:
        return [self.alone, differences[:1], self.filters, differences[1:], self.levels]


def _look(luma: Tensor, codes: signals.Codes, pixel_format: PixelFormat) -> _Look:
    mean = measures.mean_of(luma)
    alone = (mean, measures.variance_of(luma, mean), measures.noise_sigma(luma), measures.gradient_energy(luma))
    filters = (signals.outliers(codes), signals.repeated(codes), signals.outside(codes, pixel_format))
    return _Look(torch.stack(alone), torch.stack(filters), signals.levels(codes))


def _differences(a: _Kept, b: _Kept) -> Tensor:
    """Mean absolute differences of Y, U and V; 0 of what is not there."""
    found = [measures.mean_difference(a.luma, b.luma)]
    if a.u is not None and a.v is not None and b.u is not None and b.v is not None:
        found += [measures.mean_difference(c.float(), d.float()) for c, d in ((a.u, b.u), (a.v, b.v))]
    return torch.cat([torch.stack(found), found[0].new_zeros(3 - len(found))])
