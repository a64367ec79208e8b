"""The run viewer in a browser: every control, keys alone, links, themes, searches, and a run of a million events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

import pytest

from qcore.analysis.course.causality import cone
from qcore.analysis.course.course_types import Course
from qcore.trace import CompactTrace, TraceWriter
from qcore.view import save_page, view_page
from tests.checkout import CHECKOUT
from tests.web.browser import CHROMIUM, Browser
from tests.web.conftest import Viewer

pytestmark = [
    pytest.mark.long,  # a browser needs some seconds
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path"),
]

PICTURES: Final = CHECKOUT / "out/pictures"
TABS: Final = ("summary", "elections", "operations", "spacetime", "events", "scenario")

#: Elements of the page whose boxes overlap, or whose text is cut without an ellipsis.
OVERLAPS: Final = """(() => {
  const found = [];
  const boxes = [...document.querySelectorAll('main > div > section, #top, #controls, #now')]
    .filter((each) => getComputedStyle(each).position !== 'sticky')
    .map((each) => [each.id, each.getBoundingClientRect()]).filter(([, box]) => box.width);
  for (const [a, p] of boxes) for (const [b, q] of boxes) {
    if (a >= b) continue;
    const across = p.left < q.right - 1 && q.left < p.right - 1;
    if (across && p.top < q.bottom - 1 && q.top < p.bottom - 1) found.push(a + ' ' + b);
  }
  for (const each of document.querySelectorAll('button, h2, h3, th, .value')) {
    if (each.clientWidth && each.scrollWidth > each.clientWidth + 1) found.push('cut: ' + each.textContent);
  }
  const boxesWithText = '.panel, .election-body, .details, #cluster, #clients, #left, #right, .cards';
  for (const each of document.querySelectorAll(boxesWithText)) {
    const isWide = each.clientWidth && each.scrollWidth > each.clientWidth + 1;
    if (isWide) found.push('sideways: ' + (each.id || each.className));
  }
  for (const each of document.querySelectorAll('#cluster, #logs-panel, #clients')) {
    if (each.scrollHeight > each.clientHeight + 1) found.push('cut below: ' + each.id);
  }
  if (document.documentElement.scrollWidth > innerWidth) found.push('wider than the window');
  return found;
})()"""


def test_every_control_works(viewer: Viewer, course: Course) -> None:
    last = len(course.records) - 1
    viewer.click("#to-start")
    assert viewer.at()[0] == 0
    viewer.click("#step")
    assert viewer.at()[0] == 1
    viewer.click("#step-back")
    assert viewer.at()[0] == 0
    viewer.click("#to-end")
    assert viewer.at()[0] == last
    for name in ("elections", "faults", "failed", "violations"):
        for way in ("previous", "next"):
            before = viewer.at()[0]
            enabled = not viewer.browser.run(f"document.getElementById('{way}-{name}').disabled")
            viewer.click(f"#{way}-{name}")
            viewer.browser.wait(f"!{json.dumps(enabled)} || qcore.view.event !== {before}")
    viewer.click("#zoom-all")
    assert viewer.value("to - qcore.view.from") == course.end_us
    viewer.click("#zoom-in")
    assert viewer.value("to - qcore.view.from") == course.end_us / 2
    viewer.click("#zoom-out")
    viewer.click("#reverse")
    assert viewer.value("direction") == -1
    viewer.click("#reverse")
    viewer.browser.run("qcore.view.show(1e6)")
    viewer.click("#run")
    viewer.browser.wait("qcore.view.t > 1.001e6")
    viewer.click("#run")
    assert viewer.value("running") is False
    viewer.click("#theme")
    assert viewer.browser.run("document.documentElement.dataset.theme") == "dark"
    viewer.click("#keys")
    assert viewer.browser.run("document.querySelector('dialog').open")
    viewer.click("dialog button")
    viewer.click("#copy-link")
    viewer.browser.wait_text("link to this moment")
    for tab in TABS:
        viewer.click(f"#tab-{tab}")
        assert viewer.value("tab") == tab
        buttons = (
            f"[...document.querySelectorAll('#panel-{tab} button:not(:disabled), "
            f"#panel-{tab} input[type=checkbox]')]"
        )
        for number in range(min(25, int(viewer.browser.run(f"{buttons}.length")))):
            if viewer.value("tab") != tab:
                viewer.click(f"#tab-{tab}")
            viewer.browser.run(f"{buttons}[{number}]?.click()")
            viewer.settle()


def test_all_keys_do_what_the_list_says(viewer: Viewer, course: Course) -> None:
    viewer.press("?")
    assert viewer.browser.run("document.querySelector('dialog').open")
    listed = viewer.browser.run("[...document.querySelectorAll('dialog tr')].length")
    assert listed >= 18
    viewer.press("Escape", "Home")
    assert viewer.at()[0] == 0
    viewer.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert viewer.at()[0] == 1
    viewer.press("End")
    assert viewer.at()[0] == len(course.records) - 1
    viewer.press("Home", "e")
    assert abs(viewer.at()[1] - course.elections[0].start_us) < 5_000
    viewer.press("e", "E")
    assert abs(viewer.at()[1] - course.elections[0].start_us) < 5_000
    fault = course.tables.faults[0].start_us
    viewer.press("0", "Home", "f", "f", "F")
    assert viewer.at()[1] == fault
    viewer.press("Home", "o")
    assert "client" in viewer.text("#now-event").lower()
    viewer.press("O", "v", "V")
    for number, tab in enumerate(TABS, 1):
        viewer.press(str(number))
        assert viewer.value("tab") == tab
    viewer.press("/")
    assert viewer.browser.run("document.activeElement.id") == "search"
    viewer.press("v", "o", "t", "e")
    viewer.browser.wait("qcore.view.query === 'vote'")
    viewer.press("Escape", "0", "+")
    assert viewer.value("to - qcore.view.from") == course.end_us / 2
    viewer.press("-", "t", "t", "t", "s")
    before = viewer.at()[1]
    viewer.browser.press("ArrowLeft", "Shift")
    viewer.browser.wait(f"qcore.view.t < {before}")
    slow = viewer.value("rate")
    viewer.press(">", ">")
    assert viewer.value("rate") > slow
    viewer.press("<", "<", "r", " ")
    viewer.browser.wait("!qcore.view.running || qcore.view.t < 2e6")
    viewer.press(" ", "r")


def test_the_tab_key_reaches_everything(viewer: Viewer) -> None:
    """And each element that it reaches has a name and a visible focus."""
    for tab in TABS:
        viewer.press(str(TABS.index(tab) + 1))
        viewer.browser.run("document.activeElement.blur()")
        seen: list[str] = []
        for _ in range(90):
            viewer.browser.press("Tab")
            if len(seen) > 40 and f"tab-{tab}" in seen:
                break
            seen.append(
                viewer.browser.run(
                    "(({ id, tagName, textContent, ariaLabel, title }) => "
                    "id || ariaLabel || title || textContent || tagName)(document.activeElement)"
                )
            )
        assert {"run", "step", "speed", "time", "zoom-in", f"tab-{tab}"} <= set(seen)
        assert any(name.startswith("Node 1") for name in seen)
    unnamed = viewer.browser.run(
        "[...document.querySelectorAll('button, input, select, [role=slider], [role=listbox], [tabindex=\"0\"]')]"
        ".filter((each) => !each.closest('label') && !each.textContent.trim() && !each.ariaLabel)"
        ".map((each) => each.outerHTML)"
    )
    assert unnamed == []


def test_a_link_leads_to_a_moment(viewer: Viewer, trouble: Path) -> None:
    viewer.open(trouble, "#t=1.25&w=0.5&from=1.0&n=2&tab=events&q=vote&theme=dark")
    assert viewer.value("t") == 1_250_000
    assert (viewer.value("from"), viewer.value("to")) == (1_000_000, 1_500_000)
    assert viewer.value("node") == 2
    assert viewer.browser.run("document.getElementById('search').value") == "vote"
    assert viewer.browser.run("document.documentElement.dataset.theme") == "dark"
    viewer.press("ArrowRight")
    at = viewer.at()
    viewer.browser.wait(f"location.hash.includes('e={at[0]}')")
    link = str(viewer.browser.run("location.hash"))
    viewer.open(trouble, link)
    viewer.browser.wait(f"qcore.view.event === {at[0]}")
    assert viewer.at() == at
    viewer.browser.run("location.hash = '#t=0.5&e=nonsense&tab=nothing&n=77&w=-1'")
    viewer.browser.wait("qcore.view.t === 500000")
    viewer.browser.wait("qcore.view.tab === 'summary'")


def test_the_search_finds_events(viewer: Viewer, course: Course) -> None:
    viewer.press("5")
    viewer.click("#topic-faults")
    viewer.browser.wait("document.getElementById('stop-search').hidden")
    shown = viewer.text("#event-count")
    kinds = {"fault", "down", "up", "clock", "bad", "violation", "run"}
    expected = sum(record.kind in kinds for record in course.records)
    assert shown == f"{expected:,} of {len(course.records):,} events"
    viewer.click("#topic-faults")
    viewer.browser.run(
        "(() => { const box = document.getElementById('search'); box.value = 'becomes the leader';"
        " box.dispatchEvent(new Event('input')); })()"
    )
    viewer.browser.wait("qcore.view.query === 'becomes the leader'")
    viewer.browser.wait("document.getElementById('stop-search').hidden")
    leaders = sum(r.kind == "role" and r.fields["role"] == "leader" for r in course.records)
    assert viewer.text("#event-count").startswith(f"{leaders} of ")
    viewer.browser.run("document.getElementById('events').focus()")
    viewer.press("Home")
    viewer.browser.wait(
        "document.getElementById('now-event').textContent.includes('becomes the leader')"
    )


def test_cause_and_effect_are_those_of_the_course(viewer: Viewer, course: Course) -> None:
    for event in range(100, len(course.records), len(course.records) // 12):
        if course.records[event].node == 0:
            continue
        expected = cone(course, event)
        past, future = viewer.browser.run(
            f"""(async () => {{
              const {{ payload }} = qcore.view.run, events = [];
              for (let k = 0; k < payload.head.chunks.length; k += 1) {{
                const chunk = await payload.chunk(k);
                for (let n = chunk.first; n < chunk.first + chunk.count; n += 1) events.push(chunk.event(n));
              }}
              const {{ past, future }} = qcore.cone(events, events[{event}]);
              return [[...past], [...future]];
            }})()"""
        )
        assert dict(past) == expected.past, event
        assert dict(future) == expected.future, event


@pytest.mark.parametrize("size", [(1300, 800), (1024, 700), (800, 900), (480, 800)])
def test_nothing_overlaps_and_all_looks_are_drawn(viewer: Viewer, size: tuple[int, int]) -> None:
    looks: list[tuple[str, bool, Literal["none", "deuteranopia", "achromatopsia"]]] = [
        ("light", False, "none"),
        ("dark", True, "none"),
        ("deuteranopia", False, "deuteranopia"),
        ("achromatopsia", False, "achromatopsia"),
    ]
    PICTURES.mkdir(parents=True, exist_ok=True)
    viewer.browser.size(*size)
    for name, dark, vision in looks:
        viewer.browser.media(dark=dark)
        viewer.browser.vision(vision)
        viewer.browser.run("qcore.view.showWindow(0.9e6, 1.4e6, 1.11e6)")
        viewer.settle()
        for tab in TABS:
            viewer.press(str(TABS.index(tab) + 1))
            if name == "light":
                found = viewer.browser.run(OVERLAPS)
                assert not found, f"{tab} at {size}: {found}"
            if tab in {"summary", "operations", "spacetime"}:
                viewer.browser.picture(PICTURES / f"viewer-{size[0]}-{name}-{tab}.png")


def test_with_little_motion_it_steps(viewer: Viewer, trouble: Path) -> None:
    viewer.browser.media(reduced_motion=True)
    viewer.open(trouble, "#t=1.0")
    event = viewer.at()[0]
    viewer.press(" ")
    viewer.browser.wait(f"qcore.view.position >= {event + 2}")
    viewer.press(" ")
    t_us = viewer.value("t")
    assert viewer.value(f"run.event(qcore.view.event).t === {t_us}")


def test_a_long_run_shows_its_operations_as_a_short_one_does(
    viewer: Viewer,
    course: Course,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The operations of a long run are in its chunks."""
    looks: list[list[object]] = []
    monkeypatch.setattr(view_page, "CHUNK_EVENTS", 512)
    for most in (20_000, 10):
        monkeypatch.setattr(view_page, "MOST_OVERVIEW_OPERATIONS", most)
        viewer.open(save_page(course, tmp_path / f"{most}.html"))
        assert viewer.value("run.operations.isChunked") is (most == 10)
        found: list[object] = [viewer.text("#panel-summary")]
        viewer.press("3")
        found.append(viewer.text("#key"))
        for t_ms in range(100, 2900, 400):
            viewer.browser.run(f"qcore.view.show({t_ms}e3, 150e3)")
            viewer.settle()
            found.append(viewer.text("#clients"))
            found.append(
                viewer.browser.run(
                    "qcore.view.run.operations.between(qcore.view.from, qcore.view.to).found.map((o) => o.number)"
                )
            )
            for _ in range(3):
                viewer.click("#next-operation")
                viewer.browser.run("new Promise((done) => setTimeout(done, 30))")
                viewer.settle()
            found.append((viewer.value("operation"), viewer.text("#panel-operations .details b")))
        viewer.press("1")
        viewer.click("#panel-summary section:nth-of-type(4) button.small")
        viewer.settle()
        found.append((viewer.value("operation"), viewer.value("tab"), viewer.value("key")))
        looks.append(found)
    for whole, chunked in zip(*looks, strict=True):
        assert whole == chunked


