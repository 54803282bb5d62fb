"""Nets of other architectures: told by the library spandrel, run by the same pass, engine and spatial tiles."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline import spec
from pipeline.errors import ConfigError, WeightsError
from pipeline.plan.make import chain_of, make_plan
from pipeline.restore import weights
from pipeline.restore.chain import Restorer
from pipeline.restore.engine import NetEngine, settle
from pipeline.restore.nets import external
from pipeline.restore.passes import Job, NetPass
from pipeline.restore.passes.net import GUARD, NOT_FINITE
from pipeline.restore.weights import files
from pipeline.types import NetInfo
from tests.plan import made_up
from tests.restore import stand_in, toys
from tests.restore.golden import filled, one_thread
from tests.restore.stand_in import Library, SizeRequirements

__all__ = ["one_thread"]

NAFNET: dict[str, Any] = {"arch": "nafnet", "width": 4, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Library:
    """The library's stand-in, as if it were installed."""
    found = Library()
    monkeypatch.setitem(sys.modules, "spandrel", found)
    monkeypatch.setattr(external.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("REELMEND_CACHE", str(tmp_path / "cache"))
    return found


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "installed", lambda: False)


def saved(folder: Path, tensors: Mapping[str, Tensor] | None = None, name: str = "toy.safetensors") -> Path:
    path = folder / name
    save_file(dict(stand_in.weights() if tensors is None else tensors), path)
    return path


def resolve(path: Path | str, **more: Any) -> NetInfo:
    return weights.resolve(spec.NetPass(weights=str(path), **more))


def refusal(path: Path | str, **more: Any) -> str:
    with pytest.raises(WeightsError) as error:
        resolve(path, **more)
    assert Path(str(path)).name in str(error.value)
    return str(error.value)


def toy(**said: Any) -> external.ExternalNet:
    """The toy's net. It stays when the library is gone."""
    net = external.recognise(stand_in.weights(**said))
    assert net is not None
    return net


