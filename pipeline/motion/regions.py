"""Regions of a picture: neighbourhood means, what hangs together, and whether a spot is found again elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.motion.flow import Picture

Mask = NDArray[np.bool_]
"""(H, W)."""

_STANDS = 1.2
"""A picture shows a spot elsewhere too where it differs from it there by less than so many times what is alike."""


def mean(picture: Picture, side: int) -> Picture:
    """Mean over the ``side`` × ``side`` px around each pixel; beyond the edge the edge goes on. (H, W) or (H, W, C)."""
    found: Picture = cv2.blur(picture, (side, side), borderType=cv2.BORDER_REPLICATE)
    return found


def mean_outside(picture: Picture, mask: Mask, side: int) -> Picture:
    """As ``mean``, of the pixels that are not in the mask; where there is none nearby, of a neighbourhood 4 times, and
    then 16 times as wide."""
    weight = np.float32(1.0) - mask
    weighted = picture * (weight if picture.ndim == 2 else weight[..., None])
    found = np.zeros_like(picture)
    lacking = np.ones(mask.shape, np.bool_)
    for wide in (side, 4 * side + 1, 16 * side + 1):
        share = mean(weight, wide)
        here = lacking & (share > 0.05)
        if here.any():
            whole = np.maximum(share, np.float32(0.05))
            value = mean(weighted, wide) / (whole if picture.ndim == 2 else whole[..., None])
            np.copyto(found, value, where=here if picture.ndim == 2 else here[..., None])
        lacking &= ~here
        if not (lacking & mask).any():
            break
    return found


def envelope(picture: Picture) -> tuple[Picture, Picture]:
    """The smallest and the largest value of each pixel and the eight around it."""
    kernel = np.ones((3, 3), np.uint8)
    low: Picture = cv2.erode(picture, kernel, borderType=cv2.BORDER_REPLICATE)
    high: Picture = cv2.dilate(picture, kernel, borderType=cv2.BORDER_REPLICATE)
    return low, high


def beyond(here: Picture, moved: Picture, most: float, side: int) -> tuple[Picture, Picture]:
    """How far a picture lies outside of what another shows within a px of each place, and how far from the very place:
    above 0 where it is brighter. The two halves of SDIp (Kokaram 1998) against one neighbour.

    The other, as it moved, is first made as bright as the picture: over ``side`` px (odd), by no more than ``most``, so
    that flicker is no spot and a spot no flicker. Half a px of error is no spot: hence the px.
    """
    offset = mean(np.clip(here - moved, -most, most), side)
    low, high = envelope(moved + offset)
    return np.maximum(here - high, 0) - np.maximum(low - here, 0), here - moved - offset


def grow(mask: Mask, px: int) -> Mask:
    """The mask and all within ``px`` of it (a round neighbourhood)."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * px + 1, 2 * px + 1))
    grown: NDArray[np.uint8] = cv2.dilate(mask.astype(np.uint8), kernel)
    return grown.astype(np.bool_)


