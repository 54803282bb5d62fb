"""``reelmend bench net``: how fast a net is, against its plain form and against what the machine can do at all; and
``--only actors``: how many restorers of how many threads suit the machine."""

from __future__ import annotations

import multiprocessing
import statistics
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from jobs.bench_report import Figure, Part, cores
from jobs.bench_run import told
from pipeline.errors import CallError, ReelmendError

_START_S = 600.0
_STEPS = 6
"""Steps of the profile that are told."""
_LARGEST_PX = 1 << 26


def net_part(
    net: str,
    *,
    width: int,
    height: int,
    precision: Literal["exact", "fast"],
    kernels: Literal["torch", "compiled"],
    device: str,
    threads: int,
    rounds: int,
) -> Part:
    """Measure one net. The plain form and ours are processes of their own, and take turns, call by call.

    Raises CallError where the size is none, ReelmendError where net, device or kernels cannot be had.
    """
    if min(width, height, rounds, threads) < 1 or width * height > _LARGEST_PX:
        raise CallError(
            f"{width}x{height} px, {threads} threads, {rounds} rounds cannot be measured", where="bench net"
        )
    common = {"width": width, "height": height, "threads": threads, "device": device}
    with (
        told(f"load {net}"),
        Apart(net=net, form="plain", **common) as plain,
        Apart(net=net, form="plain-kept", **common) as kept,
        Apart(net=net, form=precision, kernels=kernels, **common) as ours,
    ):
        about: dict[str, Any] = ours.ask("about")
        spent: Mapping[str, list[float]] = {"plain": [], "kept": [], "ours": [], "product": []}
        for number in range(rounds + 1):  # the first one warms up
            found = (plain.ask("seconds"), kept.ask("seconds"), ours.ask("seconds"), ours.ask("product_flop_s"))
            if number:
                for name, value in zip(spent, found, strict=True):
                    spent[name].append(value)
        flop, bytes_px, (error, largest) = ours.ask("flop"), ours.ask("peak_bytes_px"), ours.ask("error")
        profile: list[tuple[str, float]] = ours.ask("profile")
        plain_error = plain.ask("error")[0]
    plain_s, kept_s, ours_s, product = (statistics.median(spent[name]) for name in spent)
    own = precision if kernels == "torch" else f"{precision}, compiled kernels"
    size = f"{about['width']}x{about['height']}"
    called = f"bench net {net} --size {size} --precision {precision} --kernels {kernels} --threads {threads}"
    return Part(
        name=called + f" --rounds {rounds}" + ("" if device == "cpu" else f" --device {device}"),
        title=f"{net}, {size}, {own}",
        how=f"On {about['device']}, {threads} thread(s), a picture in a call; medians of {rounds} calls. Processes of "
        "their own take turns: the plain form (float32, NCHW, operation by operation, torch's and the system's own "
        "settings), the same with the memory of freed maps kept (on a CPU clearing pages takes much of its time), and "
        "ours. Ceiling: a large product of two matrices in the same number format, in the same turns. Operations: "
        "those of the plain form's convolutions. Errors: against the plain form in float64, over the net's change of "
        "the picture.",
        figures=[
            Figure("frames a second", f"{1 / ours_s:.3g}"),
            Figure("· the plain form", f"{1 / plain_s:.3g}"),
            Figure("ratio to the plain form", f"{plain_s / ours_s:.2f}"),
            Figure("· to the plain form with its memory kept", f"{kept_s / ours_s:.2f}"),
            Figure("share of the ceiling", f"{flop / ours_s / product:.0%}"),
            Figure("· the ceiling", f"{product / 1e9:.0f} GFLOP/s"),
            Figure("· the plain form's speed", f"{flop / plain_s / 1e9:.0f} GFLOP/s"),
            Figure("peak memory a megapixel", f"{bytes_px * 1e6 / 2**20:.0f} MiB"),
            Figure("error against float64", f"{error:.1e} in the norm, {largest:.1e} at most"),
            Figure("· the plain form's", f"{plain_error:.1e} in the norm"),
            *(Figure(f"time in {name}", f"{share:.0%}") for name, share in profile[:_STEPS]),
        ],
        command=called,
    )


