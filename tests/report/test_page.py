"""The page in a real browser: it opens from its folder, asks for nothing else, and works."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from pipeline import tables
from pipeline.plan import make_plan
from pipeline.publish import layout, night
from pipeline.report import page, timeline
from pipeline.report.charts import FIGURES
from pipeline.report.night import reel_of, render
from pipeline.spec import parse
from pipeline.types import ENGINE_VERSION
from tests.plan import made_up
from tests.report import films
from tests.report.browser import asked_for, browser, complaints
from tests.test_tables import row

HOSTILE = "<img src=x onerror=alert(1)> & 'a' \"b\" {{ 7*7 }} ünï"


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of a hostile name with seams and flicker, published; alone in a folder, as on a USB stick."""
    folder = tmp_path_factory.mktemp("page")
    film = films.source(folder)
    named = folder / f"{HOSTILE}.mkv"
    film.rename(named)
    words = ("engine.tile=128", "flags.flicker_added.above=2", "stills={most: 8, side: 256}")
    done = films.restore(named, folder / "out", *words, factories={"net": films.faulty})
    assert (done / layout.PAGE).stat().st_size < 200_000
    return done


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def opened(driver: Any, reel: Path) -> Any:
    asked_for(driver), complaints(driver)  # of the test before
    driver.get("about:blank")
    driver.get((reel / layout.PAGE).as_uri())
    return driver


def cursor(driver: Any) -> float:
    return float(driver.execute_script("return document.querySelector('line.cursor').getAttribute('x1')"))


def test_it_opens_from_a_folder_and_asks_for_nothing_outside(opened: Any, reel: Path) -> None:
    for button in opened.find_elements("css selector", ".strip button"):
        button.click()
    report = (reel / layout.PAGE).parent.as_uri()
    asked = [u for u in asked_for(opened) if not u.startswith(("data:", "about:"))]
    assert len(asked) > 5
    assert {u for u in asked if not u.startswith(report)} == set()
    assert complaints(opened) == []
    assert opened.execute_script("return [...document.images].every(i => !i.complete || i.naturalWidth > 0)")


