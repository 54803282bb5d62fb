"""From what a spec says to a net: ``resolve`` once on the driver, ``load`` on every worker."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ConfigError, WeightsError
from pipeline.restore import nets
from pipeline.restore.nets import external
from pipeline.restore.weights import cache, files, other, registry
from pipeline.spec import NetPass
from pipeline.storage import store
from pipeline.types import NetInfo

_BUNDLED = "package:"
"""Begins the URI of a bundled file: every worker has its own copy, wherever the package lies there."""
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
_UNKNOWN_LICENCE = "not known to us: the file was given by its path"


def resolve(net: NetPass) -> NetInfo:
    """What a spec's net is, its file hashed and, where it was given by path or URI, its config read off its shapes.
    A file of neither of our families is shown to the library spandrel, where that is installed.

    Raises WeightsError (unknown name, missing file, another hash, unsafe or foreign file, keys missing or unexpected,
    values not finite, licence not accepted), ConfigError where ``tlc`` cannot be meant so, StorageError.
    """
    said = net.weights
    by_path = said not in registry.entries() and ("/" in said or said.endswith(SUFFIXES))
    info = _from_file(said, net.sha256) if by_path else _from_registry(registry.named(said), net.sha256)
    if info.restricted and not net.accept_licence:
        raise WeightsError(
            f"these weights are under a licence that restricts their use: {info.licence}",
            where=said,
            todo="Read it; if it allows what you do, say `accept_licence: true` in the pass",
        )
    size = _train_size(info, net.tlc)
    if info.family == other.FAMILY:
        return info
    return replace(info, activation_bytes_px=replace(nets.parse(info.config), tlc_train_size=size).activation_bytes_px)


def load(info: NetInfo, *, tlc: bool | tuple[int, int] = False) -> nets.NAFNet | nets.MPRNet | external.ExternalNet:
    """The net with its weights: float32, in evaluation mode, on the CPU. The file's hash is checked again.

    tlc: the Test-time Local Converter: True for the size that the weights were trained at, or that size as (height,
    width) in px. Raises as ``resolve``, and WeightsError where the library of an external net is another one here.
    """
    if info.family == other.FAMILY:
        _train_size(info, tlc)
        return other.load(info, locate(info))
    config = replace(nets.parse(info.config), tlc_train_size=_train_size(info, tlc))
    values = read(locate(info), config, info.name)
    with torch.device("meta"):
        net = nets.build(config)
    net.load_state_dict(values, strict=True, assign=True)
    return net.eval()


def locate(info: NetInfo) -> Path:
    """The weights' file on this machine, fetched where it must be, the hash checked. WeightsError, StorageError."""
    if info.uri.startswith(_BUNDLED):
        path = registry.FOLDER / Path(info.uri.removeprefix(_BUNDLED)).name
        cache.require(path, info.sha256, info.uri)
        return path
    local = store.local_path(info.uri)
    if local is not None and local.is_file():
        cache.require(local, info.sha256, info.uri)
        return local
    found = cache.cached(info.sha256)
    if found is None and local is not None:
        raise WeightsError(
            "this machine has no such file",
            where=info.uri,
            todo="Name the weights by a URI that every worker reaches, or run `reelmend nets fetch` on each",
        )
    return found or cache.fetch(info.uri, info.sha256)


def read(path: Path, config: nets.NetConfig, where: str) -> dict[str, Tensor]:
    """A file's tensors as float32, which fit the config key for key and are finite. Raises WeightsError."""
    wanted, _ = facts(config)
    with files.opened(path, where) as contents:
        _compare(contents.shapes, wanted, where)
        values = {key: contents.tensor(key) for key in wanted}
    if config.family == "mprnet":
        # One PReLU is shared by the whole net; strict loading would keep whichever copy comes last.
        slopes = {float(v) for key, v in values.items() if key.endswith(".body.1.weight") and v.ndim == 1}
        if len(slopes) > 1:
            raise WeightsError(
                f"its PReLU slopes differ ({', '.join(f'{s:g}' for s in sorted(slopes)[:3])}…); MPRNet shares one",
                where=where,
            )
    return values


def facts(config: nets.NetConfig) -> tuple[Mapping[str, tuple[int, ...]], int]:
    """Every key with its shape, and the number of parameters. Costs no memory for them."""
    return _facts(json.dumps(replace(config, tlc_train_size=None).mapping()))


@functools.lru_cache(maxsize=32)
def _facts(config: str) -> tuple[Mapping[str, tuple[int, ...]], int]:
    with torch.device("meta"):
        net = nets.build(json.loads(config))
    return {key: tuple(t.shape) for key, t in net.state_dict().items()}, sum(p.numel() for p in net.parameters())


