"""The module that prints results: tables, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.cli.options import OutputFormat
from qcore.cli.output import Row, as_json, csv_rows, flat, show, table, width_of

ROWS: list[Row] = [
    {"name": "a", "size": 1, "ok": True},
    {"name": "b,\n", "size": None, "ok": False},
]


def test_rows_are_printed_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    show(OutputFormat.table, ROWS, rows=ROWS)
    assert capsys.readouterr().out == "NAME  SIZE  OK\na     1     yes\nb,\\n  -     -\n"
    show(OutputFormat.csv, ROWS, rows=ROWS)
    assert capsys.readouterr().out == 'name,size,ok\na,1,true\n"b,\n",,false\n'
    show(OutputFormat.json, ROWS, rows=ROWS)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_one_object_is_one_row_of_csv(capsys: pytest.CaptureFixture[str]) -> None:
    show(OutputFormat.csv, {"id": 1, "at": {"x": 2, "y": {"z": None}}, "list": [1, {"a": 2}]})
    header, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == ["id", "at.x", "at.y.z", "list"]
    assert row == ["1", "2", "", '[1, {"a": 2}]']


def test_no_rows_print_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show(OutputFormat.csv, [], rows=[], columns=("a", "b"))
    show(OutputFormat.table, [], rows=[], columns=("a", "b"))
    assert capsys.readouterr().out == "a,b\nA  B\n"


def test_no_control_code_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    body = {"name": "\x1b[31m\x9b31m"}
    show(OutputFormat.table, body)
    show(OutputFormat.table, body, text=body["name"])
    show(OutputFormat.json, body)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert json.loads(out.splitlines()[-1]) == body


def test_json_keeps_readable_text() -> None:
    assert as_json({"name": "Zoë"}) == '{"name": "Zoë"}'
    assert as_json({"name": "\u202e"}) == '{"name": "\\u202e"}'


@settings(max_examples=50)
@given(
    lines=st.lists(st.lists(st.text(max_size=30), min_size=3, max_size=3), min_size=1, max_size=4),
    columns=st.integers(32, 60),
)
def test_a_table_fits_the_terminal_and_loses_no_text(lines: list[list[str]], columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", Terminal())
        patch.setenv("COLUMNS", str(columns))
        fitted = table(lines)
        patch.setattr(sys, "stdout", io.StringIO())
        whole = table(lines)
    assert all(width_of(line) <= columns for line in fitted.split("\n"))
    # A wrapped line spreads its cells over several lines.
    assert sorted(fitted.replace(" ", "").replace("\n", "")) == sorted(
        whole.replace(" ", "").replace("\n", "")
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2))
def test_csv_gives_back_any_text(cells: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        written = io.StringIO(newline="")
        patch.setattr(sys, "stdout", written)
        csv_rows(("a", "b"), [dict(zip("ab", cells, strict=True))])
    written.seek(0)
    (row,) = csv.reader(written)
    assert row == cells


def test_a_nested_object_gives_a_column_for_each_key() -> None:
    assert flat({"a": {"b": {"c": 1}}, "d": ()}) == {"a.b.c": 1, "d": "[]"}


def on_terminal(patch: pytest.MonkeyPatch, columns: int) -> io.StringIO:
    terminal = Terminal()
    patch.setattr(sys, "stdout", terminal)
    patch.setenv("COLUMNS", str(columns))
    return terminal


def test_csv_on_a_terminal_holds_no_control_code(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 80)
    show(OutputFormat.csv, {"na\x1bme": "\x1b[31m\x9b,\n"})
    assert terminal.getvalue() == 'na\\x1bme\n"\\x1b[31m\\x9b,\\n"\n'


STATUS: Row = {
    "endpoint": "127.0.0.1:8321",
    "node": 1,
    "state": "unreachable",
    "term": 2,
    "leader": 1,
    "commit": 33333,
    "applied": 33333,
    "hash": "e3b0c44298fc",
    "rules": "4",
    "machine": "entity 1",
}


@pytest.mark.parametrize(
    ("columns", "shown", "hidden"),
    [
        (100, ["e3b0c44298fc", "RULES", "entity 1"], []),
        (80, ["e3b0c4", "APPLIED"], ["e3b0c44", "RULES"]),
        (60, ["COMMIT"], ["HASH", "RULES", "MACHINE", "APPLIED"]),
        (50, ["LEADER"], ["COMMIT"]),
    ],
)
def test_a_status_has_one_line_for_each_node(
    monkeypatch: pytest.MonkeyPatch, columns: int, shown: list[str], hidden: list[str]
) -> None:
    terminal = on_terminal(monkeypatch, columns)
    leave_out = ("rules", "machine", "hash", "applied", "commit")
    show(
        OutputFormat.table,
        None,
        rows=[STATUS, {**STATUS, "state": "Follower"}],
        shorten={"hash": 6},
        leave_out=leave_out,
    )
    text = terminal.getvalue()
    assert len(text.splitlines()) == 3
    assert max(map(len, text.splitlines())) <= columns
    assert text.count("127.0.0.1:8321") == 2
    assert "unreachable" in text
    assert all(each in text for each in shown)
    assert not any(each in text for each in hidden)


def test_a_word_is_cut_only_if_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, 44)
    address, words = "[2001:db8::1234:5678:9abc]:8080", "words are wrapped instead"
    text = table([[address, words]] * 2)
    assert text.count(address) == 2, "although it is the widest column"
    monkeypatch.setenv("COLUMNS", "12")
    assert table([["a unreachable node"]]).split() == ["a", "unreachable", "node"]


def test_a_table_shortens_a_very_long_text(capsys: pytest.CaptureFixture[str]) -> None:
    body = {"value": "x" * 100_000}
    show(OutputFormat.table, body)
    text = capsys.readouterr().out
    assert len(text) < 3_000
    assert "... (100000 characters; -o json shows all)" in text
    show(OutputFormat.csv, body)
    show(OutputFormat.json, body)
    assert capsys.readouterr().out.count("x" * 100_000) == 2
