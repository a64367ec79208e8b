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


def timed(what: str, action: Callable[[], T]) -> T:
    """Do something, and print its processor time."""
    begin = time.process_time()
    result = action()
    print(f"{what:32} {time.process_time() - begin:8.2f} s", flush=True)
    return result


def open_page(path: Path, folder: Path) -> None:
    """Open the page in a browser and go to some places; print the times, and how many chunks it decoded."""
    with Browser(folder) as browser:
        begin = time.monotonic()
        browser.open(path.as_uri())
        browser.wait(_READY)
        print(f"{'open, until drawn':32} {time.monotonic() - begin:8.2f} s")
        print(f"{'chunks decoded':32} {browser.run('window.qcore.decoded'):8}")
        begin = time.monotonic()
        for place in range(1, _PLACES + 1):
            share = place / (_PLACES + 1)
            browser.run(
                f"{{const v = window.qcore.view; v.show(v.run.begin + (v.run.end - v.run.begin) * {share});}}"
            )
            browser.wait("window.qcore.view.state !== null && window.qcore.view.frame === 0")
        print(f"{'go to another place':32} {(time.monotonic() - begin) / _PLACES:8.3f} s")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="records in the trace")
    parser.add_argument("--keep", type=Path, help="write the page to this file, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "run.qtrace"
        write_trace(path, arguments.events)
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
