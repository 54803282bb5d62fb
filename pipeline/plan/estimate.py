"""What a plan will want of a cluster: for the dry run. Rates are measured ones; a figure is a guide, not a promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.errors import TooLargeError
from pipeline.plan.reads import bytes_to_read
from pipeline.spec import RESIDUAL, Deliver, Split
from pipeline.types import FrameIndex, Plan

_DECODE_PX_S: Mapping[str, float] = {
    "ffv1": 11.2e6,
    "prores": 30e6,
    "h264": 60e6,
    "hevc": 40e6,
    "v210": 430e6,
    "rawvideo": 430e6,
    "dpx": 320e6,
}
"""Pixels a second that one core decodes, by codec; FFV1 and v210 measured at 2048×1556, the others rounded."""
_ENCODE_PX_S: Mapping[str, float] = {
    "ffv1": 11.2e6,
    "prores": 26e6,
    "dnxhr": 14e6,
    "h264": 9.2e6,
    "hevc": 3.6e6,
    "av1": 5.5e6,
    "dpx": 100e6,
    "tiff": 100e6,
    "png": 5e6,
    "exr": 10e6,
}
_OTHER_PX_S = 30e6
_IMAGES = frozenset(("dpx", "tiff", "exr", "png"))
"""Codecs of deliverables that are a file a frame: none of these is ever large."""
_FFV1_SHARE = 0.6
"""Bytes of an FFV1 frame as a share of its planes': scans with grain reach this."""
_SURE = 3
"""A deliverable is surely not smaller than its guess divided by this: clean animation, or one from which all grain is
taken, comes near it. What may be too large is only said; what surely is, is refused."""
_LOSSY_SHARE = {"ffv1": _FFV1_SHARE, "prores": 0.15, "dnxhr": 0.15, "h264": 0.03, "hevc": 0.03, "av1": 0.03}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is left to do of a reel, and what that wants."""

    tiles: int
    frames: int
    """Frames to restore, overlap frames counted."""
    decode_frames: int
    """Frames that decoders go through, halos and run-ups to key frames counted."""
    read_bytes: int
    write_bytes: int
    decode_core_s: float
    encode_core_s: float
    """Encoding and decoding again, in seconds of one core."""
    decode_cores_per_restorer: float
    """Cores that keep up with a restorer that does ``restorer_fps``."""
    encode_cores_per_restorer: float
    gb_s_per_restorer: float
    """GB/s of planes each way between tasks and one restorer."""
    restore_s: float
    """Seconds that one restorer computes in all."""


def deliverable_bytes(plan: Plan) -> dict[str, int]:
    """Deliverable → bytes that its file will have, as far as that can be told before; images are many files.

    Of FFV1 from FFV1 the source's own share is the guide; noise that no coder makes smaller may come to a half more, so
    it is a guess, not a bound.
    """
    reel, frames = plan.reel, plan.last - plan.first
    planes = frames * reel.format.frame_bytes(reel.width, reel.height)
    found = {}
    for output in Deliver.model_validate(plan.spec["deliver"]).written:
        if output.codec in _IMAGES:
            continue
        share = _LOSSY_SHARE.get(output.codec, 1.0)
        if output.codec == reel.codec == "ffv1":
            share = min(1.0, reel.bytes * frames / plan.total / max(1, planes))
        found[output.name] = int(planes * share)
    return found


@dataclass(frozen=True, slots=True)
class Room:
    """What a deliverable must fit into."""

    object_bytes: int | None
    """Of the largest file that the output's storage takes; None: no bound."""
    scratch_bytes: int
    """Size of the disk with the scratch folder."""
    scratch: str
    """The folder, and the machine whose disk it is."""


