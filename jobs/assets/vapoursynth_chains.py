"""What film is restored with in VapourSynth, as a script that `reelmend bench film --vapoursynth PYTHON` starts.

Arguments: chain, width, height, frames, folder. Reads ``in`` and writes ``out`` in the folder: planar RGB of 16 bit,
native byte order. Exit status 3: a plugin is missing, and stderr says which.
"""

# mypy: ignore-errors

import ctypes
import sys
from pathlib import Path

import vapoursynth as vs

core = vs.core


def source(width, height, frames, data):
    """The clip, as YUV 4:4:4 of 16 bit."""
    plane = width * height * 2
    blank = core.std.BlankClip(width=width, height=height, format=vs.RGB48, length=frames, fpsnum=24)

    def fill(n, f):
        frame = f.copy()
        for p in range(3):
            start, stride = frame.get_write_ptr(p).value, frame.get_stride(p)
            for row in range(height):
                at = (3 * n + p) * plane + row * 2 * width
                ctypes.memmove(start + row * stride, data[at : at + 2 * width], 2 * width)
        return frame

    return core.resize.Point(core.std.ModifyFrame(blank, blank, fill), format=vs.YUV444P16, matrix_s="709")


def vectors(clip, radius, block=16):
    sup = core.mv.Super(clip, pel=2)
    found = []
    for delta in range(1, radius + 1):
        for backward in (True, False):
            found.append(
                core.mv.Analyse(
                    sup, isb=backward, delta=delta, blksize=block, overlap=block // 2, search=5, truemotion=1
                )
            )
    return sup, found


def spotless(clip, radius=1):
    """SpotLess: the median of a frame and its motion-compensated neighbours."""
    sup, found = vectors(clip, radius, block=8 if clip.width < 960 else 16)
    comps = [core.mv.Compensate(clip, sup, v, thsad=10000, thscd1=10000, thscd2=255) for v in found]
    order = [*comps[0::2][::-1], clip, *comps[1::2]]
    woven = core.std.Interleave(order)
    n = len(order)
    return core.std.SelectEvery(core.zsmooth.TemporalMedian(woven, radius=radius), n, n // 2)


def descratch(clip):
    """DeScratch works in 8 bit: what it changed is put onto the 16-bit clip."""
    small = core.resize.Point(clip, format=vs.YUV444P8, dither_type="none")
    mended = core.descratch.DeScratch(
        small, mindif=5, maxwidth=3, minlen=max(32, clip.height // 3), maxlen=10000, maxangle=5.0, modey=3
    )
    wide = [core.resize.Point(c, format=vs.YUV444P16) for c in (mended, small)]
    return core.std.Expr([clip, *wide], ["x y + z -", "x y + z -", "x y + z -"])


def degrain(clip):
    sup, (b1, f1, b2, f2) = vectors(clip, 2)
    return core.mv.Degrain2(clip, sup, b1, f1, b2, f2, thsad=400, thsadc=400)


def vbm3d(clip, sigma=6.0):
    """V-BM3D, basic and final estimate, on opponent colours as the plugin's documentation has it."""
    basic = core.bm3d.VAggregate(core.bm3d.VBasic(clip, radius=1, sigma=[sigma] * 3, matrix=1), radius=1, sample=0)
    final = core.bm3d.VFinal(clip, basic, radius=1, sigma=[sigma] * 3, matrix=1)
    return core.bm3d.VAggregate(final, radius=1, sample=0)


def main():
    chain, width, height, frames, folder = sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5])
    clip = source(width, height, frames, (folder / "in").read_bytes())
    try:
        for step in chain.split("+"):
            clip = {
                "spotless": spotless,
                "spotless2": lambda c: spotless(c, 2),
                "descratch": descratch,
                "degrain2": degrain,
                "vbm3d": vbm3d,
            }[step](clip)
    except AttributeError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    out = core.resize.Bicubic(clip, format=vs.RGB48, matrix_in_s="709", matrix_s="rgb")
    with (folder / "out").open("wb") as file:
        for frame in out.frames(close=True):
            for p in range(3):
                file.write(bytes(memoryview(frame[p]).tobytes()))


main()
