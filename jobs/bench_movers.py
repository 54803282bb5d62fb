"""Things that move further in a frame than any flow follows, in all looks: traps to learn from."""

from __future__ import annotations

import numpy as np

from pipeline.train.clips import Clip


def swings(clip: Clip, rng: np.random.Generator) -> Clip:
    """Two bars that swing about joints of their own: of any length, tone and sharpness, shaded along, and walking."""
    h, w = clip.shape[2:]
    rows, columns = np.mgrid[:h, :w]
    for _ in range(2):
        beat, turn, phase = rng.uniform(0.3, 1.6), np.deg2rad(rng.uniform(20, 80)), rng.uniform(0, 2 * np.pi)
        y, x, lean = rng.uniform(0.1, 0.8) * h, rng.uniform(0.1, 0.9) * w, np.deg2rad(rng.uniform(-60, 60))
        length = rng.uniform(0.08, 0.35) * h
        thick = length * rng.uniform(0.05, 0.25)
        grey = np.full(3, rng.choice((0.05, 0.12, 0.2, 0.85, 0.95)))
        tone = rng.uniform(0, 1, 3) if rng.random() < 0.4 else grey
        soft, walk, shade = rng.choice((0.8, 1.5, 3.0)), rng.uniform(-0.01, 0.01) * w, rng.uniform(-0.1, 0.1)
        for k, frame in enumerate(clip):
            angle, joint = lean + turn * np.sin(beat * k + phase), x + walk * k
            across = (rows - y) * np.sin(angle) - (columns - joint) * np.cos(angle)
            along = (rows - y) * np.cos(angle) + (columns - joint) * np.sin(angle)
            far = np.maximum(np.abs(across) - thick, np.maximum(-along, along - length))
            cover = np.clip(0.5 - far / soft, 0, 1)
            painted = tone[:, None, None] + shade * along / length
            frame += (cover * (painted - frame)).astype(np.float32)
    return np.clip(clip, 0, 1)


def flies(clip: Clip, rng: np.random.Generator) -> Clip:
    """Things that cross the picture one way, some at a time: round or square, of one tone or two, turning or not."""
    n, _, h, w = clip.shape
    rows, columns = np.mgrid[:h, :w]
    for _ in range(8):
        # Where and when it is on its way; each is seen in several frames, from one edge to the other.
        x, y = rng.uniform(0.1, 0.9, 2) * (w, h)
        when, angle = rng.uniform(0, n), rng.uniform(0, 2 * np.pi)
        speed = float(np.exp(rng.uniform(np.log(0.02), np.log(0.12)))) * w
        long, high = np.exp(rng.uniform(np.log(0.006), np.log(0.06), 2)) * w
        lean, spin = rng.uniform(0, np.pi), rng.normal(0, 0.15)
        tones = np.where(rng.random((2, 1)) < 0.5, rng.random((2, 3)), rng.random((2, 1)))
        round_, parted, soft = rng.random() < 0.6, rng.random() < 0.4, rng.choice((0.8, 1.5, 3.0))
        for k, frame in enumerate(clip):
            away, turn = speed * (k - when), lean + spin * k
            right, down = columns - x - away * np.cos(angle), rows - y - away * np.sin(angle)
            along, across = right * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - right * np.sin(turn)
            if round_:
                far = (np.hypot(along / long, across / high) - 1) * min(long, high)
            else:
                far = np.maximum(np.abs(along) - long, np.abs(across) - high)
            cover = np.clip(0.5 - far / soft, 0, 1)
            tone = tones[(parted & (across > 0)).astype(int)].transpose(2, 0, 1)
            frame += (cover * (tone - frame)).astype(np.float32)
    return np.clip(clip, 0, 1)
