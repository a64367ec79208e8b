"""`qcore leader transfer` when the response of the leader leaves the outcome unknown."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from qcore.cli.cluster.leader import _transfer_and_confirm
from qcore.cli.cluster.member import Members, _then_read_members
from qcore.cli.exits import ExitCode, ResultNotShown, exit_code_of
from qcore.client.client import Client
from qcore.client.methods.metrics_types import Metrics
from qcore.errors import NotLeader, OutcomeUnknown, QcoreError, TransferFailed, TransferUnknown
from qcore.replica.leadership import Leadership

#: The term of the old leader, node 1.
TERM = 4


class Scripted(Client):
    """A client that responds from a script, without any node.

    Args:
        response: the response to the transfer.
        seen: the leaders that successive queries see, or their errors; the last one repeats.
    """

    def __init__(
        self, response: Leadership | QcoreError | None, *seen: Leadership | QcoreError
    ) -> None:
        super().__init__(["127.0.0.1:1"])
        self._response = response
        self._seen = list(seen)

    async def transfer_leader(self, to: int | None = None) -> Leadership | None:
        if isinstance(self._response, QcoreError):
            raise self._response
        return self._response

    async def leader_metrics(self) -> Metrics:
        seen = self._seen.pop(0) if len(self._seen) > 1 else self._seen[0]
        if isinstance(seen, QcoreError):
            raise seen
        return cast("Metrics", {"id": seen.leader_id, "current_term": seen.term})


def ask(client: Client, to: int | None = 3, timeout_s: float = 20.0) -> Leadership:
    return asyncio.run(_transfer_and_confirm(client, to, TERM, time.monotonic() + timeout_s))


def test_a_response_that_names_the_leader_is_enough() -> None:
    moved = Leadership(3, TERM + 1)
    assert ask(Scripted(moved, NotLeader())) == moved


@pytest.mark.parametrize("response", [TransferUnknown("?"), OutcomeUnknown("lost"), None])
def test_a_transfer_polls_until_a_later_term_has_a_leader(
    response: QcoreError | None,
) -> None:
    seen = (Leadership(1, TERM), NotLeader(), Leadership(3, TERM + 2))
    assert ask(Scripted(response, *seen)) == Leadership(3, TERM + 2)


def test_a_leader_other_than_the_target_is_a_failure() -> None:
    with pytest.raises(TransferFailed, match="node 2 leads in term 5, and not node 3") as raised:
        ask(Scripted(TransferUnknown("?"), Leadership(2, TERM + 1)))
    assert exit_code_of(raised.value) is ExitCode.REJECTED


def test_a_transfer_unconfirmed_at_the_deadline_is_unknown() -> None:
    for seen in (Leadership(1, TERM), NotLeader()):
        with pytest.raises(TransferUnknown) as raised:
            ask(Scripted(TransferUnknown("?"), seen), timeout_s=0.2)
        assert exit_code_of(raised.value) is ExitCode.UNKNOWN


def test_a_completed_change_is_not_reported_as_rejected() -> None:
    async def work(client: Client) -> None:
        del client

    async def both() -> Members:
        return await _then_read_members(work)(Scripted(None, NotLeader()))

    with pytest.raises(ResultNotShown, match="the change is done") as raised:
        asyncio.run(both())
    assert exit_code_of(raised.value) is ExitCode.FAILED
