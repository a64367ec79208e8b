"""A raw peer: says `Hello` and proves its key over a `WireClient`, with any field changed."""

from __future__ import annotations

import base64
import os
from typing import Any, Protocol

from qcore.core.version import LATEST_RULES
from qcore.security.keys.handshake_proof import sign_as_dialler
from qcore.security.keys.node_key import NodeKey


class Exchanges(Protocol):
    """A connection that sends one frame and returns the name and the value of the envelope in reply."""

    def exchange(self, frame: str | bytes | object) -> tuple[str, dict[str, Any]]: ...


def new_nonce() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")


def hello_of(
    node_id: int, cluster_id: str, key: NodeKey | None = None, **changed: object
) -> dict[str, Any]:
    """The fields of a `Hello`; with a key, one that announces a proof."""
    fields = {
        "id": "h",
        "protocol": 1,
        "cluster_id": cluster_id,
        "node_id": node_id,
        "rules": [1, LATEST_RULES],
        "machine": "entity",
        "machine_versions": [1, 1],
        "nonce": "",
        "public_key": "",
        "vouchers": [],
    }
    if key is not None:
        fields |= {"nonce": new_nonce(), "public_key": key.public}
    return fields | changed


def say_hello(client: Exchanges, hello: dict[str, Any]) -> dict[str, Any]:
    """Send this `Hello`; returns the `response` to it."""
    name, value = client.exchange({"Hello": hello})
    assert name == "HelloResponse"
    response: dict[str, Any] = value["response"]
    return response


def send_proof(client: Exchanges, signature: str) -> dict[str, Any]:
    """Send a proof; returns the `response` to it."""
    name, value = client.exchange({"HelloProof": {"id": "p", "signature": signature}})
    assert name == "HelloProofResponse"
    response: dict[str, Any] = value["response"]
    return response


def connect_as(client: Exchanges, hello: dict[str, Any], key: NodeKey) -> dict[str, Any]:
    """Say `Hello` and prove the key; returns the last response: an `Ok`, or the `Err` of the step that failed."""
    response = say_hello(client, hello)
    if "Err" in response:
        return response
    return send_proof(client, sign_as_dialler(key, hello, response["Ok"]))
