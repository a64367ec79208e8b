"""A client that gets the answer to another request notices it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qcore.core.entry import Entry
from qcore.errors import QcoreError
from qcore.replica.requests.writes import Writes
from qcore.replica.sessions.client_session import Session
from qcore.sim import parse_scenario, run_scenario

#: The isolated leader appends writes that never commit; afterwards other entries take their indexes.
OVERTAKEN = """
name: overtaken
cluster: {{nodes: 3}}
workload: {{clients: 3, rate_per_s: 100, wait_for_leader: true, timeout_ms: 4000, {load}}}
timeline: [{{at_ms: 800, isolate: leader, for_ms: 500}}]
until_ms: 2500
"""


@pytest.mark.parametrize(
    ("load", "noticed_by"), [("read_fraction: 0.3", "answer"), ("sessions: true", "exactly_once")]
)
def test_the_answer_to_another_request_is_reported(
    monkeypatch: pytest.MonkeyPatch, load: str, noticed_by: str
) -> None:
    on_applied = Writes.on_applied

    def any_entry(
        writes: Writes, entry: Entry, result: str | None, error: QcoreError | None
    ) -> None:
        request = writes._appended.get(entry.index)
        term = entry.term if request is None else request.term
        on_applied(writes, replace(entry, term=term), result, error)

    scenario = parse_scenario(OVERTAKEN.format(load=load)).with_(
        expect={"exactly_once": True} if "sessions" in load else {}
    )
    assert run_scenario(scenario, seed=1).ok
    monkeypatch.setattr(Writes, "on_applied", any_entry)
    result = run_scenario(scenario, seed=1)
    failed = {violation.check for violation in result.violations}
    failed |= {expectation.name for expectation in result.expectations if not expectation.ok}
    assert noticed_by in failed, failed


def test_a_session_that_expires_too_soon_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    load = "sessions: true, session_lifetime_ms: 1000"
    scenario = parse_scenario(OVERTAKEN.format(load=load)).with_(workload={"rate_per_s": 4})
    assert not run_scenario(scenario, seed=1).violations

    def ends(session: Session) -> int:
        return session.last_used_us + session.lifetime_ms * 200

    monkeypatch.setattr(Session, "expires_at_us", ends)
    violation = run_scenario(scenario, seed=1).violations[0]
    assert violation.check == "answer"
    assert "it lives for 1000 ms" in violation.note
