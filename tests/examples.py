"""Loads the programs of `examples/` as modules, as qcore loads a user's file."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from tests.checkout import EXAMPLES


def load_example(name: str) -> ModuleType:
    """Load the module `examples/<name>.py`."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
