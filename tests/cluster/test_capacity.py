from __future__ import annotations

import pytest

from pipeline.cluster.capacity import Capacity, capacity
from pipeline.errors import CallError
from pipeline.spec import Cluster, Engine

GIB = 2.0**30


def on(*nodes: tuple[float, float], say: Cluster | None = None, threads: int = 1) -> Capacity:
    """Nodes as (CPUs, GPUs), each with a store of 10 GiB."""
    given = {f"n{i}": {"CPU": c, "GPU": g, "object_store_memory": 10 * GIB} for i, (c, g) in enumerate(nodes)}
    return capacity(given, say or Cluster(), Engine(cpu_threads=threads))


@pytest.mark.parametrize(
    ("nodes", "threads", "places"),
    [
        ([(2, 0)], 1, [2]),
        ([(1, 0)], 1, [1]),
        ([(16, 0), (8, 0)], 4, [4, 2]),
        ([(2, 0), (4, 0)], 8, [0, 1]),
        ([(8, 0), (8, 0)], 3, [2, 2]),
    ],
)
def test_cpu_restorers_fill_the_cores(nodes: list[tuple[float, float]], threads: int, places: list[int]) -> None:
    found = on(*nodes, threads=threads)
    assert found.device == "cpu"
    assert list(found.places.values()) == places
    assert found.depth == 2
    assert 0 < found.task_cpus <= 0.5


def test_gpus_are_used_where_there_are_any_and_shared_where_told() -> None:
    assert list(on((16, 2), (16, 0)).places.values()) == [2, 0]
    assert on((16, 2), (16, 0)).device == "cuda"
    assert list(on((16, 2), (16, 1), say=Cluster(gpus_per_restorer=0.25)).places.values()) == [8, 4]
    assert on((16, 2), say=Cluster(use_gpu="never")).device == "cpu"
    assert on((16, 2), say=Cluster(use_gpu="never")).gpus_per_restorer == 0
    # Half GPUs on two nodes do not make a whole one.
    assert on((4, 0.5), (4, 0.5)).device == "cpu"


def test_fast_restorers_have_more_tiles_waiting_the_more_tasks_can_decode() -> None:
    assert on((64, 1)).depth > on((8, 1)).depth > 2


def test_fewer_restorers_are_spread_over_the_nodes() -> None:
    assert list(on((4, 0), (4, 0), (4, 0), say=Cluster(restorers=4)).places.values()) == [2, 1, 1]
    assert on((4, 0), say=Cluster(restorers=100)).restorers == 4


def test_bytes_in_flight_follow_the_stores_or_the_spec() -> None:
    assert on((2, 0), (2, 0)).in_flight_bytes == int(20 * GIB * 0.4)
    assert on((2, 0), say=Cluster(in_flight_gib=1.5)).in_flight_bytes == int(1.5 * GIB)


def test_a_cluster_without_cpus_is_refused() -> None:
    with pytest.raises(CallError, match="no CPUs"):
        on((0, 4))
