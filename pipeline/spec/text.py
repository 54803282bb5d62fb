"""Configs as text: YAML with ``--set a.b=c`` put over it, checked against a model."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline.errors import ConfigError
from pipeline.spec.chain import KINDS
from pipeline.treatments import Model

_MAX_CONFIG_BYTES = 1 << 20

M = TypeVar("M", bound=Model)


def parse_as(model: type[M], text: str, *, where: str = "config", overrides: Sequence[str] = ()) -> M:
    """As ``parse``, of a config of another kind of job."""
    if len(text) > _MAX_CONFIG_BYTES:
        raise ConfigError(f"the config has {len(text)} characters; at most {_MAX_CONFIG_BYTES} are read", where=where)
    data = _yaml(text, where)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"a config is a mapping of keys, this is a {type(data).__name__}", where=where)
    for item in overrides:
        _set(model, data, item)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(model, error), where=where) from None


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"not YAML{line}: {getattr(error, 'problem', None) or error}", where=where) from None


def _set(model: type[Model], data: dict[str, Any], item: str) -> None:
    path, sign, value = item.partition("=")
    keys = path.strip().split(".")
    if not sign or not all(keys):
        raise ConfigError(f"--set takes KEY=VALUE, got {item!r}", where="--set")
    here: object = data
    for at, key in enumerate(keys[:-1]):
        if isinstance(here, list):
            here = here[_place(here, key, item)]
        elif isinstance(here, dict):
            if here.get(key) is None:
                # A list that the file leaves out starts from its defaults: `chain.0.strength` has something to change.
                default = _default(model, keys[: at + 1])
                here[key] = default if isinstance(default, list) else {}
            here = here[key]
        else:
            raise ConfigError(f"{item!r}: {'.'.join(keys[:at])} has no keys below it", where="--set")
    parsed = _yaml(value, f"--set {path}")
    if isinstance(here, list):
        here[_place(here, keys[-1], item)] = parsed
    elif isinstance(here, dict):
        here[keys[-1]] = parsed
    else:
        raise ConfigError(f"{item!r}: {'.'.join(keys[:-1])} has no keys below it", where="--set")


def _place(items: list[Any], key: str, item: str) -> int:
    if not key.isdecimal() or int(key) >= len(items):
        raise ConfigError(f"{item!r}: {key!r} is no place in a list of {len(items)} (from 0)", where="--set")
    return int(key)


def _default(model: type[BaseModel], keys: Sequence[str]) -> Any:
    """What a field is where nothing is said of it, as JSON values; an empty mapping where there is no such field."""
    names = {f.alias or name: name for name, f in model.model_fields.items()}
    if keys[0] not in names or model.model_fields[names[keys[0]]].is_required():
        return {}
    found = model.model_fields[names[keys[0]]].get_default(call_default_factory=True)
    if isinstance(found, BaseModel) and len(keys) > 1:
        return _default(type(found), keys[1:])
    return TypeAdapter(Any).dump_python(found, mode="json", by_alias=True) if len(keys) == 1 else {}


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    told = []
    for e in error.errors(include_url=False):
        # A chain's item names its kind again, which is in no one's config.
        loc = e["loc"]
        where = ".".join(str(p) for i, p in enumerate(loc) if not _is_kind(loc, i))
        if e["type"] == "union_tag_invalid":
            said = str(e["input"].get("pass"))[:80] if isinstance(e["input"], Mapping) else ""
            told.append(f"{where}: there is no pass {said!r}{nearest(said, KINDS)}")
        elif e["type"] == "extra_forbidden":
            known = _keys_at(model, e["loc"][:-1])
            told.append(f"unknown key {where!r}{nearest(str(e['loc'][-1]), known)}")
        else:
            told.append(
                f"{where or 'the config'}: {e['msg'].removeprefix('Value error, ')}, got {str(e['input'])[:80]!r}"
                if where
                else e["msg"].removeprefix("Value error, ")
            )
    return "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")


def _is_kind(loc: tuple[int | str, ...], at: int) -> bool:
    return at == 2 and loc[0] == "chain" and loc[at] in KINDS


def _keys_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at this place of the config knows."""
    model: Any = root
    for at, part in enumerate(loc):
        if isinstance(part, int):
            continue
        if _is_kind(loc, at):
            model = KINDS[str(part)]
            continue
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = _model_in(field.annotation) if field is not None else None
    if model is None:
        return []
    return [f.alias or name for name, f in model.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and not typing.get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((m for a in typing.get_args(annotation) if (m := _model_in(a)) is not None), None)


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if near:
        return f": did you mean {near[0]!r}?"
    return f": known are {', '.join(names)}" if names else ""
