"""`counters`, a client program of the swarm, finds bugs of the client library, and else nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from pydantic import JsonValue

from qcore.client.sessions.session import ClientSession
from qcore.client.watching.changes import WatchPosition
from qcore.client.watching.registration import Registered, Registrar
from qcore.sim import parse_scenario, run_scenario

#: Replicas, because they are faster; the client library is the same.
FAILOVERS = """
name: failovers
cluster: {nodes: 3}
workload: {clients: 3, program: "qcore.client.programs.counter_program:counters", start_ms: 400}
timeline:
  - {at_ms: 1200, crash: leader, for_ms: 500}
  - {at_ms: 2400, isolate: leader, for_ms: 500}
  - {at_ms: 3600, loss: 0.1, for_ms: 500}
until_ms: 5000
"""


def _acknowledges_too_much(patch: pytest.MonkeyPatch) -> None:
    """A command acknowledges those before it, although they have no answer yet."""
    begin = ClientSession.begin

    def beginning(session: ClientSession) -> dict[str, int]:
        use = begin(session)
        return {**use, "acknowledged": use["sequence"] - 1}

    patch.setattr(ClientSession, "begin", beginning)


def _resumes_a_watch_now(patch: pytest.MonkeyPatch) -> None:
    """A watch that resumes leaves out what happened meanwhile."""
    register = Registrar.register

    async def registering(
        registrar: Registrar,
        name: str,
        unregister: str,
        fields: Mapping[str, JsonValue],
        _after: WatchPosition | None,
        timeout_s: float | None,
    ) -> Registered:
        return await register(registrar, name, unregister, fields, None, timeout_s)

    patch.setattr(Registrar, "register", registering)


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (None, ""),
        (_acknowledges_too_much, "repeats a write only before it acknowledges it"),
        (_resumes_a_watch_now, "a watch shows every change once"),
    ],
)
def test_it_finds_bugs_of_the_client_library(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None] | None, says: str
) -> None:
    if plant is not None:
        plant(monkeypatch)
    notes = [
        violation.note
        for seed in (1, 2)
        for violation in run_scenario(parse_scenario(FAILOVERS), seed=seed).violations
    ]
    assert any(says in note for note in notes) if says else not notes, notes
