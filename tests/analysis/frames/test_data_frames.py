"""Data frames: each table of a trace has the right columns and types, with rows and without."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import fields
from typing import Any

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.read_course import read_course
from qcore.analysis.frames.data_frames import column_shapes
from qcore.analysis.frames.election_rows import ElectionRow, election_table
from qcore.analysis.frames.operation_rows import OperationTimesRow, operation_table
from qcore.analysis.rows import Rows
from qcore.errors import ConfigError
from tests.analysis.explanations.small_elections import Cluster
from tests.analysis.synthetic import small_trace

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


@pytest.fixture(scope="module")
def course() -> Course:
    return read_course(small_trace())


def _tables(course: Course) -> list[Rows[object]]:
    tables = [getattr(course.tables, field.name) for field in fields(course.tables)]
    flat = [election_table(course), operation_table(course)]
    found = [*tables, course.elections, course.operations, course.offsets, *flat]
    return [table for table in found if isinstance(table, Rows)]


def test_every_table_has_the_same_types_with_and_without_rows(course: Course) -> None:
    tables = _tables(course)
    assert len(tables) >= 15
    for table in tables:
        names = [shape.name for shape in column_shapes(table.row_type)]
        empty = Rows(table.row_type)
        full, blank = table.to_pandas(), empty.to_pandas()
        assert list(full.columns) == names
        assert dict(full.dtypes) == dict(blank.dtypes)
        assert (len(full), len(blank)) == (len(table), 0)
        assert table.to_polars().schema == empty.to_polars().schema
        assert table.to_polars().columns == names


def test_columns_have_the_types_of_their_fields(course: Course) -> None:
    frame = course.operations.to_pandas()
    assert {name: str(frame.dtypes[name]) for name in ("client", "end_us", "key", "value")} == {
        "client": "int64",
        "end_us": "Int64",
        "key": "string",
        "value": "object",
    }
    assert str(frame.dtypes["is_forwarded"]) == "bool"
    assert frame["end_us"].isna().sum() == 1
    assert frame["latency_us"].dropna().tolist() == [12_000, 3_000]  # a property
    polars = course.operations.to_polars()
    assert polars.schema["end_us"] == pl.Int64
    assert json.loads(polars["took"][0]) == []
    assert polars["value"].to_list() == ["a", "b", None, None]


def test_nested_cells_are_json_in_polars() -> None:
    elections = Cluster(3).elect(1, 100).course(1_000).elections
    (rounds,) = (json.loads(text) for text in elections.to_polars()["rounds"])
    assert (rounds[0]["kind"], rounds[0]["candidate"]) == ("vote", 1)
    assert json.loads(elections.to_polars()["votes"][0]) == {"1": 1}


def test_the_flat_table_of_elections() -> None:
    cluster = Cluster(3).elect(1, 100)
    cluster.crash(1, 1_000)
    cluster.campaign(2, 1_200, 1)
    cluster.win(2, 1_210, 2)
    row = election_table(cluster.course(2_000))[1]
    assert (row.timeout_us, row.duration_us, row.total_us) == (200_000, 10_000, 215_000)
    assert (row.cause, row.winner, row.rounds, row.failed_rounds) == ("crash", 2, 2, 0)


def test_a_missing_library_is_named(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ConfigError, match=rf"qcore-raft\[{library}\]"):
            getattr(course.operations, f"to_{library}")()


def test_rows_have_a_table_for_notebooks(course: Course) -> None:
    text = course.operations._repr_html_()
    assert text.startswith("<table><caption>OperationCourse: 4 rows, 14 of ")
    assert text.count("<th>") == 14
    assert text.count("<tr>") == 5
    many = Rows(course.operations.row_type, [course.operations[0]] * 12)
    assert many._repr_html_().endswith("<p>2 more rows</p>")
    nasty = Rows(type(course.tables.violations[0]), course.tables.violations)
    assert "<script>" not in nasty._repr_html_()
    elections = Cluster(3).elect(1, 100).course(1_000).elections
    assert "<td>1 Round</td>" in elections._repr_html_()


@pytest.mark.parametrize("row_type", [ElectionRow, OperationTimesRow])
def test_a_wide_table_shows_the_columns_that_its_class_chooses(row_type: Any) -> None:
    every = {shape.name for shape in column_shapes(row_type)}
    assert set(row_type.SHOWN) < every
    text = Rows(row_type)._repr_html_()
    heads = re.findall("<th>(.*?)</th>", text)
    assert [head.replace("<wbr>", "") for head in heads] == [*row_type.SHOWN]
    assert f"{len(row_type.SHOWN)} of {len(every)} columns" in text
