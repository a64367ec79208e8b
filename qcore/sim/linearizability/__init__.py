"""Checks whether a history of client operations is linearizable: a pure checker for simulated and real clusters.

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
