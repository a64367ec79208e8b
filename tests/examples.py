"""The programs of `examples/` as modules, as a user's own file would be loaded."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from tests.checkout import EXAMPLES


def load_example(name: str) -> ModuleType:
    """The module `examples/<name>.py`."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
