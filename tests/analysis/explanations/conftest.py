"""The pytest option `--rewrite-explanations`: write the current explanations into their files."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-explanations",
        action="store_true",
        default=False,
        help="tests/analysis/explanations: replace the expected texts by the current ones",
    )
