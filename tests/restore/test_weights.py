"""Weights: the registry, files of both families in every wrapping, and what comes from outside with bad intent."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import pickle
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import ConfigError, MissingError, ReelmendError, WeightsError
from pipeline.plan.make import chain_of
from pipeline.restore import nets, weights
from pipeline.restore.passes import FACTORIES, Bench, Job
from pipeline.restore.weights import pickles
from pipeline.spec import NetPass, Spec
from pipeline.storage import store
from tests.restore.golden import filled, golden, one_thread
from tests.s3 import Server

__all__ = ["one_thread"]

TINY: dict[str, Any] = {
    "arch": "nafnet",
    "width": 4,
    "enc_blk_nums": [1, 2],
    "middle_blk_num": 1,
    "dec_blk_nums": [2, 1],
}
FILM = TINY | {"in_frames": 5}
MPRNET: dict[str, Any] = {
    "arch": "mprnet",
    "n_feat": 8,
    "scale_unetfeats": 4,
    "scale_orsnetfeats": 4,
    "num_cab": 1,
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("REELMEND_CACHE", str(folder))
    return folder


def state(config: dict[str, Any]) -> dict[str, Tensor]:
    return dict(filled(config).state_dict())


def apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: t.clone() for k, t in tensors.items()}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def resolve(path: Path | str, **more: Any) -> Any:
    return weights.resolve(NetPass(weights=str(path), **more))


def refusal(path: Path | str, **more: Any) -> str:
    with pytest.raises(WeightsError) as error:
        resolve(path, **more)
    text = str(error.value)
    assert "\n" not in text
    assert Path(str(path)).name in text
    return text


class TestBundled:
    def test_the_default_is_there_and_is_what_its_golden_file_says(self) -> None:
        info = weights.resolve(NetPass())
        assert (info.name, info.family, info.radius, info.restricted) == ("nafnet-film", "nafnet", 2, False)
        assert info.train_size == (64, 64)
        assert info.licence
        assert 0.75e6 < info.parameter_bytes / 4 < 0.76e6
        net = weights.load(info)
        assert not net.training
        assert {p.dtype for p in net.parameters()} == {torch.float32}
        assert isinstance(net, nets.NAFNet)
        seed = nets.parse(golden("nafnet_film_seed").config)
        assert isinstance(seed, nets.NAFNetConfig)
        # It grew from the seed: as wide, deeper.
        assert (net.config.width, net.config.in_frames) == (seed.width, seed.in_frames)
        assert net.config.middle_blk_num > seed.middle_blk_num

    def test_its_uri_is_the_same_on_every_machine(self) -> None:
        assert not Path(weights.resolve(NetPass()).uri).is_absolute()

    def test_two_loads_share_nothing_and_are_equal(self) -> None:
        info = weights.resolve(NetPass())
        a, b = weights.load(info), weights.load(info)
        for x, y in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(x, y)
            assert x.data_ptr() != y.data_ptr()

    def test_tlc_as_a_spec_says_it(self) -> None:
        info = weights.resolve(NetPass(tlc=True))
        assert weights.load(info, tlc=True).config.tlc_train_size == (64, 64)
        assert weights.load(info, tlc=(96, 128)).config.tlc_train_size == (96, 128)
        assert weights.load(info).config.tlc_train_size is None
        with pytest.raises(ConfigError, match="height, width"):
            weights.resolve(NetPass(tlc=(0, 64)))

    def test_another_hash_than_stated(self) -> None:
        assert "expected was " + "0" * 64 in refusal("nafnet-film", sha256="0" * 64)

    def test_a_file_that_changed_since(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        save_file(state(TINY), path)
        info = resolve(path)
        save_file({k: t + 1 for k, t in state(TINY).items()}, path)
        with pytest.raises(WeightsError, match="expected was"):
            weights.load(info)


class TestRegistry:
    def test_the_authors_checkpoints_are_listed(self) -> None:
        released = {
            *(f"nafnet-{task}" for task in ("sidd-w32", "sidd-w64", "gopro-w32", "gopro-w64", "reds-w64")),
            *(f"mprnet-{task}" for task in ("denoise", "deblur", "derain")),
        }
        assert released <= set(weights.names())
        rows = {row["name"]: row for row in weights.listing()}
        assert list(rows) == weights.names()
        for name in released:
            assert nets.parse(rows[name]["config"]) == weights.registry.named(name).config
            assert rows[name]["task"]
            assert (
                "non-commercial" in rows[name]["licence"]
                if name.startswith("mprnet")
                else rows[name]["licence"] == "MIT"
            )
            assert rows[name]["restricted"] == name.startswith("mprnet")
            assert rows[name]["source"].startswith("https://github.com/")
            assert rows[name]["sha256"] is None
            assert not rows[name]["bundled"]
        json.dumps(list(rows.values()))

    @pytest.mark.parametrize("name", ["nafnet-sidd-w32", "mprnet-derain"])
    def test_what_is_not_shipped_says_where_to_get_it(self, name: str) -> None:
        text = refusal(name, accept_licence=True)
        assert "github.com" in text
        assert "nets fetch" in text
        assert weights.check(name)["status"] == "absent"

    def test_an_unknown_name_gets_the_nearest(self) -> None:
        assert "did you mean 'nafnet-film'" in refusal("nafnet-flim")
        assert "Known are" in refusal("nothing")
        with pytest.raises(WeightsError, match="nafnet-film"):
            weights.check("nafnet-flim")

    def test_a_released_checkpoint_by_its_name(self, tmp_path: Path) -> None:
        """Fetched once with its hash, then named in the spec; the licence must be accepted."""
        config = golden("mprnet_derain").config
        path = tmp_path / "model_deraining.pth"
        torch.save({"state_dict": {f"module.{k}": t for k, t in state(config).items()}}, path)
        said = {"sha256": sha256(path)}
        assert "not shipped" in refusal("mprnet-derain", accept_licence=True, **said)
        weights.fetch(str(path), sha256(path))
        path.unlink()
        text = refusal("mprnet-derain", **said)
        assert "non-commercial" in text
        assert "accept_licence: true" in text
        info = resolve("mprnet-derain", accept_licence=True, **said)
        assert (info.name, info.family, info.train_size, info.restricted) == (
            "mprnet-derain",
            "mprnet",
            (256, 256),
            True,
        )
        net = weights.load(info, tlc=True)
        assert net.config.tlc_train_size == (256, 256)
        assert torch.equal(net.state_dict()["tail.weight"], state(config)["tail.weight"])
        assert weights.check("mprnet-derain", sha256=said["sha256"])["status"] == "ok"

    def test_another_net_under_a_registered_name(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        save_file(state(TINY), path)
        weights.fetch(str(path), sha256(path))
        assert "does not fit the net" in refusal("nafnet-sidd-w32", sha256=sha256(path))


WRAPPINGS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "plain.pth": lambda s, p: torch.save(s, p),
    "params.pth": lambda s, p: torch.save({"params": s}, p),
    "state_dict.pth": lambda s, p: torch.save({"epoch": 3, "state_dict": s, "optimizer": {"lr": 1e-3}}, p),
    "module.pth": lambda s, p: torch.save({"state_dict": {f"module.{k}": t for k, t in s.items()}}, p),
    "twice.pth": lambda s, p: torch.save({f"module.module.{k}": t for k, t in s.items()}, p),
    "ema.pth": lambda s, p: torch.save({"params": {k: t * 0 for k, t in s.items()}, "params_ema": s}, p),
    "model.pth": lambda s, p: torch.save({"model": s, "iteration": 3}, p),
    "single.pth": lambda s, p: torch.save({"generator": s}, p),
    "half.pth": lambda s, p: torch.save({k: t.half() for k, t in s.items()}, p),
    "old.pth": lambda s, p: torch.save({"state_dict": s}, p, _use_new_zipfile_serialization=False),
    "parameters.pth": lambda s, p: torch.save({k: torch.nn.Parameter(t) for k, t in s.items()}, p),
    "plain.safetensors": lambda s, p: save_file(apart(s), p),
    "half.safetensors": lambda s, p: save_file({k: t.bfloat16() for k, t in s.items()}, p),
    "module.safetensors": lambda s, p: save_file({f"module.{k}": t.double() for k, t in s.items()}, p),
    "no_suffix_of_ours/weights": lambda s, p: torch.save(s, p),
}


class TestFiles:
    @pytest.mark.parametrize("wrapping", WRAPPINGS)
    @pytest.mark.parametrize("config", [TINY, FILM, MPRNET | {"bias": True}], ids=["nafnet", "film", "mprnet"])
    def test_every_wrapping(self, wrapping: str, config: dict[str, Any], tmp_path: Path) -> None:
        path = tmp_path / wrapping
        path.parent.mkdir(exist_ok=True)
        WRAPPINGS[wrapping](state(config), path)
        info = resolve(path)
        assert info.name == path.name
        assert info.sha256 == sha256(path)
        assert nets.parse(info.config) == nets.parse(config)
        assert info.radius == (2 if config is FILM else 0)
        assert info.family == config["arch"]
        assert info.activation_bytes_px > 0
        net = weights.load(info)
        tolerance = 0.01 if wrapping.startswith("half") else 0.0
        for key, wanted in state(config).items():
            assert torch.allclose(net.state_dict()[key], wanted, atol=tolerance), key
        assert sum(p.numel() for p in net.parameters()) * 4 == info.parameter_bytes

    @pytest.mark.parametrize("length", [640, 1152, 65536 + 896])
    def test_a_safetensors_header_that_begins_like_a_pickle(self, length: int, tmp_path: Path) -> None:
        """Its length is written first: 640 is 80 02 in bytes, the beginning of a pickle of version 2."""
        small = {"arch": "nafnet", "width": 1, "enc_blk_nums": [], "middle_blk_num": 0, "dec_blk_nums": []}
        path = tmp_path / "a.safetensors"
        save_file(state(small), path)
        whole = path.read_bytes()
        end = 8 + int.from_bytes(whole[:8], "little")
        path.write_bytes(length.to_bytes(8, "little") + whole[8:end].ljust(length) + whole[end:])
        assert path.read_bytes()[:1] == b"\x80"
        assert resolve(path).family == "nafnet"

    def test_the_stated_hash(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(TINY), path)
        assert resolve(path, sha256=sha256(path)).sha256 == sha256(path)
        assert "expected was" in refusal(path, sha256="1" * 64)

    def test_a_relative_path_means_the_same_to_every_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.save(state(TINY), tmp_path / "a.pth")
        monkeypatch.chdir(tmp_path)
        info = resolve("./a.pth")
        monkeypatch.chdir("/")
        weights.load(info)

    def test_tlc_needs_a_size_that_is_known(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(TINY), path)
        with pytest.raises(ConfigError, match=r"\[256, 256\]"):
            resolve(path, tlc=True)
        assert resolve(path, tlc=(64, 96)).train_size is None

    @pytest.mark.parametrize("config", [TINY, MPRNET])
    def test_the_tlc_of_a_spec_reaches_the_net(self, config: dict[str, Any], tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(config), path)
        frame = torch.rand(3, 48, 64)
        found = []
        for tlc in (False, (16, 24)):
            said = Spec(chain=(NetPass(weights=str(path), tlc=tlc, guard=None),))
            info = weights.resolve(said.chain[0])
            (plan,) = chain_of(said, {"net": info})
            built = FACTORIES["net"](plan, Bench(said.engine, {"net": info}, torch.device("cpu")))
            (restored,) = built.restore([Job(0, (frame,), {})])
            with torch.inference_mode():
                wanted = weights.load(info, tlc=tlc)(frame[None])[0]
            torch.testing.assert_close(restored.rgb, wanted, rtol=0, atol=1e-6)
            found.append(restored.rgb)
        assert float((found[0] - found[1]).abs().max()) > 1e-3

    def test_mprnet_of_a_released_shape_may_be_the_released_one(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.pth"
        torch.save(state(golden("mprnet_derain").config), path)
        assert "non-commercial" in refusal(path)
        assert resolve(path, accept_licence=True).restricted
        torch.save(state(MPRNET), path)
        assert not resolve(path).restricted

    def test_more_activations_with_tlc(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(MPRNET), path)
        assert resolve(path, tlc=(64, 64)).activation_bytes_px > resolve(path).activation_bytes_px

    def test_missing_and_unexpected_keys_are_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        tensors = state(TINY)
        del tensors["encoders.0.0.beta"]
        save_file(tensors | {"ema.decay": torch.ones(1)}, path)
        text = refusal(path)
        assert "1 keys are missing: encoders.0.0.beta" in text
        assert "1 keys are unexpected: ema.decay" in text

    def test_a_key_of_another_shape_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        save_file(state(TINY) | {"middle_blks.0.beta": torch.zeros(1, 3, 1, 1)}, path)
        assert "middle_blks.0.beta is [1, 3, 1, 1], expected [1, 16, 1, 1]" in refusal(path)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_values_that_are_not_finite(self, value: float, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        tensors = state(TINY)
        tensors["downs.1.bias"][2] = value
        save_file(tensors, path)
        assert "downs.1.bias" in refusal(path)
        assert weights.check(str(path))["status"] == "failed"

    def test_values_that_float32_cannot_hold(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        tensors = {k: t.double() for k, t in state(TINY).items()}
        tensors["intro.bias"][0] = 1e300
        save_file(tensors, path)
        assert "intro.bias" in refusal(path)

    def test_an_mprnet_whose_shared_slope_is_not_shared(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        tensors = apart(state(MPRNET))
        tensors["shallow_feat1.1.body.1.weight"] += 0.5
        save_file(tensors, path)
        assert "PReLU" in refusal(path)

    def test_another_architecture(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        save_file({"conv_first.weight": torch.zeros(8, 3, 3, 3)}, path)
        text = refusal(path)
        assert "neither NAFNet's nor MPRNet's" in text
        assert "conv_first.weight" in text


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def edit_zip(path: Path, edit: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = [(n, archive.read(n)) for n in archive.namelist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, edit(name, data))


class TestHostile:
    @pytest.mark.parametrize("old", [False, True])
    def test_code_in_a_pickle_is_not_run(self, old: bool, tmp_path: Path) -> None:
        path, mark = tmp_path / "a.pth", tmp_path / "mark"
        torch.save({"params": state(TINY), "hook": Bomb(mark)}, path, _use_new_zipfile_serialization=not old)
        text = refusal(path)
        assert "unsafe" in text
        assert "system" in text
        assert "refused" in text
        assert "weights_only" not in text
        assert not mark.exists()
        assert weights.check(str(path))["status"] == "failed"
        assert not mark.exists()

    def test_numpy_values_are_named_too(self, tmp_path: Path) -> None:
        """What careless training scripts leave beside the weights."""
        path = tmp_path / "a.pth"
        torch.save({"params": state(TINY), "best": np.float64(30.1)}, path)
        text = refusal(path)
        assert "numpy" in text
        assert "weights_only" not in text

    def test_a_bare_pickle(self, tmp_path: Path) -> None:
        path, mark = tmp_path / "a.pth", tmp_path / "mark"
        path.write_bytes(pickle.dumps(Bomb(mark)))
        refusal(path)
        assert not mark.exists()

    def test_an_archive_that_would_unfold(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save({"params": {"intro.weight": torch.zeros(1 << 20)}}, path)
        edit_zip(path, lambda name, data: data, zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 1 << 16
        assert "compressed" in refusal(path)

    @pytest.mark.parametrize("old", [False, True])
    def test_tuples_nested_without_end(self, old: bool, tmp_path: Path) -> None:
        """Python would hash them by recursion, and the process would end."""
        path = tmp_path / "a.pth"
        deep = b"\x80\x02}" + b")" + b"\x85" * 2_000_000 + b"K\x01s."
        if old:
            path.write_bytes(deep)
        else:
            torch.save({"x": torch.zeros(1)}, path)
            edit_zip(path, lambda name, data: deep if name.endswith("data.pkl") else data)
        assert "tuples in each other" in refusal(path)

    def test_the_look_at_nesting_follows_the_memo(self) -> None:
        """A tuple that is put aside and fetched again is as deep as it was."""
        wrap = b"\x85q\x00" + b"0" + b"h\x00"  # nest, keep, drop, fetch
        deep = b"\x80\x02)" + wrap * 101 + b"."
        with pytest.raises(WeightsError, match="tuples in each other"):
            pickles.check_depth(io.BytesIO(deep), "x")
        pickles.check_depth(io.BytesIO(b"\x80\x02)" + wrap * 99 + b"."), "x")
        wide = io.BytesIO(pickle.dumps({"a": [((i,), {"b": i}) for i in range(500)]}, 2) + b"rest")
        pickles.check_depth(wide, "x")
        assert wide.read() == b"rest"

    @pytest.mark.parametrize(
        "data", [b"", b"\x80\x02", b"\x80\x02h\x07.", b"\x80\x020.", b"\x80\x02\xff.", b"\x80\x02u."]
    )
    def test_the_look_at_nesting_takes_no_pickle_on_trust(self, data: bytes) -> None:
        with pytest.raises(WeightsError, match="not a whole PyTorch checkpoint"):
            pickles.check_depth(io.BytesIO(data), "x")

    def test_a_program_is_no_checkpoint(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pt"
        torch.save(state(TINY), path)
        with zipfile.ZipFile(path, "a") as archive:  # what TorchScript has beside its weights
            archive.writestr("a/constants.pkl", b"\x80\x02).")
            archive.writestr("a/code/net.py", b"class Net(Module): ...")
        assert "TorchScript" in refusal(path)

    @pytest.mark.parametrize("target", ["/dev/zero", "pipe"])
    def test_what_never_ends(self, target: str, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        if target == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(target)
        assert "a file was expected" in refusal(path)
        with pytest.raises(MissingError):
            weights.fetch(str(path), "0" * 64)

    def test_links(self, tmp_path: Path) -> None:
        torch.save(state(TINY), tmp_path / "real.pth")
        (tmp_path / "link.pth").symlink_to(tmp_path / "real.pth")
        assert resolve(tmp_path / "link.pth").sha256 == sha256(tmp_path / "real.pth")
        (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
        refusal(tmp_path / "loop.pth")

    def test_a_key_of_millions_of_letters_is_cut(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save({"k" * 5_000_000: torch.zeros(1)}, path)
        assert len(refusal(path)) < 1000

    def test_a_tensor_that_claims_more_than_the_file_holds(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save({"intro.weight": torch.arange(4.0)}, path)

        def claim(name: str, data: bytes) -> bytes:
            # BININT1 4 → BININT2 16384, of the storage and of the shape.
            grown = data.replace(b"K\x04tq", b"M\x00\x40tq").replace(b"K\x04\x85", b"M\x00\x40\x85")
            return grown if name.endswith("data.pkl") else data

        edit_zip(path, claim)
        refusal(path)

    def test_a_tensor_that_repeats_one_value_endlessly(self, tmp_path: Path) -> None:
        """64 TiB by a stride of zero: refused by its shape, before a byte is copied."""
        path = tmp_path / "a.pth"
        tensors = state(TINY) | {"middle_blks.0.beta": torch.zeros(1).expand(1 << 22, 1 << 22)}
        torch.save(tensors, path)
        assert "middle_blks.0.beta is [4194304, 4194304]" in refusal(path)

    @pytest.mark.parametrize(
        "value",
        [
            torch.zeros(3, dtype=torch.int64),
            torch.zeros(3).to_sparse(),
            torch.zeros(3, dtype=torch.complex64),
            "text",
            [1, 2],
        ],
        ids=["int64", "sparse", "complex", "text", "list"],
    )
    def test_a_value_that_is_no_plain_tensor(self, value: Any, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(TINY) | {"intro.bias": value}, path)
        refusal(path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x00" * 100,
            b"<!DOCTYPE html><html>Sign in</html>",
            b"PK\x03\x04" + b"\x00" * 100,
            b"\x80\x02}q\x00.",
            (1 << 62).to_bytes(8, "little") + b'{"a":1}',
            (20).to_bytes(8, "little") + b'{"a":1}',
            (2).to_bytes(8, "little") + b"{}",
            (7).to_bytes(8, "little") + b'{"a":1}',
            (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9,9,9],"data_offsets":[0,9]}} ' + b"\x00" * 9,
        ],
        ids=["empty", "zeros", "html", "zip", "pickle", "huge", "short", "none", "wrong", "offsets"],
    )
    def test_what_is_no_weights_file(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        path.write_bytes(content)
        refusal(path)

    @pytest.mark.parametrize("wrapping", ["plain.pth", "old.pth", "plain.safetensors"])
    def test_a_truncated_file(self, wrapping: str, tmp_path: Path) -> None:
        path = tmp_path / wrapping
        WRAPPINGS[wrapping](state(TINY), path)
        whole = path.read_bytes()
        for size in (len(whole) - 1, len(whole) // 2, 200, 20):
            path.write_bytes(whole[:size])
            assert "weights_only" not in refusal(path)

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data(), wrapping=st.sampled_from(["plain.pth", "old.pth", "plain.safetensors"]))
    def test_damaged_bytes_give_weights_or_a_clear_word(
        self, data: st.DataObject, wrapping: str, tmp_path: Path
    ) -> None:
        path = tmp_path / wrapping
        small = {"arch": "nafnet", "width": 2, "enc_blk_nums": [], "middle_blk_num": 1, "dec_blk_nums": []}
        WRAPPINGS[wrapping](state(small), path)
        content = bytearray(path.read_bytes())
        # Most of what matters stands at the two ends. Torch's old files hold addresses, so that their length is not the
        # same each time: what is drawn must not hang on it.
        at = st.one_of(st.integers(0, 300), st.integers(0, 1 << 16), st.integers(-300, -1))
        for place, byte in data.draw(st.lists(st.tuples(at, st.integers(0, 255)), min_size=1, max_size=8)):
            content[place % len(content)] = byte
        path.write_bytes(content)
        with contextlib.suppress(ReelmendError):  # anything else fails the test
            weights.load(resolve(path))

    @pytest.mark.parametrize("code", [b"\x8d", b"\x8e", b"\x96"], ids=["text", "bytes", "bytearray"])
    def test_a_length_of_exabytes_is_not_reserved(self, code: bytes, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(TINY), path, _use_new_zipfile_serialization=False)
        whole = path.read_bytes()
        at = whole.index(b".") + 1  # the second pickle: its first opcode is a length and what should follow it
        path.write_bytes(whole[:at] + b"\x80\x02" + code + (1 << 62).to_bytes(8, "little") + whole[at:])
        assert "not a whole PyTorch checkpoint" in refusal(path)

    def test_a_checkpoint_under_a_safetensors_name(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        torch.save(state(TINY), path)
        assert "Rename it" in refusal(path)

    def test_folders_and_missing_files(self, tmp_path: Path) -> None:
        refusal(tmp_path)
        refusal(tmp_path / "none.pth")

    def test_a_file_too_large(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        with path.open("wb") as file:
            file.truncate(3 << 30)
        assert "bytes; weights of up to" in refusal(path)
        with pytest.raises(WeightsError, match="bytes; weights of up to"):
            weights.fetch(str(path), "0" * 64)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class TestFetch:
    def test_from_s3_once(self, s3: Server, s3_folder: str, tmp_path: Path, cache: Path) -> None:
        path = tmp_path / "film.safetensors"
        save_file(state(FILM), path)
        uri = store.join(s3_folder, "film.safetensors")
        store.put_file(path, uri)
        assert "sha256" in refusal(uri)
        info = resolve(uri, sha256=sha256(path))
        assert (info.name, info.uri, info.radius) == ("film.safetensors", uri, 2)
        s3.stop()
        weights.load(info)  # from the cache
        assert [p.name for p in (cache / "weights").iterdir()] == [sha256(path)]

    def test_a_worker_without_the_file_fetches_it(self, tmp_path: Path, cache: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(TINY), path)
        uri = f"memory://weights-{tmp_path.name}/a.pth"
        store.put_file(path, uri)
        info = resolve(uri, sha256=sha256(path))
        (cache / "weights" / sha256(path)).unlink()
        weights.load(info)
        assert (cache / "weights" / sha256(path)).is_file()

    def test_a_worker_without_a_local_file_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(TINY), path)
        info = resolve(path)
        weights.load(info)
        kept = weights.fetch(str(path), sha256(path))
        path.unlink()
        weights.load(info)  # the cache has it
        kept.unlink()
        with pytest.raises(WeightsError, match="this machine has no such file"):
            weights.load(info)

    def test_another_hash_leaves_nothing(self, tmp_path: Path, cache: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(TINY), path)
        with pytest.raises(WeightsError, match="expected was"):
            weights.fetch(str(path), "a" * 64)
        assert list((cache / "weights").iterdir()) == []
        with pytest.raises(WeightsError, match="64 hex digits"):
            weights.fetch(str(path), "../../etc/passwd")
        with pytest.raises(MissingError):
            weights.fetch(str(tmp_path / "none.pth"), "a" * 64)

    def test_from_a_web_server(self, tmp_path: Path, cache: Path) -> None:
        """One that knows no ranges, as Python's own: the simplest way to a cluster without the internet."""
        torch.save(state(TINY), tmp_path / "a b.pth")
        kept = sha256(tmp_path / "a b.pth")
        handler = functools.partial(Quiet, directory=str(tmp_path))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            uri = f"http://127.0.0.1:{server.server_port}/a%20b.pth"
            info = resolve(uri, sha256=kept)
            assert info.uri == uri
            with pytest.raises(WeightsError, match="expected was"):
                weights.fetch(uri, "a" * 64)
            with pytest.raises(MissingError):
                weights.fetch(f"http://127.0.0.1:{server.server_port}/none.pth", "a" * 64)
            server.shutdown()
        weights.load(info)
        assert [p.name for p in (cache / "weights").iterdir()] == [kept]

    def test_many_at_once(self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each gets the whole file though all copy at the same time, and one copy stays."""
        path = tmp_path / "a.pth"
        torch.save(state(TINY), path)
        kept, fetch, together = sha256(path), store.fetch, threading.Barrier(6)

        def slow(uri: str, local: Path) -> None:
            together.wait(30)  # all have found nothing in the cache
            fetch(uri, local)
            assert weights.cache.cached(kept) in (None, cache / "weights" / kept)  # never a part
            together.wait(30)

        monkeypatch.setattr(store, "fetch", slow)
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: sha256(weights.fetch(str(path), kept)), range(6)))
        assert found == [kept] * 6
        assert [p.name for p in (cache / "weights").iterdir()] == [kept]

    def test_a_damaged_copy_is_fetched_again(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(TINY), path)
        kept = weights.fetch(str(path), sha256(path))
        kept.write_bytes(b"damaged")
        assert weights.fetch(str(path), sha256(path)) == kept
        assert sha256(kept) == sha256(path)

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(TINY), path)
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("REELMEND_CACHE", str(tmp_path / "file"))
        with pytest.raises(WeightsError, match="REELMEND_CACHE"):
            weights.fetch(str(path), sha256(path))


class TestCheck:
    def test_the_bundled_net(self) -> None:
        report = weights.check("nafnet-film")
        assert report["status"] == "ok"
        assert report["reason"] is None
        assert report["keys"] == 283
        assert report["frames"] == 5
        assert len(report["sha256"]) == 64
        for word in ("licence", "Recipe", "Figures", "Data", "seeding_by_Clements_Engelhardt.jpg"):
            assert word in report["card"]
        json.dumps(report)

    def test_the_cards_say_how_large_the_nets_are_and_what_was_not_unseen(self) -> None:
        small, large = weights.check("nafnet-film-small"), weights.check("nafnet-film")
        assert f"{small['parameters']:,} parameters, a tenth of nafnet-film's {large['parameters']:,}" in small["card"]
        assert 9.5 < large["parameters"] / small["parameters"] < 10.5
        assert "None of these photographs is unseen" in large["card"]

    def test_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(state(MPRNET), path)
        report = weights.check(str(path))
        assert report["status"] == "ok"
        assert report["family"] == "mprnet"
        json.dumps(report)
        report = weights.check(str(path), sha256="0" * 64)
        assert report["status"] == "failed"
        assert "expected was" in report["reason"]