def test_it_says_what_ran_and_prints(opened: Any) -> None:
    import base64

    ran = opened.find_element("id", "ran").find_element("xpath", "..").text
    for words in ("nafnet-film", f"engine version {ENGINE_VERSION}", "torch", "restore"):
        assert words in ran
    sheet = base64.b64decode(opened.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert sheet.startswith(b"%PDF")


def test_on_paper_it_is_light_and_says_which_frame_it_shows(reel: Path) -> None:
    with browser(dark=True) as found:
        found.get((reel / layout.PAGE).as_uri())
        line = "return getComputedStyle(document.querySelector('path.output:not(.band)')).stroke"
        on_screen = found.execute_script(line)
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        found.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
        assert found.execute_script(line) == "rgb(10, 107, 124)" != on_screen
        assert found.find_element("id", "which").is_displayed()
        assert not found.find_element("id", "slider").is_displayed()


def test_hostile_names_are_text(opened: Any) -> None:
    assert opened.find_element("tag name", "h1").text == " ".join(HOSTILE.split())
    assert opened.title.startswith("<img src=x")
    assert opened.find_elements("css selector", "img[onerror]") == []


def test_it_says_what_fired_and_leads_to_its_frames(opened: Any) -> None:
    rules = opened.find_elements("css selector", ".rules > li")
    assert [r.find_element("tag name", "b").text for r in rules] == ["Flicker added", "Seam"]
    rules[1].find_elements("css selector", "button[data-frame]")[0].click()
    assert "frames 0–11" in rules[1].text
    assert opened.find_element("id", "where").text.startswith("Frame 0,")


def test_slider_difference_and_full_size(opened: Any) -> None:
    slider = opened.find_element("id", "slider")
    cut = "return getComputedStyle(document.getElementById('after')).clipPath"
    before = opened.execute_script(cut)
    slider.send_keys("\ue012" * 5)  # the left arrow
    assert slider.get_attribute("value") == "45"
    assert opened.execute_script(cut) != before
    stage = opened.find_element("id", "stage")
    opened.find_element("id", "difference").click()
    assert "difference" in stage.get_attribute("class")
    wide = opened.find_element("id", "after").get_attribute("src")
    opened.find_element("id", "piece").click()
    assert wide.endswith("-after.jpg")
    assert opened.find_element("id", "after").get_attribute("src").endswith("-piece-after.jpg")


def test_a_click_on_a_timeline_leads_to_the_frame(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    chart = opened.find_element("css selector", ".chart svg")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    ActionChains(opened).move_to_element_with_offset(chart, int(chart.size["width"] * 0.37), 0).click().perform()
    assert opened.find_element("id", "where").text.startswith("Frame 10,")
    assert cursor(opened) == pytest.approx(10.5 / films.FRAMES * timeline.WIDTH)
    assert "Frame 10" in opened.find_element("id", "which").text
    values = opened.find_element("id", "values").text
    assert "Sharpness" in values
    assert "→" in values


def test_everything_is_reached_by_keyboard(opened: Any) -> None:
    charts = opened.find_element("id", "charts")
    charts.send_keys("\ue010")  # End
    assert charts.get_attribute("aria-valuetext").startswith(f"Frame {films.FRAMES - 1},")
    charts.send_keys("\ue012")
    assert charts.get_attribute("aria-valuenow") == str(films.FRAMES - 2)
    first = opened.find_element("css selector", ".strip button")
    first.send_keys("\ue014")  # the right arrow goes on to the next kept frame
    pressed = opened.execute_script(
        "return [...document.querySelectorAll('.strip button')].map(b => b.getAttribute('aria-pressed'))"
    )
    assert pressed[:2] == ["false", "true"]
    unreachable = opened.execute_script(
        "return [...document.querySelectorAll('button, input, summary, a, .scroll')]"
        ".filter(e => e.tabIndex < 0 && !e.closest('details:not([open])')).length"
    )
    assert unreachable == 0


def test_figures_are_there_as_a_table(opened: Any) -> None:
    assert opened.execute_script("return document.querySelectorAll('details tbody tr').length") >= films.FRAMES
    heads = opened.execute_script(
        "return [...document.querySelectorAll('details th[scope=col]')].map(t => t.textContent)"
    )
    assert "Sharpness, restored (1/px)" in heads
    named = opened.execute_script(
        "return [...document.querySelectorAll('svg:not([aria-hidden]), img[src], input, button')].every(e => "
        "e.getAttribute('aria-label') || e.alt !== undefined || e.labels?.length || e.textContent.trim())"
    )
    assert named


@pytest.mark.parametrize(("size", "dark"), [("phone", True), ("desktop", False)])
def test_on_a_phone_at_200_percent_and_in_the_dark(reel: Path, size: str, dark: bool) -> None:
    with browser(size, dark=dark) as found:
        found.get((reel / layout.PAGE).as_uri())
        for percent in (100, 200):
            found.execute_script(f"document.documentElement.style.fontSize = '{percent}%'")
            wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert found.execute_script(wider) <= 0, "nothing makes the page scroll sideways"
        ground, ink = found.execute_script(
            "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        )
        light = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in (ground, ink)]
        assert (light[0] < light[1]) is dark


def test_two_hours_make_a_page_of_less_than_five_megabytes(tmp_path: Path, reel: Path) -> None:
    """As many points, shots and runs of flags as a page ever shows: a longer film has no more."""
    frames, r = 6 * timeline.MOST_BUCKETS, np.random.default_rng(0)
    figures = {name: r.random(frames).astype(float).tolist() for name in FIGURES}
    fields = [n for n in FIGURES if not n.startswith("satavg")]
    rows = [
        row(n, cut=n % 6 == 0, flags=("seam",) * (n % 2), **{f: figures[f][n] for f in fields}) for n in range(frames)
    ]
    summary = tables.join_rows(tmp_path / "f", [rows])
    tables.write_shots(tmp_path / "s", summary)
    said = json.loads((reel / layout.SUMMARY).read_text())
    runs = [[n, n + 1] for n in range(0, 4000, 2)]
    said["rules"] = [rule | {"runs": runs, "frames": 2000} for rule in said["rules"]] * 7
    plan = make_plan(made_up.reel(), made_up.index(frames), parse("chain: []"), {})
    where = {"frames": tmp_path / "f", "shots": tmp_path / "s", "to": tmp_path / "page.html"}
    page.write(plan, said, [], software={}, **where)
    assert 500_000 < (tmp_path / "page.html").stat().st_size < 5_000_000


class TestNight:
    def test_it_lists_all_reels_and_leads_to_their_pages(self, driver: Any, reel: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        shutil.copytree(reel.parent, out)
        night.write(str(out))
        asked_for(driver), complaints(driver)
        driver.get((out / layout.NIGHT).as_uri())
        assert complaints(driver) == []
        link = driver.find_element("css selector", "tbody a")
        assert link.text == " ".join(HOSTILE.split())
        assert "Seam 12" in driver.find_element("css selector", "tbody tr").text
        link.click()
        assert driver.find_element("id", "stage").is_displayed()

    def test_what_needs_a_look_stands_first(self, reel: Path) -> None:
        said = json.loads((reel / layout.SUMMARY).read_text())
        calm = said | {"rules": [], "flagged_frames": 0}
        failing = said | {"rules": [said["rules"][0] | {"fail": True, "frames": 1}]}
        reels = [reel_of(n, s, has_page=True) for n, s in (("a", calm), ("b/c d", said), ("c", failing))]
        text = render(reels, [("lost", "no such <b>file</b>")], ["x: broken"])
        assert re.findall(r'<a href="([^"]+)"', text) == [f"{quote(n)}/report/index.html" for n in ("c", "b/c d", "a")]
        assert "no such &lt;b&gt;file" in text
        assert render(list(reversed(reels)), [("lost", "no such <b>file</b>")], ["x: broken"]) == text

    def test_a_garbled_summary_is_told_and_harms_nobody(self, reel: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        for name in ("a", "b", "c"):
            shutil.copytree(reel, out / name)
        (out / "a" / layout.SUMMARY).write_text('{"rate": "1/0", "frames": "<script>"}')
        (out / "b" / layout.SUMMARY).write_text("[")
        night.write(str(out))
        text = (out / layout.NIGHT).read_text()
        assert "1 reel restored" in text
        assert text.count("cannot be read") + text.count("not JSON") == 2
        assert "<script>" not in text

    def test_of_two_that_write_at_once_the_last_has_seen_both(
        self, reel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(reel, out / "a")
        real, late = night.store.put_bytes, [True]

        def put(uri: str, data: bytes) -> None:
            if late:
                late.clear()
                # Meanwhile another run publishes a reel and writes the page that tells of both; ours is the older one.
                shutil.copytree(reel, out / "b")
                night.write(str(out))
            real(uri, data)

        monkeypatch.setattr(night.store, "put_bytes", put)
        night.write(str(out))
        assert "2 reels restored" in (out / layout.NIGHT).read_text()
