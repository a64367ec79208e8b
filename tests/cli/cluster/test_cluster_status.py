"""`qcore cluster status`: what each node runs and supports, and for whom a raise of the rules waits."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from qcore.cli.cluster.cluster import print_waiting_raise, status_rows
from qcore.cli.cluster.health_checks import member_problems
from qcore.cli.cluster.node_metrics import error_of_all
from qcore.cli.exits import ExitCode, exit_code_of
from qcore.errors import PermissionDenied, TransportError, Unauthenticated

NEW: dict[str, Any] = {
    "id": 1,
    "state": "Leader",
    "current_term": 4,
    "current_leader": 1,
    "qcore": {
        "version": "0.2.0",
        "commit_index": 9,
        "applied_index": 9,
        "state_hash": "abc",
        "apply_rules": {
            "active": 1,
            "supported": [1, 5],
            "waits_for": "node 2 supports only up to 1",
        },
        "machine": {"name": "register", "recorded": False, "active": 1, "supported": [1, 1]},
    },
}


def of_0_1_0() -> dict[str, Any]:
    found = copy.deepcopy({**NEW, "id": 2, "state": "Follower"})
    found["qcore"]["version"] = "0.1.0"
    del found["qcore"]["apply_rules"]
    del found["qcore"]["machine"]
    return found


def test_each_row_has_program_rules_and_machine() -> None:
    rows = status_rows(["a:1", "b:1", "c:1"], [NEW, of_0_1_0(), TransportError("refused")])
    shown = [(row["qcore"], row["rules"], row["machine"]) for row in rows]
    assert shown == [("0.2.0", "1 of 1-5", "register 1"), ("0.1.0", "1", "?"), (None, None, None)]


def test_a_note_names_who_prevents_the_raise(capsys: pytest.CaptureFixture[str]) -> None:
    print_waiting_raise([of_0_1_0(), NEW, TransportError("refused")])
    expected = "note: the apply rules stay at 1: node 2 supports only up to 1\n"
    assert capsys.readouterr().err == expected
    print_waiting_raise([of_0_1_0()])
    assert capsys.readouterr().err == ""


def test_a_refusal_is_not_taken_for_a_silent_node() -> None:
    silent, refusals = TransportError("refused"), (PermissionDenied("no"), Unauthenticated("who"))
    for refusal in refusals:
        (row,) = status_rows(["a:1"], [refusal])
        assert row["state"] == "denied"
        assert "a:1 does not show its state: " in member_problems({"a:1": 1}, [refusal])[0]
        found = error_of_all([silent, refusal])
        assert found is refusal
        assert exit_code_of(found) is ExitCode.REJECTED
    assert error_of_all([silent]) is silent
    assert error_of_all([silent, NEW]) is None
