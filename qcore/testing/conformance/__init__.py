"""Conformance suites for the state machines and storages that users write. They need the extra `testing`."""

from __future__ import annotations

from importlib.util import find_spec

for _module in ("pytest", "hypothesis"):
    if find_spec(_module) is None:
        raise ModuleNotFoundError(
            f"the suites of qcore.testing need {_module}: pip install 'qcore-raft[testing]'",
            name=_module,
        )
