"""docs/how-to/find-and-shrink.md: its programs run, and find what they plant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkout import DOCS
from tests.documents import blocks

#: What a test does not need so much of.
SHORTER = {
    "seeds=range(1, 101)": "seeds=[1], jobs=1",
    "shrink(artifact, ": "shrink(artifact, budget_runs=12, ",
}
PAGE = DOCS / "how-to" / "find-and-shrink.md"


@pytest.mark.long
def test_the_programs_of_the_page_find_their_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    search, others = [block.text for block in blocks(PAGE) if block.language == "python"]
    for long, short in SHORTER.items():
        assert long in search
        search = search.replace(long, short)
    for program in (search, others):
        exec(compile(program, str(PAGE), "exec"), {})
    printed = capsys.readouterr().out
    assert "Cause(key='election_safety'" in printed
    assert (tmp_path / "smallest" / "scenario.yaml").is_file()
    assert "election_safety" in printed.splitlines()[-3]
    assert printed.endswith("\nTrue\n")