def _from_registry(entry: registry.Entry, said_sha256: str | None) -> NetInfo:
    if entry.file is not None and entry.sha256 is not None:
        uri, path = _BUNDLED + entry.file, registry.FOLDER / entry.file
        cache.require(path, entry.sha256, entry.name)
        if said_sha256 is not None:
            cache.require(path, said_sha256, entry.name)
        sha256 = entry.sha256
    else:
        found = cache.cached(said_sha256) if said_sha256 is not None else None
        if said_sha256 is None or found is None:
            missing = "their sha256 is not stated"
            if said_sha256 is not None:
                missing = f"no file with sha256 {said_sha256} is in the cache"
            raise WeightsError(
                f"these weights are not shipped with Reelmend, and {missing}",
                where=entry.name,
                todo=f"Get the file from its authors ({entry.source}), keep it with `reelmend nets fetch FILE` and its "
                "hash, and say `sha256:` in the pass; or give its path in `weights:`",
            )
        uri, sha256 = str(found), said_sha256
        read(found, entry.config, entry.name)
    return _info(entry.name, uri, sha256, entry.config, entry.licence, entry.restricted, entry.train_size)


def _from_file(said: str, sha256: str | None) -> NetInfo:
    path = store.local_path(said)
    if path is None:
        if sha256 is None:
            raise WeightsError(
                "weights at a URI need their hash, so that every worker runs the same net",
                where=said,
                todo="Say `sha256:` in the pass (`sha256sum FILE` prints it)",
            )
        path = cache.fetch(said, sha256)
    found = cache.require(path, sha256, said)
    name, uri = said.rstrip("/").rsplit("/", 1)[-1], store.absolute(said)
    with files.opened(path, said) as contents:
        config = _family(contents.shapes, said)
        if isinstance(config, WeightsError):
            return other.describe(other.ask(contents, said, config), name, uri, found, _UNKNOWN_LICENCE)
    read(path, config, said)
    restricted = config.family == "mprnet" and _has_released_shape(config)
    licence = _UNKNOWN_LICENCE
    if restricted:
        licence += "; it has the shape of MPRNet's released weights, which are non-commercial"
    return _info(name, uri, found, config, licence, restricted, None)


def _family(shapes: Mapping[str, tuple[int, ...]], where: str) -> nets.NetConfig | WeightsError:
    """The config of a net of ours that fits these keys and shapes, one and all; else what is wrong."""
    try:
        config = nets.infer(shapes)
    except ConfigError as error:
        return WeightsError(f"its shapes are of no net that can be built: {error.what}", where=where)
    if config is None:
        first = ", ".join(key[:60] for key in sorted(shapes)[:3])
        return WeightsError(
            f"its keys are neither NAFNet's nor MPRNet's ({len(shapes)} keys: {first} …)",
            where=where,
            todo=f"{external.INSTALL} for other architectures (SCUNet, SwinIR, DRUNet…)",
        )
    try:
        _compare(shapes, facts(config)[0], where)
    except WeightsError as error:
        return error
    return config


def _has_released_shape(config: nets.NetConfig) -> bool:
    """Whether weights of this config could be, or derive from, those of a restricted registry entry."""
    return any(e.restricted and e.config == config for e in registry.entries().values())


def _info(
    name: str,
    uri: str,
    sha256: str,
    config: nets.NetConfig,
    licence: str,
    restricted: bool,
    train_size: tuple[int, int] | None,
) -> NetInfo:
    return NetInfo(
        name=name,
        uri=uri,
        sha256=sha256,
        family=config.family,
        config=config.mapping(),
        radius=config.radius,
        licence=licence,
        restricted=restricted,
        train_size=train_size,
        parameter_bytes=4 * facts(config)[1],
        activation_bytes_px=config.activation_bytes_px,
    )


def _train_size(info: NetInfo, tlc: bool | tuple[int, int]) -> tuple[int, int] | None:
    if tlc is False:
        return None
    if info.family == other.FAMILY:
        raise ConfigError(
            f"tlc is for NAFNet and MPRNet; this is {info.config['arch']}", where=info.name, todo="Say tlc: false"
        )
    if tlc is not True:
        return int(tlc[0]), int(tlc[1])
    if info.train_size is None:
        raise ConfigError(
            "tlc: true takes the size that the weights were trained at, which is not known of a file",
            where=info.name,
            todo="Say it as [height, width] in px, e.g. tlc: [256, 256]",
        )
    return info.train_size


def _compare(found: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Raise WeightsError naming the keys that are missing, unexpected or of another shape."""
    told = []
    for what, keys in (("missing", wanted.keys() - found.keys()), ("unexpected", found.keys() - wanted.keys())):
        if keys:
            told.append(
                f"{len(keys)} keys are {what}: {', '.join(k[:80] for k in sorted(keys)[:5])}{' …' * (len(keys) > 5)}"
            )
    for key in sorted(wanted.keys() & found.keys()):
        if found[key] != wanted[key]:
            told.append(f"{key} is {list(found[key])[:6]}, expected {list(wanted[key])}")
            break
    if told:
        raise WeightsError(f"it does not fit the net: {'; '.join(told)}", where=where)
