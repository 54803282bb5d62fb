"""Weights of other architectures than our own families': what the library spandrel makes of a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.restore.nets import external
from pipeline.restore.weights import cache, files
from pipeline.types import NetInfo

FAMILY: Final = "external"
_MAX_ELEMENTS = cache.MAX_BYTES // 2
"""Values that are read: as many as the largest file can hold in float16. Shapes that claim more are made up."""


def ask(contents: files.Contents, where: str, problem: WeightsError) -> external.ExternalNet:
    """The net that a file's tensors are the weights of.

    problem: why they are none of ours. Raises it, where the library is not installed; else WeightsError that adds what
    the library says.
    """
    if not external.installed():
        raise problem
    try:
        net = external.recognise(_tensors(contents, where))
    except WeightsError as error:
        raise WeightsError(f"{problem.what}; {error.what}", where=where, todo=error.todo) from None
    if net is None:
        raise WeightsError(f"{problem.what}; nor are they of a net that spandrel knows", where=where)
    return net


def describe(net: external.ExternalNet, name: str, uri: str, sha256: str, licence: str) -> NetInfo:
    """What a plan needs to know. A pass over a made picture is counted for it. Raises WeightsError where that fails."""
    try:
        activations = net.activation_bytes_px()
    except WeightsError as error:
        raise WeightsError(error.what, where=uri, todo=error.todo) from None
    return NetInfo(
        name=name,
        uri=uri,
        sha256=sha256,
        family=FAMILY,
        config=net.config,
        radius=0,
        licence=licence,
        restricted=False,
        train_size=None,
        parameter_bytes=sum(t.nbytes for t in (*net.parameters(), *net.buffers())),
        activation_bytes_px=activations,
    )


def load(info: NetInfo, path: Path) -> external.ExternalNet:
    """The net that was planned with, from its file. Raises WeightsError, also where the library here is another one."""
    planned = f"it was planned as {info.config['arch']} of {info.config['library']}"
    if not external.installed():
        raise WeightsError(
            f"{planned}, which is not installed here",
            where=info.uri,
            todo=f"{external.INSTALL}, in the same version on every node",
        )
    with files.opened(path, info.uri) as contents:
        net = ask(contents, info.uri, WeightsError(planned))
    if dict(net.config) != dict(info.config):
        raise WeightsError(
            f"{planned}, here it is {net.config['arch']} of {net.config['library']}",
            where=info.uri,
            todo="Install the same version on every node",
        )
    return net


def _tensors(contents: files.Contents, where: str) -> dict[str, Tensor]:
    elements = sum(math.prod(shape) for shape in contents.shapes.values())
    if elements > _MAX_ELEMENTS:
        raise WeightsError(f"its shapes claim {elements} values; at most {_MAX_ELEMENTS} are read", where=where)
    return {key: contents.buffer(key) for key in contents.shapes}
