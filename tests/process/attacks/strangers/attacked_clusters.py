"""The two clusters under attack: one with defaults, and one with TLS and users. Both hold a secret."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from qcore.client import SyncClient
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.attacks.strangers.stranger import BOB_PASSWORD, ROOT_PASSWORD, SECRET, Target
from tests.process.conftest import assert_no_traceback, initialise
from tests.process.support.commands import run_here
from tests.process.support.wire_client import string_schema
from tests.security.certificates import Authority

#: No election may come from a busy machine.
TIMING = (
    *("--heartbeat-ms", "100"),
    *("--election-timeout-min-ms", "2000", "--election-timeout-max-ms", "3000"),
)
#: How long an honest request may take during and after an attack, seconds.
HONEST_S = 10.0
AUDIT = "audit.jsonl"


@contextmanager
def default_target(directory: Path) -> Iterator[Target]:
    """Three nodes with the defaults."""
    with ProcessCluster(directory, arguments=TIMING) as cluster:
        cluster.start()
        initialise(cluster)
        with SyncClient(cluster.endpoints, timeout_s=HONEST_S, exactly_once=False) as honest:
            yield _prepared(cluster, honest)
    assert_no_traceback(cluster)


@contextmanager
def secured_target(directory: Path) -> Iterator[Target]:
    """Three nodes with TLS between all, and the users `root` and `bob`."""
    authority = Authority(directory)
    files, strangers = authority.issue("node"), authority.issue("stranger", "stranger.example")
    assert files.ca is not None
    assert strangers.cert is not None
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(strangers.cert, strangers.key)
    arguments = (
        *TIMING,
        *("--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-ca", str(files.ca)),
        *("--audit-log", str(directory / AUDIT)),
    )
    with ProcessCluster(directory, 3, arguments, tls=context) as cluster:
        cluster.start()
        members = ",".join(f"{node_id}={address}" for node_id, address in cluster.members)
        done = run_here(
            *("cluster", "init", "--nodes", members, "--tls-ca", str(files.ca)),
            *("--endpoints", cluster.endpoints[0]),
        )
        assert done.code == 0, done.stderr
        cluster.wait_leader()
        with SyncClient(cluster.endpoints, tls=strangers) as first:
            first.set_user("root", password=ROOT_PASSWORD, roles=["admin"])
        with SyncClient(
            cluster.endpoints,
            tls=strangers,
            user="root",
            password=ROOT_PASSWORD,
            timeout_s=HONEST_S,
            exactly_once=False,
        ) as honest:
            honest.set_role("observer", actions=["observe"])
            honest.set_user("bob", password=BOB_PASSWORD, roles=["observer"])
            target = _prepared(cluster, honest)
            target.tls, target.has_users = context, True
            for node in cluster.nodes.values():
                wait_for(partial(_needs_a_user, target, node), 60, "users")
            yield target
    assert_no_traceback(cluster)


def _needs_a_user(target: Target, node: NodeProcess) -> bool:
    return target.get("/status", node=node) == 401


def _prepared(cluster: ProcessCluster, honest: SyncClient) -> Target:
    honest.set_schema(string_schema("Box", "Secret", "Note"))
    entity = honest.create_entity("Box", "box")
    honest.write(entity, "Secret", SECRET)
    leader_id = honest.get_metrics()["current_leader"]
    assert leader_id is not None
    return Target(cluster, honest, entity, leader_id)
