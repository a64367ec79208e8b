"""A leader remembers only a few read rounds; they suffice for its lease."""

from __future__ import annotations

from qcore.core import RaftConfig
from qcore.core.effects import ReadReady
from qcore.core.events import ReadRequested, Tick, WriteDurable
from qcore.core.messages import AppendEntriesResponse
from qcore.core.reads.freshness import MAX_ROUND_TIMES
from tests.core.support.single_core import LATER, become, receive, restored


def test_few_round_times_suffice_for_a_lease() -> None:
    core = become(restored(config=RaftConfig(1, lease_reads=True)), "leader")
    core.step(WriteDurable(2), LATER)
    now = LATER
    receive(core, 2, AppendEntriesResponse(core.term, True, 2, 1, 0, 0, 0, promise_ms=150))
    for number in range(1, 500):
        now = core.next_deadline()
        core.step(Tick(), now)
        receive(
            core, 2, AppendEntriesResponse(core.term, True, 2, 2, 0, 0, number, promise_ms=150), now
        )
    rounds = core._server.reads.round_times  # this memory is what the test measures
    assert len(rounds) <= MAX_ROUND_TIMES
    effects = core.step(ReadRequested(1, lease=True), now + 1)
    assert any(isinstance(effect, ReadReady) for effect in effects)
