"""The pytest option `--rewrite-explanations`: write the current explanations into their files; and runs to explain."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.read_course import read_course
from qcore.sim import run_scenario
from qcore.trace import TraceWriter


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-explanations",
        action="store_true",
        default=False,
        help="tests/analysis/explanations: replace the expected texts by the current ones",
    )


@pytest.fixture(scope="session")
def course_of() -> Callable[[str], Course]:
    """The course of a scenario with seed 1."""

    @cache
    def course(scenario: str) -> Course:
        trace = TraceWriter(keep=True)
        run_scenario(scenario, 1, trace=trace)
        return read_course(trace)

    return course
