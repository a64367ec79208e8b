"""Is a history of client operations linearizable? Pure: for simulated and for real clusters alike.

    verdict = check_history(operations)
    if verdict.result != "ok": print(verdict.explanation)

Each key is a register with the operations write, read, cas and add (see `Operation`).
"""

from __future__ import annotations

from qcore.sim.linearizability.check import DEFAULT_BUDGET, check_history
from qcore.sim.linearizability.operation import (
    Argument,
    LinearizabilityVerdict,
    Operation,
    OperationKind,
    Result,
    Value,
)

__all__ = [
    "DEFAULT_BUDGET",
    "Argument",
    "LinearizabilityVerdict",
    "Operation",
    "OperationKind",
    "Result",
    "Value",
    "check_history",
]
