"""Curves of growth become tables and a picture, and the cost of a log is measured on a log of that length."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

from benchmarks.growth.__main__ import NAMES, PICTURE
from benchmarks.growth.curves import Curve, draw, load_all, save, table, with_tables
from benchmarks.growth.logs import log_figures


def a_curve(name: str = "log", sizes: tuple[int, ...] = (1_000, 1_000_000)) -> Curve:
    series = {"a command, µs": [1.234, 123.4], "size, MB": [0.5, 12.34]}
    return Curve(name, "A log grows", "entries", sizes, series, ("a command, µs",), "µs", "built")


def test_a_table_has_a_column_for_each_size() -> None:
    assert table(a_curve()).splitlines() == [
        "| entries | 1,000 | 1,000,000 |",
        "|---|---|---|",
        "| a command, µs | 1.23 | 123 |",
        "| size, MB | 0.50 | 12.3 |",
    ]


def test_curves_are_kept_and_drawn_in_order(tmp_path: Path) -> None:
    save(tmp_path, a_curve("nodes", (3, 5)))
    save(tmp_path, a_curve("log"))
    curves = load_all(tmp_path, NAMES)
    assert curves == [a_curve("log"), a_curve("nodes", (3, 5))]
    draw(tmp_path / "growth.png", curves)
    height, width, _ = matplotlib.image.imread(tmp_path / "growth.png").shape
    assert width > height > 200


def test_the_cost_of_a_log_is_measured_in_core_and_on_disk() -> None:
    figures = log_figures(1_000)
    assert figures["a command in the core, µs"] > 0
    assert figures["append of one entry, CPU µs"] > 0
    assert figures["files on disk, MB"] > 0.1


def test_tables_are_written_between_the_marks_of_a_document() -> None:
    document = "before\n\n<!-- curves: a note -->\n\nold\n\n<!-- end of curves -->\n\nafter\n"
    written = with_tables(document, [a_curve()])
    assert written == document.replace("old", f"built:\n\n{table(a_curve())}")
    assert with_tables(written, [a_curve()]) == written
    with pytest.raises(ValueError, match="lacks the marks"):
        with_tables("a text", [])


def test_the_documented_picture_is_there() -> None:
    assert PICTURE.exists()
