"""The treatments one by one: what each mends, by how much, what it leaves alone, and that tiles leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import motion
from pipeline.plan import cuts
from pipeline.plan.curves import plan_curves
from pipeline.plan.make import chain_of, parameters_at
from pipeline.reel.formats import pixel_format
from pipeline.restore import weights
from pipeline.restore.chain import Restorer
from pipeline.spec import NetPass, parse
from pipeline.survey.signals import Look
from pipeline.train import damage
from pipeline.types import Colour, Frames, PassPlan
from tests.motion.test_motion import scene, view
from tests.plan.made_up import reel
from tests.restore.toys import tiles

Clip = NDArray[np.float32]
"""(N, H, W)."""
FULL = Colour("unknown", "unknown", "unknown", "unknown", "unknown", "gray", True)
RGB = Colour("unknown", "unknown", "unknown", "unknown", "unknown", "rgb", True)
H, W = 160, 240


def pan(frames: int, step: tuple[float, float] = (1.0, 0.4), seed: int = 0, size: tuple[int, int] = (H, W)) -> Clip:
    picture = scene(seed)
    return np.stack([view(picture, -k * step[0], -k * step[1], *size) for k in range(frames)])


def frames_of(clip: Clip) -> Frames:
    codes = np.round(np.clip(clip, 0, 1) * 65535).astype(np.uint16)
    return Frames((codes,), pixel_format("gray16le"), 0, np.arange(len(codes), dtype=np.int64))


def restored(clip: Clip, said: str, *, length: int | None = None) -> tuple[Clip, Restorer]:
    """A clip through a chain, tile by tile, surveyed and planned as a job does it."""
    frames, spec = frames_of(clip), parse(f"chain: [{said}]")
    nets = {n: weights.resolve(p) for n, p in zip(spec.pass_names(), spec.chain, strict=True) if isinstance(p, NetPass)}
    chain = chain_of(spec, nets)
    look = Look(0, len(frames), FULL, clip.shape[2])
    look.see(frames)
    curves = plan_curves(look.result(), chain, reel(width=clip.shape[2], height=clip.shape[1]))
    worker = Restorer(chain, spec.engine, nets, "cpu")
    halo = sum(p.radius for p in chain) + cuts.RADIUS
    parts, flags, found = [], {}, {}
    for tile in tiles(len(frames), length or len(frames), halo):
        read = frames.span(tile.read_first, tile.read_last)
        got = worker.run(
            read,
            tile,
            cuts.find(cuts.signature(read)),
            lambda n: parameters_at(n, chain, (), curves),
            FULL,
            lambda *_: None,
        )
        parts.append(got.planes[0][tile.overlap :])
        flags |= worker.flags
        found |= worker.found
    worker.flags, worker.found = flags, found
    return np.concatenate(parts).astype(np.float32) / 65535, worker


def worn(frames: int = 30) -> Clip:
    """Everything at once: weave, flicker, dirt, a scratch, grain; and a cut."""
    rng = np.random.default_rng(4)
    half = frames // 2
    clip = np.concatenate([pan(half, (0.1, 0)), pan(frames - half, (2.0, 0.5), seed=6)])
    clip = clip * rng.normal(0.9, 0.05, (frames, 1, 1)) + rng.normal(0, 0.012, clip.shape)
    for k in range(frames):
        for _ in range(3):
            y, x = rng.integers(10, H - 20), rng.integers(10, W - 20)
            clip[k, y : y + 6, x : x + 5] = rng.choice((0.02, 0.98))
    clip[:, :, 100] += 0.15
    return np.asarray(clip, np.float32)


@pytest.mark.parametrize(
    "said",
    ["pass: deflicker", "pass: stabilise", "pass: duplicates", "pass: dirt", "pass: scratches", "pass: degrain"],
)
def test_tiles_leave_no_trace(said: str) -> None:
    clip = worn()
    (short, a), (long, b) = restored(clip, said, length=8), restored(clip, said, length=48)
    assert np.array_equal(short, long)
    assert a.flags == b.flags
    assert a.found == b.found


def test_weave_comes_down_to_a_seventh_of_a_pixel_and_the_size_stays() -> None:
    rng = np.random.default_rng(5)
    way = rng.normal(0, 0.9, (50, 2))
    picture = scene()
    clip = np.stack([view(picture, x, y, H, W) for x, y in way]) + rng.normal(0, 0.02, (50, H, W)).astype(np.float32)
    out, worker = restored(clip.astype(np.float32), "pass: stabilise")
    assert out.shape == clip.shape
    # What is left of the way, measured against the scene itself.
    left = [motion.align(view(picture, 0, 0, H, W), f) for f in out]
    places = np.array([(f.x, f.y) for f in left])
    assert np.sqrt(np.mean(np.square(places - places.mean(0)))) < 0.15
    applied = np.array([[worker.found[n][k] for k in ("shift_x_px", "shift_y_px")] for n in range(50)])
    assert np.abs(applied + way - (applied + way).mean(0)).max() < 0.5
    # The edge is the source's edge, drawn out; nothing black comes in.
    assert np.abs(out[:, :, :2] - np.stack([view(picture, 0, 0, H, W)] * 50)[:, :, :2]).mean() < 0.08


def test_flicker_comes_down_to_a_fifth_and_a_steady_film_is_not_touched() -> None:
    clean = pan(40, (0.5, 0.2)) * np.float32(0.8)
    rng = np.random.default_rng(7)
    gains = rng.normal(1, 0.05, (40, 1, 1))
    offsets = rng.uniform(-8 / 255, 8 / 255, (40, 1, 1))
    clip = np.asarray(clean * gains + offsets, np.float32)
    out, worker = restored(clip, "pass: deflicker")

    def flicker(film: Clip) -> float:
        return float(np.std(np.diff((film - clean).mean((1, 2)))))

    assert flicker(out) < 0.2 * flicker(clip)
    told = [2.0 ** worker.found[n]["gain_stops"] for n in range(40)]
    assert np.allclose(told, out.mean((1, 2)) / clip.mean((1, 2)), rtol=2e-3), "and what it did is told"
    assert 0.02 < np.std(np.log2(told)) < 0.2
    still, worker = restored(clean, "pass: deflicker")
    assert {worker.found[n]["gain_stops"] for n in range(40)} == {0.0}
    assert np.array_equal(still, frames_of(clean).planes[0].astype(np.float32) / 65535)
    assert not any(worker.flags.values())


def test_a_flash_is_left_alone_and_flagged() -> None:
    clip = pan(20) * np.float32(0.5)
    clip[9] = np.clip(clip[9] * 2.2 + 0.2, 0, 1)
    out, worker = restored(clip, "{pass: deflicker}, {pass: dirt}")
    assert np.array_equal(out[9], frames_of(clip).planes[0][9].astype(np.float32) / 65535)
    assert worker.flags[9][-1] == "flash"
    assert not any("flash" in worker.flags[n] for n in range(20) if n != 9)


def dirty(frames: int = 12, grain: float = 3 / 255) -> tuple[Clip, Clip, NDArray[np.bool_]]:
    clean = pan(frames, size=(240, 320))[:, None].repeat(3, 1)
    recipe = damage.Recipe(dirt=3, dirt_radius=(8, 25), scratches=0, flicker=0, grain=grain)
    got = damage.damage(clean, recipe, seed=3)
    # What lies on a ground of its own brightness cannot be seen, nor found.
    seen = got.masks["dirt"] & (np.abs(got.damaged - clean).max(1) > 0.15)
    return clean[:, 0], got.damaged[:, 0], seen


def test_dirt_is_found_and_filled_and_all_else_is_bit_identical() -> None:
    clean, clip, seen = dirty()
    out, worker = restored(clip, "pass: dirt")
    source = frames_of(clip).planes[0].astype(np.float32) / 65535
    inner = slice(1, -1)
    changed = (np.abs(out - source) > 4 / 255)[inner]
    near = np.stack([motion.grow(m, 4) for m in seen])[inner]
    assert (changed & seen[inner]).sum() >= 0.8 * seen[inner].sum(), "recall"
    assert (changed & near).sum() >= 0.9 * changed.sum(), "precision"
    assert not (out != source)[inner][~near].mean() > 2e-4
    before, after = (np.sqrt(np.mean(np.square((f - clean)[inner][seen[inner]]))) for f in (source, out))
    assert after < 0.3 * before
    share = np.mean([worker.found[n]["dirt_fraction"] for n in range(1, 11)])
    assert 0.6 < share / seen[inner].mean() < 1.4
    assert np.array_equal(out[[0, -1]], source[[0, -1]]), "at the shot's ends one side alone is no evidence"


def bar(clip: Clip) -> None:
    """A limb: a bar that swings by more than any flow follows."""
    rows, columns = np.mgrid[: clip.shape[1], : clip.shape[2]]
    for k in range(len(clip)):
        a = np.deg2rad(70 * np.sin(1.1 * k))
        along, across = (
            (columns - 120) * np.sin(a) + (rows - 40) * np.cos(a),
            -(columns - 120) * np.cos(a) + (rows - 40) * np.sin(a),
        )
        clip[k][(np.abs(across) < 5) & (along > 0) & (along < 70)] = 0.1


def rain(clip: Clip) -> None:
    rng = np.random.default_rng(8)
    for frame in clip:
        for y, x in zip(rng.integers(0, 228, 100), rng.integers(0, 320, 100), strict=True):
            frame[y : y + 12, x] += 0.3


def sparkle(clip: Clip) -> None:
    rng = np.random.default_rng(9)
    for frame in clip:
        for y, x in zip(rng.integers(120, 238, 150), rng.integers(0, 317, 150), strict=True):
            frame[y : y + 2, x : x + 3] = 1.0


def title(clip: Clip) -> None:
    clip[:] = 0.03
    for k in range(5):
        clip[:, 40:90, 30 + 38 * k : 36 + 38 * k] = 0.9


def passing(clip: Clip) -> None:
    for k, frame in enumerate(clip):
        frame[60:75, (20 + 30 * k) % (W - 20) :][:, :12] = 0.95


@pytest.mark.parametrize("trap", [bar, rain, sparkle, title, passing])
def test_what_moves_rains_or_is_written_is_no_dirt(trap: Callable[[Clip], None]) -> None:
    clip = pan(10, (0.4, 0.1), size=(240, 320))
    trap(clip)
    clip += np.random.default_rng(1).normal(0, 3 / 255, clip.shape).astype(np.float32)
    out, _ = restored(clip, "pass: dirt")
    source = frames_of(clip).planes[0].astype(np.float32) / 65535
    wrong = (np.abs(out - source) > 4 / 255).mean((1, 2))
    assert wrong.max() <= 1e-3, wrong


def test_grain_is_averaged_over_what_moves_alike_and_a_limb_stays_as_it_is() -> None:
    clean = pan(9, (1.6, 0.7), size=(240, 320))
    bar(clean)
    grain = np.random.default_rng(1).normal(0, 6 / 255, clean.shape).astype(np.float32)
    out, _ = restored(clean + grain, "pass: degrain")
    source = frames_of(clean + grain).planes[0].astype(np.float32) / 65535
    bare = pan(9, (1.6, 0.7), size=(240, 320))
    limb = np.stack([motion.grow(m > 0.05, 2) for m in np.abs(clean - bare)])

    def error(film: Clip, where: NDArray[np.bool_]) -> float:
        return float(np.sqrt(np.mean(np.square((film - clean)[2:-2][where[2:-2]]))))

    ground = ~np.stack([motion.grow(m, 24) for m in limb])
    assert error(out, ground) < 0.62 * error(source, ground)
    assert error(out, limb) < 1.1 * error(source, limb)
    # Further from the truth than grain alone would be: nowhere that counts.
    assert (np.abs(out - clean)[2:-2] > 0.12).mean() < 1e-3


def test_a_faint_line_that_one_frame_shows_alone_takes_no_part_and_a_still_film_is_hardly_touched() -> None:
    clean = pan(7, (2.0, 0.0))
    clip = clean.copy()
    clip[3, :, 120] += 0.05
    out, _ = restored(clip, "pass: degrain")
    left = np.abs((out - clean)[:, 20:-20, 110:131]).mean(1)
    assert left[3, 10] < 0.02, "the line itself"
    assert left[[1, 2, 4, 5]].max() < 0.012, "and no ghost of it in its neighbours"
    still = np.repeat(clean[:1], 7, axis=0)
    out, _ = restored(still, "pass: degrain")
    assert np.abs(out - still).max() < 1e-3


def lined(step: float, *, of_the_scene: bool = False, rows: slice = slice(None)) -> tuple[Clip, Clip]:
    clean = pan(12, (step, 0.0))
    clip = clean.copy()
    for k, frame in enumerate(clip):
        x = 120 - round(step * k) if of_the_scene else 120 + k % 2
        for d, part in ((-1, 0.5), (0, 1.0), (1, 0.5)):
            frame[rows, x + d] += np.float32(0.12 * part)
    grain = np.random.default_rng(2).normal(0, 3 / 255, clip.shape).astype(np.float32)
    return clean + grain, clip + grain


def test_a_scratch_is_taken_off_where_the_scene_moves_behind_it() -> None:
    clean, clip = lined(2.0)
    out, worker = restored(clip, "pass: scratches")
    at = (slice(None), slice(None), slice(119, 123))
    before, after = (np.abs((f - clean)[at].mean(1)).mean() for f in (clip, out))
    assert after < 0.35 * before
    source = frames_of(clip).planes[0].astype(np.float32) / 65535
    touched = (out != source).any((0, 1))
    assert touched[110:132].any()
    assert not touched[:108].any()
    assert not touched[134:].any()
    assert all(2 <= f["scratch_columns"] <= 10 for f in worker.found.values())


@pytest.mark.parametrize(
    "words",
    [
        {"step": 0.0},
        {"step": 2.0, "of_the_scene": True},
        {"step": 2.0, "rows": slice(100, None)},
    ],
    ids=["a still scene", "a pole that moves with the scene", "a short one"],
)
def test_a_line_without_that_evidence_stays(words: dict[str, Any]) -> None:
    _, clip = lined(**words)
    out, worker = restored(clip, "pass: scratches")
    assert np.array_equal(out, frames_of(clip).planes[0].astype(np.float32) / 65535)
    assert {f["scratch_columns"] for f in worker.found.values()} == {0.0}


def near(step: float, across: NDArray[np.float32], way: Callable[[int], NDArray[np.float32]], grain: float) -> Any:
    """A pan, and the same with a line in it: ``across`` its profile, ``way`` its place in each row of a frame."""
    clean = pan(12, (step, 0.3))
    clip = clean.copy()
    columns, reach = np.arange(W, dtype=np.float32), len(across) // 2
    for k, frame in enumerate(clip):
        frame += np.interp(columns - way(k)[:, None], np.arange(-reach, reach + 1), across, 0, 0).astype(np.float32)
    noise = np.random.default_rng(3).normal(0, grain, clip.shape).astype(np.float32)
    return clean + noise, clip + noise


FAINT = np.array((-0.01, 0.03, 0.045, 0.03, -0.01), np.float32)


@pytest.mark.parametrize(
    "way",
    [
        lambda k: np.full(H, 90.0 + 0.4 * np.sin(k)),
        lambda k: np.full(H, 90.0),
        lambda k: 90.0 + np.linspace(-4, 4, H),
    ],
    ids=["it walks", "it stands", "it leans"],
)
def test_a_faint_scratch_under_grain_is_taken_off_with_what_lies_beside_it(
    way: Callable[[int], NDArray[np.float32]],
) -> None:
    clean, clip = near(1.2, FAINT, way, 6 / 255)
    out, _ = restored(clip, "{pass: scratches, threshold: 0.015}")
    clean, clip = (frames_of(f).planes[0].astype(np.float32) / 65535 for f in (clean, clip))
    line = np.abs(clip - clean) > 1e-3
    before, after = (np.sqrt(np.mean(np.square((f - clean)[line]))) for f in (clip, out))
    assert after < 0.35 * before
    far = ~np.stack([motion.grow(m, 9) for m in line])
    assert np.array_equal(out[far], clip[far])


def test_the_profile_of_a_groove_is_taken_off_with_its_side_lobes() -> None:
    clean = np.repeat(pan(12, (1.6, 0.4))[:, None], 3, axis=1)
    recipe = damage.Recipe(
        dirt=0, scratches=1, scratch_width=(1.5, 3), scratch_depth=(0.2, 0.3), flicker=0, grain=3 / 255
    )
    made = [damage.damage(clean, r, 6, width=1200) for r in (recipe, replace(recipe, scratches=0))]
    clip, bare = (frames_of(m.damaged[:, 0]).planes[0].astype(np.float32) / 65535 for m in made)
    out, _ = restored(clip, "pass: scratches")
    line = made[0].masks["scratches"]
    before, after = (np.sqrt(np.mean(np.square((f - bare)[line]))) for f in (clip, out))
    assert after < 0.2 * before


@pytest.mark.parametrize("wide", [2, 6])
def test_ropes_before_an_even_wall_stay_while_the_camera_pans(wide: int) -> None:
    """Bold, leaning, and nothing beside them that tells of movement but a little texture."""
    clip = 0.5 + 0.1 * (pan(12, (1.1, 0.2)) - 0.5)
    rows, columns = np.arange(H)[:, None], np.arange(W)
    for k, frame in enumerate(clip):
        for x in (60, 100, 160):
            far = np.abs(columns - (x - 1.1 * k + 0.05 * rows))
            frame[:] = frame + np.clip(wide / 2 + 0.5 - far, 0, 1) * (0.1 - frame)
    clip += np.random.default_rng(2).normal(0, 2 / 255, clip.shape).astype(np.float32)
    out, _ = restored(clip, "{pass: scratches, threshold: 0.015}")
    assert np.array_equal(out, frames_of(clip).planes[0].astype(np.float32) / 65535)


def test_what_stands_still_in_a_picture_that_mostly_does_is_the_scenes() -> None:
    """A mast before a camera that stands, and a crowd that passes on both sides of it."""
    moves, clip = pan(12, (2.0, 0.0)), np.repeat(pan(1), 12, axis=0)
    clip[:, 20:80] = moves[:, 20:80]
    clip[:, :, 119:122] -= 0.15
    clip += np.random.default_rng(2).normal(0, 3 / 255, clip.shape).astype(np.float32)
    out, _ = restored(clip, "{pass: scratches, length: 0.3}")
    assert np.array_equal(out, frames_of(clip).planes[0].astype(np.float32) / 65535)


def test_in_a_wide_picture_lines_are_found_at_half_its_width_and_taken_off_at_all_of_it() -> None:
    picture = scene(3, 320, 1900)
    clean = np.stack([view(picture, -6.0 * k, -1.0 * k, 160, 1640) for k in range(8)])
    clip = clean.copy()
    clip[:, :, 803:808] += np.array((0.03, 0.1, 0.12, 0.1, 0.03), np.float32)
    noise = np.random.default_rng(3).normal(0, 4 / 255, clip.shape).astype(np.float32)
    clean, clip = clean + noise, clip + noise
    out, worker = restored(clip, "pass: scratches")
    line = (slice(1, -1), slice(None), slice(803, 808))
    before, after = (np.abs((f - clean)[line].mean(1)).mean() for f in (clip, out))
    assert after < 0.15 * before
    assert all(4 <= f["scratch_columns"] <= 20 for f in worker.found.values())


def test_faded_dyes_come_back_to_one_density() -> None:
    rng = np.random.default_rng(3)
    grey = pan(6)[:, None].repeat(3, 1) * 0.9 + 0.02
    density = -np.log10(grey)
    faded = 10 ** -(density * np.array([0.65, 1.0, 0.85])[None, :, None, None] + 0.02)
    faded = faded + rng.normal(0, 1e-3, faded.shape)
    codes = np.round(np.clip(faded, 0, 1) * 65535).astype(np.uint16).transpose(0, 2, 3, 1)
    frames = Frames((np.ascontiguousarray(codes),), pixel_format("rgb48le"), 0, np.arange(6, dtype=np.int64))
    spec = parse("chain: [{pass: fade}]")
    look = Look(0, 6, RGB, W)
    look.see(frames)
    film = reel(width=W, height=H)
    chain = chain_of(spec, {})
    colour_film = type(film)(**{n: getattr(film, n) for n in film.__slots__} | {"format": frames.format})
    curves = plan_curves(look.result(), chain, colour_film)
    worker = Restorer(chain, spec.engine, {}, "cpu")

    def unfaded(length: int) -> NDArray[Any]:
        parts = []
        for tile in tiles(6, length, cuts.RADIUS):
            read = frames.span(tile.read_first, tile.read_last)
            got = worker.run(
                read,
                tile,
                np.zeros(len(read), np.bool_),
                lambda n: parameters_at(n, chain, (), curves),
                RGB,
                lambda *_: None,
            )
            parts.append(got.planes[0][tile.overlap :])
        return np.concatenate(parts)

    out = unfaded(6)
    assert np.array_equal(out, unfaded(2)), "tiles leave no trace"

    def cast(planes: NDArray[Any]) -> float:
        means = np.log10(planes.reshape(-1, 3).astype(np.float64).clip(1) / 65535).mean(0)
        return float(np.ptp(means))

    assert cast(out) < 0.25 * cast(codes)


class Smooth:
    """Stands for a net that takes all grain away."""

    radius, group = 0, 1

    def reset(self) -> None:
        pass

    def restore(self, jobs: Any) -> Any:
        from pipeline.restore.passes import Restored

        return [Restored(j.window[0] * 0 + 0.5) for j in jobs]


@pytest.mark.parametrize("mode", ["keep", "synthesise"])
def test_grain_comes_back_in_its_share_the_same_for_the_same_seed_and_frame(mode: str) -> None:
    from pipeline.restore.passes import GrainPass

    rng = np.random.default_rng(6)
    clip = (0.5 + rng.normal(0, 0.02, (12, 96, 128))).astype(np.float32)
    clip[:, 40:50, 60:70] = 0.9  # mended dirt is no grain, and stays mended
    frames, outs = frames_of(clip), []
    for seed, length in ((1, 12), (1, 5), (2, 12)):
        said = {"mode": mode, "share": 0.5, "limit": 0.15, "seed": seed}
        chain = (
            PassPlan("net", "net", 0, {}, {"strength": 1.0}),
            PassPlan("grain", "grain", 0, said, {"strength": 1.0}),
        )
        worker = Restorer(
            chain,
            parse("").engine,
            {},
            "cpu",
            factories={"net": lambda *_: Smooth(), "grain": GrainPass.build},
        )
        parts = [
            worker.run(
                frames.span(t.read_first, t.read_last),
                t,
                np.zeros(t.read_last - t.read_first, np.bool_),
                lambda n, chain=chain: parameters_at(n, chain, ()),
                FULL,
                lambda *_: None,
            ).planes[0][t.overlap :]
            for t in tiles(12, length, 0)
        ]
        outs.append(np.concatenate(parts).astype(np.float32) / 65535)
    assert np.array_equal(outs[0], outs[1])
    assert np.array_equal(outs[0], outs[2]) == (mode == "keep"), "only new grain is drawn"
    ground = outs[0][:, :30]
    assert 0.008 < ground.std() < 0.012
    assert len({frame.tobytes() for frame in ground}) == 12, "another grain in every frame"
    assert np.abs(outs[0][:, 43:47, 63:67] - 0.5).max() < 0.06


@pytest.mark.parametrize(("frames", "size"), [(1, (20, 24)), (2, (40, 64)), (5, (7, 9)), (4, (64, 3)), (6, (48, 64))])
def test_reels_of_a_frame_or_two_and_pictures_of_a_few_px_go_through(frames: int, size: tuple[int, int]) -> None:
    clip = np.random.default_rng(0).random((frames, *size)).astype(np.float32)
    chain = ", ".join(
        f"{{pass: {p}}}" for p in ("duplicates", "stabilise", "deflicker", "fade", "dirt", "scratches", "degrain")
    )
    out, _ = restored(clip, chain)
    assert out.shape == clip.shape
    assert np.isfinite(out).all()
