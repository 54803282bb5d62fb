"""TLC: the windowed mean is exact in every format, its windows are those of the release, nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from pipeline.restore import nets
from pipeline.restore.nets import tlc
from tests.restore.golden import filled, golden, one_thread, relative

__all__ = ["one_thread"]

FORMS = (tlc.window_mean, tlc._by_rows, tlc._by_planes)
TINY: dict[str, Any] = golden("nafnet_tiny").config
DERAIN: dict[str, Any] = golden("mprnet_derain").config


def windows(net: nn.Module) -> dict[str, tuple[int, int] | None]:
    return {name: m.kernel for name, m in net.named_modules() if isinstance(m, tlc.Pool)}


def on_meta(config: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):
        return nets.build(config)


def by_hand(x: Tensor, window: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Every pixel's window, its top left clamped into the map, averaged in float64."""
    a = x.double().numpy()
    h, w = a.shape[-2:]
    k1, k2 = min(window[0], h), min(window[1], w)
    means = sliding_window_view(a, (k1, k2), axis=(2, 3)).mean((-2, -1))
    rows = np.clip(np.arange(h) - (k1 - 1) // 2, 0, h - k1)
    columns = np.clip(np.arange(w) - (k2 - 1) // 2, 0, w - k2)
    return means[:, :, rows][:, :, :, columns]


class TestWindowMean:
    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(1, 2),
        st.integers(1, 3),
        st.integers(1, 17),
        st.integers(1, 17),
        st.tuples(st.integers(1, 20), st.integers(1, 20)),
        st.booleans(),
    )
    def test_it_is_the_mean_of_every_window(
        self, b: int, c: int, h: int, w: int, window: tuple[int, int], channels_last: bool
    ) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        x = torch.randn(b, c, h, w).contiguous(memory_format=layout)
        for form in FORMS:
            assert np.allclose(tlc.spread(form(x, window), x).numpy(), by_hand(x, window), rtol=1e-5, atol=1e-6)
            wide = tlc.spread(form(x.double(), window), x)
            assert wide.dtype == torch.float64
            assert np.allclose(wide.numpy(), by_hand(x, window), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("form", FORMS)
    def test_a_large_map_keeps_its_digits(self, form: Any) -> None:
        """On a map of 2K size, whose running sum is a million times the mean of a window."""
        x = 100 + torch.rand(1, 1, 1556, 2048)
        found = form(x, (24, 36))[0, 0, ::97, ::103].numpy()
        wanted = sliding_window_view(x[0, 0].double().numpy(), (24, 36))[::97, ::103].mean((-2, -1))
        assert np.abs(found / wanted - 1).max() < 1e-6

    def test_the_last_of_many_windows_is_as_good_as_the_first(self) -> None:
        x = torch.zeros(1, 1, 3000, 8)
        x[:, :, :2000] = 1e4
        x[:, :, 2500:] = 0.25
        for form in FORMS:
            assert torch.equal(form(x, (16, 8))[0, 0, 2500:, 0], torch.full((485,), 0.25))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("window", [None, (40, 60), (200, 300)])
    def test_half_formats_are_summed_in_float32(self, dtype: torch.dtype, window: tuple[int, int] | None) -> None:
        """Summed in bfloat16 the mean is percents off; in float16 it is infinite."""
        x = (175 + torch.randn(1, 4, 128, 192)).to(dtype)
        pool = tlc.Pool()
        pool.kernel = window
        found = tlc.spread(pool(x), x)
        assert found.dtype == torch.float32
        wanted = by_hand(x, window or x.shape[-2:])
        assert relative(found.expand_as(x), wanted) < 1e-6

    def test_a_window_that_covers_the_map_is_the_global_mean(self) -> None:
        pool, x = tlc.Pool(), torch.rand(2, 3, 10, 12)
        whole = pool(x)
        pool.kernel = (10, 12)
        assert torch.equal(pool(x), whole)
        pool.kernel = (10, 11)  # one axis alone
        assert pool(x).shape == (2, 3, 1, 2)


class TestWindows:
    def test_nafnet_at_256(self) -> None:
        found = windows(on_meta(TINY | {"tlc_train_size": [256, 256]}))
        by_level = {k.rsplit(".", 3)[0]: v for k, v in found.items()}
        sides = {"encoders.0": 384, "encoders.1": 192, "encoders.2": 96, "encoders.3": 48, "middle_blks": 24}
        sides |= {"decoders.0": 48, "decoders.1": 96, "decoders.2": 192, "decoders.3": 384}
        assert by_level == {k: (side, side) for k, side in sides.items()}

    def test_heights_and_widths_are_not_swapped(self) -> None:
        found = windows(on_meta(TINY | {"tlc_train_size": [128, 320]}))
        assert found["encoders.0.0.sca.0"] == (192, 480)
        assert found["middle_blks.0.sca.0"] == (12, 30)
        found = windows(on_meta(DERAIN | {"tlc_train_size": [256, 512]}))
        assert found["shallow_feat3.1.CA.pool"] == (384, 1536)
        assert found["stage1_decoder.skip_attn2.CA.pool"] == (96, 768)

    def test_a_training_size_that_the_net_pads(self) -> None:
        """The pool sees the padded map, the base window is that of the size itself: 112 · (1.5 · 100) // 100."""
        assert windows(on_meta(TINY | {"tlc_train_size": [100, 96]}))["encoders.0.0.sca.0"] == (168, 144)

    def test_mprnet_at_256(self) -> None:
        found = windows(on_meta(DERAIN | {"tlc_train_size": [256, 256]}))
        assert len(found) == 3 + 6 + 8 + 6 + 8 + 24
        for where, window in {
            "shallow_feat1.1": (192, 192),
            "stage1_encoder.encoder_level1.0": (192, 192),
            "stage1_encoder.encoder_level3.1": (48, 48),
            "stage1_decoder.decoder_level1.0": (192, 384),
            "stage1_decoder.skip_attn1": (192, 384),
            "stage1_decoder.decoder_level3.1": (48, 96),
            "shallow_feat2.1": (192, 384),
            "stage2_encoder.encoder_level2.1": (96, 192),
            "stage2_decoder.decoder_level2.0": (192, 192),
            "stage2_decoder.skip_attn2": (192, 192),
            "shallow_feat3.1": (384, 384),
            "stage3_orsnet.orb3.body.7": (384, 384),
        }.items():
            assert found[f"{where}.CA.pool"] == window, where

    def test_no_window_is_empty(self) -> None:
        for config in (TINY, DERAIN):
            assert min(min(k) for k in windows(on_meta(config | {"tlc_train_size": [8, 8]})).values() if k) == 1


class TestNets:
    @pytest.mark.parametrize("config", [TINY, DERAIN])
    def test_no_key_changes(self, config: dict[str, Any]) -> None:
        plain, local = on_meta(config), on_meta(config | {"tlc_train_size": [64, 96]})
        assert list(plain.state_dict()) == list(local.state_dict())

    @pytest.mark.parametrize("config", [TINY, DERAIN])
    def test_frames_up_to_the_windows_are_left_as_they_were(self, config: dict[str, Any]) -> None:
        x = torch.rand(1, 3, 40, 56)
        with torch.inference_mode():
            assert torch.equal(filled(config)(x), filled(config | {"tlc_train_size": [256, 256]})(x))

    @pytest.mark.parametrize("config", [TINY, DERAIN | {"num_cab": 1}])
    def test_it_is_turned_on_and_off(self, config: dict[str, Any]) -> None:
        net, x = filled(config), torch.rand(1, 3, 64, 96)
        with torch.inference_mode():
            plain = net(x)
            net.set_tlc((16, 24))
            local = net(x)
            assert windows(net) == windows(on_meta(config | {"tlc_train_size": [16, 24]}))
            net.set_tlc(None)
            assert torch.equal(net(x), plain)
        assert not torch.equal(local, plain)

    def test_what_is_far_away_does_not_matter(self) -> None:
        """Brighten the right end of a wide frame: with TLC the left end stays, without it changes."""
        config = {"arch": "nafnet", "width": 8, "enc_blk_nums": [1], "middle_blk_num": 0, "dec_blk_nums": [0]}
        x = torch.rand(1, 3, 16, 128)
        other = x.clone()
        other[..., 64:] += 0.5
        net = filled(config)
        with torch.inference_mode():
            assert float((net(x) - net(other))[..., :32].abs().max()) > 1e-4
            net.set_tlc((16, 16))
            assert torch.equal(net(x)[..., :32], net(other)[..., :32])

    @pytest.mark.parametrize("config", [TINY | {"in_frames": 3}, DERAIN | {"num_cab": 1}])
    def test_bfloat16_weights_give_nearly_the_same(self, config: dict[str, Any]) -> None:
        x = torch.rand(1, 3 * config.get("in_frames", 1), 64, 64)
        net = filled(config | {"tlc_train_size": [16, 16]})
        with torch.inference_mode():
            wanted = net(x)
            assert relative(net.bfloat16()(x), wanted) < 0.05
