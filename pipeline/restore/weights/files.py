"""Weights files as they come from outside: ``.safetensors`` and ``.pth``, none of them trusted.

What a file is, its first bytes tell. Nothing is unpickled but tensors and plain containers, sizes are bounded before
anything is allocated, and every error says what was found.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from pipeline.errors import WeightsError
from pipeline.restore.weights import pickles

_MAX_HEADER = 16 << 20
"""Bytes of a safetensors header or of a checkpoint's pickle, which hold names and shapes alone."""
_MAX_ENTRIES = 50_000
_WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
"""Keys under which checkpoints keep their state dict: BasicSR's (of two, the smoothed weights, which are meant for
use), then MPRNet's and others'. The first that is there is read."""
_PREFIX = "module."
"""What torch's DataParallel puts before every key."""
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_WHOLE = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_LEGACY_PICKLES = 5
"""Before torch 1.6 a checkpoint was this many pickles in a row, then the values."""
_LEGACY_PICKLE = re.compile(rb"\x80[\x02-\x05]")

_LOAD_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    ImportError,
    struct.error,
)
"""What torch.load may raise on bytes that were made to break it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """An open weights file: keys without wrappers and prefixes."""

    shapes: Mapping[str, tuple[int, ...]]
    tensor: Callable[[str], Tensor]
    """Key → values as a float32 tensor of its own, checked to be finite. Raises WeightsError, of whole numbers too."""
    buffer: Callable[[str], Tensor]
    """As ``tensor``; whole numbers and booleans, which some nets keep beside their weights, come as they are."""


@contextlib.contextmanager
def opened(path: Path, where: str) -> Iterator[Contents]:
    """Open a local weights file. ``where`` is how errors call it. Raises WeightsError."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
            size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror or error})", where=where, todo="Check the name") from None
    length = int.from_bytes(head[:8], "little")
    looks = head[8:9] == b"{"
    # Asked first: a header of 640 bytes, or of 65536 more, begins like a pickle.
    if looks and length <= min(_MAX_HEADER, size - 8):
        with _open_safetensors(path, where) as contents:
            yield contents
        return
    is_zip, is_pickle = head[:4] == b"PK\x03\x04", _LEGACY_PICKLE.match(head) is not None
    if (is_zip or is_pickle) and path.suffix == ".safetensors":
        # torch.load goes by this suffix, not by what is in the file.
        raise WeightsError("a PyTorch checkpoint under a safetensors name", where=where, todo="Rename it to .pth")
    if is_zip:
        _check_zip(path, where)
        # Memory-mapped: storages become slices of the file, so none can be larger than what is there.
        yield _from_checkpoint(_unpickle(path, where, mmap=True), where)
    elif is_pickle:
        with path.open("rb") as file:
            for _ in range(_LEGACY_PICKLES):
                if file.tell() < size:  # a bare pickle ends here; what it is, PyTorch tells
                    pickles.check_depth(file, where)
        yield _from_checkpoint(_unpickle(path, where, mmap=False), where)
    elif looks:
        raise WeightsError(f"its header claims {length} bytes; the file is damaged", where=where)
    else:
        raise WeightsError(
            f"neither safetensors nor a PyTorch checkpoint ({size} bytes that begin with {head[:8]!r})",
            where=where,
            todo="Look into it: sometimes a web page was saved under the file's name",
        )


def notes(path: Path) -> Mapping[str, str]:
    """What a local safetensors file says of itself in its header; nothing of other files, nor of damaged ones."""
    try:
        with path.open("rb") as file:
            if int.from_bytes(file.read(8), "little") > _MAX_HEADER:
                return {}
        with safetensors.safe_open(path, framework="pt", device="cpu") as open_file:
            return open_file.metadata() or {}
    except (OSError, safetensors.SafetensorError):
        return {}


@contextlib.contextmanager
def _open_safetensors(path: Path, where: str) -> Iterator[Contents]:
    try:
        file = safetensors.safe_open(path, framework="pt", device="cpu")
        with file as open_file:
            raw = _strip({key: key for key in open_file.keys()}, where)  # noqa: SIM118 - it is no dict
            shapes = {key: tuple(open_file.get_slice(name).get_shape()) for key, name in raw.items()}
            yield _contents(shapes, lambda key: open_file.get_tensor(raw[key]), where)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"not a whole safetensors file ({error})", where=where, todo="Get the file again") from None