@dataclass(frozen=True, slots=True)
class Regions:
    """What hangs together in a mask, corners included. Number 0 is all the rest."""

    labels: NDArray[np.int32]
    """(H, W)."""
    boxes: NDArray[np.int64]
    """(N, 4): left, top, right, bottom in px, half-open."""
    areas: NDArray[np.int64]
    """(N,) px."""
    middles: NDArray[np.float64]
    """(N, 2): x, y."""

    pixels: NDArray[np.int64]
    """(M,) places in the flattened picture of all pixels of the regions 1 on."""
    numbers: NDArray[np.int32]
    """(M,) which each of them is of."""

    def __len__(self) -> int:
        return len(self.areas)

    def most(self, values: Picture) -> NDArray[np.float32]:
        """(N,) the largest of the values, 0 or more, in each region; 0 of number 0."""
        found = np.zeros(len(self), np.float32)
        np.maximum.at(found, self.numbers, values.ravel()[self.pixels])
        return found

    def sum(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(N,) the sum of the values in each region; 0 of number 0."""
        return np.asarray(np.bincount(self.numbers, values.ravel()[self.pixels], len(self)), np.float64)

    def axes(self, mask: Mask | None = None) -> NDArray[np.float64]:
        """(N, 2) px, standard deviations of each region's pixels, or of those of them that are in the mask, along
        their long and their short axis, however they are turned; of a single pixel those of a square of 1 px."""
        keep = np.s_[:] if mask is None else mask.ravel()[self.pixels]
        numbers, places = self.numbers[keep], self.pixels[keep]
        count = np.maximum(np.bincount(numbers, minlength=len(self)), 1)

        def mean_of(values: NDArray[Any]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(numbers, values, len(self)) / count, np.float64)

        y, x = np.divmod(places, self.labels.shape[1])
        x, y = x - mean_of(x)[numbers], y - mean_of(y)[numbers]
        xx, yy, xy = mean_of(x * x), mean_of(y * y), mean_of(x * y)
        mean, apart = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        return np.sqrt(np.maximum(np.stack((mean + apart, mean - apart), 1), 0) + 1 / 12)

    def chosen(self, keep: NDArray[np.bool_]) -> Mask:
        """The mask of the regions for which ``keep`` (N,) is true; never number 0."""
        wanted = keep.copy()
        wanted[0] = False
        return np.asarray(wanted[self.labels], np.bool_)


def regions(mask: Mask) -> Regions:
    """The parts of a mask that hang together."""
    _, labels, stats, middles = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    stats = stats.astype(np.int64)
    boxes = np.stack([stats[:, 0], stats[:, 1], stats[:, 0] + stats[:, 2], stats[:, 1] + stats[:, 3]], 1)
    flat = labels.ravel()
    pixels = np.flatnonzero(flat)
    return Regions(labels, boxes, stats[:, 4], middles, pixels, flat[pixels])


def found_nearby(a: Picture, inside: Mask, box: tuple[int, int, int, int], b: Picture, reach: int, like: float) -> bool:
    """Whether ``b`` shows the spot ``inside`` of ``a`` within ``reach`` px of its place, differing by less than
    ``like`` (rms over it); a place where ``a`` itself shows something like it too is the scene's, and does not count.

    a, b: (H, W), or (H, W, C) with up to 4 planes that are to be alike together: the rms is of all values. box: left,
    top, right, bottom of the spot in both pictures; ``inside`` is the mask of that box.
    """
    left, top, right, bottom = box
    h, w = b.shape[:2]
    y0, y1, x0, x1 = max(0, top - reach), min(h, bottom + reach), max(0, left - reach), min(w, right + reach)
    near = np.s_[y0:y1, x0:x1]
    errors = match_anew(a[top:bottom, left:right], inside, a[near], b[near], like, own=(left - x0, top - y0))
    return bool((errors < like).any())


def match_anew(
    spot: Picture, inside: Mask, a: Picture, b: Picture, like: float, *, own: tuple[int, int] | None = None
) -> Picture:
    """As ``match``, but infinite where ``a``, the picture that the spot is in, shows something like it too; not asked
    where ``b`` differs by ``like`` or more everywhere. own: the spot's left and top in ``a``; where it overlaps itself
    it is like itself, and that does not count."""
    errors = match(spot, inside, b)
    if not (errors < like).any():
        return errors
    standing = match(spot, inside, a) < _STANDS * like
    if own is not None:
        (x, y), (down, across) = own, (side // 2 for side in inside.shape)
        standing[max(0, y - down) : y + down + 1, max(0, x - across) : x + across + 1] = False
    errors[standing] = np.inf
    return errors


def match(spot: Picture, inside: Mask, b: Picture) -> Picture:
    """Rms difference of ``spot``, where its mask ``inside`` is true, to every place of ``b``, by its left top corner.

    All (H, W), or (H, W, C) with up to 4 planes: the rms is of all values. ``b`` is the larger one.
    """
    weight = inside.astype(np.float32)
    errors: Picture = cv2.matchTemplate(b, spot, cv2.TM_SQDIFF, mask=weight)
    number = b.size // (b.shape[0] * b.shape[1])
    return np.sqrt(np.maximum(errors, 0) / np.float32(max(float(weight.sum()) * number, 1.0)))
