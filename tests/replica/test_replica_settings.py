"""The settings of a replica are checked, and so is what a state machine and a snapshot return."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qcore.core import RaftConfig
from qcore.core.effects import MessageDropped
from qcore.core.messages import RequestVoteResponse
from qcore.errors import ConfigError, StateMachineFailed
from qcore.machines.interface import MAX_RESULT_BYTES
from qcore.machines.register import RegisterMachine
from qcore.replica.config import ReplicaConfig
from qcore.replica.leadership import Leadership
from qcore.replica.machine_results import digest_of, exception_text, within_bound
from qcore.replica.requests.pending import PendingRequest, RequestDeadlines
from qcore.replica.snapshot_builder import check_restorable
from qcore.replica.trace_recorder import ReplicaTracer
from qcore.trace import TraceWriter


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_command_bytes": 0}, "max_command_bytes is 0; it must be at least 1"),
        ({"max_admin_requests": -1}, "max_admin_requests is -1; it must be at least 1"),
        ({"snapshot_entries": -1}, "snapshot_entries is -1; it must be at least 0"),
        ({"keep_bytes": -1}, "keep_bytes is -1; it must be at least 0"),
        ({"max_rules": 0}, "max_rules is 0; it must be from 1 to"),
        ({"max_rules": 99}, "max_rules is 99; it must be from 1 to"),
    ],
)
def test_invalid_setting_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ReplicaConfig(RaftConfig(1), **values)


def test_leadership_is_the_same_after_its_way_as_text() -> None:
    assert Leadership.from_json(Leadership(3, 7).to_json()) == Leadership(3, 7)


class Failing(RegisterMachine):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def state_hash(self) -> str:
        raise self.error


def test_failure_that_is_already_explained_stays_as_it_is() -> None:
    error = StateMachineFailed("the whole story")
    with pytest.raises(StateMachineFailed) as caught:
        digest_of(Failing(error))
    assert caught.value is error
    with pytest.raises(StateMachineFailed, match=r"state_hash\(\) .* raised OSError: no disk"):
        digest_of(Failing(OSError("no disk")))


def test_exception_without_a_text_is_survived() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert exception_text(Mute()) == "an exception that has no text"


def test_result_is_bounded_by_its_bytes_as_json() -> None:
    """Its characters decide only where no character could make it too large."""
    fits = "x" * (MAX_RESULT_BYTES - 2)
    assert within_bound(fits) is fits
    assert "bytes as JSON" in str(within_bound(fits + "x"))
    assert "characters" in str(within_bound("x" * (MAX_RESULT_BYTES + 1)))


def test_finished_requests_do_not_fill_the_memory() -> None:
    deadlines = RequestDeadlines()
    requests = [PendingRequest(number, None, "write", "", 100) for number in range(3000)]
    for request in requests:
        deadlines.add(request)
        request.done = request.request_id >= 10
    deadlines.sweep()
    assert len(deadlines._heap) == 10
    assert deadlines.expired(now=100) == requests[:10]


def test_many_unfinished_requests_are_not_swept_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise each of 8,000 registrations that wait for an index would copy the list of all."""
    sweeps = 0

    def heapify(items: list[object]) -> None:
        nonlocal sweeps
        sweeps += 1

    deadlines = RequestDeadlines()
    monkeypatch.setattr("heapq.heapify", heapify)
    for number in range(8000):
        deadlines.add(PendingRequest(number, None, "watch", "", 100))
        deadlines.sweep()
    assert 1 <= sweeps <= 3


def test_snapshot_of_another_machine_is_not_restorable() -> None:
    table = '{"sessions":0}\n'
    check_restorable(table + "".join(RegisterMachine().snapshot()), RegisterMachine())
    with pytest.raises(StateMachineFailed, match="restoring a snapshot raised"):
        check_restorable(f"{table}no state of a register machine", RegisterMachine())


def test_dropped_message_is_in_the_trace() -> None:
    trace = TraceWriter(keep=True)
    message = RequestVoteResponse(1, True)
    ReplicaTracer(trace, 1).effects(5, [MessageDropped(2, message, "no vote was asked for")])
    (line,) = trace.lines()
    assert json.loads(line) == {
        "t_us": 5,
        "kind": "bad",
        "node": 1,
        "from": 2,
        "message": "RequestVoteResponse",
        "note": "no vote was asked for",
    }
