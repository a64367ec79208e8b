"""A user with many connections has the rate of one user, and others are not slowed down by it."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import pytest

from qcore.client import SyncClient
from qcore.processes import ProcessCluster
from tests.process.attacks.strangers.attacked_clusters import TIMING
from tests.process.attacks.strangers.stranger import ROOT_PASSWORD
from tests.process.conftest import initialise

pytestmark = [pytest.mark.process, pytest.mark.long]

RATE = 40


def test_the_connections_of_a_user_share_one_rate(tmp_path: Path) -> None:
    arguments = ("--machine", "register", *TIMING, "--user-requests-per-s", str(RATE))
    with ProcessCluster(tmp_path, 1, arguments) as cluster:
        cluster.start()
        initialise(cluster)
        (endpoint,) = cluster.endpoints
        with SyncClient([endpoint]) as first:
            first.set_user("root", password=ROOT_PASSWORD, roles=["admin"])
        connect = partial(SyncClient, [endpoint], exactly_once=False)
        root = partial(connect, user="root", password=ROOT_PASSWORD)
        with root() as one:
            one.set_role("writer", actions=["read", "write", "observe"])
            one.set_user("bob", password="bobs own secret", roles=["writer"])
        bob = partial(connect, user="bob", password="bobs own secret")
        with bob() as two, bob() as three:
            began = time.monotonic()
            for number in range(2 * RATE):
                for client in (two, three):
                    client.execute(json.dumps({"op": "set", "key": "k", "value": number}))
            # The burst has twice the rate; for the other half, the clients waited.
            assert time.monotonic() - began > 1.5
        with root() as one:
            one.execute(json.dumps({"op": "set", "key": "k", "value": 0}))
            quotas = one.get_metrics(endpoint)["qcore"]["quotas"]
        assert quotas["user_requests"]["refused"] > 0
