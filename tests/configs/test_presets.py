"""The presets: they parse, every key is explained, and archive.yaml shows all that a job may say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.spec import Spec, parse

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = sorted(CONFIGS.glob("*.yaml"))


def keys(node: yaml.Node) -> Iterator[tuple[str, int]]:
    """Every key of a YAML document with its line, counted from 0."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key.value, key.start_mark.line
            yield from keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from keys(item)


def paths(value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{at}.{key}"
            yield from paths(item, f"{at}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, f"{at}[]")


def test_the_promised_presets_are_there() -> None:
    assert {p.stem for p in PRESETS} >= {"archive", "clean", "silent", "demo", "proxy", "overnight"}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.stem)
def test_parses(preset: Path) -> None:
    parse(preset.read_text(), where=str(preset))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.stem)
def test_every_key_has_a_comment(preset: Path) -> None:
    text = preset.read_text()
    lines = text.splitlines()
    bare = [
        f"line {line + 1}: {key}"
        for key, line in keys(yaml.compose(text))
        if not re.search(r"\S\s+# \S", lines[line]) and not lines[line - 1].lstrip().startswith("# ")
    ]
    assert not bare, f"{preset.name} has keys without a comment: {bare}"


def test_archive_shows_every_key() -> None:
    written = set(paths(yaml.safe_load((CONFIGS / "archive.yaml").read_text())))
    known = set(paths(Spec().canonical())) | set(paths(parse((CONFIGS / "archive.yaml").read_text()).canonical()))
    assert written == known


def test_archive_is_lossless_and_restores() -> None:
    spec = parse((CONFIGS / "archive.yaml").read_text())
    first = spec.deliver.outputs[0]
    assert (first.codec, first.pixel_format) == ("ffv1", "source")
    assert any(p.kind == "net" for p in spec.chain)


def test_overnight_gives_the_pictures_of_archive() -> None:
    archive, overnight = (parse((CONFIGS / f"{n}.yaml").read_text()) for n in ("archive", "overnight"))
    for part in ("seed", "chain", "engine", "source", "deliver"):
        assert getattr(archive, part) == getattr(overnight, part), part


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("chian: []", "unknown key 'chian': did you mean 'chain'?"),
        ("engine: {precison: fast}", "unknown key 'engine.precison': did you mean 'precision'?"),
        ("deliver: {outputs: [{codecc: ffv1}]}", "unknown key 'deliver.outputs.0.codecc': did you mean 'codec'?"),
        ("engine: {halo: 16}", "engine.halo: Input should be greater than or equal to 32, got '16'"),
    ],
)
def test_what_is_wrong_is_named(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(word)):
        parse(text)


def test_rayjob_runs_the_pinned_ray_and_a_preset_that_exists() -> None:
    job = yaml.safe_load((CONFIGS / "cluster" / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    pins = (CONFIGS.parent / "constraints.txt").read_text().splitlines()
    assert f"ray=={cluster['rayVersion']}" in pins
    assert cluster["authOptions"] == {"mode": "token"}
    words = job["spec"]["entrypoint"].split()
    assert words[:2] == ["reelmend", "restore"]
    assert words[words.index("-c") + 1] in {p.stem for p in PRESETS}
    images = {
        container["image"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
        for container in group["template"]["spec"]["containers"]
    }
    assert len(images) == 1, "head and workers must have the same reelmend"
