"""State machines: their interface, the entity store, the key-value machine, and the loader of custom machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.machines.entity.entity_store import EntityStore
    from qcore.machines.interface import (
        MAX_RESULT_BYTES,
        ApplyContext,
        Change,
        StateMachine,
        StateReplaced,
        SupportsChanges,
        SupportsCommandCheck,
        SupportsGradualRestore,
        SupportsPermissions,
        SupportsStateSize,
        SupportsWatchPermissions,
        SupportsWatchRequests,
        SupportsWorkCost,
        TopicChange,
        WatchFilter,
    )
    from qcore.machines.loader import load_machine
    from qcore.machines.permissions import Permissions
    from qcore.machines.register import RegisterMachine
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.machines.interface": (
                "MAX_RESULT_BYTES",
                "ApplyContext",
                "Change",
                "StateMachine",
                "StateReplaced",
                "SupportsChanges",
                "SupportsCommandCheck",
                "SupportsGradualRestore",
                "SupportsPermissions",
                "SupportsWatchPermissions",
                "SupportsWatchRequests",
                "SupportsStateSize",
                "SupportsWorkCost",
                "TopicChange",
                "WatchFilter",
            ),
            "qcore.machines.entity.entity_store": ("EntityStore",),
            "qcore.machines.permissions": ("Permissions",),
            "qcore.machines.register": ("RegisterMachine",),
            "qcore.machines.loader": ("load_machine",),
        },
    )

__all__ = [
    "MAX_RESULT_BYTES",
    "ApplyContext",
    "Change",
    "EntityStore",
    "Permissions",
    "RegisterMachine",
    "StateMachine",
    "StateReplaced",
    "SupportsChanges",
    "SupportsCommandCheck",
    "SupportsGradualRestore",
    "SupportsPermissions",
    "SupportsStateSize",
    "SupportsWatchPermissions",
    "SupportsWatchRequests",
    "SupportsWorkCost",
    "TopicChange",
    "WatchFilter",
    "load_machine",
]
