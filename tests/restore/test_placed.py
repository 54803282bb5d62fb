"""Neighbours of a net that lie far off are put where the frame lies; others go in as they are."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.restore.passes.placed import Placed
from tests.restore.test_passes import pan


def placed(frames: list[torch.Tensor], middle: int) -> list[torch.Tensor]:
    return Placed().window(frames, middle)


def window(*offsets: tuple[float, float]) -> list[torch.Tensor]:
    """Frames of one scene that lie so many px to the right and downwards."""
    clip = np.concatenate([pan(2, (-x, -y), size=(240, 320))[1:] for x, y in offsets])
    rng = np.random.default_rng(1)
    return [torch.from_numpy(np.repeat(f[None] + rng.normal(0, 0.01, f.shape), 3, 0).astype(np.float32)) for f in clip]


def test_what_lies_as_nets_were_trained_goes_in_untouched() -> None:
    frames = window((0, 0), (2, 1), (4, 2), (6, 1), (7, 2))
    assert all(a is b for a, b in zip(placed(frames, 2), frames, strict=True))


def test_when_the_gate_jumps_the_neighbours_are_put_where_the_frame_lies() -> None:
    frames = window((0, 0), (0, 1), (2, -17), (0, 1), (1, 0))
    found = placed(frames, 2)
    assert found[2] is frames[2]
    inner = (slice(None), slice(30, -30), slice(30, -30))
    for n in (0, 1, 3, 4):
        before, after = (float((f[n] - frames[2])[inner].abs().mean()) for f in (frames, found))
        assert after < 0.5 * before, (n, before, after)
        assert found[n].shape == frames[n].shape


def test_another_picture_altogether_stays() -> None:
    frames = window((0, 0), (0, 0), (0, 0))
    frames[2] = frames[2].flip(1)
    assert placed(frames, 1)[2] is frames[2]


def test_a_mirrored_window_is_asked_once_a_picture() -> None:
    a, b, c = window((0, 0), (0, 15), (0, 16))
    found = placed([c, b, a, b, c], 2)
    assert found[1] is found[3]
    assert found[0] is found[4]
    assert found[1] is not b


def test_a_tiny_picture_is_left_alone() -> None:
    frames = [torch.rand(3, 8, 8) for _ in range(3)]
    assert all(a is b for a, b in zip(placed(frames, 1), frames, strict=True))


def test_a_neighbour_that_is_lit_otherwise_is_given_the_frames_levels() -> None:
    frames = window((0, 0), (1, 0), (2, 0), (3, 0), (4, 0))
    frames[2] = frames[2] * 0.7 + 0.4
    flash, beside = placed(frames, 2), placed(frames, 1)
    for n in (0, 1, 3, 4):
        assert float((flash[n] - frames[2]).abs().mean()) < 0.25 * float((frames[n] - frames[2]).abs().mean())
    assert float((beside[2] - frames[1]).abs().mean()) < 0.25 * float((frames[2] - frames[1]).abs().mean())
    assert beside[0] is frames[0]


def test_flicker_and_what_a_thing_darkens_are_left_to_the_net() -> None:
    frames = window((0, 0), (1, 0), (2, 0))
    frames[0] = frames[0] * 1.08
    frames[2] = frames[2].clone()
    frames[2][:, :, :80] = 0.02
    assert all(a is b for a, b in zip(placed(frames, 1), frames, strict=True))
