"""docs/how-to/oracles.md: its machine has the fault that it names, and the report is the one that it shows."""

from __future__ import annotations

from pathlib import Path

from qcore.sim import run_scenario
from tests.checkout import CHECKOUT
from tests.documents import blocks

PAGE = CHECKOUT / "docs/how-to/oracles.md"
FAULT = "pieces = min(pieces + number, 7)  # the fault: more than 7 are lost"


def test_the_page_finds_its_fault_and_nothing_without_it(tmp_path: Path) -> None:
    machine, scenario, shown, python = [block.text for block in blocks(PAGE)]
    (tmp_path / "stock.yaml").write_text(scenario)
    assert FAULT in machine
    (tmp_path / "stock.py").write_text(machine)
    for seed in (1, 2, 3):
        found = run_scenario(tmp_path / "stock.yaml", seed)
        assert [each.check for each in found.violations] == ["linearizability"]
        assert {each.name for each in found.failed()} == {"safe", "model"}
        note = found.violations[0].note
        for line in (
            "this does not fit: the model does not allow this answer",
            "the model answers",
        ):
            assert line in note
            assert line in shown
    (tmp_path / "stock.py").write_text(machine.replace(FAULT, "pieces += number"))
    for seed in (1, 2):
        assert run_scenario(tmp_path / "stock.yaml", seed).ok
    namespace: dict[str, object] = {}
    exec(compile(python, str(PAGE), "exec"), namespace)  # the page's last block
    assert getattr(namespace["result"], "ok", None) is True
