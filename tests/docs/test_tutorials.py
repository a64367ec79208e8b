"""The scenario and the notebook cells of the tutorials are true. `tests/test_docs.py` runs their commands."""

from __future__ import annotations

import re

import pytest
from matplotlib import pyplot as plt

from tests.checkout import CHECKOUT, DOCS, EXAMPLES
from tests.documents import blocks, read

TUTORIAL = DOCS / "tutorial"

#: How the tutorial writes its number of runs. A test needs fewer.
MANY_SEEDS = "range(1, 51)"


def test_the_scenario_of_the_tutorial_is_the_example() -> None:
    (shown,) = [
        block for block in blocks(TUTORIAL / "first-partition.md") if block.language == "yaml"
    ]
    assert "`examples/first_partition.yaml`" in shown.before
    assert read(EXAMPLES / "first_partition.yaml").endswith("\n" + shown.text)


def test_the_cells_of_the_notebook_tutorial_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(CHECKOUT)
    cells = [b.text for b in blocks(TUTORIAL / "notebook.md") if b.language == "python"]
    assert [MANY_SEEDS in cell for cell in cells] == [False, True, True, False]
    names: dict[str, object] = {}
    try:
        for cell in cells:
            exec(cell.replace(MANY_SEEDS, "range(1, 4)"), names)
    finally:
        plt.close("all")
    one, many, slower, leads, result = capsys.readouterr().out.splitlines()
    assert one == "True 2 times of leadership"
    assert median_ms(many) < median_ms(slower)
    assert re.fullmatch(r"\d+ ms: node \d leads in term \d", leads)
    assert result.startswith("RunResult('first_partition', seed 7, ")


def median_ms(line: str) -> int:
    """The median that a cell printed: `median 192 ms, longest 286 ms`."""
    return int(line.split()[1])
