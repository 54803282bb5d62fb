"""A training job: from a spec and a folder to weights, whatever stops it on the way.

OUT holds NAME.safetensors (the weights as they are now), NAME.md (their card), log.parquet, log.svg and, until the end
and after it, checkpoint.safetensors: the same call goes on from it.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import CallError, ConfigError, MissingError, StorageError, WeightsError
from pipeline.restore import nets, weights
from pipeline.restore.device import device_name
from pipeline.restore.engine import settle
from pipeline.spec import Engine, NetPass
from pipeline.storage import store
from pipeline.tables import read_training, write_training
from pipeline.train import evaluate, export, group, pictures, plot, state
from pipeline.train.bank import Bank, Dirt
from pipeline.train.learner import Learner, learning_rate
from pipeline.train.samples import Loader, Samples, Shot
from pipeline.train.spec import TrainSpec

CHECKPOINT, LOG, PLOT = "checkpoint.safetensors", "log.parquet", "log.svg"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a run of a training job ended."""

    step: int
    done: bool
    """All steps are made; else it was stopped, and goes on from its checkpoint."""
    weights: str
    """URI of the exported file."""
    row: Row
    """The log's last; empty in the other processes of several, which keep none."""


@dataclass(slots=True)
class _Clock:
    """Since the log's last row."""

    losses: list[float]
    began: float
    waited: float


def fit(
    spec: TrainSpec,
    out: str,
    *,
    say: Callable[[str], None] = lambda _line: None,
    stopped: Callable[[], bool] = lambda: False,
    limit_s: float | None = None,
) -> Fitted:
    """Train, or go on. ``stopped`` is asked after every step; ``limit_s`` ends this run after so many seconds; both
    leave a checkpoint.

    Where torch.distributed is initialised its processes share each step's samples, and the first one writes. Raises
    CallError where the data or OUT do not fit the spec, WeightsError, StorageError, SourceError of a picture.
    """
    job = _Job(spec, out, say)
    return job.run(stopped, limit_s)


def left(spec: TrainSpec, out: str) -> Fitted:
    """How a job ended, from what it left in OUT: for whoever ran it in other processes. Raises StorageError where it
    left nothing whole."""
    out = store.absolute(out)
    found = state.load(store.join(out, CHECKPOINT))
    if found is None:
        raise StorageError("the job left no checkpoint there", where=out, todo="The same call begins it again")
    rows = _read_log(store.join(out, LOG))
    return _fitted(spec, out, found.step, rows)


def _fitted(spec: TrainSpec, out: str, step: int, rows: Sequence[Row]) -> Fitted:
    return Fitted(step, step == spec.steps, store.join(out, f"{spec.name}.safetensors"), rows[-1] if rows else {})


