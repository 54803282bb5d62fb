"""The manifest's text: whatever is written reads back, and nothing hostile gets through."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import VerifyError
from pipeline.publish import manifest

_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30).filter(
    lambda n: n not in (".", "..")
)
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join).filter(lambda p: p != "manifest-sha256.txt")
_HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(st.dictionaries(_PATHS, _HASHES, min_size=1, max_size=8))
def test_what_is_written_reads_back(hashes: dict[str, str]) -> None:
    text = manifest.write(hashes)
    assert manifest.parse(text.encode(), where="m") == hashes
    assert text.count("\n") == len(hashes)
    assert manifest.write(dict(reversed(hashes.items()))) == text


_LINES = st.builds(
    lambda h, s, p: f"{h}{s}{p}\n".encode(), _HASHES, st.sampled_from(["  ", " ", "\t"]), st.text(max_size=9)
)


@given(st.binary(max_size=400) | st.lists(_LINES, max_size=4).map(b"".join))
def test_no_bytes_crash_it(data: bytes) -> None:
    try:
        found = manifest.parse(data, where="m")
    except VerifyError:
        return
    assert manifest.parse(manifest.write(found).encode(), where="m") == found


def test_names_with_line_ends_and_per_cent_are_coded_as_bagit_has_it() -> None:
    assert manifest.write({"a%b\nc\rd": "0" * 64}) == f"{'0' * 64}  a%25b%0Ac%0Dd\n"


def test_sha256sum_reads_it(tmp_path: Path) -> None:
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("no sha256sum here")
    names = [" two spaces.mkv", "report/ünï.json", "x"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    hashes = {n: hashlib.sha256(n.encode()).hexdigest() for n in names}
    (tmp_path / "manifest-sha256.txt").write_text(manifest.write(hashes))
    assert (
        subprocess.run([tool, "--strict", "-c", "manifest-sha256.txt"], cwd=tmp_path, capture_output=True).returncode
        == 0
    )
    (tmp_path / "x").write_bytes(b"y")
    assert subprocess.run([tool, "--strict", "-c", "manifest-sha256.txt"], cwd=tmp_path, capture_output=True).returncode


_H = "0" * 64


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty or cut off"),
        (f"{_H}  a", "cut off"),
        (f"{_H}  /etc/passwd\n", "not below"),
        (f"{_H}  a/../../b\n", "not below"),
        (f"{_H}  a//b\n", "not below"),
        (f"{_H}  ./a\n", "not below"),
        (f"{_H}  a\0b\n", "not text"),
        (f"{_H}  manifest-sha256.txt\n", "itself"),
        (f"{_H}  a\n{_H}  a\n", "second time"),
        (f"{_H[1:]}  a\n", "line 1 is not"),
        (f"{_H.replace('0', 'A')}  a\n", "line 1 is not"),
        (f"{_H}  a\n\n", "line 2 is not"),
        (f"{_H}  a%2Fb\n", "line 1 is not"),
        (f"{_H}  {'a' * 5000}\n", "longer"),
    ],
)
def test_hostile_text_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(VerifyError, match=says) as caught:
        manifest.parse(text.encode(), where="s3://out/r/manifest-sha256.txt")
    assert str(caught.value).startswith("s3://out/r/manifest-sha256.txt: ")


def test_other_encodings_and_sizes_are_refused() -> None:
    with pytest.raises(VerifyError, match="not UTF-8 at byte 66"):
        manifest.parse(f"{_H}  ".encode() + b"\xff\n", where="m")
    with pytest.raises(VerifyError, match="at most"):
        manifest.parse(b"x" * (manifest.MAX_BYTES + 1), where="m")
    with pytest.raises(VerifyError, match="not below"):
        manifest.write({"../a": _H})
