"""The page of a long run: its size, the processor time to make it, and the time to open it if there is a Chromium."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.view.many_events import write_trace
from qcore.analysis.course.read_course import read_course
from qcore.view import page_text
from tests.web.browser import CHROMIUM, Browser

T = TypeVar("T")

#: The page is ready, and has drawn the state of the cluster.
_READY = "document.documentElement?.dataset.ready === 'yes' && !document.body.classList.contains('loading')"
_PLACES = 20
_TABS = ("summary", "elections", "operations", "spacetime", "events")
_FRAMES_COUNT = 150
#: Draws so many frames, each after a step.
_FRAMES = f"""new Promise((done) => {{
  const v = qcore.view, original = v.onFrame.bind(v);
  let count = 0;
  v.onFrame = (now) => {{
    original(now);
    if (++count >= {_FRAMES_COUNT}) {{ delete v.onFrame; setTimeout(done); }} else {{ STEP; }}
  }};
  STEP;
}})"""


def timed(what: str, action: Callable[[], T]) -> T:
    """Do something, and print its processor time."""
    begin = time.process_time()
    result = action()
    print(f"{what:32} {time.process_time() - begin:8.2f} s", flush=True)
    return result


def open_page(path: Path, folder: Path) -> None:
    """Open the page in a browser, go to some places, run and zoom; print the times, and how many chunks it decoded."""
    with Browser(folder) as browser:
        browser.call("Performance.enable", timeDomain="threadTicks")
        begin = time.monotonic()
        browser.open(path.as_uri())
        browser.wait(_READY)
        print(f"{'open, until drawn':32} {time.monotonic() - begin:8.2f} s")
        print(f"{'open, processor time':32} {busy_s(browser):8.2f} s")
        print(f"{'chunks decoded':32} {browser.run('window.qcore.decoded'):8}")
        begin = time.monotonic()
        for place in range(1, _PLACES + 1):
            share = place / (_PLACES + 1)
            browser.run(
                f"{{const v = window.qcore.view; v.show(v.run.begin + (v.run.end - v.run.begin) * {share});}}"
            )
            browser.wait("window.qcore.view.state !== null && window.qcore.view.frame === 0")
        print(f"{'go to another place':32} {(time.monotonic() - begin) / _PLACES:8.3f} s")
        for tab in _TABS:
            print_frames(browser, tab)
        for error in browser.errors:
            print(f"in the console: {error}")


def print_frames(browser: Browser, tab: str) -> None:
    """Print the processor time of the page's thread for a frame, with one of its tabs open."""
    browser.run(f"qcore.view.set({{ tab: '{tab}' }})")
    for what, prepare, step in (
        ("run", "v.show(middle, 2e6); v.set({ rate: 0.05, running: true })", "v.draw()"),
        ("run fast", "v.show(middle, 2e6); v.set({ rate: 100, running: true })", "v.draw()"),
        ("zoom", "v.set({ from: v.run.begin, to: v.run.end, running: false })", "v.zoom(0.93)"),
        ("pan", "v.show(middle, 10e6)", "v.pan(3e5)"),
    ):
        browser.run(
            f"{{ const v = qcore.view, middle = (v.run.begin + v.run.end) / 2; {prepare}; }}"
        )
        before = busy_s(browser)
        browser.run(_FRAMES.replace("STEP", step))
        busy_ms = (busy_s(browser) - before) * 1000 / _FRAMES_COUNT
        browser.run("qcore.view.set({ running: false })")
        browser.wait("qcore.view.state !== null && qcore.view.frame === 0")
        print(f"{f'{tab}: {what}, a frame':32} {busy_ms:8.1f} ms", flush=True)


def busy_s(browser: Browser) -> float:
    """The processor time of the page's thread since it began."""
    metrics = browser.call("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="records in the trace")
    parser.add_argument("--nodes", type=int, default=5, help="nodes of the cluster")
    parser.add_argument("--keys", type=int, default=50, help="keys of the operations")
    parser.add_argument("--keep", type=Path, help="write the page to this file, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "run.qtrace"
        write_trace(path, arguments.events, arguments.nodes, arguments.keys)
        course = timed("read_course", lambda: read_course(path))
        size = path.stat().st_size
    events = len(course.records)
    text = timed("page_text", lambda: page_text(course))
    print(f"{'events':32} {events:8}")
    print(f"{'operations':32} {len(course.operations):8}")
    print(f"{'bytes an event, compact trace':32} {size / events:8.2f}")
    print(f"{'bytes an event, page':32} {len(text.encode()) / events:8.2f}")
    print(f"{'page, MB':32} {len(text.encode()) / 1e6:8.2f}")
    with tempfile.TemporaryDirectory() as name:
        page = arguments.keep or Path(name) / "page.html"
        page.write_text(text, encoding="utf-8")
        if CHROMIUM is not None:
            (folder := Path(name) / "browser").mkdir()
            open_page(page.resolve(), folder)


if __name__ == "__main__":
    main()
