"""Learning what is dirt and what is a thing that moves, from spots of made film, of which it is known what mending each
does to the picture. The nets are tiny (see ``restore.passes.judge``), so all spots are seen at every step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.restore.passes.judge import Judge

_UNITS = 24
_STEPS = 400
_RATE, _DECAY = 2e-2, 3e-2
_HARM = 2.0
"""Times that taking a thing weighs what leaving as much dirt does: invented holes are worse than spots that stay."""
_TOUCHED = 0.03
"""What it costs to change a px that nothing befell, as squared error, however little that does to it: a frame is to be
left as it is. Damage may be as faint as it likes."""
_MOST = 30.0
"""Worth up to which a spot counts by it, px of full contrast: a few large ones are not to decide everything."""
_LEAST = 1e-3
_FOLDS = 5

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Spots:
    """K spots."""

    evidence: Floats
    """(K, E)."""
    gain: Floats
    """(K,) squared error that mending it takes away, summed over its px; below 0 where it adds some."""
    sound: Floats
    """(K,) px of it that lie away from all damage."""
    clip: NDArray[np.int64]
    """(K,) number of the clip that it is in."""

    @staticmethod
    def joined(parts: Sequence[Spots]) -> Spots:
        """All of them together."""
        fields = ("evidence", "gain", "sound", "clip")
        return Spots(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in fields})

    def __getitem__(self, which: NDArray[np.bool_]) -> Spots:
        return Spots(self.evidence[which], self.gain[which], self.sound[which], self.clip[which])

    @property
    def worth(self) -> Floats:
        """(K,) of mending it: what it gains, less what it touches needlessly."""
        return np.asarray(self.gain - np.float32(_TOUCHED) * self.sound, np.float32)


def learn(spots: Spots, *, members: int = 8) -> Judge:
    """So many nets, which begin otherwise, on all spots. Equal arguments give equal nets on one model of machine."""
    mean, deviation = spots.evidence.mean(0), spots.evidence.std(0) + np.float32(1e-6)
    none = np.zeros(0, np.float32)
    scaled = torch.from_numpy(Judge(mean, deviation, none, none, none).scaled(spots.evidence))
    worth = spots.worth
    wrong = torch.from_numpy((worth < 0).astype(np.float32))
    weight = np.minimum(np.abs(worth), _MOST) * np.where(worth < 0, _HARM, 1.0) + _LEAST
    weighed = torch.from_numpy((weight / weight.mean()).astype(np.float32))
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # what sums come to hangs on how many; and they wait for each other beside others
    try:
        layers = [_fitted(scaled, wrong, weighed, seed) for seed in range(members)]
    finally:
        torch.set_num_threads(before)
    first, second, third = (np.stack(parts) for parts in zip(*layers, strict=True))
    return Judge(mean, deviation, first, second, third)


def held_out(spots: Spots, *, members: int = 8) -> Floats:
    """(K,) log odds, of each spot by nets that saw nothing of its clip."""
    clips = np.random.default_rng(0).permutation(np.unique(spots.clip))
    found = np.zeros(len(spots.gain), np.float32)
    for part in np.array_split(clips, min(_FOLDS, len(clips))):
        asked = np.isin(spots.clip, part)
        found[asked] = learn(spots[~asked], members=members)(spots.evidence[asked])
    return found


def _fitted(evidence: Tensor, wrong: Tensor, weight: Tensor, seed: int) -> tuple[Floats, ...]:
    """Its three layers, the biases below the weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = (evidence.shape[1], _UNITS, _UNITS, 1)
        linear = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    net = torch.nn.Sequential(linear[0], torch.nn.Tanh(), linear[1], torch.nn.Tanh(), linear[2])
    optimiser = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    for _ in range(_STEPS):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(evidence)[:, 0], wrong, weight)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return tuple(torch.cat((layer.weight.T, layer.bias[None])).detach().numpy() for layer in linear)
