"""What a node and its inbox reject, and how the error texts help to correct a request."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest
from pydantic import JsonValue
from websockets.asyncio.client import connect

from qcore.client.errors import decode_error, retry_delay
from qcore.core.entry import Entry
from qcore.core.events import MessageReceived, Tick
from qcore.core.messages import AppendEntries
from qcore.errors import NotLeader, Overloaded, Refused
from qcore.node.api.new_cluster import MAX_MEMBERS
from qcore.node.application import EntityPerform
from qcore.node.runtime import inbox as inbox_module
from qcore.node.runtime.inbox import Inbox
from qcore.node.status import metrics_object
from qcore.replica.events import ClientRequest
from qcore.replica.messages import Forward, ForwardResponse, ReadIndex
from qcore.replica.requests.flow_control import FlowControl
from qcore.runtime.real import REAL
from qcore.transport.codec.codec import Codec, Malformed
from qcore.transport.wire import REGISTRY
from tests.node.test_node import raw_perform, running


def test_a_client_waits_as_long_as_an_overloaded_node_asks() -> None:
    original = Overloaded.because("full", 700)
    error = decode_error(str(original), original.detail())
    assert isinstance(error, Overloaded)
    assert error.retry_after_ms == 700
    assert str(error) == str(original)
    for number in range(50):
        rng = random.Random(number)
        assert 0.7 <= retry_delay(error, 0.02, rng) <= 1.05
        assert retry_delay(NotLeader(), 0.02, rng) <= 0.02


def test_an_unknown_command_is_named_with_the_known_ones() -> None:
    codec = Codec({**REGISTRY, "Perform": EntityPerform})
    frame = json.dumps({"Perform": {"id": "1", "request": {"DropEverything": {}}}}).encode()
    (malformed,) = codec.decode(frame)
    assert isinstance(malformed, Malformed)
    text = malformed.reply.error
    assert "DropEverything: unknown command" in text
    assert "UpdateEntity" in text
    assert "GetCompleteSchema" in text


def forward(number: int, size: int) -> Forward:
    return Forward(number, "write", "x" * size, 1000)


def append(size: int) -> MessageReceived:
    entry = Entry(1, 1, "command", "x" * size, 0)
    return MessageReceived(2, AppendEntries(1, 2, 0, 0, 0, [entry], 0))


def inbox_of_ten() -> Inbox:
    """An inbox for ten requests of peers, or 1000 bytes of them."""
    return Inbox(FlowControl(10, 1000, 1_000_000, 0), lambda: None, REAL.monotonic_us)


def test_peer_requests_beyond_count_or_bytes_are_rejected() -> None:
    inbox = inbox_of_ten()
    for number in range(10):
        assert inbox.offer_request(2, forward(number, 1)) is None
    assert isinstance(inbox.offer_request(2, forward(10, 1)), Overloaded)
    assert isinstance(inbox.offer_request(2, ReadIndex(11, 1000)), Overloaded)
    inbox.add_request(ClientRequest(1, "write", "x", 1000))  # counted before the inbox
    assert len(inbox.take(1000)) == 11
    assert inbox.offer_request(2, forward(12, 900)) is None
    assert "900 bytes" in str(inbox.offer_request(2, forward(13, 900)))


def test_raft_messages_beyond_count_or_bytes_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MAX_MESSAGES", 10)
    monkeypatch.setattr(inbox_module, "MAX_MESSAGE_BYTES", 5000)
    inbox = inbox_of_ten()
    assert [inbox.offer_message(append(1)) for _ in range(12)] == [True] * 10 + [False] * 2
    inbox.add_event(Tick())  # an event of the node itself is always accepted
    assert len(inbox.take(0)) == 11
    assert [inbox.offer_message(append(2000)) for _ in range(4)] == [True, True, False, False]
    assert inbox.offer_request(2, forward(1, 1)) is None, "requests are in another queue"


def test_answers_of_peers_count_toward_the_byte_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MAX_MESSAGE_BYTES", 5000)
    inbox = inbox_of_ten()
    answer = MessageReceived(2, ForwardResponse(1, 1000 * "é"))
    assert [inbox.offer_message(answer) for _ in range(4)] == [True, True, False, False]
    assert len(inbox.take(0)) == 2
    assert inbox.offer_message(answer)


def test_the_inbox_wakes_the_driver_once_until_all_is_taken() -> None:
    woken: list[None] = []
    inbox = Inbox(
        FlowControl(10, 1000, 1_000_000, 0), lambda: woken.append(None), REAL.monotonic_us
    )
    for _ in range(100):
        inbox.add_event(Tick())
    inbox.add_request(ClientRequest(1, "write", "x", 1000))
    assert len(woken) == 1
    assert len(inbox.take(0)) == 65
    assert len(woken) == 2, "the rest needs another step"
    assert len(inbox.take(0)) == 36
    assert len(woken) == 2
    assert inbox.offer_message(append(1))
    assert len(woken) == 3


def test_pending_bytes_are_bounded() -> None:
    flow = FlowControl(100, 1000, 1_000_000, 0)
    flow.take(900)
    assert flow.rejection(200, 0) is not None
    flow.release(900, 1)
    assert flow.rejection(2000, 1) is None, "alone, a request of any size is accepted"


def test_a_node_without_a_cluster_says_how_to_begin_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, begin=False) as world:
            body = await raw_perform(world, {"GetSchema": {"entity_type": "Item"}})
            assert body["detail"]["code"] == "NotLeader"
            assert "belongs to no cluster" in body["error"]
            assert "qcore cluster init" in body["error"]
            error = decode_error(body["error"], body["detail"])
            assert str(error) == body["error"], "the client raises the same text"

    asyncio.run(scenario())


def test_a_cluster_cannot_begin_at_a_node_that_never_leads(tmp_path: Path) -> None:
    """A node of priority 0 would wait for a leader forever, and its data directory would be useless."""

    async def scenario() -> None:
        async with running(tmp_path, begin=False, priority=0) as world:
            with pytest.raises(Refused, match="priority 0 and never leads"):
                await world.client.init([(1, world.address), (2, "127.0.0.1:9")])
            assert (await world.client.get_metrics())["current_term"] == 0, "no election has begun"

    asyncio.run(scenario())


def test_a_change_that_names_a_node_twice_is_rejected(tmp_path: Path) -> None:
    """`[1, 1]` may be a typing error for `[1, 2]`. To read it as `[1]` would shrink the cluster."""

    async def scenario() -> None:
        async with running(tmp_path) as world:
            with pytest.raises(Refused, match="members: node 1 is named twice"):
                await world.client.change_membership([1, 1])
            with pytest.raises(Refused, match="learners: node 2 is named twice"):
                await world.client.change_membership([1], learners=[2, 2])
            await world.client.change_membership([1])

    asyncio.run(scenario())


def test_a_cluster_has_a_bounded_number_of_members(tmp_path: Path) -> None:
    """A change with a hundred thousand nodes would stall the event loop for minutes before it is rejected."""
    many = [*range(1, MAX_MEMBERS + 2)]

    async def scenario() -> None:
        async with running(tmp_path, begin=False) as world:
            with pytest.raises(Refused, match=r"256 nodes are named; a cluster has at most 255"):
                await world.client.init([(node, f"h:{node}") for node in many])
            await world.client.init([])
            with pytest.raises(Refused, match=r"members: 256 nodes are named"):
                await world.client.change_membership(many)
            with pytest.raises(Refused, match=r"learners: 256 nodes are named"):
                await world.client.change_membership([1], learners=many)

    asyncio.run(scenario())


def test_concurrent_metrics_requests_share_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    real = metrics_object.metrics_object

    def counted(*args: object) -> dict[str, JsonValue]:
        made.append(1)
        return real(*args)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(metrics_object, "metrics_object", counted)

    async def scenario() -> None:
        async with running(tmp_path) as world:
            before = len(made)
            frame = [{"GetMetrics": {"id": str(number)}} for number in range(200)]
            async with connect(f"ws://{world.address}") as socket:
                await socket.send(json.dumps(frame))
                ids: list[str] = []
                while len(ids) < 200:
                    answer = json.loads(await socket.recv())
                    envelopes = answer if isinstance(answer, list) else [answer]
                    ids += [one["GetMetricsResponse"]["id"] for one in envelopes]
            assert ids == [str(number) for number in range(200)]
            assert len(made) - before < 20
            await world.client.get_metrics()
            assert len(made) - before >= 2, "a later request gets another object"

    asyncio.run(scenario())


def test_init_with_swapped_addresses_is_rejected(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, begin=False) as world:
            with pytest.raises(Refused, match="swapped"):
                await world.client.init([(1, "127.0.0.1:9"), (2, world.address)])
            with pytest.raises(Refused, match="two nodes"):
                await world.client.init([(1, world.address), (2, "h:9"), (3, "h:9")])
            await world.client.init([(1, world.address)])

    asyncio.run(scenario())