class _Job:
    def __init__(self, spec: TrainSpec, out: str, say: Callable[[str], None]):
        self._spec, self._say = spec, say
        self._out = store.absolute(out)
        self._device = _device(spec.run.device)
        settle(Engine(cpu_threads=spec.run.threads), self._device)
        before = state.load(self._at(CHECKPOINT))
        if before is not None and before.about.get("spec") != spec.identity():
            changed = _changed(before.about.get("spec"), spec.identity())
            raise CallError(
                f"the checkpoint there is of another job: {changed} differs",
                where=self._at(CHECKPOINT),
                todo="Give another --out, or the config that it was begun with",
            )
        net, self._began_from = _net(spec)
        self._config = replace(net.config, tlc_train_size=None)
        self._learner = Learner(net, spec, self._device)
        self._seconds = 0.0
        self._rows: list[Row] = []
        if before is not None:
            self._learner.go_on(before, self._at(CHECKPOINT))
            self._seconds = float(before.about.get("seconds", 0.0))
            self._rows = [r for r in _read_log(self._at(LOG)) if r["step"] <= before.step]
        self._split = pictures.find(spec.data, spec.seed)
        self._bank = Bank(spec.data.width, spec.data.memory_mib)
        self._overlays = (
            [f.uri for f in pictures.files_below(spec.data.overlays, (".png", ".tif", ".tiff", ".webp"))]
            if spec.data.overlays
            else []
        )
        dirt = Dirt(self._bank, self._overlays) if self._overlays else None
        radius = self._config.radius
        self._samples = Samples(spec, self._bank, self._split.train, radius, dirt)
        held = Samples(spec, self._bank, self._split.validation, radius, dirt)
        self._shots: Sequence[Shot] = [held.validation(n) for n in range(spec.validation.clips)]
        self._input = evaluate.measure(self._shots, radius, None, self._device)

    def run(self, stopped: Callable[[], bool], limit_s: float | None) -> Fitted:
        spec, learner = self._spec, self._learner
        numbers = range(group.rank(), spec.batch, group.size())
        if not numbers or spec.batch % group.size():
            raise ConfigError(f"batch is {spec.batch}, which {group.size()} processes cannot share evenly")
        began = saved = time.monotonic()
        with Loader(self._samples, numbers, threads=spec.run.loaders, ahead=spec.run.ahead) as loader:
            torch.set_num_threads(spec.run.threads)  # the loader's threads have one each, and the last call counts
            if not self._rows:
                self._measure(None)
            clock = _Clock([], time.monotonic(), 0.0)
            stop = False
            for batch in loader.batches(learner.step, spec.steps):
                stack, target = (torch.from_numpy(a).to(self._device) for a in (batch.stack, batch.target))
                clock.losses.append(learner.learn(stack, target))
                now = time.monotonic()
                due = limit_s is not None and now - began >= limit_s
                stop = group.any_of(stopped() or due, self._device)
                if learner.step % spec.validation.every == 0 or learner.step == spec.steps:
                    self._measure((clock, loader.waited))
                    clock = _Clock([], time.monotonic(), loader.waited)
                if stop or learner.step == spec.steps or now - saved >= 60 * spec.run.checkpoint_minutes:
                    self._save(time.monotonic() - saved)
                    saved = time.monotonic()
                if stop:
                    break
        if learner.step == spec.steps and saved == began:
            self._save(0.0)  # a job that was done already: what it leaves is written again
        return _fitted(spec, self._out, learner.step, self._rows)

    def _measure(self, since: tuple[_Clock, float] | None) -> None:
        spec, learner = self._spec, self._learner
        if group.rank() == 0:
            net = evaluate.measure(self._shots, self._config.radius, learner.restore, self._device)
            row: Row = {
                "step": learner.step,
                "seconds": self._seconds,
                "loss": None,
                "lr": learning_rate(spec, learner.step),
                "steps_per_second": None,
                "waited": None,
                **net.named("net"),
                **self._input.named("input"),
            }
            if since is not None and since[0].losses:
                clock, waited = since
                spent = max(time.monotonic() - clock.began, 1e-9)
                row["loss"] = sum(clock.losses) / len(clock.losses)
                row["steps_per_second"] = len(clock.losses) / spent
                row["waited"] = min(1.0, (waited - clock.waited) / spent)
            self._rows.append(row)
            self._say(_told(row))

    def _save(self, seconds: float) -> None:
        """Checkpoint last: what it stands for is there by then."""
        self._seconds += seconds
        if group.rank() != 0:
            return
        spec, learner = self._spec, self._learner
        row = self._rows[-1]
        row = row | {"seconds": self._seconds} if row["step"] == learner.step else row
        self._rows[-1] = row
        with tempfile.TemporaryDirectory(prefix="reelmend-train-") as folder:
            local = Path(folder, LOG)
            write_training(local, self._rows)
            store.put_file(local, self._at(LOG))
        store.put_bytes(self._at(PLOT), plot.svg(self._rows, spec.name).encode())
        licences = pictures.stated(spec.data.overlays, self._overlays, None) if spec.data.overlays else []
        card = export.make_card(
            spec,
            self._config,
            self._split,
            licences,
            row,
            parameters=sum(p.numel() for p in learner.net.parameters()),
            began_from=self._began_from,
            device=device_name(str(self._device)),
        )
        store.put_bytes(self._at(f"{spec.name}.md"), card.encode())
        export.write_weights(self._at(f"{spec.name}.safetensors"), learner.tensors(), self._config, spec, card)
        state.save(self._at(CHECKPOINT), learner.state({"spec": spec.identity(), "seconds": self._seconds}))

    def _at(self, name: str) -> str:
        return store.join(self._out, name)


