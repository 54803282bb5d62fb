"""What ``bench net`` measures is what it says. No test asks how fast anything is."""

from __future__ import annotations

import pytest
import torch

from pipeline.restore import nets
from pipeline.restore.measure import Form, made
from pipeline.restore.nets import plain
from pipeline.restore.weights import registry
from tests.restore.golden import one_thread, relative

__all__ = ["one_thread"]


@pytest.mark.parametrize(
    ("net", "gmac"),
    [("nafnet-sidd-w32", 16.05), ("nafnet-gopro-w32", 15.96), ("mprnet-derain", 141.0)],
)
def test_operations_are_the_published_ones(net: str, gmac: float) -> None:
    """Without computing anything: multiply and add are two operations."""
    form = Form(net, "plain", width=256, height=256)
    assert form.flop() == pytest.approx(2e9 * gmac, rel=0.005)


def test_a_form_computes_what_it_is_called() -> None:
    plain_form, exact, fast = (Form("nafnet-film", f, width=70, height=50) for f in ("plain", "exact", "fast"))
    assert [f.about()["width"] for f in (plain_form, exact)] == [64, 64]  # multiples of 8
    assert exact.about()["height"] == 48
    assert plain_form.error()[0] < 1e-6
    assert exact.error()[0] < 1e-5
    assert 1e-4 < fast.error()[0] < 0.02
    assert all(f.seconds() > 0 and f.product_flop_s() > 1e6 for f in (exact, fast))
    # A call holds at least its stack of five frames, and less than an estimate for float32.
    for form in (exact, fast):
        assert 60 <= form.peak_bytes_px() <= form.config.activation_bytes_px * 1.05
    assert fast.peak_bytes_px() < exact.peak_bytes_px() < plain_form.peak_bytes_px()
    steps = dict(exact.profile())
    assert sum(steps.values()) == pytest.approx(1.0)
    assert {"aten::mkldnn_convolution", "aten::native_layer_norm"} <= steps.keys()


@pytest.mark.parametrize("name", ["nafnet-film", "mprnet-derain"])
def test_made_weights_let_values_through(name: str) -> None:
    config = registry.named(name).config
    net = made(config)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), made(config).parameters(), strict=True))
    x = torch.rand(1, 3 * (2 * config.radius + 1), 32, 40)
    with torch.inference_mode():
        found = net(x)
        wanted = plain.forward(config, net.state_dict(), x)
    assert 1e-3 < float((found - x[:, :3]).std()) < 1e3
    assert relative(found, wanted) < 1e-5
    assert isinstance(net, nets.NAFNet | nets.MPRNet)


def test_the_plain_form_takes_multiples_only() -> None:
    config = registry.named("nafnet-film").config
    with pytest.raises(ValueError, match="multiples of 8"):
        plain.forward(config, {}, torch.rand(1, 15, 30, 32))