def million(path: Path) -> None:
    """A trace of a million events over an hour: three nodes, heartbeats and operations."""
    with path.open("wb") as file:
        writer = TraceWriter(compact=file)
        writer.run(0, "million", 1, [1, 2, 3])
        for node in (1, 2, 3):
            writer.up(0, node, 1, 0, 0)
        writer.role(1000, 1, "leader", 1, 1)
        number = 0
        for index in range(1, 62_501):
            t_us = index * 57_600
            writer.op(t_us, 1, "invoke", 1, index, "write", f"k{index % 40}", index, "")
            for node in (2, 3):
                number += 1
                note = f"prev {index - 1}.1 entries 1 commit {index - 1}"
                writer.send(t_us, 1, node, f"1-{number}", "AppendEntries", 1, note)
                writer.recv(t_us + 900, node, 1, f"1-{number}", "AppendEntries")
                note = f"match {index}"
                writer.send(
                    t_us + 1000, node, 1, f"{node}-{index}", "AppendEntriesResponse", 1, note
                )
                writer.recv(t_us + 1900, 1, node, f"{node}-{index}", "AppendEntriesResponse")
            for node in (1, 2, 3):
                writer.commit(t_us + 2000, node, index)
                writer.apply(t_us + 2000, node, index, 1, "normal")
            writer.op(t_us + 2100, 1, "ok", 1, index, "write", f"k{index % 40}", index, "")
        writer.finish()


