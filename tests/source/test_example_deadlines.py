"""A timing never decides a test: no example of Hypothesis has a deadline."""

from __future__ import annotations

from hypothesis import settings


def test_examples_have_no_deadline() -> None:
    assert settings().deadline is None
