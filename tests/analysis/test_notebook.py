"""The notebooks are valid and hold the outputs of a run; run again, they show the same."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.executed_notebooks import (
    LOCAL_PATH,
    NOTEBOOKS,
    execute,
    pictures,
    read,
    texts,
)

#: The most characters of a figure and of a notebook.
MOST_IN_A_FIGURE, MOST_IN_A_NOTEBOOK = 150_000, 1_500_000
#: What each notebook prints, however many seeds it runs, and its number of figures.
SHOWN = {
    "elections": ("everything as expected: True", 6),
    "commits": ("steady_state, seed 1: safe and as expected: True", 8),
    "published_numbers": ("every run as expected: True", 1),
    "partitions": ("constrained_election         as expected: True", 5),
    "incident": ("every step as recorded: True", 4),
    "your_own_machine": ("the machine passes: True", 1),
}


def test_every_notebook_is_known() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid_and_holds_the_outputs_of_a_run(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        streams = [out.name for out in cell.outputs if out.output_type == "stream"]
        assert len(streams) == len(set(streams)), "`make notebooks` joins what a cell prints"
        for out in cell.outputs:
            assert out.output_type != "error"
            assert out.get("name") != "stderr", out.text
    printed, figures = SHOWN[path.stem]
    assert printed in texts(notebook)
    assert len(pictures(notebook)) == figures
    assert max(map(len, pictures(notebook))) <= MOST_IN_A_FIGURE
    text = path.read_text(encoding="utf-8")
    assert len(text) <= MOST_IN_A_NOTEBOOK
    assert not LOCAL_PATH.search(text)
    assert text.endswith("}\n")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_exercise_has_a_folded_solution(path: Path) -> None:
    text = "".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    _, _, exercises = text.partition("## Exercises")
    count = len(re.findall(r"^\*\*\d+\.\*\*", exercises, flags=re.MULTILINE))
    assert count >= 2
    assert exercises.count("<details><summary>Solution</summary>") == count
    assert exercises.count("</details>") == count


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        ("elections", 10),
        *(pytest.param(name, 20, marks=pytest.mark.long) for name in SHOWN if name != "elections"),
        pytest.param("elections", 300, marks=pytest.mark.long),
    ],
)
def test_a_notebook_runs(name: str, seeds: int, tmp_path: Path) -> None:
    path = next(path for path in NOTEBOOKS if path.stem == name)
    notebook = execute(path, tmp_path, seeds)
    printed, figures = SHOWN[name]
    seen = texts(notebook)
    assert printed in seen
    assert len(pictures(notebook)) == figures
    if name == "elections":
        assert f"{seeds} runs: shortest" in seen
        assert re.search(r"node \d leads after \d+ ms, in term 3", seen)
        median = re.search(r"median (\d+) ms", seen)
        assert median is not None
        assert 150 <= int(median[1]) <= 250  # the notebook derives this value