def _read_log(uri: str) -> list[Row]:
    try:
        with store.open_read(uri) as file:
            return read_training(file)
    except MissingError:
        return []


_BLOCK = re.compile(r"(encoders\.\d+|middle_blks|decoders\.\d+)\.\d+\.")
"""Key of a block's tensor."""


def _net(spec: TrainSpec) -> tuple[nets.NAFNet | nets.MPRNet, str | None]:
    """The net to begin with, and what to call it."""
    if spec.init is None:
        torch.manual_seed(spec.seed)
        assert spec.net is not None  # the spec says one of the two
        return _quiet(nets.build(spec.net)), None
    info = weights.resolve(NetPass(weights=spec.init, sha256=spec.init_sha256, accept_licence=spec.accept_licence))
    net = weights.load(info)
    if not isinstance(net, nets.NAFNet | nets.MPRNet):
        raise WeightsError(
            "it is of another architecture than NAFNet and MPRNet, which alone are trained here", where=spec.init
        )
    if spec.net is not None and nets.parse(spec.net) != net.config:
        net = _deepened(net, spec)
    return net, f"{info.name} (sha256 {info.sha256}; licence: {info.licence})"


def _deepened(net: nets.NAFNet | nets.MPRNet, spec: TrainSpec) -> nets.NAFNet:
    """A NAFNet with more blocks, the new ones after the old ones of each level: it computes what ``net`` does, since a
    new block begins as the identity (its β and γ are zero). Raises ConfigError where it would not be the same net."""
    torch.manual_seed(spec.seed)
    assert spec.net is not None
    deeper = nets.build(spec.net)
    old = net.state_dict()
    fits = isinstance(net, nets.NAFNet) and isinstance(deeper, nets.NAFNet)
    new = deeper.state_dict()
    if not fits or any(key not in new or new[key].shape != old[key].shape for key in old) or not _alike(net, deeper):
        raise ConfigError(
            f"`init` is {net.config.mapping()}, `net` says {spec.net}",
            where="net",
            todo="Leave `net:` out, or say a NAFNet with more blocks and all else equal",
        )
    deeper.load_state_dict(new | old)
    assert isinstance(deeper, nets.NAFNet)
    return deeper


def _alike(net: nets.NAFNet | nets.MPRNet, deeper: nets.NAFNet | nets.MPRNet) -> bool:
    """Whether the keys that only the deeper net has belong to blocks: a further level would be another net."""
    old = net.state_dict()
    return all(_BLOCK.match(key) for key in deeper.state_dict() if key not in old)


def _quiet(net: nets.NAFNet | nets.MPRNet) -> nets.NAFNet | nets.MPRNet:
    """A new net's last convolutions at zero: it begins by leaving the picture alone, instead of with noise."""
    last = (net.ending,) if isinstance(net, nets.NAFNet) else (net.tail, net.sam12.conv2, net.sam23.conv2)
    for convolution in last:
        torch.nn.init.zeros_(convolution.weight)
        if convolution.bias is not None:
            torch.nn.init.zeros_(convolution.bias)
    return net


def _device(said: str) -> torch.device:
    if said != "auto":
        return torch.device(said)
    if torch.cuda.is_available():
        return torch.device("cuda", group.rank() % torch.cuda.device_count())
    return torch.device("cpu")


def _changed(before: Any, now: dict[str, Any]) -> str:
    if not isinstance(before, dict):
        return "its spec"
    return ", ".join(k for k in now if before.get(k) != now[k])[:200] or "its spec"


def _told(row: Row) -> str:
    gain = row["net_psnr_db"] - row["input_psnr_db"]
    text = (
        f"step {row['step']}: {row['net_psnr_db']:.2f} dB ({gain:+.2f}), SSIM {row['net_ssim']:.4f}, "
        f"inside {row['net_inside_db']:.2f} dB ({row['net_inside_db'] - row['input_inside_db']:+.2f}), "
        f"over time {row['net_temporal']:.2f} (damaged {row['input_temporal']:.2f})"
    )
    if row["loss"] is None:
        return text
    return f"{text}; loss {row['loss']:.2f} dB, {row['steps_per_second']:.2f} steps/s, waited {row['waited']:.1%}"
