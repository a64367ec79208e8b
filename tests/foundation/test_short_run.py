"""The short run of the tests tries fewer examples of a property: see `tests/conftest.py`."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import SHORT_EXAMPLES

STATED = 3 * SHORT_EXAMPLES
seen: list[int] = []


@settings(max_examples=STATED, phases=[Phase.generate], database=None)
@given(st.integers())
def test_integers_equal_themselves(value: int) -> None:
    seen.append(value)
    assert value == value + 0


def test_the_short_run_tries_fewer_examples(request: pytest.FixtureRequest) -> None:
    seen.clear()
    test_integers_equal_themselves()
    is_short = "not long" in request.config.option.markexpr
    assert len(seen) == (SHORT_EXAMPLES if is_short else STATED)