@pytest.mark.timeout(600)  # the page is made in half a minute, on a slow machine in minutes
def test_a_million_events_open_and_can_be_searched(browser: Browser, tmp_path: Path) -> None:
    trace = tmp_path / "million.qtrace"
    million(trace)
    page = save_page(trace, tmp_path / "million.html")
    browser.size(1300, 800)
    browser.media()
    browser.vision("none")
    browser.errors.clear()
    viewer = Viewer(browser)
    viewer.open(page)
    assert viewer.value("run.head.events") >= 1_000_000
    assert browser.run("qcore.decoded") <= 3
    assert viewer.value("run.operations.isChunked")
    viewer.press("3")
    assert browser.run("document.getElementById('key').options.length") == 41
    assert "Linearizable" in viewer.text("#panel-operations .verdict")
    viewer.press("1")
    for place in range(20):
        browser.run(f"qcore.view.show({(place * 7 % 20 + 0.5) / 20 * 3600e6}, 2e6)")
        viewer.settle()
        leader = browser.run(
            "[...qcore.view.state.nodes.values()].filter((n) => n.role === 'leader').length"
        )
        assert leader == 1
    assert (
        browser.run("qcore.decoded") <= 45
    )  # at most two for a moment: that of the moment, and that of the window
    viewer.press("5", "End")
    browser.wait(
        "document.querySelector('#events [aria-selected=true] .event-text').textContent.length > 3"
    )
    assert browser.errors == []


