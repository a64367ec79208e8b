"""Every message of the entity store, from raw JSON to raw JSON, in both spellings, through the death of a leader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import ProcessCluster
from qcore.store_api.message_table import STORE_MESSAGES
from qcore.transport.wire import (
    FOUNDING_REQUESTS,
    PEER_REQUESTS,
    REGISTRY,
    USER_REQUESTS,
    HelloProof,
)
from tests.docs.test_wire_reference import validator
from tests.process.support.wire_client import WireClient
from tests.transport.support.wire_examples import blocks, fill_in, matches

SCRIPT = Path(__file__).parent / "store_messages.txt"

#: The messages of the store that only qcore has. They have one spelling.
ADDED = {name for name in STORE_MESSAGES if name.removeprefix("Store") not in STORE_MESSAGES}


def exchanges() -> list[tuple[int, str, str]]:
    """Line, request and response of each exchange."""
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    return [
        (number, line[2:], lines[number][2:])
        for number, line in enumerate(lines, start=1)
        if line.startswith("> ")
    ]


def short(text: str) -> str:
    """A message in the other spelling."""

    def without(found: re.Match[str]) -> str:
        name = found[1].removesuffix("Response")
        kept = name in ADDED and name != "StorePerform"
        return found[0] if kept else f'"{found[1].removeprefix("Store")}'

    return re.sub(r'"(Store\w+)', without, text)


def run_script(address: str, letter: str, *, spelled_short: bool) -> None:
    """Send the whole script to a node."""
    names: dict[str, Any] = {}
    with WireClient(address) as client:
        for line, request, response in exchanges():
            texts = [
                re.sub(r"\$\$?", lambda found: letter if found[0] == "$" else "$", text)
                for text in (request, response)
            ]
            if spelled_short:
                texts = [short(text) for text in texts]
            client.send(fill_in(texts[0], names))
            (seen,) = client.receive_all(1)
            expected = json.loads(texts[1])
            assert matches(expected, seen, names), f"{SCRIPT.name}:{line}: {seen}"
            assert validator().is_valid(seen), f"{SCRIPT.name}:{line}: not in the schema: {seen}"


@pytest.mark.process
def test_every_message_in_both_spellings_through_a_death(ready_cluster: ProcessCluster) -> None:
    leader = ready_cluster.wait_leader()
    (follower, *_) = (node for node in ready_cluster.nodes.values() if node is not leader)
    run_script(follower.address, "A", spelled_short=False)
    run_script(leader.address, "B", spelled_short=True)
    leader.kill()
    ready_cluster.wait_leader()
    run_script(follower.address, "C", spelled_short=True)
    run_script(ready_cluster.wait_leader().address, "D", spelled_short=False)
    leader.start()
    ready_cluster.wait_converged()


@pytest.mark.process
@pytest.mark.long
def test_each_request_in_progress_has_one_response(ready_cluster: ProcessCluster) -> None:
    """Many requests wait at a follower while the leader dies. Each gets one response, with the right name."""
    leader = ready_cluster.wait_leader()
    (follower, *_) = (node for node in ready_cluster.nodes.values() if node is not leader)
    run_script(leader.address, "A", spelled_short=False)
    requests = [
        json.loads(fill_in(re.sub(r"\$\$?", "A", text), {}))
        for _, text, _ in exchanges()
        if not re.search("<|Notification|Restore|Script", text)
    ]
    sent: dict[str, tuple[str, bool]] = {}
    codes: dict[str, int] = {}
    with WireClient(follower.address) as client:
        for round_number in range(60):
            for request in requests:
                ((name, fields),) = request.items()
                fields["id"] = str(len(sent))
                sent[fields["id"]] = name, name in STORE_MESSAGES and STORE_MESSAGES[name].bare
                client.send(request)
            if round_number == 30:
                leader.kill()
        waiting = dict(sent)
        for envelope in client.receive_all(len(sent)):
            ((name, value),) = envelope.items()
            request_name, bare = waiting.pop(value["id"])
            code = value["detail"]["code"] if "detail" in value else ""
            codes[code] = codes.get(code, 0) + 1
            if name == "Error":
                assert bare or code == "RemoteProtocolError", envelope
            else:
                assert name == f"{request_name}Response"
                failed = isinstance(value["response"], dict) and "Err" in value["response"]
                assert failed == bool(code), envelope
    assert not waiting
    assert codes.get("NotLeader"), codes
    leader.start()
    ready_cluster.wait_converged()


def test_every_message_has_a_case() -> None:
    shown = {next(iter(json.loads(fill_in(request, {})))) for _, request, _ in exchanges()}
    shown |= {
        name
        for block in blocks()
        if block.kind == "send" and block.language == "json"
        for envelope in as_list(json.loads(fill_in(block.text, {})))
        for name in envelope
    }
    # tests/process/security/test_users.py has those of users, tests/process/membership those of peers, and
    # tests/node/discovery those of founders.
    elsewhere = (*PEER_REQUESTS, HelloProof, *USER_REQUESTS, *FOUNDING_REQUESTS)
    requests = {name for name, cls in REGISTRY.items() if cls not in elsewhere} | {
        entry.request for entry in STORE_MESSAGES.values()
    }
    missing = {name for name in requests if not name.endswith("Response")} - shown
    assert missing == {"Error"}, "a node never accepts an Error"


def as_list(frame: Any) -> list[dict[str, Any]]:
    return frame if isinstance(frame, list) else [frame]


def test_the_other_spelling_lacks_only_the_prefix() -> None:
    text = short('{"StoreCreateEntityResponse": 1, "StoreBulk": 2, "StorePerform": 3}')
    assert text == '{"CreateEntityResponse": 1, "StoreBulk": 2, "Perform": 3}'
