from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, SpanError, StorageError
from pipeline.plan import cuts, from_json, make_plan, to_json
from pipeline.plan.make import parameters_at
from pipeline.plan.reads import bytes_to_read
from pipeline.plan.tiles import cut_into_tiles, run_up
from pipeline.spec import Spec, parse
from pipeline.types import FIGURES_RADIUS, Mastering, OtherStream, Plan
from tests.plan.made_up import index, net, reel


def plan_of(spec: Spec, frames: int = 200, span: tuple[int, int] | None = None, **kind: int) -> Plan:
    nets = {name: net() for name in spec.pass_names()}
    return make_plan(reel(), index(frames, **kind), spec, nets, span)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_tiles_cover_the_span_once_and_read_their_halos(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 400))
    first = data.draw(st.integers(0, total - 1))
    last = data.draw(st.integers(first + 1, total))
    length, halo, gop = data.draw(st.integers(1, 60)), data.draw(st.integers(0, 9)), data.draw(st.integers(1, 50))
    tiles = cut_into_tiles(index(total, gop), first, last, length, halo)
    assert [n for t in tiles for n in range(t.first, t.last)] == list(range(first, last))
    assert [t.number for t in tiles] == list(range(len(tiles)))
    for t in tiles:
        assert 0 < t.last - t.first <= length * 7 // 4 + 1
        assert t.overlap == (t.first > 0)
        assert t.read_first == max(0, t.first - t.overlap - halo)
        assert t.read_last == min(total, t.last + halo)


@pytest.mark.parametrize(
    ("frames", "gop", "lengths"),
    [
        (600, 1, [24] * 24 + [12, 12]),
        (63, 1, [24, 24, 15]),  # its halves would be mostly halo
        (24, 1, [24]),
        (600, 25, None),  # decoding cannot start at the middle
    ],
)
def test_the_last_of_several_tiles_is_cut_in_two(frames: int, gop: int, lengths: list[int] | None) -> None:
    found = [t.last - t.first for t in cut_into_tiles(index(frames, gop), 0, frames, 24, 4)]
    if lengths is not None:
        assert found == lengths
    else:
        assert min(found) > 12


def test_tiles_start_reading_at_key_frames_where_that_saves_decoding() -> None:
    long_gop = index(1000, gop=25)
    starts = run_up(long_gop)
    tiles = cut_into_tiles(long_gop, 0, 1000, 24, 4)
    wasted = sum(t.read_first - int(starts[t.read_first]) for t in tiles)
    blind = [range(a, min(1000, a + 24)) for a in range(0, 1000, 24)]
    wasted_blind = sum(max(0, r.start - 5) - int(starts[max(0, r.start - 5)]) for r in blind)
    assert wasted == 0
    assert wasted_blind > 300


def test_an_override_changes_the_ids_of_the_tiles_that_compute_with_it_and_of_no_other() -> None:
    plain = plan_of(parse(""))
    changed = plan_of(parse("shots: [{frames: '100:101', skip: true}]"))
    differ = [t for t, a, b in zip(plain.tiles, plain.tile_ids, changed.tile_ids, strict=True) if a != b]
    reach = 2
    assert [t.number for t in differ] == [
        t.number for t in plain.tiles if t.restore_first - reach <= 100 < t.last + reach
    ]
    assert plain.id != changed.id


def test_an_override_that_says_what_holds_anyway_changes_nothing() -> None:
    said = parse("shots: [{frames: '10:90', set: {net: {strength: 1.0}}}, {frames: '500:900', skip: true}]")
    assert plan_of(said).tile_ids == plan_of(parse("")).tile_ids


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("cluster: {restorers: 3, tries: 5}", True),
        ("keep_work: true", True),
        ("engine: {precision: fast}", False),
        ("engine: {cpu_threads: 2}", False),
        ("chain: [{pass: net, strength: 0.5}]", False),
        ("deliver: {outputs: [{codec: prores}]}", False),
        ("source: {untagged_matrix: bt709}", False),
    ],
)
def test_ids_change_with_what_changes_pictures_and_with_nothing_else(text: str, same: bool) -> None:
    assert (plan_of(parse(text)).id == plan_of(parse("")).id) is same


def test_ids_change_with_weights_and_source() -> None:
    spec = parse("")
    plain = plan_of(spec)
    other_net = make_plan(reel(), index(200), spec, {"net": net(sha256="b" * 64)})
    other_file = make_plan(dataclasses.replace(reel(), source_id="6" * 64), index(200), spec, {"net": net()})
    assert len({plain.id, other_net.id, other_file.id}) == 3
    assert not set(plain.tile_ids) & (set(other_net.tile_ids) | set(other_file.tile_ids))


def test_a_pass_with_another_name_computes_the_same_tiles() -> None:
    assert plan_of(parse("chain: [{pass: net}]")).tiles == plan_of(parse("chain: [{pass: net, name: film}]")).tiles


def test_parameters_of_a_frame() -> None:
    plan = plan_of(
        parse("shots: [{frames: '5:9', set: {net: {strength: 0.5}}}, {frames: '8:12', skip: true}]", where="c.yaml")
    )
    got = [parameters_at(n, plan.chain, plan.overrides)["net"]["strength"] for n in (4, 5, 8, 11, 12)]
    assert got == [1.0, 0.5, 0.0, 0.0, 1.0]


