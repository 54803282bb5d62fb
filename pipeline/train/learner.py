"""A net that learns: one step, its running mean, and the state that the next step hangs on."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import StorageError
from pipeline.restore import nets
from pipeline.train import group
from pipeline.train.spec import TrainSpec
from pipeline.train.state import Checkpoint

_DB = 10 / math.log(10)


def psnr_loss(picture: Tensor, target: Tensor) -> Tensor:
    """NAFNet's loss: 10/ln 10 · mean over the batch of ln(MSE + 1e-8), which is PSNR with its sign turned, in dB."""
    errors = (picture.float() - target).square().mean(dim=(1, 2, 3))
    return _DB * torch.log(errors + 1e-8).mean()


def learning_rate(spec: TrainSpec, step: int) -> float:
    """Of the step with this number, from 0: a rise, then half a cosine."""
    share = step / spec.steps
    rate = spec.lr_last + (spec.lr - spec.lr_last) * (1 + math.cos(math.pi * share)) / 2
    return rate * min(1.0, (step + 1) / spec.warm_up) if spec.warm_up else rate


class Learner:
    """Takes the net over."""

    def __init__(self, net: nets.NAFNet | nets.MPRNet, spec: TrainSpec, device: torch.device):
        self.net = net.to(device).train().requires_grad_(True)
        self.mean = copy.deepcopy(self.net).eval().requires_grad_(False)
        """The net with the running mean of the weights."""
        self.step = 0
        self._spec, self._device = spec, device
        self._named = dict(self.net.named_parameters())
        self._optimiser = torch.optim.AdamW(
            self._named.values(), lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay, foreach=False
        )

    def learn(self, stack: Tensor, target: Tensor) -> float:
        """One step on (B, 3·frames, H, W) and (B, 3, H, W); its loss."""
        for options in self._optimiser.param_groups:
            options["lr"] = learning_rate(self._spec, self.step)
        with self._autocast():
            pictures = self.net.stages(stack) if isinstance(self.net, nets.MPRNet) else (self.net(stack),)
        losses = [psnr_loss(p, target) for p in pictures]
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward([torch.stack(losses).sum()])
        group.mean_(p.grad for p in self._named.values() if p.grad is not None)
        nn.utils.clip_grad_norm_(self._named.values(), self._spec.clip, foreach=False)
        self._optimiser.step()
        # The first steps count more, or the mean would long be that of the weights one began with.
        keep = min(self._spec.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.net.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        self.step += 1
        return float(losses[0].detach())

    def restore(self, stack: Tensor) -> Tensor:
        """What the running mean makes of (B, 3·frames, H, W), in float32."""
        with torch.inference_mode():
            out: Tensor = self.mean(stack)
        return out

    def state(self, about: Mapping[str, Any]) -> Checkpoint:
        """As it is now; the tensors are the learner's own."""
        moments: dict[str, dict[str, Tensor]] = {"exp_avg": {}, "exp_avg_sq": {}}
        for key, parameter in self._named.items():
            for kind, found in moments.items():
                if parameter in self._optimiser.state:
                    found[key] = self._optimiser.state[parameter][kind]
        mean = dict(self.mean.named_parameters())
        return Checkpoint(self.step, self._named, mean, moments["exp_avg"], moments["exp_avg_sq"], about)

    def go_on(self, state: Checkpoint, where: str) -> None:
        """Take a checkpoint's state. Raises StorageError where it is of another net."""
        wanted = {key: p.shape for key, p in self._named.items()}
        for part in (state.net, state.ema, state.first, state.second):
            if {key: t.shape for key, t in part.items()} != wanted and not (state.step == 0 and not part):
                raise StorageError("the checkpoint is of another net", where=where, todo="Give another --out")
        self.step = state.step
        mean = dict(self.mean.named_parameters())
        with torch.no_grad():
            for key, parameter in self._named.items():
                parameter.copy_(state.net[key])
                mean[key].copy_(state.ema[key])
                if state.step:
                    self._optimiser.state[parameter] = {
                        "step": torch.tensor(float(state.step)),
                        "exp_avg": state.first[key].to(self._device).clone(),
                        "exp_avg_sq": state.second[key].to(self._device).clone(),
                    }

    def tensors(self) -> dict[str, Tensor]:
        """The running mean, under the keys of the authors' checkpoints."""
        return dict(self.mean.state_dict())

    def _autocast(self) -> torch.autocast:
        bf16 = self._spec.precision == "bf16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=bf16)
