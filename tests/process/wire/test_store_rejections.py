"""What a node answers to messages of the entity store that it cannot execute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qcore.processes import ProcessCluster
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

MISSING = {"typ": "User", "id": 1}


def ask(client: WireClient, name: str, **fields: object) -> Any:
    client.send({name: {"id": "1", **fields}})
    (response,) = client.receive_all(1)
    return response


def test_writes_need_rules_4_and_reads_do_not(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=1, arguments=("--max-rules", "3")) as cluster:
        cluster.start()
        with WireClient(cluster.endpoints[0]) as client:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            response = ask(client, "StoreDeleteEntity", entity_id=MISSING)[
                "StoreDeleteEntityResponse"
            ]
            assert response["detail"]["code"] == "IncompatibleVersion"
            assert (
                "needs the apply rules 4, and the cluster has the rules 3"
                in response["response"]["Err"]
            )
            read = ask(client, "StoreEntityExists", entity_id=MISSING)
            assert read == {"StoreEntityExistsResponse": {"id": "1", "response": False}}
        assert "Traceback" not in cluster.nodes[1].log_text()


def test_another_machine_names_itself(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=1, arguments=("--machine", "register")) as cluster:
        cluster.start()
        with WireClient(cluster.endpoints[0]) as client:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            response = ask(client, "DeleteEntity", entity_id=MISSING)["DeleteEntityResponse"]
            assert "this node runs the state machine 'register'" in response["response"]["Err"]
            error = ask(client, "EntityExists", entity_id=MISSING)["Error"]
            assert "this node runs the state machine 'register'" in error["error"]
            assert error["detail"]["code"] == "Refused"


def test_perform_has_one_of_its_two_forms(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=1) as cluster:
        cluster.start()
        with WireClient(cluster.endpoints[0]) as client:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            request = {"GetSchema": {"entity_type": "User"}}
            for fields in ({}, {"request": request, "requests": []}):
                error = ask(client, "Perform", **fields)["Error"]
                assert "give either `request`, or `requests`" in error["error"]
                assert error["detail"]["field"] == "Perform.request"
            assert ask(client, "Perform", requests=[]) == {
                "PerformResponse": {"id": "1", "response": {"Ok": []}}
            }
            error = ask(client, "Perform", requests=[], session={"id": 1, "sequence": 1})["Error"]
            assert error["error"].startswith("Perform.session: it is for writes")
            assert error["detail"]["field"] == "Perform.session"


def test_a_bare_response_has_its_errors_in_an_envelope(tmp_path: Path) -> None:
    """Without a leader, and from the store itself."""
    with ProcessCluster(tmp_path, size=1) as cluster:
        cluster.start()
        with WireClient(cluster.endpoints[0]) as client:
            error = ask(client, "StoreEntityExists", entity_id=MISSING)["Error"]
            assert (error["id"], error["detail"]["code"]) == ("1", "NotLeader")
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            long = {"typ": "x" * 300, "id": 1}
            response = ask(client, "StoreEntityExists", entity_id=long)
            assert response["Error"]["detail"]["code"] == "NameTooLong"