def body(net: external.ExternalNet) -> stand_in.Toy:
    assert isinstance(net.net, stand_in.Toy)
    return net.net


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def run(net: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = net(x)
    return found


class TestFiles:
    @pytest.mark.parametrize(
        "save",
        [
            lambda t, p: torch.save(t, p),
            lambda t, p: torch.save({"params_ema": t, "params": {}}, p),
            lambda t, p: torch.save({"generator": t}, p),
            lambda t, p: torch.save({"state_dict": {f"module.{k}": v for k, v in t.items()}, "epoch": 3}, p),
            lambda t, p: torch.save(t, p, _use_new_zipfile_serialization=False),
            lambda t, p: save_file({k: v.half() if v.is_floating_point() else v for k, v in t.items()}, p),
        ],
        ids=["plain", "ema", "single", "module", "old", "half"],
    )
    def test_every_wrapping(self, library: Library, save: Callable[..., None], tmp_path: Path) -> None:
        path, tensors = tmp_path / "toy.weights.pt", stand_in.weights()
        save(tensors, path)
        info = resolve(path)
        assert (info.name, info.family, info.radius, info.restricted) == (path.name, "external", 0, False)
        assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert info.config == {
            "arch": "Toy",
            "library": "spandrel 0.4.2",
            "bfloat16": True,
            "minimum": 16,
            "multiple_of": 8,
            "square": False,
            "tiling": "supported",
        }
        assert info.train_size is None
        assert "not known" in info.licence
        json.dumps(dict(info.config))
        net = weights.load(info)
        assert not net.training
        assert not any(p.requires_grad for p in net.parameters())
        for key, wanted in tensors.items():
            found = net.state_dict()[f"net.{key}"]
            assert found.dtype == wanted.dtype
            assert torch.allclose(found, wanted, atol=1e-3), key

    def test_a_uri_wants_its_hash(self, library: Library, tmp_path: Path) -> None:
        path = saved(tmp_path)
        assert "sha256" in refusal("memory://somewhere/toy.pth")
        assert "expected was" in refusal(path, sha256="0" * 64)

    def test_our_own_families_never_ask(self, library: Library, tmp_path: Path) -> None:
        assert weights.resolve(spec.NetPass()).family == "nafnet"
        assert resolve(saved(tmp_path, filled(NAFNET).state_dict())).family == "nafnet"
        assert library.loads == 0

    def test_keys_that_are_nearly_ours(self, library: Library, tmp_path: Path) -> None:
        """KBNet has NAFNet's first and last keys, and other ones between."""
        names = {"head": "intro", "tail": "ending", "norm": "norm"}
        tensors = {f"{names[k.split('.')[0]]}.{k.split('.')[1]}": t for k, t in stand_in.weights().items()}
        assert resolve(saved(tmp_path, tensors)).family == "external"

    def test_ours_with_a_key_too_few_hears_both(self, library: Library, tmp_path: Path) -> None:
        tensors = dict(filled(NAFNET).state_dict())
        del tensors["middle_blks.0.beta"]
        text = refusal(saved(tmp_path, tensors))
        assert "1 keys are missing: middle_blks.0.beta" in text
        assert "spandrel" in text

    def test_without_the_library(self, absent: None, tmp_path: Path) -> None:
        text = refusal(saved(tmp_path))
        assert "neither NAFNet's nor MPRNet's" in text
        assert "pip install reelmend[spandrel]" in text

    def test_a_library_that_cannot_be_imported(
        self, library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """torchvision of another build than torch's raises RuntimeError at its import."""

        class Broken:
            def find_spec(self, name: str, *_: Any) -> None:
                if name == "spandrel":
                    raise RuntimeError("operator torchvision::nms does not exist")

        monkeypatch.delitem(sys.modules, "spandrel")
        monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
        monkeypatch.setattr(external, "installed", lambda: True)
        text = refusal(saved(tmp_path))
        assert "nms does not exist" in text
        assert "torchvision" in text.partition("exist")[2]

    def test_what_the_library_does_not_know(self, library: Library, tmp_path: Path) -> None:
        text = refusal(saved(tmp_path, {"conv.weight": torch.zeros(1)}))
        assert "nor are they of a net that spandrel knows" in text
        assert "pip install" not in text

    @pytest.mark.parametrize(
        ("channels", "said", "word"),
        [
            (1, {}, "takes 1 channels and gives 1"),
            (3, {"input_channels": 4}, "takes 4 channels and gives 3"),
            (3, {"scale": 4}, "enlarges 4 times"),
        ],
    )
    def test_nets_that_are_no_pass(
        self, library: Library, channels: int, said: dict[str, Any], word: str, tmp_path: Path
    ) -> None:
        library.said = said
        text = refusal(saved(tmp_path, stand_in.weights(channels)))
        assert word in text
        assert "Toy" in text

    def test_a_net_that_wants_a_mask(self, library: Library, tmp_path: Path) -> None:
        assert "mask" in refusal(saved(tmp_path, {"mask.weight": torch.zeros(1)}))

    def test_tlc_is_not_for_it(self, library: Library, tmp_path: Path) -> None:
        path = saved(tmp_path)
        for tlc in (True, (256, 256)):
            with pytest.raises(ConfigError, match="this is Toy"):
                resolve(path, tlc=tlc)
            with pytest.raises(ConfigError, match="this is Toy"):
                weights.load(resolve(path), tlc=tlc)


class TestHostile:
    def test_shapes_that_claim_more_than_any_file_holds(self, library: Library, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save(stand_in.weights() | {"head.more": torch.zeros(1).expand(1 << 22, 1 << 22)}, path)
        assert "its shapes claim" in refusal(path)
        assert library.loads == 0

    def test_a_net_that_one_shape_makes_huge(self, library: Library, tmp_path: Path) -> None:
        """4 GiB for one value: refused before any of it is written to."""
        text = refusal(saved(tmp_path, stand_in.weights() | {"huge.weight": torch.zeros(1 << 15, 1)}))
        assert "are allowed" in text

    @pytest.mark.parametrize(
        "edit",
        [
            lambda t: t | {"head.weight": torch.zeros(())},
            lambda t: t | {"tail.weight": torch.zeros(3, 6, 5, 5)},
            lambda t: t | {"more.weight": torch.zeros(3)},
            lambda t: {k: v for k, v in t.items() if k != "norm.bias"},
        ],
        ids=["scalar", "shape", "more", "less"],
    )
    def test_shapes_that_do_not_fit(self, library: Library, edit: Any, tmp_path: Path) -> None:
        assert "cannot build" in refusal(saved(tmp_path, edit(stand_in.weights())))

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_values_that_are_not_finite(self, library: Library, value: float, tmp_path: Path) -> None:
        assert "head.bias" in refusal(saved(tmp_path, stand_in.weights() | {"head.bias": torch.full((6,), value)}))
        assert library.loads == 0

    def test_code_is_not_run_and_the_library_sees_no_file(self, library: Library, tmp_path: Path) -> None:
        path = tmp_path / "a.pth"
        torch.save({"params": stand_in.weights(), "net": nn.Linear(1, 1)}, path)
        assert "unsafe" in refusal(path)
        assert library.loads == 0


class TestNet:
    @pytest.mark.parametrize("size", [(1, 1), (2, 40), (16, 24), (33, 47)])
    @pytest.mark.parametrize("square", [False, True])
    def test_sizes_are_padded_by_mirroring(self, library: Library, size: tuple[int, int], square: bool) -> None:
        library.size = SizeRequirements(minimum=16, multiple_of=8, square=square)
        net, x = toy(), pictures(2, 3, *size)
        found = run(net, x)
        h, w = (max(16, -(-n // 8) * 8) for n in size)
        h, w = (max(h, w),) * 2 if square else (h, w)
        assert set(body(net).seen) == {(1, 3, h, w)}
        pad = [(0, 0), (0, 0), (0, h - size[0]), (0, w - size[1])]
        whole = torch.from_numpy(np.pad(x.numpy(), pad, mode="reflect"))
        with torch.inference_mode():
            wanted = torch.cat([body(net)(p[None]) for p in whole]).clamp(0, 1)[..., : size[0], : size[1]]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)

    def test_values_beyond_black_and_white_survive(self, library: Library) -> None:
        """Film has headroom; the library's nets know 0 to 1 and are clamped to it."""
        net, x = toy(), 3 * pictures(1, 3, 16, 24) - 1
        found = run(net, x)
        with torch.inference_mode():
            seen = x.clamp(0, 1)
            wanted = x + (body(net)(seen).clamp(0, 1) - seen)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
        nn.init.zeros_(body(net).tail.weight)
        nn.init.zeros_(body(net).tail.bias)
        assert torch.equal(run(net, x), x)

    @pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
    def test_a_broken_answer_is_found_though_the_library_clamps(self, library: Library, value: float) -> None:
        net = toy()
        nn.init.constant_(body(net).tail.bias, value)
        found = NetPass(NetEngine(net, toys.net_info(), spec.Engine(), "cpu"), 1)
        job = Job(0, (pictures(3, 16, 16),), {})
        (restored,) = found.restore([job])
        assert restored.marks == {GUARD, NOT_FINITE}
        assert restored.rgb is job.window[0]

    @pytest.mark.parametrize("bits", [10, 16])
    @pytest.mark.parametrize("precision", ["exact", "fast"])
    def test_a_net_that_changes_nothing_keeps_every_code(self, library: Library, bits: int, precision: Any) -> None:
        net = toy()
        nn.init.zeros_(body(net).tail.weight)
        nn.init.zeros_(body(net).tail.bias)
        ramp = (torch.arange(3 << bits) % (1 << bits)).reshape(1, 3, -1, 64).float() / ((1 << bits) - 1)
        engine = NetEngine(net, toys.net_info(), spec.Engine(precision=precision), "cpu")
        assert torch.equal(engine(ramp), ramp)

    def test_bfloat16_where_the_library_vouches_for_it(self, library: Library) -> None:
        x = pictures(1, 3, 40, 48)
        exact = run(toy(), x)
        seen: list[torch.dtype] = []
        for vouched in (True, False):
            library.said = {"supports_bfloat16": vouched}
            net = toy()
            body(net).head.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
            fast = NetEngine(net, toys.net_info(), spec.Engine(precision="fast"), "cpu")(x)
            assert fast.dtype == torch.float32
            assert all(p.dtype == torch.float32 for p in net.parameters())
            apart = float((fast - exact).abs().max())
            assert (0 < apart < 0.01) if vouched else apart == 0
        assert seen == [torch.bfloat16, torch.float32]

    def test_spatial_tiles_and_batches_give_the_same(self, library: Library) -> None:
        x = pictures(3, 3, 301, 467)
        net = toy()
        whole = NetEngine(net, toys.net_info(), spec.Engine(), "cpu")(x)
        body(net).seen.clear()
        tiled = NetEngine(net, toys.net_info(), spec.Engine(tile=128, halo=32, batch=2), "cpu")(x)
        torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)
        assert len(set(body(net).seen)) == 1
        assert len(body(net).seen) > 12

    def test_building_touches_no_random_numbers(self, library: Library) -> None:
        torch.manual_seed(5)
        wanted = torch.rand(4)
        torch.manual_seed(5)
        toy()
        assert torch.equal(torch.rand(4), wanted)


class TestMemory:
    def test_live_maps_are_counted_without_computing(self, library: Library) -> None:
        """The toy holds its input twice (what is seen, and the frame), and three maps of six channels or fewer."""
        net = toy()
        found = net.activation_bytes_px() / external._KERNELS
        assert body(net).seen == []  # a twin without values was run
        assert 4 * (3 + 6 + 6) <= found <= 4 * (3 * 5 + 6 * 3)
        assert next(net.parameters()).device.type == "cpu"

    def test_a_net_that_wants_squares_may_need_more(self, library: Library) -> None:
        plain = toy().activation_bytes_px()
        library.size = SizeRequirements(square=True)
        assert toy().activation_bytes_px() > 2 * plain

    def test_code_that_looks_at_values_is_counted_while_it_runs(self, library: Library) -> None:
        net = toy()
        wanted = net.activation_bytes_px()

        def look(_: nn.Module, args: tuple[Tensor]) -> None:
            float(args[0].mean())

        body(net).register_forward_pre_hook(look)
        assert net.activation_bytes_px() == pytest.approx(wanted, rel=0.1)
        assert body(net).seen == [(1, 3, 128, 128)]

    def test_a_net_that_fails_is_told_before_the_run(
        self, library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def fail(*_: Any) -> Tensor:
            raise KeyError("window_size")

        path = saved(tmp_path)
        monkeypatch.setattr(stand_in.Toy, "forward", fail)
        text = refusal(path)
        assert "a pass of Toy" in text
        assert "window_size" in text


class TestPlanAndWorker:
    def test_the_plan_names_architecture_and_library(self, library: Library, tmp_path: Path) -> None:
        said = spec.Spec(chain=(spec.NetPass(weights=str(saved(tmp_path))),))
        ids = []
        for version in ("0.4.2", "0.4.2", "0.4.3"):
            library.__version__ = version
            info = weights.resolve(said.chain[0])
            (plan,) = chain_of(said, {"net": info})
            assert plan.settings["architecture"] == "Toy"
            assert plan.settings["library"] == f"spandrel {version}"
            assert plan.weights_sha256 == info.sha256
            ids.append(make_plan(made_up.reel(), made_up.index(30), said, {"net": info}).tile_ids)
        assert ids[0] == ids[1]
        assert not set(ids[0]) & set(ids[2])

    def test_our_own_nets_plans_name_no_library(self) -> None:
        (plan,) = chain_of(spec.Spec(), {"net": made_up.net()})
        assert set(plan.settings) == {"net", "family", "tlc", "guard", "limit"}

    def test_a_worker_with_another_library_refuses(self, library: Library, tmp_path: Path) -> None:
        info = resolve(saved(tmp_path))
        weights.load(info)
        library.__version__ = "0.4.0"
        with pytest.raises(
            WeightsError, match=r"planned as Toy of spandrel 0\.4\.2, here it is Toy of spandrel 0\.4\.0"
        ):
            weights.load(info)

    def test_a_worker_without_it_says_so(self, library: Library, monkeypatch: Any, tmp_path: Path) -> None:
        info = resolve(saved(tmp_path))
        monkeypatch.setattr(external, "installed", lambda: False)
        with pytest.raises(WeightsError, match=r"not installed here.*pip install reelmend\[spandrel\]"):
            weights.load(info)

    def test_a_chain_restores_with_it(self, library: Library, tmp_path: Path) -> None:
        said = spec.Spec(chain=(spec.NetPass(weights=str(saved(tmp_path)), guard=None),))
        info = weights.resolve(said.chain[0])
        frames = toys.film(5, "gray16le", 40, 24)
        (tile,) = toys.tiles(5, 5, 0)
        restorer = Restorer(chain_of(said, {"net": info}), said.engine, {"net": info}, "cpu")
        seen: list[Tensor] = []
        restored = restorer.run(
            frames,
            tile,
            toys.cut_at(5, []),
            lambda n: {"net": {"strength": 1.0}},
            toys.GRAY,
            lambda n, before, after, rgb, out: seen.append(run(weights.load(info), rgb[None])[0].mean(0) - out),
        )  # the film has no colour, so the net gives it none
        assert max(float(d.abs().max()) for d in seen) < 1e-6
        assert not np.array_equal(restored.planes[0], frames.planes[0])


class TestCheck:
    def test_a_whole_net(self, library: Library, tmp_path: Path) -> None:
        report = weights.check(str(saved(tmp_path)))
        assert report["status"] == "ok"
        assert report["family"] == "external"
        assert report["config"]["arch"] == "Toy"
        assert report["fast"] == "ok"
        assert report["keys"] == len(stand_in.weights())
        json.dumps(report)
        library.said = {"supports_bfloat16": False}
        assert "as exact" in weights.check(str(saved(tmp_path)))["fast"]

    def test_a_net_that_fails_in_bfloat16_alone(
        self, library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def strict(self: stand_in.Toy, x: Tensor) -> Tensor:
            change = self.head(x)
            if change.dtype != torch.float32:
                raise TypeError("no bfloat16")
            return x + self.tail(change)

        monkeypatch.setattr(stand_in.Toy, "forward", strict)
        report = weights.check(str(saved(tmp_path)))
        assert report["status"] == "ok"
        assert "no bfloat16" in report["fast"]


def _spandrel() -> Any:
    """The library itself."""
    try:
        import spandrel
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"spandrel needs torchvision, and no build for this torch is installed ({error})")
    return spandrel


def _random(make: Callable[[], nn.Module]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {k: t.clone() for k, t in make().state_dict().items()}


def _dncnn() -> nn.Module:
    from spandrel.architectures.DnCNN import DnCNN

    return DnCNN(in_nc=3, out_nc=3, nc=16, nb=5)


def _drunet() -> nn.Module:
    from spandrel.architectures.DRUNet import DRUNet

    return DRUNet(in_nc=4, out_nc=3, nc=[8, 16, 24, 32], nb=2)


def _swinir() -> nn.Module:
    from spandrel.architectures.SwinIR import SwinIR

    return SwinIR(
        img_size=32,
        window_size=8,
        depths=[1, 1],
        embed_dim=12,
        num_heads=[2, 2],
        upscale=1,
        upsampler="",
        img_range=1.0,
    )


def _scunet() -> nn.Module:
    from spandrel.architectures.SCUNet import SCUNet

    return SCUNet(in_nc=3, config=[2] * 7, dim=64)


class TestSpandrel:
    """Architectures of the library itself, at random weights."""

    @pytest.mark.parametrize(
        ("arch", "make"),
        [("DnCNN", _dncnn), ("DRUNet", _drunet), ("SwinIR", _swinir), ("SCUNet", _scunet)],
    )
    def test_an_architecture(self, arch: str, make: Callable[[], nn.Module], tmp_path: Path) -> None:
        library = _spandrel()
        tensors = _random(make)
        info = resolve(saved(tmp_path, tensors))
        assert info.config["arch"] == arch
        assert info.config["library"] == f"spandrel {library.__version__}"
        assert info.activation_bytes_px > 0
        x = pictures(2, 3, 50, 70)
        theirs = library.ModelLoader("cpu").load_from_state_dict(copy.deepcopy(tensors))
        wanted = torch.cat([theirs(p[None]) for p in x])
        assert float((wanted - x).abs().max()) > 0.01
        settle(spec.Engine(), "cpu")
        exact = NetEngine(weights.load(info), info, spec.Engine(batch=2), "cpu")(x)
        torch.testing.assert_close(exact, wanted, rtol=0, atol=1e-5)
        fast = NetEngine(weights.load(info), info, spec.Engine(precision="fast"), "cpu")(x)
        assert 0 < float((fast - exact).abs().max()) < 0.03
        assert weights.check(str(tmp_path / "toy.safetensors"))["fast"] == "ok"

    def test_one_that_enlarges(self, tmp_path: Path) -> None:
        _spandrel()
        from spandrel.architectures.Compact import Compact

        tensors = _random(lambda: Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=2))
        assert "enlarges 2 times" in refusal(saved(tmp_path, tensors))

    def test_buffers_of_whole_numbers(self, tmp_path: Path) -> None:
        """SwinIR's window index is one; a net without it would not be recognised."""
        _spandrel()
        path = saved(tmp_path, _random(_swinir))
        with files.opened(path, "x") as contents:
            kinds = {contents.buffer(k).dtype for k in contents.shapes}
        assert torch.int64 in kinds
        assert resolve(path).config["arch"] == "SwinIR"
