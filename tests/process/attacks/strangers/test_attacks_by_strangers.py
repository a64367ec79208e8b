"""Attacks by strangers on two clusters, one with defaults and one with TLS and users: none gets anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import wait_for
from tests.process.attacks.strangers import (
    attacks_by_handshake,
    attacks_by_http,
    attacks_by_load,
    attacks_on_users,
)
from tests.process.attacks.strangers.attacked_clusters import AUDIT, default_target, secured_target
from tests.process.attacks.strangers.stranger import BOB_PASSWORD, ROOT_PASSWORD, SECRET, Target

pytestmark = pytest.mark.process

Attack = Callable[[Target], None]

#: Bounds of what one attack may add to a node's resident memory and to its log, bytes. With buffers
#: of 256 KiB for each TLS connection, and without a strict bound of their number, memory grew by 600 MiB.
_MEMORY_BYTES = 160 * 1024 * 1024
_LOG_BYTES = 256 * 1024

BOTH = (*attacks_by_handshake.ATTACKS, *attacks_by_http.ATTACKS, *attacks_by_load.ATTACKS)

_LONG = (*attacks_by_load.LONG, *attacks_on_users.LONG)


def _parameters(attacks: Sequence[Attack]) -> list[object]:
    return [
        pytest.param(
            attack,
            id=attack.__name__,
            marks=[pytest.mark.long] if attack in _LONG else [],
        )
        for attack in attacks
    ]


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with default_target(tmp_path_factory.mktemp("default")) as target:
        yield target


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with secured_target(tmp_path_factory.mktemp("secured")) as target:
        yield target


@dataclass(slots=True, frozen=True)
class _Seen:
    """The state of a cluster. Only honest requests may change it.

    Attributes:
        nodes: per node its process, term, configuration and newest index without the honest writes.
        memory, log_bytes: per node.
    """

    nodes: dict[int, tuple[int, int, str, int]]
    memory: dict[int, int]
    log_bytes: dict[int, int]


def _see(target: Target) -> _Seen:
    wait_for(lambda: _converged(target), 30, "equal state hashes")
    nodes, memory, log_bytes = {}, {}, {}
    for node_id, node in target.cluster.nodes.items():
        status = _status(target, node_id)
        nodes[node_id] = (
            node.pid,
            status["current_term"],
            json.dumps(status["membership_config"]),
            status["last_log_index"] - target.writes,
        )
        resident = Path(f"/proc/{node.pid}/statm").read_text().split()[1]
        memory[node_id] = int(resident) * 4096
        log_bytes[node_id] = node.log_path.stat().st_size
    return _Seen(nodes, memory, log_bytes)


def _converged(target: Target) -> bool:
    """Not `ProcessCluster.wait_converged`: with users the pages need one."""
    seen = [_status(target, node_id)["qcore"] for node_id in target.cluster.nodes]
    return len({(each["applied_index"], each["state_hash"]) for each in seen}) == 1


def _status(target: Target, node_id: int) -> dict[str, Any]:
    endpoint = target.cluster.nodes[node_id].address
    return dict(target.honest.get_metrics(endpoint))


def _node_log(target: Target, node_id: int, start: int) -> str:
    """What a node has logged from this byte on."""
    return target.cluster.nodes[node_id].log_path.read_bytes()[start:].decode(errors="replace")


def _run(target: Target, attack: Attack) -> None:
    """Run an attack, and check that it got nothing and changed nothing."""
    before, target.got = _see(target), []
    attack(target)
    target.write()
    after = _see(target)
    assert after.nodes == before.nodes, "a process, a term, the configuration, or the log"
    for node_id, memory in after.memory.items():
        assert memory - before.memory[node_id] < _MEMORY_BYTES, node_id
        assert after.log_bytes[node_id] - before.log_bytes[node_id] < _LOG_BYTES, node_id
        lines = _node_log(target, node_id, before.log_bytes[node_id]).splitlines()
        assert not any("\x1b" in line or line.startswith("forged") for line in lines), (
            "log injection"
        )
    got = b"".join(target.got)
    for secret in (SECRET, ROOT_PASSWORD, BOB_PASSWORD, "$argon2", "ed25519-seed", "Traceback"):
        assert secret.encode() not in got, secret


@pytest.mark.parametrize("attack", _parameters(BOTH))
def test_strangers_get_nothing_by_default(default: Target, attack: Attack) -> None:
    _run(default, attack)


@pytest.mark.parametrize("attack", _parameters((*BOTH, *attacks_on_users.ATTACKS)))
def test_strangers_get_nothing_with_tls_and_users(secured: Target, attack: Attack) -> None:
    _run(secured, attack)


def test_the_logs_hold_no_secret_and_no_forged_line(secured: Target) -> None:
    """It runs last, and looks at what all attacks have left."""
    directory = secured.cluster.nodes[1].log_path.parent
    audit = (directory / AUDIT).read_text()
    for line in audit.splitlines():
        entry = json.loads(line)
        assert "action" in entry
        assert not (entry.get("outcome") == "done" and "eve" in entry["user"])
    for text in (audit, *(node.log_text() for node in secured.cluster.nodes.values())):
        for secret in (SECRET, ROOT_PASSWORD, BOB_PASSWORD, "$argon2", "ed25519-seed"):
            assert secret not in text


def test_the_audit_log_names_who_sent_admin_requests(secured: Target) -> None:
    audit = secured.cluster.nodes[1].log_path.parent / AUDIT
    before = audit.stat().st_size
    token = secured.honest.create_token("root").token
    with secured.stranger(f"Authorization: Bearer {token}", node=secured.leader) as root:
        body = {"id": "1", "members": [1, 2, 3], "expected_index": 1}
        root.exchange({"ChangeMembership": body})
    line = wait_for(lambda: _line_of(audit, before, "ChangeMembership"), 60, "an audit line")
    assert (line["user"], line["what"]) == ("root", "voters [1, 2, 3]")
    assert (line["outcome"], line["error"]) == ("done", None)
    assert line["index"] > 1


def _line_of(audit: Path, start: int, action: str) -> dict[str, Any] | None:
    lines = audit.read_bytes()[start:].decode().splitlines()
    return next((json.loads(line) for line in lines if f'"action": "{action}"' in line), None)
