"""A look at a pickle before it is loaded: how deeply its tuples are nested.

Python hashes a tuple by recursion and without a limit, so a tuple of millions of tuples used as a key ends the process.
The restricted unpickler that PyTorch loads weights with does not look for that.
"""

from __future__ import annotations

import os
import pickletools
from typing import BinaryIO, cast

from pipeline.errors import WeightsError

_MAX_DEPTH = 100
"""Real checkpoints nest their tuples five deep."""
_MAX_STEPS = 5_000_000
"""Some 60 steps describe a tensor; this is half a minute of looking."""
_MARK = -1
_MUTATORS = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}


def check_depth(file: BinaryIO, where: str) -> None:
    """Walk through one pickle, without building anything. ``file`` stands after it then.

    Raises WeightsError where it is nested too deeply, too long, or no pickle.
    """
    stack: list[int] = []
    memo: dict[int, int] = {}
    # read, readline and tell are all that genops asks for.
    bounded = cast(BinaryIO, _Bounded(file))
    try:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
            if step >= _MAX_STEPS:
                raise WeightsError(f"its pickle has more than {_MAX_STEPS} steps; not opened", where=where)
            _step(opcode, argument, stack, memo)
            if stack and stack[-1] > _MAX_DEPTH:
                raise WeightsError(
                    f"its pickle nests more than {_MAX_DEPTH} tuples in each other; not opened", where=where
                )
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeError) as error:
        raise WeightsError(
            f"not a whole PyTorch checkpoint ({type(error).__name__}: {str(error)[:120]})",
            where=where,
            todo="Get the file again",
        ) from None


class _Bounded:
    """A file of which no more is asked than it holds: a damaged length of 2^62 bytes would be reserved first."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        at = file.tell()
        self._size = file.seek(0, os.SEEK_END)
        file.seek(at)
        self.readline, self.tell = file.readline, file.tell

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._size))


def _step(opcode: pickletools.OpcodeInfo, argument: object, stack: list[int], memo: dict[int, int]) -> None:
    """What an opcode does to the depths of the values on the unpickler's stack."""
    name = opcode.name
    if name == "MARK":
        stack.append(_MARK)
    elif name in _GETS:
        stack.append(memo[int(str(argument))])
    elif name in _PUTS:
        memo[int(str(argument))] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    else:
        taken = _take(opcode, stack)
        for _ in opcode.stack_after:
            # Lists and dictionaries cannot be hashed, so how deep they are does not matter; nor does a scalar.
            stack.append(taken[0] if name in _MUTATORS else 1 + max(taken, default=-1) if taken else 0)


def _take(opcode: pickletools.OpcodeInfo, stack: list[int]) -> list[int]:
    """The depths that an opcode takes off the stack, the lowest first."""
    taken: list[int] = []
    before = list(opcode.stack_before)
    if pickletools.markobject in before:
        while (depth := stack.pop()) != _MARK:
            taken.append(depth)
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.append(stack.pop())
    return taken[::-1]
