"""The pytest option `--rewrite-scripts`: write the current output of the command scripts into their files."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-scripts",
        action="store_true",
        default=False,
        help="tests/core: replace the expected output of the command scripts by the current output",
    )
