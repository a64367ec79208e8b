"""The page of a long run: its size, and the processor time to read the trace and to make the page."""

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

T = TypeVar("T")


def timed(what: str, action: Callable[[], T]) -> T:
    """Do something, and print its processor time."""
    begin = time.process_time()
    result = action()
    print(f"{what:32} {time.process_time() - begin:8.2f} s", flush=True)
    return result


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
    if arguments.keep is not None:
        arguments.keep.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
