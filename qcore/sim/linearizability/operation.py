"""The vocabulary of the checker: operations in, a verdict out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

#: A register's value, and what an operation was given or answered. Compared with `==`.
Value = str | int | float | bool | None
Argument = Value | tuple[Value, Value]

OperationKind = Literal["write", "read", "cas", "add"]
Result = Literal["ok", "violation", "unknown"]


@dataclass(slots=True, frozen=True)
class Operation:
    """One operation of a client on one register, as the client saw it.

    | kind | input | output | meaning |
    |---|---|---|---|
    | write | the new value | ignored | the register holds `input` |
    | read | ignored | the value read | the register holds `output` |
    | cas | (expected, new) | True, False, or None if not told | if it holds `expected`, it holds `new` |
    | add | an integer | the sum, or None if not told | a counter, from 0 when it holds None |

    Attributes:
        client, op_id: who did what; `op_id` grows within a client.
        key: the register. Each starts with the value None.
        invoke_us: when the client asked.
        return_us: when it had the answer; None when the outcome is unknown: the operation may
            take effect at any time after `invoke_us`, or never.

    An operation that certainly had no effect (refused) does not belong into a history.
    Two operations that touch in one microsecond count as concurrent, unless one client did both.
    """

    client: int
    op_id: int
    key: str
    kind: OperationKind
    input: Argument
    output: Value
    invoke_us: int
    return_us: int | None

    def describe(self) -> str:
        """A short text for explanations."""
        if self.kind == "read":
            what = f"read {self.output!r}"
        elif self.kind == "cas":
            assert isinstance(self.input, tuple)
            what = f"cas {self.input[0]!r} to {self.input[1]!r} gave {self.output!r}"
        else:
            what = f"{self.kind} {self.input!r}"
            if self.kind == "add" and self.output is not None:
                what += f" gave {self.output!r}"
        until = "never heard of again" if self.return_us is None else f"{self.return_us} us"
        return f"client {self.client} op {self.op_id}: {what} [{self.invoke_us} us .. {until}]"


@dataclass(slots=True, frozen=True)
class LinearizabilityVerdict:
    """What the checker found.

    Attributes:
        result: `ok`: some order of the operations explains all answers. `violation`: none does.
            `unknown`: the budget ran out first.
        key: the register that is violated or undecided, None when ok.
        explanation: for people; empty when ok.
        prefix: the longest explained beginning that was found for `key`, in its order.
        stuck: the operations under way where it ended, which could not be placed.
        steps: how much of the budget was used.
        operations: how many operations were checked.
    """

    result: Result
    key: str | None = None
    explanation: str = ""
    prefix: tuple[Operation, ...] = field(default=(), repr=False)
    stuck: tuple[Operation, ...] = field(default=(), repr=False)
    steps: int = 0
    operations: int = 0

    @property
    def ok(self) -> bool:
        return self.result == "ok"
