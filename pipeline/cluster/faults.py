"""What Ray's errors say about a reel."""

from __future__ import annotations

from ray import exceptions as ray_errors

from pipeline.cluster.policy import Kind
from pipeline.errors import ReelmendError, StorageError

_LOST = (
    ray_errors.NodeDiedError,
    ray_errors.ObjectLostError,
    ray_errors.ActorUnavailableError,
    ray_errors.LocalRayletDiedError,
)
_CRASHED = (
    ray_errors.WorkerCrashedError,
    ray_errors.OutOfMemoryError,
    ray_errors.RayActorError,
    ray_errors.ObjectStoreFullError,
    ray_errors.OutOfDiskError,
    ray_errors.RaySystemError,
)


def classify(error: BaseException) -> tuple[Kind, BaseException]:
    """The kind of a step's failure, and the error to tell people: our own one where there is one.

    A crash may turn out to be a lost node; that is for the caller to find out, who knows the nodes.
    """
    if isinstance(error, ray_errors.RayTaskError):
        cause = error.cause
        if isinstance(cause, ray_errors.RayError):
            return classify(cause)
        if isinstance(cause, StorageError) and cause.transient:
            return Kind.TRANSIENT, cause
        if isinstance(cause, ReelmendError):
            return Kind.APPLICATION, cause
        return Kind.APPLICATION, ReelmendError(f"{type(cause).__name__}: {cause}", where=_place(error))
    if isinstance(error, _LOST) or getattr(error, "preempted", False):
        return Kind.NODE, ReelmendError(f"a node was lost ({type(error).__name__})")
    if isinstance(error, _CRASHED):
        return Kind.CRASH, ReelmendError(
            f"a worker process died ({type(error).__name__}): {_first_line(error)}",
            todo="If it keeps dying, look at the node's memory, and at Ray's logs",
        )
    return Kind.APPLICATION, error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:300].rstrip(".") if str(error).strip() else ""


def _place(error: ray_errors.RayTaskError) -> str:
    """The innermost line of our own code in a task's traceback: where a defect of ours lies."""
    lines = [line.strip() for line in str(error).splitlines() if "/pipeline/" in line and "line" in line]
    return lines[-1].split("/pipeline/")[-1].replace('"', "") if lines else "reelmend"
