"""Pictures that divide by nothing, portrait and tiny ones, whole and in spatial tiles; and ramps, code for code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.reel.formats import pixel_format
from pipeline.restore import nets
from pipeline.restore.colour import Converter
from pipeline.restore.engine import NetEngine, spans
from pipeline.restore.measure import made
from tests.restore.golden import filled, golden, one_thread
from tests.restore.test_nets import SMALL_MPRNET, TINY
from tests.restore.toys import GRAY, engine, net_info

__all__ = ["one_thread"]

THIN = {"arch": "nafnet", "width": 4, "enc_blk_nums": [1, 1], "middle_blk_num": 1, "dec_blk_nums": [1, 1]}
THIN_MPRNET = {"arch": "mprnet", "n_feat": 4, "scale_unetfeats": 2, "scale_orsnetfeats": 2, "num_cab": 1}
FAMILIES = [TINY, SMALL_MPRNET, TINY | {"tlc_train_size": [32, 16]}]


def engine_of(net: nn.Module, **said: Any) -> NetEngine:
    return NetEngine(net, net_info(), engine(**said), "cpu")


def checked(config: dict[str, Any], height: int, width: int, **said: Any) -> None:
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    net = filled(config)
    seen: list[tuple[int, ...]] = []
    net.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[-2:])))
    out = engine_of(net, **said)(x)
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert bool(torch.isfinite(out).all())
    # Every tile has the same size, and gives the middle of what the net makes of it.
    rows, columns = (spans(n, said.get("tile"), 32) for n in (height, width))
    assert seen == [(rows[0].last - rows[0].first, columns[0].last - columns[0].first)] * (len(rows) * len(columns))
    y, z = rows[-1], columns[-1]
    with torch.inference_mode():
        corner = net(x[..., y.first : y.last, z.first : z.last].contiguous())
    kept = corner[..., y.keep_first - y.first :, z.keep_first - z.first :]
    assert torch.equal(out[..., y.keep_first :, z.keep_first :], kept)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (33, 47), (47, 33), (70, 211)])
@pytest.mark.parametrize("config", FAMILIES)
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_small_and_odd_pictures_whole(config: dict[str, Any], size: tuple[int, int], precision: str) -> None:
    checked(config, *size, precision=precision)


@pytest.mark.parametrize("size", [(33, 257), (301, 70), (259, 227)])
@pytest.mark.parametrize("config", FAMILIES)
def test_odd_pictures_in_spatial_tiles(config: dict[str, Any], size: tuple[int, int]) -> None:
    checked(config, *size, precision="fast", tile=128)


@pytest.mark.parametrize("size", [(1079, 1999), (1999, 1079)])
@pytest.mark.parametrize("tile", [None, 512])
@pytest.mark.parametrize("config", [THIN, pytest.param(THIN_MPRNET, marks=pytest.mark.slow)])
def test_1999x1079_and_portrait(config: dict[str, Any], size: tuple[int, int], tile: int | None) -> None:
    checked(config, *size, precision="fast", tile=tile)


def without_change(config: dict[str, Any]) -> nn.Module:
    """A net as it is before it has learned: it changes nothing, though all of it is computed."""
    net = made(nets.parse(config))
    with torch.no_grad():
        for key, p in net.named_parameters():
            if key.endswith(("beta", "gamma")):
                p.zero_()
        ends = (net.ending,) if isinstance(net, nets.NAFNet) else (net.tail, net.sam12.conv2, net.sam23.conv2)
        for end in ends:
            for p in end.parameters():
                p.zero_()
    return net


@pytest.mark.parametrize("bits", [10, 16])
@pytest.mark.parametrize("tile", [None, 128])
@pytest.mark.parametrize("kind", ["nafnet", "mprnet"])
def test_a_ramp_keeps_every_code_in_fast(kind: str, tile: int | None, bits: int) -> None:
    """bfloat16 has eight bits; the picture has ten or sixteen, and all are there when nothing was changed."""
    config = golden("nafnet_sidd_w32").config if kind == "nafnet" else SMALL_MPRNET
    fmt = pixel_format(f"gray{bits}le")
    codes = torch.arange(1 << 16, dtype=torch.int32) % (1 << bits)
    planes = [codes.to(torch.uint16).reshape(1, 128, 512)]
    converter = Converter(fmt, GRAY, "cpu")
    rgb = converter.to_rgb(planes)
    net = without_change(config)
    out = engine_of(net, precision="fast", tile=tile)(rgb)
    assert all(p.dtype == torch.bfloat16 for p in net.parameters())
    assert torch.equal(out, rgb)
    assert torch.equal(converter.delta(rgb, out, planes)[0], planes[0])


def test_the_pictures_between_mprnet_s_stages_are_float32() -> None:
    net = filled(SMALL_MPRNET).bfloat16()
    assert isinstance(net, nets.MPRNet)
    seen: list[torch.dtype] = []
    for sam in (net.sam12, net.sam23):
        sam.register_forward_hook(lambda _, args, out: seen.extend((args[1].dtype, out[1].dtype)))  # type: ignore[arg-type]
    with torch.inference_mode():
        found: tuple[Tensor, ...] = net.stages(torch.rand(1, 3, 40, 24))
    assert seen == [torch.float32] * 4
    assert {p.dtype for p in found} == {torch.float32}
