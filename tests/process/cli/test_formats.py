"""`-o csv` and `-o json` of the commands about a cluster: the same result in both."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.process.cli.conftest import Command

pytestmark = pytest.mark.process

#: Command -> the key of the list in its JSON whose items are the rows; None if the result is one row.
ROWS = {
    "cluster health": None,
    "cluster hash": "hashes",
    "cluster status": "nodes",
    "cluster upgrade": None,
    "member list": "members",
    'perform {"GetSchema":{"entity_type":"Kept"}}': None,
    "snapshot save FILE --force": None,
    "snapshot status FILE": None,
}

KEPT = "entity_type: Kept\nfields: {Name: {default_value: {String: ''}, rank: 0}}"


def test_csv_and_json_hold_the_same_rows(store: Command, tmp_path: Path) -> None:
    assert store("schema", "set", "-", stdin=KEPT).code == 0
    for command, key in ROWS.items():
        words = [str(tmp_path / "state") if word == "FILE" else word for word in command.split()]
        done = store(*words, "-o", "csv")
        assert (done.code, done.stderr) == (0, ""), (command, done)
        header, *rows = csv.reader(io.StringIO(done.stdout))
        body = json.loads(store(*words, "-o", "json").stdout)
        assert len(rows) == (1 if key is None else len(body[key])), command
        assert {len(row) for row in rows} == {len(header)}, command
        assert len(store(*words, "-o", "table").stdout.splitlines()) >= 1
        if command == "member list":
            assert header == list(body["members"][0])
        elif key is None and not command.startswith("perform"):
            assert {name.partition(".")[0] for name in header} == set(body), command
