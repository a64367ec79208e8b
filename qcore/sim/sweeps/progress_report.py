"""`SweepProgress`: how far a sweep is; and `ProgressLine`, which shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

_MINUTE_S = 60
#: A line overwrites the one before it, which is no longer than this.
_WIDTH: Final = 78


@dataclass(slots=True, frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        done: how many runs have ended, also those of the cache.
        total: how many there will be; None if that is not known.
        failures: how many of them failed.
        rate: runs per second, without those of the cache.
        left_s: the expected time that is left, in seconds; None if it is not known.
        is_over: whether this is the last report.
    """

    done: int
    total: int | None
    failures: int
    rate: float
    left_s: float | None
    is_over: bool = False

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        parts = [f"{self.done}{of} runs", f"{self.failures} failed", f"{self.rate:.1f} runs/s"]
        if self.left_s is not None and not self.is_over:
            parts.append(f"{_duration(self.left_s)} left")
        return ", ".join(parts)


#: Is called with the progress, a few times in a second.
ProgressCallback: TypeAlias = Callable[[SweepProgress], None]


class _Display(Protocol):
    """A display handle of IPython."""

    def update(self, obj: object) -> None: ...


@dataclass(slots=True, frozen=True)
class _Line:
    """A text that a notebook shows without quotes."""

    text: str

    def __repr__(self) -> str:
        return self.text


class ProgressLine:
    """Shows how far something is: one line that changes, on a terminal and in a notebook; elsewhere only the last one.

    In a notebook it is an output of the cell, so that saved notebooks hold only the last line.
    """

    def __init__(self) -> None:
        self._handle: _Display | None = None

    def show(self, progress: object, *, is_over: bool) -> None:
        """Show the text of a progress.

        Args:
            progress: what to show.
            is_over: whether this is the last line.
        """
        notebook = sys.modules.get("IPython.display") if "ipykernel" in sys.modules else None
        if notebook is not None:
            if self._handle is None:
                self._handle = notebook.display(_Line(str(progress)), display_id=True)
            else:
                self._handle.update(_Line(str(progress)))
        elif sys.stderr.isatty():
            end = "\n" if is_over else ""
            sys.stderr.write(f"\r{progress!s:{_WIDTH}}{end}")
        elif is_over:
            sys.stderr.write(f"{progress}\n")
        sys.stderr.flush()

    def show_sweep(self, progress: SweepProgress) -> None:
        """Show how far a sweep is."""
        self.show(progress, is_over=progress.is_over)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
