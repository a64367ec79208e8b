"""Conformance suites for the state machines and storages that users write. They need the extra `testing`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.testing.state_machine_conformance import StateMachineConformance
    from qcore.testing.storage_conformance import NODE_ID, Opener, StorageConformance
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.testing.state_machine_conformance": ("StateMachineConformance",),
            "qcore.testing.storage_conformance": (
                "NODE_ID",
                "Opener",
                "StorageConformance",
            ),
        },
    )

for _module in ("pytest", "hypothesis"):
    if find_spec(_module) is None:
        raise ModuleNotFoundError(
            f"qcore.testing needs {_module}: pip install 'qcore-raft[testing]'", name=_module
        )

__all__ = [
    "NODE_ID",
    "Opener",
    "StateMachineConformance",
    "StorageConformance",
]
