"""The programs of the page about pictures work, one after the other."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot

from tests.checkout import CHECKOUT
from tests.documents import blocks


@pytest.mark.long
def test_the_programs_about_pictures_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(CHECKOUT / "docs/how-to/figures.md"):
        exec(block.text, names)
    pyplot.close("all")
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"run.qtrace", "run.png", "commits.pdf", "run.log", "run.json"}