def test_a_failing_history_shows_what_cannot_be_placed(browser: Browser, tmp_path: Path) -> None:
    stream = tmp_path / "stale.qtrace"
    with stream.open("wb") as file:
        writer = TraceWriter(compact=file)
        writer.run(0, "stale read", 1, [1])
        writer.up(0, 1, 1, 0, 0)
        writer.role(1, 1, "leader", 1, 1)
        writer.op(1_000, 1, "invoke", 1, 1, "write", "k", 1, "")
        writer.op(2_000, 1, "ok", 1, 1, "write", "k", 1, "")
        writer.op(3_000, 1, "invoke", 1, 2, "write", "k", 2, "")
        writer.op(4_000, 1, "ok", 1, 2, "write", "k", 2, "")
        writer.op(5_000, 1, "invoke", 2, 1, "read", "k", None, "")
        writer.op(6_000, 1, "ok", 2, 1, "read", "k", 1, "")
        writer.finish()
    page = save_page(CompactTrace(stream.read_bytes()), tmp_path / "stale.html")
    browser.errors.clear()
    viewer = Viewer(browser)
    viewer.open(page)
    assert "violated" in viewer.text("#panel-summary")
    viewer.press("3")
    viewer.browser.wait("qcore.view.operation === 2")
    assert "Not linearizable. 2 of 3 operations can be placed" in viewer.text("#panel-operations")
    assert "It cannot come next" in viewer.text("#panel-operations .details")
    assert browser.errors == []
