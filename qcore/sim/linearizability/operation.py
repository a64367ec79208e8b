"""The input and output of the checker: operations and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Literal

from qcore.compiled_build import register_copies
from qcore.html_table import html_table

#: The value of a register, and the input or output of an operation. Compared with `==`.
Value = str | int | float | bool | None
Argument = Value | tuple[Value, Value]

OperationKind = Literal["write", "read", "cas", "add"]
Result = Literal["ok", "violation", "unknown"]
#: How many operations in order a notebook shows.
_SHOWN_OPERATIONS = 10


@dataclass(init=False, unsafe_hash=True)
class Operation:
    """One operation of a client on one register, from the client's point of view. Never mutated once made.

    | kind | input | output | meaning |
    |---|---|---|---|
    | write | the new value | ignored | the register holds `input` |
    | read | ignored | the value read | the register holds `output` |
    | cas | (expected, new) | True, False, or None if unknown | if it holds `expected`, it holds `new` |
    | add | an integer | the sum, or None if unknown | a counter, which starts at 0 if it holds None |

    Attributes:
        client, op_id: the client, and the number of the operation, which grows within a client.
        key: the register. Each starts with the value None.
        invoke_us: when the client sent the request.
        return_us: when the client received the response. None means that the outcome is unknown: the operation may
            take effect at any time after `invoke_us`, or never.

    An operation that certainly had no effect (rejected) does not belong in a history. If one operation returns in the
    microsecond in which another begins, they count as concurrent, unless one client did both.
    """

    client: int
    op_id: int
    key: str
    kind: OperationKind
    input: Argument
    output: Value
    invoke_us: int
    return_us: int | None

    def __init__(
        self,
        client: int,
        op_id: int,
        key: str,
        kind: OperationKind,
        input: Argument,  # noqa: A002  # the name of the field
        output: Value,
        invoke_us: int,
        return_us: int | None,
    ) -> None:
        self.client = client
        self.op_id = op_id
        self.key = key
        self.kind = kind
        self.input = input
        self.output = output
        self.invoke_us = invoke_us
        self.return_us = return_us

    def validate(self) -> None:
        """Check that the operation is one.

        Raises:
            ValueError: it returns before it was invoked, or its input does not fit its kind.
        """
        if self.return_us is not None and self.return_us < self.invoke_us:
            raise ValueError(f"{self.describe()}: returns before it was invoked")
        if isinstance(self.input, tuple) != (self.kind == "cas"):
            raise ValueError(
                f"client {self.client} op {self.op_id}: a {self.kind} with the input "
                f"{self.input!r}; cas takes (expected, new), the others one value"
            )

    def describe(self) -> str:
        """A short description for explanations."""
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


@dataclass(frozen=True)
class LinearizabilityVerdict:
    """The verdict of the checker.

    Attributes:
        result: `ok`: some order of the operations explains all outputs. `violation`: no order does. `unknown`: the
            budget was used up before a decision.
        key: the register with the violation or without a decision; None if ok.
        explanation: for humans; empty if ok.
        prefix: the longest order found for `key` that explains its operations.
        stuck: the operations in progress after `prefix`, none of which can come next.
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

    def _repr_html_(self) -> str:
        """The verdict for notebooks, with the last operations in order and those that cannot come next."""
        what = "operation" if self.operations == 1 else "operations"
        text = f"{self.result}: {self.operations:,} {what}"
        if self.ok:
            return f"<p>{text}</p>"
        shown = self.prefix[-_SHOWN_OPERATIONS:]
        first = len(self.prefix) - len(shown)
        rows = [(first + place, each.describe()) for place, each in enumerate(shown, 1)]
        rows_after = [("cannot come next", each.describe()) for each in self.stuck]
        key = "" if self.key is None else f", register {self.key!r}"
        return "".join(
            (
                f"<p><b>{escape(text + key)}</b></p><pre>{escape(self.explanation)}</pre>",
                html_table(("order", "operation"), [*rows, *rows_after]),
            )
        )


register_copies(globals())
