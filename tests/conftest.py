"""Settings of every test: no example of Hypothesis has a deadline, because a timing never decides a test.

The short run tries fewer examples of each property than the long one, which tries as many as the test states.

Python compiles each module once, not once for each of the hundreds of processes that the tests start. Most of those
are forked from a process that has already imported qcore: see `tests/forked_processes.py`.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Final

import pytest
from hypothesis import is_hypothesis_test, settings

from tests import forked_processes
from tests.checkout import CHECKOUT
from tests.source import pure_build

settings.register_profile("qcore", deadline=None)
settings.load_profile("qcore")

#: The most examples of one property in the short run.
SHORT_EXAMPLES: Final = 50
#: Where compiled modules are kept if the environment forbids to keep them beside their source.
BYTECODE: Final = CHECKOUT / "out" / "bytecode"
#: Where Hypothesis keeps the settings of a test that `@settings` gave to it. There is no public name for it.
_SETTINGS: Final = "_hypothesis_internal_use_settings"


def keep_bytecode() -> None:
    """Let this process and those that it starts keep compiled modules, although `PYTHONDONTWRITEBYTECODE` is set.

    The variable asks for no `__pycache__` beside the source, so they go to `BYTECODE`. A node that compiles its
    modules at each start takes a third more processor time to start.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE))
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"]
        sys.dont_write_bytecode = False


keep_bytecode()
forked_processes.install()
pure_build.install()


def pytest_collection_finish() -> None:
    """Keep the tests and modules out of all later collections of garbage, which would visit a million objects."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Limit the examples unless the run includes the long tests."""
    if "not long" not in config.option.markexpr:
        return
    for item in items:
        function = getattr(item, "function", None)
        if function is None or not is_hypothesis_test(function):
            continue
        stated = getattr(function, _SETTINGS, None) or settings()
        fewer = min(stated.max_examples, SHORT_EXAMPLES)
        setattr(function, _SETTINGS, settings(stated, max_examples=fewer))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the pure build, if this is the compiled one."""
    pure_build.skip_marked(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped because they need the pure build."""
    for line in pure_build.summary(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line)
