"""Tags: which are as true in a deliverable as in the source, and which its container did not take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import av

from pipeline.types import Reel

# Tags that a muxer made for the file that they were in, and that would be false in another.
_OF_THE_FILE = re.compile(
    r"encoder|software|duration|bps|number_of_(frames|bytes)|_statistics_.*|major_brand|minor_version|compatible_brands|vendor_id"
    r"|timecode",
    re.IGNORECASE,
)
# QuickTime's list of languages has these under their other ISO 639-2 code.
_IN_QUICKTIME = {"fre": "fra", "rum": "ron", "cze": "ces", "slo": "slk"}
FIELD_ORDERS = {1: "progressive", 2: "tt", 3: "bb", 4: "tb", 5: "bt"}
"""FFmpeg's number → ``Reel.field_order``."""


def useful(metadata: Mapping[str, str]) -> dict[str, str]:
    """Tags that are as true in the deliverable as in the source."""
    return {
        k: v
        for k, v in metadata.items()
        if not _OF_THE_FILE.fullmatch(k.partition("-")[0]) and (k.lower(), v) != ("language", "und")
    }


def for_container(metadata: Mapping[str, str], container: str) -> dict[str, str]:
    """The useful ones of a stream, as a muxer (FFmpeg's name) understands them."""
    said = useful(metadata)
    if container == "mov" and said.get("language") in _IN_QUICKTIME:
        said["language"] = _IN_QUICKTIME[said["language"]]
    return said


def lost(path: Path, reel: Reel, place: Mapping[int, int], *, picture: bool) -> list[str]:
    """Sentences on the tags that the container did not take.

    ``place``: the source's streams → the deliverable's. ``picture``: its first stream is the picture.
    """
    kind = path.suffix[1:]
    told = []
    with av.open(str(path), metadata_errors="replace") as container:
        pairs = [("", reel.tags, container.metadata)]
        if picture:
            pairs.append(("picture's ", reel.picture_tags, container.streams[0].metadata))
        for other in reel.others:
            if other.index in place and other.kind != "attachment":
                there = container.streams[place[other.index]].metadata
                pairs.append((f"{other.kind} stream {other.index}'s ", other.tags, there))
        for whose, said, found in pairs:
            kept = {k.casefold() for k in found}
            gone = sorted(k for k in useful(dict(said)) if k.casefold() not in kept)
            if gone:
                told.append(f"The {whose}tags {', '.join(gone)} are left out, {kind} does not know them")
    return told


def fields_lost(path: Path, reel: Reel) -> list[str]:
    """A sentence, where a deliverable does not say which field of the source's frames comes first."""
    with av.open(str(path)) as container:
        order = container.streams.video[0].codec_context.field_order
    if not reel.interlaced or FIELD_ORDERS.get(order) == reel.field_order:
        return []
    kind = path.suffix[1:]
    return [f"The order of the fields ({reel.field_order}) is left out: the pictures of {kind} are coded as frames"]