def check_size(plan: Plan, room: Room, *, where: str) -> tuple[str, ...]:
    """Refuse, before the first tile, a deliverable that surely could not be put together or published.

    Gives a sentence for each that may be too large; how large it is is known when it is encoded. Raises TooLargeError.
    """
    said = []
    deliver = Deliver.model_validate(plan.spec["deliver"])
    splits = {o.name: o.split for o in (*deliver.outputs, RESIDUAL)} | {RESIDUAL.name: deliver.outputs[0].split}
    for name, whole in deliverable_bytes(plan).items():
        fault, todo = _too_large(plan, name, whole // _SURE, splits[name], room)
        if fault:
            raise TooLargeError(fault, where=where, todo=todo)
        fault, todo = _too_large(plan, name, whole, splits[name], room)
        if fault:
            said.append(f"It may be too large: {fault}. {todo}")
    return tuple(said)


def _too_large(plan: Plan, name: str, whole: int, split: Split | None, room: Room) -> tuple[str, str]:
    """Why a deliverable of some bytes in all does not fit, and the way out; empty where it does."""
    frames = plan.last - plan.first
    longest = max(t.last - t.first for t in plan.tiles)
    segment = whole * longest // max(1, frames)
    file = whole
    if split is not None and split.frames is not None:
        file = min(whole, whole * max(split.frames, longest) // max(1, frames))
    elif split is not None and split.gib is not None:
        file = min(whole, max(int(split.gib * 2**30), segment))
    what = name if file == whole else f"a part of {name}"
    way_out = "make its parts smaller" if split is not None else "deliver it in parts"
    way_out += " (`split` of this output; of the residual, that of the first), or deliver a sequence of images"
    if room.object_bytes is not None and file > room.object_bytes:
        fault = f"{what} will have some {_size(file)}, the storage takes files of {_size(room.object_bytes)}"
        return fault, way_out[0].upper() + way_out[1:]
    if file + 2 * segment > room.scratch_bytes:
        fault = (
            f"{what} will have some {_size(file)}, and is put together on scratch: {room.scratch}, a disk of "
            f"{_size(room.scratch_bytes)}"
        )
        return fault, f"Name a larger one as cluster.scratch, {way_out}"
    return "", ""


def _size(count: int) -> str:
    return f"{count / 1e12:.1f} TB" if count >= 10**12 else f"{count / 1e9:.1f} GB"


def estimate(plan: Plan, index: FrameIndex, done: Iterable[int], *, restorer_fps: float) -> Estimate:
    """restorer_fps: frames a second that one restorer does of this picture size."""
    finished = set(done)
    tiles = [t for t in plan.tiles if t.number not in finished]
    reel = plan.reel
    px = reel.width * reel.height
    frames = sum(t.last - t.restore_first for t in tiles)
    core = sum(t.last - t.first for t in tiles)
    share = len(tiles) / max(1, len(plan.tiles))
    decode_frames = round(plan.decode_frames * share)
    decode_rate = _DECODE_PX_S.get(reel.codec, _OTHER_PX_S) / px
    planes = reel.format.frame_bytes(reel.width, reel.height)
    encode_s = written = 0.0
    for output in Deliver.model_validate(plan.spec["deliver"]).written:
        rate = _ENCODE_PX_S.get(output.codec, _OTHER_PX_S) / px
        again = _DECODE_PX_S.get(output.codec, _OTHER_PX_S) / px
        encode_s += core / rate + core / again
        written += core * planes * _LOSSY_SHARE.get(output.codec, 1.0)
    halo = decode_frames / max(1, core)
    return Estimate(
        tiles=len(tiles),
        frames=frames,
        decode_frames=decode_frames,
        read_bytes=bytes_to_read(index, tiles),
        write_bytes=int(written),
        decode_core_s=decode_frames / decode_rate,
        encode_core_s=encode_s,
        decode_cores_per_restorer=restorer_fps * halo / decode_rate,
        encode_cores_per_restorer=restorer_fps * encode_s / max(1, core),
        gb_s_per_restorer=restorer_fps * planes * halo / 1e9,
        restore_s=frames / max(1e-9, restorer_fps),
    )
