"""The progress of sweeps and measurements, on stderr and in a notebook."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from qcore.sim import measure_elections
from qcore.sim.sweeps.progress_report import ProgressLine, SweepProgress


class _Handle:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, shown: object) -> None:
        self.shown.append(repr(shown))


def test_a_notebook_shows_one_output_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = _Handle()
    outputs: list[str] = []
    module = ModuleType("IPython.display")

    def display(shown: object, *, display_id: bool) -> _Handle:
        assert display_id
        outputs.append(repr(shown))
        return handle

    module.__dict__["display"] = display
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    line = ProgressLine()
    for done in (1, 2, 3):
        line.show_sweep(SweepProgress(done, 3, 0, 2.0, None, is_over=done == 3))
    assert outputs == ["1 of 3 runs, 0 failed, 2.0 runs/s"]
    assert handle.shown == [
        "2 of 3 runs, 0 failed, 2.0 runs/s",
        "3 of 3 runs, 0 failed, 2.0 runs/s",
    ]


def test_a_file_gets_only_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    measure_elections(nodes=3, trials=600, progress=True)
    assert capsys.readouterr().err == "600 of 600 elections\n"
