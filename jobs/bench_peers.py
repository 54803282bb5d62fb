"""What others restore film with, for comparison: chains of FFmpeg's filters, and VapourSynth's where it is at hand."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from pipeline.errors import CallError
from pipeline.reel.filters import available, filtered
from pipeline.train.clips import Clip

_ASTRAY = 3
"""Frames by which a chain may give its frames too early or too late."""
_PATIENCE_S = 600
_LACKS = 3
"""Exit status of the script where a plugin is missing."""
_WHITE = 65535

Filters = Sequence[tuple[str, str]]
_EIGHT: Filters = (("format", "pix_fmts=yuv444p"),)
_WIDE: Filters = (("format", "pix_fmts=yuv444p16le"),)
_WINDOW = 11
"""Frames that deflicker evens out over."""
_MEDIAN: Filters = (("tpad", "start=1:stop=1:start_mode=clone:stop_mode=clone"), ("tmedian", "radius=1"))
_FFMPEG: Sequence[tuple[str, Filters]] = (
    ("tmedian", (*_WIDE, *_MEDIAN)),
    ("tmedian, nlmeans", (*_EIGHT, *_MEDIAN, ("nlmeans", "s=2:p=5:r=9"))),
    ("nlmeans", (*_EIGHT, ("nlmeans", "s=3:p=5:r=9"))),
    ("bm3d", (*_EIGHT, ("bm3d", "sigma=6:block=8:bstep=4:group=8:range=9"))),
    ("atadenoise", (*_WIDE, ("atadenoise", "s=9"))),
    ("hqdn3d", (*_EIGHT, ("hqdn3d", "4:3:6:4"))),
)
"""Name → its filters, after deflicker. nlmeans and bm3d work in 8 bit."""
_VAPOURSYNTH = (
    "spotless+descratch+degrain2",
    "spotless2+descratch+degrain2",
    "spotless2+descratch+vbm3d",
)
"""SpotLess over three frames or five (``2``), DeScratch, then MVDegrain2 or V-BM3D. After FFmpeg's deflicker: on film
that flickers they are worse without it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A chain of others."""

    name: str
    restore: Callable[[Clip], Clip]
    """Raises CallError where it cannot be had."""


def peers(vapoursynth: str | None) -> list[Peer]:
    """Those that can be asked. vapoursynth: a Python that has it, with its plugins."""
    found = [_ffmpeg(name, filters) for name, filters in _FFMPEG if available(n for n, _ in filters)]
    if vapoursynth is not None:
        for chain in _VAPOURSYNTH:
            found.append(_vapoursynth(vapoursynth, chain))
    return found


def missing() -> list[str]:
    """Names of the chains that this build of FFmpeg has no filters for."""
    return [name for name, filters in _FFMPEG if not available(n for n, _ in filters)]


def aligned(found: Clip, source: Clip) -> Clip:
    """The frames of ``found`` at the places that they have in the source, by their looks; where it gave none, the
    source's own. Brightness does not matter. Raises CallError for another size."""
    if found.ndim != 4 or found.shape[1:] != source.shape[1:] or not len(found):
        raise CallError(
            f"gave {len(found)} frames of {found.shape[1:]}, of {source.shape[1:]} are wanted", where="peer"
        )
    looks, wanted = _looks(found), _looks(source)

    def misfit(by: int) -> float:
        pairs = [(n, n + by) for n in range(len(source)) if 0 <= n + by < len(found)]
        return float(np.mean([np.abs(wanted[a] - looks[b]).mean() for a, b in pairs])) if pairs else np.inf

    by = min(range(-_ASTRAY, _ASTRAY + 1), key=lambda b: (misfit(b), abs(b)))
    out = source.copy()
    for n in range(len(source)):
        if 0 <= n + by < len(found):
            out[n] = found[n + by]
    return out


def _looks(clip: Clip) -> Clip:
    luma = clip.mean(axis=1)
    return np.asarray(luma - luma.mean(axis=(1, 2), keepdims=True), np.float32)


def _ffmpeg(name: str, filters: Filters) -> Peer:
    def restore(clip: Clip) -> Clip:
        given = _even(clip)
        return aligned(filtered(given, filters), given)

    return Peer(f"FFmpeg: deflicker, {name}", restore)


def _even(clip: Clip) -> Clip:
    """FFmpeg's deflicker. It goes astray where a film ends within its window: more is put there, mirrored, and cut off
    again."""
    around = ((_WINDOW, _WINDOW), (0, 0), (0, 0), (0, 0))
    padded = np.pad(clip, around, "reflect" if len(clip) > _WINDOW else "symmetric")
    filters = (*_WIDE, ("deflicker", f"size={_WINDOW}:mode=am"))
    return aligned(filtered(padded, filters), padded)[_WINDOW:-_WINDOW]


def _vapoursynth(python: str, chain: str) -> Peer:
    def restore(clip: Clip) -> Clip:
        given = _even(clip)
        return aligned(_through(python, chain, given), given)

    return Peer(f"VapourSynth: FFmpeg's deflicker, {chain.replace('+', ', ')}", restore)


def _through(python: str, chain: str, clip: Clip) -> Clip:
    n, _, h, w = clip.shape
    with (
        tempfile.TemporaryDirectory(prefix="reelmend-bench-") as folder,
        resources.as_file(resources.files("jobs") / "assets" / "vapoursynth_chains.py") as script,
    ):
        np.rint(np.clip(clip, 0, 1) * _WHITE).astype(np.uint16).tofile(Path(folder, "in"))
        call = [python, str(script), chain, str(w), str(h), str(n), folder]
        try:
            done = subprocess.run(call, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CallError(f"VapourSynth cannot be asked: {error}", where=python) from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            what = "lacks a plugin" if done.returncode == _LACKS else f"ended with status {done.returncode}"
            raise CallError(f"VapourSynth {what}: {last[:200]}", where=f"{python} ({chain})")
        found = np.fromfile(Path(folder, "out"), np.uint16)
    if found.size != n * 3 * h * w:
        raise CallError(f"gave {found.size} samples of {n * 3 * h * w}", where=f"{python} ({chain})")
    return found.reshape(n, 3, h, w).astype(np.float32) / np.float32(_WHITE)
