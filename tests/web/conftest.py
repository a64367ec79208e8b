"""The run viewer in a browser: the page of the run with trouble, opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from qcore.analysis.course.course_types import Course
from qcore.view import save_page
from tests.view import conftest as view_fixtures
from tests.web.browser import Browser

READY: Final = "document.documentElement?.dataset.ready === 'yes'"

trace_bytes, course = view_fixtures.trace_bytes, view_fixtures.course


class Viewer:
    """A page in a browser."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def open(self, page: Path, link: str = "") -> None:
        self.browser.open("about:blank")
        self.browser.open(f"{page.as_uri()}{link}")
        self.browser.wait(READY, 60)
        self.settle()

    def settle(self) -> None:
        """Wait until everything is drawn: the chunk of the moment is decoded, and no frame is due."""
        self.browser.wait("qcore.view.state && (qcore.view.running || !qcore.view.frame)")

    def value(self, of_view: str) -> Any:
        return self.browser.run(f"qcore.view.{of_view}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.browser.press(key)
            self.browser.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        self.settle()

    def click(self, selector: str) -> None:
        self.browser.run(f"document.querySelector({json.dumps(selector)}).click()")
        self.settle()

    def text(self, selector: str) -> str:
        return str(self.browser.run(f"document.querySelector({json.dumps(selector)}).textContent"))

    def at(self) -> tuple[int, float]:
        return int(self.value("position")), float(self.value("t"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def trouble(course: Course, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_page(course, tmp_path_factory.mktemp("page") / "trouble.html")


@pytest.fixture
def viewer(browser: Browser, trouble: Path) -> Iterator[Viewer]:
    """The page of the run with trouble, opened. The console stays empty."""
    browser.size(1300, 800)
    browser.media()
    browser.vision("none")
    browser.errors.clear()
    opened = Viewer(browser)
    opened.open(trouble)
    yield opened
    assert browser.errors == []
