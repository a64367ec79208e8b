"""`Finding`: what one check of `qcore doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "problem"]


@dataclass(slots=True, frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        check: what was examined.
        verdict: `problem` if a node cannot work well like this, `warning` if it may not.
        found: what was found.
        advice: what to change; empty if nothing.
    """

    check: str
    verdict: Verdict
    found: str
    advice: str = ""

    def row(self) -> dict[str, str]:
        """The row of a table, or the object in JSON."""
        return {
            "check": self.check,
            "verdict": self.verdict,
            "found": self.found,
            "advice": self.advice,
        }


def ok(check: str, found: str) -> Finding:
    """Nothing to change."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, advice: str) -> Finding:
    """What may cause trouble."""
    return Finding(check, "warning", found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """What must be changed."""
    return Finding(check, "problem", found, advice)