def _from_checkpoint(data: Any, where: str) -> Contents:
    if isinstance(data, dict):
        inner = [data[wrapper] for wrapper in _WRAPPERS if isinstance(data.get(wrapper), dict)]
        if not inner and len(data) == 1:
            inner = [value for value in data.values() if isinstance(value, dict)]
        data = inner[0] if inner else data
    if not isinstance(data, dict) or not data:
        raise WeightsError(f"a state dict was expected, this is {type(data).__name__}", where=where)
    tensors = {}
    for key, value in _strip(data, where).items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise WeightsError(f"{key[:80]!r} is no plain tensor but {type(value).__name__}", where=where)
        tensors[key] = value.detach()
    return _contents({k: tuple(t.shape) for k, t in tensors.items()}, tensors.__getitem__, where)


def _contents(shapes: Mapping[str, tuple[int, ...]], raw: Callable[[str], Tensor], where: str) -> Contents:
    return Contents(
        shapes,
        tensor=lambda key: _values(raw(key), key, where),
        buffer=lambda key: _values(raw(key), key, where, whole=True),
    )


def _strip(data: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """The same entries without ``module.`` before their keys."""
    if len(data) > _MAX_ENTRIES:
        raise WeightsError(f"it has {len(data)} entries; at most {_MAX_ENTRIES} are read", where=where)
    for key in data:
        if not isinstance(key, str):
            raise WeightsError(f"a state dict's keys are names, this one is {str(key)[:80]!r}", where=where)
    found = dict(data)
    while found and all(key.startswith(_PREFIX) and key != _PREFIX for key in found):
        found = {key.removeprefix(_PREFIX): value for key, value in found.items()}
    return found


def _values(tensor: Tensor, key: str, where: str, *, whole: bool = False) -> Tensor:
    key, as_it_is = key[:80], whole and tensor.dtype in _WHOLE
    if not as_it_is and tensor.dtype not in _FLOATS:
        raise WeightsError(f"{key!r} holds {tensor.dtype}; weights are floating-point", where=where)
    try:
        values = tensor.to(
            tensor.dtype if as_it_is else torch.float32, copy=True, memory_format=torch.contiguous_format
        )
    except RuntimeError as error:
        raise WeightsError(f"{key} cannot be read ({error})", where=where) from None
    if not as_it_is and not bool(torch.isfinite(values).all()):
        raise WeightsError(f"{key} has values that are not finite", where=where, todo="Get the file again")
    return values


def _check_zip(path: Path, where: str) -> None:
    """Refuse archives that would unfold (PyTorch stores its entries uncompressed) or hold more than weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive, where)
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, EOFError, struct.error) as error:
        raise WeightsError(
            f"not a whole PyTorch checkpoint ({error})", where=where, todo="Get the file again"
        ) from None


def _check_entries(archive: zipfile.ZipFile, where: str) -> None:
    entries = archive.infolist()
    if len(entries) > _MAX_ENTRIES:
        raise WeightsError(f"it has {len(entries)} entries; at most {_MAX_ENTRIES} are read", where=where)
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise WeightsError(
            "a TorchScript archive, which is a program; refused",
            where=where,
            todo="Ask for a .safetensors, or for the state dict alone: torch.save(net.state_dict(), …)",
        )
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise WeightsError(
                f"its entry {entry.filename[:80]!r} is compressed, which PyTorch's own never are; not opened",
                where=where,
            )
        if entry.filename.endswith(".pkl"):
            if entry.file_size > _MAX_HEADER:
                raise WeightsError(
                    f"its pickle has {entry.file_size} bytes; at most {_MAX_HEADER} are read", where=where
                )
            with archive.open(entry) as file:
                pickles.check_depth(io.BytesIO(file.read()), where)


def _unpickle(path: Path, where: str, *, mmap: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats, which are no news to whoever restores a film
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except _LOAD_ERRORS as error:
        # PyTorch's own text tells people to switch the protection off, so only what it found is told.
        text = str(error)
        found = re.search(r"WeightsUnpickler error: (.*)", text)
        told = found[1] if found else text
        named = re.search(r"GLOBAL ([\w.]+)", told)
        if named or re.search(r"unsupported class|unrecognized function", told):
            raise WeightsError(
                f"unsafe: it holds more than tensors{f' (it names {named[1]})' if named else ''}, and loading that "
                "could run any code; refused",
                where=where,
                todo="Ask for a .safetensors, or for the state dict alone: torch.save(net.state_dict(), …)",
            ) from None
        raise WeightsError(
            f"not a whole PyTorch checkpoint ({type(error).__name__}: {told[:120]})",
            where=where,
            todo="Get the file again",
        ) from None
