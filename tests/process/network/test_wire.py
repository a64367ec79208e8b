"""A raw WebSocket client sends messages of the wire protocol verbatim to a real cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from qcore.processes import ProcessCluster
from tests.process.support.wire_client import WireClient, read_field, string_schema, write_field

pytestmark = pytest.mark.process


def test_the_protocol_page_example_works(shared_cluster: ProcessCluster) -> None:
    with WireClient(shared_cluster.endpoints[0]) as client:
        name, value = client.exchange('{"GetMetrics": {"id": "req-1"}}')
        assert name == "GetMetricsResponse"
        assert value["id"] == "req-1"


def test_metrics_have_every_field_and_agree_on_the_leader(shared_cluster: ProcessCluster) -> None:
    leader = shared_cluster.wait_leader()
    for node in shared_cluster.nodes.values():
        with WireClient(node.address) as client:
            metrics = client.ask("GetMetrics")
        assert list(metrics)[:14] == [
            *("running_state", "id", "current_term", "vote", "last_log_index", "last_applied"),
            *("snapshot", "purged", "state", "current_leader", "millis_since_quorum_ack"),
            *("membership_config", "replication", "qcore"),
        ]
        assert metrics["running_state"] == {"Ok": None}
        assert metrics["id"] == node.node_id
        assert metrics["current_leader"] == leader.node_id
        assert metrics["vote"]["leader_id"]["term"] == metrics["current_term"]
        assert metrics["last_applied"]["index"] >= 1
        assert metrics["snapshot"] is None
        assert metrics["purged"] is None
        config = metrics["membership_config"]
        assert config["membership"]["configs"] == [[1, 2, 3]]
        assert config["membership"]["nodes"]["2"] == {"addr": shared_cluster.nodes[2].address}
        assert config["log_id"]["index"] == 1
        assert metrics["qcore"]["cluster_id"]
        if node is leader:
            assert metrics["state"] == "Leader"
            assert metrics["millis_since_quorum_ack"] >= 0
            assert set(metrics["replication"]) == {"1", "2", "3"} - {str(node.node_id)}
        else:
            assert metrics["state"] == "Follower"
            assert metrics["millis_since_quorum_ack"] is None
            assert metrics["replication"] is None


def test_the_six_commands_work_at_any_node(shared_cluster: ProcessCluster) -> None:
    """Schema, entities, writes and reads, each sent to the next node."""
    clients = [WireClient(address) for address in shared_cluster.endpoints]
    try:
        folder = string_schema("Folder", "Name", "Note")
        assert clients[0].perform("SetSchema", entity_schema=folder) == {"error": None}
        seen = clients[1].perform("GetSchema", entity_type="Folder")
        assert seen["error"] is None
        assert seen["response"]["fields"] == folder["fields"]
        assert "_marker" in seen["response"]
        complete = clients[2].perform("GetCompleteSchema", entity_type="Folder")
        assert complete["response"]["entity_type"] == "Folder"
        made = clients[0].perform(
            "CreateEntity", entity_type="Folder", parent_id=None, name="Users"
        )
        entity = made["response"]
        assert made["error"] is None
        assert entity["typ"] == "Folder"
        written = clients[1].perform(
            "UpdateEntity", request=[write_field(entity, "Note", {"String": "hello"})]
        )
        assert written["error"] is None
        read = clients[2].perform(
            "UpdateEntity", request=[read_field(entity, "Note"), read_field(entity, "Name")]
        )
        assert read["error"] is None
        note, name = (item["Read"] for item in read["response"])
        assert note["value"] == {"String": "hello"}
        assert name["value"] == {"String": "Users"}
        assert note["write_time"] is not None
        assert clients[0].perform("DeleteEntity", entity_id=entity) == {"error": None}
        gone = clients[1].perform("UpdateEntity", request=[read_field(entity, "Note")])
        assert "Folder$" in gone["error"]
    finally:
        for client in clients:
            client.close()


def test_a_store_error_is_a_text_with_a_detail(shared_cluster: ProcessCluster) -> None:
    with WireClient(shared_cluster.endpoints[0]) as client:
        refused = client.perform("CreateEntity", entity_type="Nothing", parent_id=None, name="x")
        assert refused["response"] is None
        assert "Nothing" in refused["error"]
        assert refused["detail"]["code"]
        assert refused["detail"]["retryable"] is False


def test_reads_add_nothing_to_the_log(shared_cluster: ProcessCluster) -> None:
    with WireClient(shared_cluster.endpoints[0]) as client:
        client.perform("SetSchema", entity_schema=string_schema("Quiet", "Name"))
        before = client.ask("GetMetrics")["last_log_index"]
        for _ in range(5):
            assert client.perform("GetSchema", entity_type="Quiet")["error"] is None
        assert client.ask("GetMetrics")["last_log_index"] == before


def test_an_array_frame_is_answered_envelope_by_envelope(shared_cluster: ProcessCluster) -> None:
    with WireClient(shared_cluster.endpoints[0]) as client:
        client.send(
            [
                {"GetMetrics": {"id": "a"}},
                {"Nope": {"id": "b"}},
                {"Perform": {"id": "c", "request": {"GetSchema": {"entity_type": "None"}}}},
            ]
        )
        replies = client.receive_all(3)
    by_id = {value["id"]: name for reply in replies for name, value in reply.items()}
    assert by_id == {"a": "GetMetricsResponse", "b": "Error", "c": "PerformResponse"}


def test_many_requests_in_flight_are_matched_by_id(shared_cluster: ProcessCluster) -> None:
    with WireClient(shared_cluster.endpoints[1]) as client:
        for number in range(200):
            request = {"GetSchema": {"entity_type": f"Type{number}"}}
            client.send({"Perform": {"id": f"r{number}", "request": request}})
        for reply in client.receive_all(200):
            value = reply["PerformResponse"]
            assert f"Type{value['id'][1:]}" in value["response"]["GetSchema"]["error"]


MALFORMED: list[tuple[str | bytes, str | None, str]] = [
    ("{", None, "JSON"),
    ("", None, "JSON"),
    ("[", None, "JSON"),
    ("null", None, ""),
    ("{}", None, ""),
    ('{"GetMetrics": {"id": "1"}, "Init": {"id": "2"}}', None, ""),
    ('{"GetMetricz": {"id": "id-1"}}', "id-1", "GetMetricz"),
    ('{"GetMetrics": {}}', None, "id"),
    ('{"GetMetrics": {"id": 5}}', None, "id"),
    ('{"GetMetrics": {"id": "id-2", "extra": 1}}', "id-2", "extra"),
    ('{"GetMetrics": []}', None, ""),
    ('{"Init": {"id": "id-3"}}', "id-3", "nodes"),
    ('{"Init": {"id": "id-4", "nodes": [[1]]}}', "id-4", "nodes"),
    ('{"Perform": {"id": "id-5"}}', "id-5", "request"),
    ('{"Perform": {"id": "id-6", "request": {"Nope": {}}}}', "id-6", "Nope"),
    (
        '{"Perform": {"id": "id-7", "request": {"CreateEntity": {"entity_type": "A", "name": 5, '
        '"parent_id": null}}}}',
        "id-7",
        "name",
    ),
    (
        '{"Perform": {"id": "id-8", "request": {"DeleteEntity": {"entity_id": 1}}}}',
        "id-8",
        "entity_id",
    ),
    ("[" * 5000 + "]" * 5000, None, ""),
    (b'{"GetMetrics": {"id": "req-1"}}', None, "binary"),
    (b"\xff\x00", None, "binary"),
]


@pytest.mark.parametrize(("frame", "request_id", "named"), MALFORMED)
def test_a_malformed_envelope_does_not_close_the_connection(
    shared_cluster: ProcessCluster, frame: str | bytes, request_id: str | None, named: str
) -> None:
    with WireClient(shared_cluster.endpoints[0]) as client:
        name, value = client.exchange(frame)
        assert name == "Error"
        assert isinstance(value["id"], str)
        assert value["id"]
        if request_id is not None:
            assert value["id"] == request_id
        assert named in value["error"]
        assert len(value["error"]) < 1000
        assert value["detail"]["code"] == "RemoteProtocolError"
        assert client.ask("GetMetrics")["id"] == 1


def test_a_frame_over_the_limit_is_closed_with_1009(shared_cluster: ProcessCluster) -> None:
    with WireClient(shared_cluster.endpoints[0]) as client:
        with pytest.raises(ConnectionClosed) as closed:
            client.exchange(" " * (64 * 1024 * 1024 + 1))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    with WireClient(shared_cluster.endpoints[0]) as client:
        assert client.ask("GetMetrics")["id"] == 1


VOTE = {"term": 10**9, "candidate_id": 2, "last_log_index": 10**9, "last_log_term": 10**9}
APPEND = {
    **{"term": 10**9, "leader_id": 2, "prev_log_index": 0, "prev_log_term": 0},
    **{"leader_commit": 0, "entries": [], "round": 0},
}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RaftVote", {**VOTE, "leadership_transfer": True}),
        ("RaftVote", VOTE),
        ("RaftAppend", APPEND),
    ],
)
def test_a_client_cannot_raise_the_term(
    shared_cluster: ProcessCluster, name: str, message: dict[str, Any]
) -> None:
    leader = shared_cluster.wait_leader()
    for node in shared_cluster.nodes.values():
        before = node.status()["current_term"]
        with WireClient(node.address) as client:
            client.send({name: {"id": "1", "request": message}})
            with pytest.raises(ConnectionClosed) as closed:
                client.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert node.status()["current_term"] == before < 10**9
    assert shared_cluster.wait_leader().node_id == leader.node_id


def test_a_non_member_is_rejected_by_name(shared_cluster: ProcessCluster) -> None:
    """The cluster id is not secret: knowing it must not suffice to raise the term or to get a vote."""
    before = shared_cluster.wait_leader().status()
    fields = {"protocol": 1, "cluster_id": before["qcore"]["cluster_id"], "node_id": 99}
    for node in shared_cluster.nodes.values():
        with WireClient(node.address) as client:
            name, value = client.exchange({"Hello": {"id": "h", "role": "peer", **fields}})
            assert name == "HelloResponse"
            assert "node 99" in value["response"]["Err"]
            with pytest.raises(ConnectionClosed) as closed:
                client.exchange({"RaftVote": {"id": "1", "request": VOTE}})
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert node.status()["current_term"] == before["current_term"]


@pytest.mark.parametrize("nodes", [[], [[1, "127.0.0.1:1"]]])
def test_a_second_init_is_rejected(shared_cluster: ProcessCluster, nodes: list[object]) -> None:
    with WireClient(shared_cluster.endpoints[0]) as client:
        name, value = client.exchange({"Init": {"id": "i", "nodes": nodes}})
        assert name == "InitResponse"
        assert "already" in value["response"]["Err"]
        assert value["detail"]["retryable"] is False


@pytest.mark.parametrize(
    ("request_name", "fields", "named"),
    [
        ("AddLearner", {"node_id": 1, "node_addr": "127.0.0.1:1"}, "is_voter"),
        ("AddLearner", {"node_id": 4, "node_addr": "http://nowhere"}, "node_addr"),
        ("AddLearner", {"node_id": 4, "node_addr": "taken"}, "is the address of node"),
        ("ChangeMembership", {"members": []}, "empty"),
        ("ChangeMembership", {"members": [1, 2, 9]}, "unknown_member"),
        ("ChangeMembership", {"members": [1, 2], "learners": [2]}, "contradiction"),
        ("ChangeMembership", {"members": [1, 2], "expected_index": 9999}, "changed"),
        ("MoveMember", {"node_id": 9, "node_addr": "127.0.0.1:1"}, "unknown_member"),
        ("MoveMember", {"node_id": 1, "node_addr": "0.0.0.0:1"}, "node_addr"),
        ("TransferLeader", {"to": 9}, "unknown_member"),
    ],
)
def test_invalid_changes_are_rejected_and_change_nothing(
    shared_cluster: ProcessCluster, request_name: str, fields: dict[str, object], named: str
) -> None:
    leader = shared_cluster.wait_leader()
    before = leader.status()["membership_config"]
    if fields.get("node_addr") == "taken":
        fields = {**fields, "node_addr": leader.address}
    with WireClient(leader.address) as client:
        name, value = client.exchange({request_name: {"id": "m", **fields}})
    assert name == f"{request_name}Response"
    assert named in value["response"]["Err"]
    assert value["detail"]["retryable"] is False
    assert leader.status()["membership_config"] == before


@pytest.mark.parametrize(
    ("request_name", "fields"),
    [
        ("AddLearner", {"node_id": 4, "node_addr": "127.0.0.1:1"}),
        ("ChangeMembership", {"members": [1, 2]}),
        ("MoveMember", {"node_id": 1, "node_addr": "127.0.0.1:1"}),
        ("TransferLeader", {}),
    ],
)
def test_a_follower_names_the_leader_to_admin_requests(
    shared_cluster: ProcessCluster, request_name: str, fields: dict[str, object]
) -> None:
    leader = shared_cluster.wait_leader()
    follower = next(node for node in shared_cluster.nodes.values() if node is not leader)
    with WireClient(follower.address) as client:
        _, value = client.exchange({request_name: {"id": "m", **fields}})
    assert value["detail"]["code"] == "NotLeader"
    assert value["detail"]["leader_id"] == leader.node_id
    assert value["detail"]["leader_addr"] == leader.address


@pytest.mark.parametrize("name", ["x" * (2 * 1024 * 1024), "\u20ac" * 400_000], ids=["x", "euro"])
def test_a_too_large_command_is_rejected_before_it_is_appended(
    shared_cluster: ProcessCluster, name: str
) -> None:
    with WireClient(shared_cluster.endpoints[0]) as client:
        before = client.ask("GetMetrics")["last_log_index"]
        refused = client.perform("CreateEntity", entity_type="Folder", parent_id=None, name=name)
        assert refused["detail"]["code"] == "TooLarge"
        assert len(json.dumps(refused)) < 2000
        assert client.ask("GetMetrics")["last_log_index"] == before