def actors(_: Path, *, net: str = "nafnet-film", width: int = 640, height: int = 480, calls: int = 4) -> Part:
    """Frames a second of the machine, by number of restorers and threads of each."""
    found: dict[tuple[int, int], float] = {}
    for number, threads in layouts(cores()):
        with told(f"{number} restorer(s) of {threads} thread(s)"):
            found[number, threads] = _together(number, calls, net=net, width=width, height=height, threads=threads)
    number, threads = max(found, key=lambda key: found[key])
    return Part(
        name="actors",
        title="Restorers and threads",
        how=f"{net} on pictures of {width}×{height} px in `exact`, as many processes as restorers, all at once, "
        f"{calls} calls each after one that warms up: pictures a second of all together. Nothing else goes on.",
        figures=[
            *(Figure(f"{n} × {t} thread(s)", f"{rate:.2f} frames/s") for (n, t), rate in found.items()),
            Figure("suits this machine", f"cluster.restorers: {number}, engine.cpu_threads: {threads}"),
        ],
    )


def layouts(count: int) -> list[tuple[int, int]]:
    """(restorers, threads) that fill so many cores, threads in powers of two."""
    threads = [1 << i for i in range(count.bit_length()) if 1 << i <= count]
    return [(count // t, t) for t in threads]


def _together(number: int, calls: int, **said: Any) -> float:
    everyone: list[Apart] = []
    try:
        for _ in range(number):
            everyone.append(Apart(form="exact", **said).__enter__())
        for one in everyone:
            one.ask("seconds", 1)
        for one in everyone:
            one.begin("seconds", calls)
        seconds: float = max(one.end() for one in everyone)
        return number * calls / seconds
    finally:
        for one in everyone:
            one.__exit__(None, None, None)


class Apart:
    """A form of a net in a process of its own, with an allocator and threads of its own."""

    def __init__(self, **said: Any):
        """What ``pipeline.restore.measure.Form`` takes."""
        spawn = multiprocessing.get_context("spawn")
        self._here, there = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(there, said), daemon=True)
        self._process.start()
        there.close()

    def __enter__(self) -> Apart:
        try:
            self.end(_START_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._here.close()
        self._process.terminate()
        self._process.join()

    def begin(self, what: str, *arguments: Any) -> None:
        """Ask without waiting."""
        self._here.send((what, arguments))

    def end(self, patience_s: float | None = None) -> Any:
        """What was asked for. Raises what the process raised; ReelmendError where it died."""
        try:
            if not self._here.poll(patience_s):
                raise ReelmendError("the measuring process does not start")
            good, found = self._here.recv()
        except (EOFError, OSError):
            self._process.join()
            raise ReelmendError(
                f"the measuring process died ({self._process.exitcode})", todo="Measure a smaller picture"
            ) from None
        if not good:
            raise found
        return found

    def ask(self, what: str, *arguments: Any) -> Any:
        self.begin(what, *arguments)
        return self.end()


def _serve(there: Connection, said: Mapping[str, Any]) -> None:
    from pipeline.restore.measure import Form

    form: Form | None = None
    what: str
    arguments: Sequence[Any]
    while True:
        try:
            if form is None:
                form = Form(**said)
                answer: Any = None
            else:
                what, arguments = there.recv()
                answer = getattr(form, what)(*arguments)
            there.send((True, answer))
        except EOFError:
            return
        except ReelmendError as error:
            there.send((False, error))
        except Exception as error:  # noqa: BLE001 - whatever torch says of a device is told as one line
            line = traceback.format_exception_only(error)[-1].strip()
            there.send((False, ReelmendError(f"this cannot be measured: {line[:300]}")))
