"""The training presets: they parse, every key is explained, and what each says of itself holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from jobs.train import load, presets
from pipeline.errors import ConfigError
from pipeline.restore import nets
from tests.configs.test_presets import keys

FOLDER = Path(__file__).parents[2] / "configs" / "train"
PRESETS = ("finetune", "mprnet-film", "nafnet-film", "nafnet-film-small")


def test_the_promised_presets_are_there() -> None:
    assert tuple(presets()) == PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_every_key_has_a_comment(preset: str) -> None:
    text = (FOLDER / f"{preset}.yaml").read_text()
    lines = text.splitlines()
    bare = [
        f"line {line + 1}: {key}"
        for key, line in keys(yaml.compose(text))
        if not re.search(r"\S\s+# \S", lines[line]) and not lines[line - 1].lstrip().startswith("# ")
    ]
    assert not bare, f"{preset} has keys without a comment: {bare}"


@pytest.mark.parametrize("preset", PRESETS)
def test_data_and_overlays_come_from_the_command_line(preset: str) -> None:
    spec = load(preset, data=["s3://lab/it's clean", "frames=/reds"], overlays="dirt", overrides=["steps=7"])
    assert [(s.uri, s.kind) for s in spec.data.sources] == [("s3://lab/it's clean", "stills"), ("/reds", "frames")]
    assert (spec.data.overlays, spec.steps) == ("dirt", 7)
    assert spec.damage.keep_lines, "a net that repairs scratches erases real lines"


def test_the_nets_are_as_small_as_they_say() -> None:
    found = {p: load(p, data=(), overlays=None, overrides=()).net for p in ("nafnet-film-small", "mprnet-film")}
    small, mprnet = (nets.parse(net or {}) for net in found.values())
    assert sum(p.numel() for p in nets.build(small).parameters()) < 0.44e6 / 4
    assert isinstance(mprnet, nets.MPRNetConfig)
    assert mprnet.n_feat <= 16


def test_mistakes_name_the_nearest_key_and_preset() -> None:
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        load("nafnet-film", data=(), overlays=None, overrides=["step=7"])
    with pytest.raises(ConfigError, match=r"damage\.grain: a range is"):
        load("nafnet-film", data=(), overlays=None, overrides=["damage.grain=[0.2, 0.1]"])
    with pytest.raises(ConfigError, match="finetune, mprnet-film"):
        load("nafnet", data=(), overlays=None, overrides=())
