"""Dense optical flow between two pictures, and pictures warped by it."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
"""(H, W) float32; 0 black, 1 white."""
Flow = NDArray[np.float32]
"""(H, W, 2) float32: displacement in px, x to the right, then y downwards."""

_LEAST_SIDE = 32
"""Px of a side below which no movement is looked for: OpenCV's search fails on narrower pictures, and its patches of 8
px at two scales would find next to nothing there."""
_PATCH = 16
"""Px, side of the patches of a fine flow."""
_STRIDE = 12
"""Px between them: closer ones cost more and find no more."""
_STEPS = 6
"""Of gradient descent for each of them."""


def settle(threads: int) -> None:
    """Make this process's OpenCV compute the same way every time: a fixed number of threads, and no GPU of its own."""
    cv2.setNumThreads(threads)
    cv2.ocl.setUseOpenCL(False)


def flow(a: Picture, b: Picture, *, kind: Literal["quick", "usual", "fine"] = "usual") -> Flow:
    """Where every point of ``a`` lies in ``b``: ``a(x) ≈ b(x + flow(x))``.

    Dense Inverse Search (Kroeger et al. 2016) on the pictures in 8 bit; brightness that changes as a whole does not
    matter, since patches are compared without their means. Movement up to about a tenth of the width is followed.
    kind: ``quick``, at a quarter of the cost, is good enough to say how much two pictures have in common; ``fine``, at
    about twice the cost, is found at full resolution, for pictures that are averaged along it: a third of a px of error
    blurs them. Its patches are of 16 px, and few steps are taken for each, so that it does not follow the grain. Raises
    ValueError for pictures of two sizes.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"a flow is between two pictures (H, W) of one size, these are {a.shape} and {b.shape}")
    if min(a.shape) < _LEAST_SIDE:
        return np.zeros((*a.shape, 2), np.float32)
    # A new one each time: it keeps buffers, and a call must not depend on the one before.
    preset = cv2.DISOPTICAL_FLOW_PRESET_FAST if kind == "quick" else cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    search = cv2.DISOpticalFlow.create(preset)
    if kind == "fine":
        search.setFinestScale(0)
        search.setPatchSize(_PATCH)
        search.setPatchStride(_STRIDE)
        search.setGradientDescentIterations(_STEPS)
    found: Flow = search.calc(_codes(a), _codes(b), None)
    return found


def _codes(picture: Picture) -> NDArray[np.uint8]:
    return np.asarray(np.clip(picture * np.float32(255) + np.float32(0.5), 0, 255), np.uint8)


_LINE = 1024
_KERNELS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


def warp(picture: Picture, by: Flow, kernel: Literal["linear", "cubic", "lanczos"] = "linear") -> Picture:
    """``picture`` read at ``x + by(x)``; beyond its edge the edge goes on.

    kernel: over 2, 4 or 8 px each way. Lanczos's keeps the finest detail, at about seven times the cost of the cubic.

    ``picture`` is (H, W), or (H, W, C) with up to 4 channels.
    """
    h, w = by.shape[:2]
    # Not in place: `by` may be kept by the caller.
    x = by[..., 0] + np.arange(w, dtype=np.float32)
    y = by[..., 1] + np.arange(h, dtype=np.float32)[:, None]
    found: Picture = cv2.remap(picture, x, y, _KERNELS[kernel], borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(h, w, *picture.shape[2:])  # OpenCV drops a last axis of one channel


def warp_at(where: NDArray[np.bool_], picture: Picture, by: Flow) -> Picture:
    """(K, C) what ``warp`` by Lanczos's kernel gives at the places of a mask (H, W), bit for bit: where these are few,
    at a fraction of the cost. ``picture`` is (H, W, C)."""
    rows, columns = np.nonzero(where)
    x, y = by[rows, columns, 0] + columns.astype(np.float32), by[rows, columns, 1] + rows.astype(np.float32)
    # In rows, for OpenCV takes none of 32768 px, nor none at all.
    lines = np.zeros((2, 1 + len(x) // _LINE, _LINE), np.float32)
    lines.reshape(2, -1)[:, : len(x)] = x, y
    found: Picture = cv2.remap(picture, lines[0], lines[1], _KERNELS["lanczos"], borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, picture.shape[2])[: len(x)]


def disagreement(forward: Flow, backward: Flow) -> Picture:
    """(H, W) how far, in px, a point comes out from where it began when it goes there and back.

    forward: from a to b; backward: from b to a. Where this is large, one of the flows is wrong or the point is hidden
    in one of the pictures.
    """
    there_and_back = forward + warp(backward, forward)
    found: Picture = np.sqrt(np.square(there_and_back).sum(-1))
    return found