def test_an_override_for_another_reel_is_not_ours() -> None:
    spec = parse("shots: [{frames: '5:9', reel: b, skip: true}]")
    assert plan_of(spec).overrides == ()
    with pytest.raises(SpanError, match="500:900"):
        plan_of(parse("shots: [{frames: '500:900', reel: a, skip: true}]"))


def test_a_span_outside_the_reel_is_refused_and_one_inside_keeps_its_halo() -> None:
    with pytest.raises(SpanError, match=r"150:250.*0:200"):
        plan_of(parse(""), span=(150, 250))
    plan = plan_of(parse(""), span=(50, 60))
    assert (plan.tiles[0].read_first, plan.tiles[-1].read_last) == (50 - 1 - 2 - cuts.RADIUS, 60 + 2 + cuts.RADIUS)


@pytest.mark.parametrize(("chain", "halo"), [("[]", 3), ("[{pass: net}]", 2 + cuts.RADIUS)])
def test_a_tile_reads_what_figures_look_at_and_what_its_passes_read_where_that_is_more(chain: str, halo: int) -> None:
    tiles = plan_of(parse(f"chain: {chain}")).tiles
    assert [t.tail for t in tiles[:-1]] == [t.head for t in tiles[1:]] == [halo] * (len(tiles) - 1)
    assert halo >= FIGURES_RADIUS + cuts.RADIUS - 1


def test_tlc_needs_a_train_size() -> None:
    spec = parse("chain: [{pass: net, tlc: true}]")
    unknown = dataclasses.replace(net(), train_size=None)
    with pytest.raises(ConfigError, match="height"):
        make_plan(reel(), index(10), spec, {"net": unknown})


def test_the_document_holds_the_whole_plan() -> None:
    plan = plan_of(parse("shots: [{frames: '5:9', skip: true}]"))
    text = to_json(plan)
    assert json.loads(text)["tiles"][0]["id"] == plan.tile_ids[0]
    back = from_json(text)
    assert to_json(back) == text
    assert back.reel == plan.reel
    assert back.tiles == plan.tiles
    assert back.overrides == plan.overrides


def test_the_document_holds_tags_and_mastering_and_does_without_them() -> None:
    primaries = tuple(Fraction(n, 50_000) for n in (34_000, 16_000, 13_250, 34_500, 7_500, 3_000, 15_635, 16_450))
    said = dataclasses.replace(
        reel(),
        others=(OtherStream(1, "audio", "flac", "eng", "flac 48000 Hz stereo", (("title", "Sound"),)),),
        picture_tags=(("language", "dan"),),
        mastering=Mastering(primaries, (Fraction(1, 200), Fraction(1000)), (1000, 400)),
    )
    plan = make_plan(said, index(10), parse("chain: []"), {})
    text = to_json(plan)
    assert from_json(text).reel == said
    older = json.loads(text)
    for gone in ("picture_tags", "mastering"):
        del older["reel"][gone]
    del older["reel"]["others"][0]["tags"]
    back = from_json(json.dumps(older)).reel
    assert (back.picture_tags, back.mastering, back.others[0].tags) == ((), None, ())


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 1}', '{"version": 9}', "[" * 100_000])
def test_a_garbled_document_is_told_in_one_line(text: str) -> None:
    with pytest.raises(StorageError, match=r"plan\.json"):
        from_json(text)


def test_bytes_grow_with_the_picture_and_not_with_the_reel() -> None:
    short, long = plan_of(parse(""), 96), plan_of(parse(""), 960)
    stills = 4 * 2 * 2 * 3 * 64 * 48  # frames of a tile, before and after, whole and a piece, RGB
    assert short.tile_bytes == long.tile_bytes == (24 + 1 + 8 + 24 + 1) * 64 * 48 + stills
    assert short.worker_bytes == long.worker_bytes
    assert bytes_to_read(index(96), short.tiles) > 96 * 1000


def test_weights_count_as_often_as_a_worker_holds_them() -> None:
    def bytes_of(family: Literal["nafnet", "mprnet"], order: str = "progressive", **engine: str) -> int:
        spec = parse("", overrides=[f"engine.{k}={v}" for k, v in engine.items()])
        nets = {n: dataclasses.replace(net(), family=family, parameter_bytes=size) for n in spec.pass_names()}
        return make_plan(dataclasses.replace(reel(), field_order=order), index(9), spec, nets).worker_bytes

    held = {}
    for size in (0, 9 << 20):
        held[size] = [
            bytes_of("nafnet"),
            bytes_of("mprnet", kernels="compiled", precision="fast"),
            # Compiled kernels keep 3x3 convolutions in a form of their own, 16/9 as large.
            bytes_of("mprnet", kernels="compiled", precision="exact"),
            bytes_of("nafnet", "tt"),  # a net for each field
        ]
    assert [b - a for a, b in zip(*held.values(), strict=True)] == [18 << 20, 18 << 20, 34 << 20, 27 << 20]


def test_run_up_is_the_last_key_frame() -> None:
    assert np.array_equal(run_up(index(10, gop=4)), [0, 0, 0, 0, 4, 4, 4, 4, 8, 8])
