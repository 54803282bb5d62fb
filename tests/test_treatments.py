"""What a config may say of treatments, and what is said to it where it is wrong."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.spec import KINDS, NetPass, parse
from pipeline.treatments import TREATMENTS, DirtPass


def test_an_item_without_a_kind_is_a_net_and_kinds_are_told_apart() -> None:
    spec = parse("chain: [{weights: nafnet-film}, {pass: dirt, threshold: 0.2}]")
    assert isinstance(spec.chain[0], NetPass)
    assert isinstance(spec.chain[1], DirtPass)
    assert spec.pass_names() == ["net", "dirt"]
    assert set(KINDS) == {"net", *(t.model_fields["kind"].default for t in TREATMENTS)}


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        ("[{pass: dirtt}]", r"chain\.0: there is no pass 'dirtt': did you mean 'dirt'\?"),
        ("[{pass: dirt, treshold: 0.2}]", r"unknown key 'chain\.0\.treshold': did you mean 'threshold'\?"),
        ("[{pass: dirt, weights: nafnet-film}]", r"unknown key 'chain\.0\.weights'"),
        ("[{weihgts: nafnet-film}]", r"unknown key 'chain\.0\.weihgts': did you mean 'weights'\?"),
        ("[{pass: stabilise, when: often}]", r"chain\.0\.when: "),
        ("[{pass: dirt}, {pass: dirt}]", "two passes of the chain are called 'dirt'"),
        ("[{pass: degrain}, {pass: grain}]", "'grain' gives back what a net before it took away"),
        ("[{pass: grain}, {pass: net}]", "'grain' gives back what a net before it took away"),
    ],
)
def test_what_is_wrong_is_named_with_the_nearest_right_word(chain: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(f"chain: {chain}")


def test_every_treatment_can_be_switched_off_for_some_frames() -> None:
    for kind in KINDS:
        off = f"shots: [{{frames: '0:5', set: {{{kind}: {{strength: 0}}}}}}]"
        spec = parse(f"chain: [{{pass: net, name: first}}, {{pass: {kind}}}]\n{off}")
        assert spec.shots[0].set == {kind: {"strength": 0.0}}
    with pytest.raises(ConfigError, match="cannot change from frame to frame"):
        parse("chain: [{pass: dirt}]\nshots: [{frames: '0:5', set: {dirt: {threshold: 0.3}}}]")
