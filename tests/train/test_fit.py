"""A training job: it learns, it goes on bit for bit after a kill, and what it leaves can be used at once."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import CallError, ConfigError, StorageError
from pipeline.reel.still import write_png
from pipeline.restore import weights
from pipeline.spec import NetPass
from pipeline.tables import read_training
from pipeline.train import state
from pipeline.train.fit import CHECKPOINT, LOG, PLOT, Fitted, fit
from pipeline.train.learner import learning_rate, psnr_loss
from pipeline.train.spec import TrainSpec
from tests.train.conftest import photo

NAFNET = {
    "arch": "nafnet",
    "width": 4,
    "enc_blk_nums": [1],
    "middle_blk_num": 1,
    "dec_blk_nums": [1],
    "in_frames": 3,
}
MPRNET = {"arch": "mprnet", "n_feat": 4, "scale_unetfeats": 2, "scale_orsnetfeats": 2, "num_cab": 1}


def make(photos: Path, **more: Any) -> TrainSpec:
    base: dict[str, Any] = {
        "name": "tiny",
        "licence": "CC0-1.0",
        "net": NAFNET,
        "data": {"sources": [{"uri": str(photos)}], "width": [48, 96]},
        "damage": {"dirt": [0, 3], "h264": 0.0},
        "steps": 6,
        "batch": 2,
        "crop": 32,
        "warm_up": 2,
        "validation": {"every": 2, "clips": 2, "frames": 2, "crop": 32},
        "run": {"threads": 1, "loaders": 1, "device": "cpu"},
    }
    return TrainSpec.model_validate({**base, **more})


def files(out: Path) -> dict[str, bytes]:
    """What hangs on the steps alone: not on the clock."""
    found = state.load(str(out / CHECKPOINT))
    assert found is not None
    parts = {
        f"{p}.{k}": t.numpy().tobytes() for p in ("net", "ema", "first", "second") for k, t in getattr(found, p).items()
    }
    return parts | {"step": str(found.step).encode()}


def rows(out: Path) -> list[dict[str, Any]]:
    clock = {"seconds", "steps_per_second", "waited"}
    return [{k: v for k, v in row.items() if k not in clock} for row in read_training(out / LOG)]


class KilledError(Exception):
    """The process is gone, in the middle of a step."""


def killed_after(steps: int) -> Any:
    left = iter([False] * (steps - 1))

    def ask() -> bool:
        for answer in left:
            return answer
        raise KilledError

    return ask


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_six_steps_are_three_a_kill_and_three(photos: Path, tmp_path: Path, precision: str) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    spec = make(photos, precision=precision)
    assert fit(spec, str(straight)).done
    # A checkpoint after each step; the kill comes in the fourth, whose work is lost.
    often = spec.model_copy(update={"run": spec.run.model_copy(update={"checkpoint_minutes": 1e-9, "loaders": 2})})
    with pytest.raises(KilledError):
        fit(often, str(broken), stopped=killed_after(4))
    before = state.load(str(broken / CHECKPOINT))
    assert before is not None
    assert before.step == 3
    assert fit(spec, str(broken)).done
    assert files(straight) == files(broken)
    for name in ("tiny.safetensors",):
        nets = [weights.load(weights.resolve(NetPass(weights=str(out / name)))) for out in (straight, broken)]
        for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            assert torch.equal(a, b)
    # What is summed up between two rows starts anew after a kill.
    assert [{**r, "loss": 0} for r in rows(straight)] == [{**r, "loss": 0} for r in rows(broken)]


def test_a_kill_between_log_and_checkpoint_does_no_harm(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, straight, broken = make(photos), tmp_path / "straight", tmp_path / "broken"
    fit(spec, str(straight))
    asked = iter((False, True))
    assert not fit(spec, str(broken), stopped=lambda: next(asked)).done
    with monkeypatch.context() as patch:
        patch.setattr(state, "save", lambda *_: (_ for _ in ()).throw(KilledError()))
        with pytest.raises(KilledError):
            fit(spec, str(broken))
    assert len(read_training(broken / LOG)) == 4
    found = fit(spec, str(broken))
    assert found.done
    assert files(straight) == files(broken)
    assert [r["step"] for r in rows(broken)] == [0, 2, 4, 6]


def test_a_job_that_is_done_stays_as_it_is(photos: Path, tmp_path: Path) -> None:
    spec = make(photos)
    fit(spec, str(tmp_path / "out"))
    before = files(tmp_path / "out")
    again = fit(spec, str(tmp_path / "out"))
    assert (again.done, again.step) == (True, 6)
    assert files(tmp_path / "out") == before


def test_it_stops_where_it_is_told_to_and_when_its_time_is_over(photos: Path, tmp_path: Path) -> None:
    asked = iter((False, False, True))
    found = fit(make(photos), str(tmp_path / "a"), stopped=lambda: next(asked))
    assert (found.step, found.done) == (3, False)
    assert fit(make(photos), str(tmp_path / "b"), limit_s=0.0).step == 1
    assert (tmp_path / "b" / "tiny.safetensors").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Path, TrainSpec]:
    """Sixty steps of a tiny net."""
    folder = tmp_path_factory.mktemp("trained")
    photos = folder / "photos"
    photos.mkdir()
    for number in range(6):
        write_png(photos / f"p{number}.png", photo(number))
    (photos / "MANIFEST.csv").write_text("path,source,licence\np0.png,museum,CC-BY-4.0\n")
    spec = make(
        photos,
        steps=60,
        batch=4,
        ema=0.9,
        lr=4e-3,
        validation={"every": 30, "clips": 4, "frames": 2, "crop": 32},
        damage={"dirt": [2, 4], "grain": [0.03, 0.05], "scratched": 0, "hair": 0, "blur": [0, 0]},
    )
    return fit(spec, str(folder / "out")), folder / "out", spec


def test_it_learns(trained: tuple[Fitted, Path, TrainSpec]) -> None:
    found, out, _ = trained
    first, *_, last = read_training(out / LOG)
    assert first["net_psnr_db"] == pytest.approx(first["input_psnr_db"], abs=0.3)
    assert last["net_psnr_db"] > last["input_psnr_db"] + 0.8
    assert last["net_temporal"] < last["input_temporal"]
    assert last["loss"] < -15
    assert found.row["step"] == 60


def test_the_weights_can_be_named_in_a_chain_at_once(trained: tuple[Fitted, Path, TrainSpec]) -> None:
    found, out, _ = trained
    info = weights.resolve(NetPass(weights=found.weights))
    assert (info.family, info.radius) == ("nafnet", 1)
    assert info.config == NAFNET
    report = weights.check(found.weights)
    assert report["status"] == "ok"
    assert report["licence"] == 'the file itself says "CC0-1.0", which nobody has checked'
    card = (out / "tiny.md").read_text()
    assert report["card"] == card
    for told in ("p0.png", "museum", "CC-BY-4.0", "not stated", "CC0-1.0", "60 steps of 4 samples", "held out"):
        assert told in card
    assert sum(f"| p{n}.png |" in card for n in range(6)) == 6


def test_the_plot_is_xml_with_every_curve(trained: tuple[Fitted, Path, TrainSpec]) -> None:
    _, out, _ = trained
    root = ET.fromstring((out / PLOT).read_text())
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 9
    assert all(len(line.get("points", "").split()) == 3 for line in lines[:-1])


def test_another_config_does_not_go_on_from_it(trained: tuple[Fitted, Path, TrainSpec]) -> None:
    _, out, spec = trained
    with pytest.raises(CallError, match="of another job: lr differs"):
        fit(spec.model_copy(update={"lr": 1e-3}), str(out))


def test_what_is_no_checkpoint_is_said(photos: Path, tmp_path: Path) -> None:
    for data in (b"", b"nonsense", (1 << 62).to_bytes(8, "little") + b"{}", b"\x02" + b"\0" * 7 + b"{}"):
        (tmp_path / CHECKPOINT).write_bytes(data)
        with pytest.raises(StorageError, match="no whole training checkpoint"):
            fit(make(photos), str(tmp_path))


def test_mprnet_is_trained_on_all_its_stages_and_exported_whole(photos: Path, tmp_path: Path) -> None:
    spec = make(photos, net=MPRNET, steps=2, batch=1)
    found = fit(spec, str(tmp_path))
    info = weights.resolve(NetPass(weights=found.weights))
    assert info.family == "mprnet"
    assert sum(k.endswith(".body.1.weight") for k in weights.load(info).state_dict()) > 10
    checkpoint = state.load(str(tmp_path / CHECKPOINT))
    assert checkpoint is not None
    assert all(bool((v != 0).any()) for k, v in checkpoint.second.items() if "conv_du" not in k), (
        "a stage learns nothing"
    )


def test_fine_tuning_goes_on_from_a_file_on_pairs(
    trained: tuple[Fitted, Path, TrainSpec], photos: Path, tmp_path: Path
) -> None:
    found, _, _ = trained
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for n in range(6):
        picture = photo(n)
        picture[10 + n : 14 + n, 20:70] = 255
        write_png(spoilt / f"p{n}.png", picture)
    pairs = {"sources": [{"uri": str(photos), "damaged": str(spoilt)}], "width": [16, 1000]}
    spec = make(photos, net=None, init=found.weights, data=pairs, steps=4, lr=1e-3, validation={"clips": 2, "crop": 64})
    began = weights.load(weights.resolve(NetPass(weights=found.weights)))
    lines: list[str] = []
    end = fit(spec, str(tmp_path / "out"), say=lines.append)
    assert any(line.startswith("step 0:") for line in lines)
    now = weights.load(weights.resolve(NetPass(weights=end.weights)))
    changes = [float((a - b).detach().abs().max()) for a, b in zip(began.parameters(), now.parameters(), strict=True)]
    assert 0 < max(changes) < 0.05
    row = read_training(tmp_path / "out" / LOG)[0]
    # The white bar is all that differs, and it is in the mask.
    assert row["input_inside_db"] < 20 < row["input_outside_db"]
    assert "began from | tiny.safetensors" in (tmp_path / "out" / "tiny.md").read_text()


def test_a_net_that_does_not_fit_its_weights_is_refused(
    trained: tuple[Fitted, Path, TrainSpec], photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="Leave `net:` out"):
        fit(make(photos, net=MPRNET, init=trained[0].weights), str(tmp_path))


def test_a_deeper_net_begins_as_the_one_it_grew_from(
    trained: tuple[Fitted, Path, TrainSpec], photos: Path, tmp_path: Path
) -> None:
    began = weights.load(weights.resolve(NetPass(weights=trained[0].weights)))
    config = began.config.mapping()
    deeper = config | {"enc_blk_nums": [n + 1 for n in config["enc_blk_nums"]], "middle_blk_num": 3}
    still = fit(make(photos, net=deeper, init=trained[0].weights, steps=1, lr=1e-12), str(tmp_path / "still"))
    grown = weights.load(weights.resolve(NetPass(weights=still.weights)))
    assert grown.config.mapping()["middle_blk_num"] == 3
    stack = torch.rand(1, 3 * began.config.in_frames, 32, 32)
    torch.testing.assert_close(grown(stack), began(stack), atol=2e-3, rtol=0)  # float16 in between
    learnt = fit(make(photos, net=deeper, init=trained[0].weights, steps=6, lr=1e-2), str(tmp_path / "learnt"))
    now = weights.load(weights.resolve(NetPass(weights=learnt.weights))).state_dict()
    assert float(now["middle_blks.2.beta"].abs().max()) > 0  # the new blocks learn


@pytest.mark.parametrize("change", [{"width": 16}, {"in_frames": 5}, {"middle_blk_num": 0}])
def test_a_net_grows_in_blocks_alone(
    trained: tuple[Fitted, Path, TrainSpec], photos: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    config = weights.load(weights.resolve(NetPass(weights=trained[0].weights))).config.mapping()
    with pytest.raises(ConfigError, match="more blocks"):
        fit(make(photos, net=config | change, init=trained[0].weights), str(tmp_path))


def test_the_rate_rises_and_falls_by_half_a_cosine(photos: Path) -> None:
    spec = make(photos, steps=100, lr=1e-3, lr_last=1e-7, warm_up=10)
    rates = [learning_rate(spec, step) for step in range(101)]
    assert rates[0] < rates[5] < rates[9]
    assert rates[50] == pytest.approx((1e-3 + 1e-7) / 2)
    assert rates[100] == pytest.approx(1e-7)
    assert np.all(np.diff(rates[10:]) < 0)


def test_the_loss_is_psnr_with_its_sign_turned() -> None:
    target = torch.zeros(2, 3, 4, 4)
    picture = target + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert float(psnr_loss(picture, target)) == pytest.approx(-(20 + 40) / 2, abs=0.01)
