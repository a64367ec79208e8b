"""An incident of real nodes is recorded, and replayed to the same effects."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

import qcore.core.leadership.election as election
from qcore.processes import ProcessCluster
from qcore.sim import Replay
from tests.process.support.commands import run_here
from tests.process.support.load import Load
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

REPLAY = ("sim", "replay", "-o", "json")


@pytest.fixture(scope="module")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of three nodes: under load, the leader is killed and starts again, then the next one is paused."""
    directory = tmp_path_factory.mktemp("incident")
    arguments = [
        "--snapshot-entries",
        "200",
        "--keep-entries",
        "50",
        "--election-timeout-min-ms",
        "150",
    ]
    arguments += ["--election-timeout-max-ms", "300", "--heartbeat-ms", "50"]
    with ProcessCluster(directory, 3, arguments) as cluster:
        for node in cluster.nodes.values():
            node.arguments += ["--record", str(directory / f"node-{node.node_id}.qrec")]
        cluster.start()
        with WireClient(cluster.nodes[1].address) as client:
            assert client.ask("Init", nodes=list(map(list, cluster.members))) == {"Ok": None}
        first = cluster.wait_leader()
        with Load(cluster.endpoints) as load:
            load.wait_acknowledged(100)
            first.kill()
            load.wait_acknowledged(50)
            second = cluster.wait_leader()
            first.start()
            second.pause()
            load.wait_acknowledged(50)
            second.resume()
            load.wait_acknowledged(20)
        cluster.wait_converged()
        second.stop()
    return directory


def test_an_incident_replays_to_the_same_effects(incident: Path) -> None:
    ended = run_here(*REPLAY, str(incident))
    assert ended.code == 0, ended
    reports = json.loads(ended.stdout)
    assert [report["node"] for report in reports] == [1, 2, 3]
    assert all(report["equal"] for report in reports)
    assert sorted(report["lives"] for report in reports) == [1, 1, 2], "one node was killed"
    assert all(report["step"] > 100 for report in reports)
    assert any(report["state"]["applied"] > 200 for report in reports), "a snapshot was taken"
    ends = [report["end"] for report in reports]
    assert sum("the life ended: stopped" in end for end in ends) == 1
    assert sum("cut off" in end for end in ends) == 2, "two nodes were killed at the end"


def test_an_incident_is_stepped_through(incident: Path) -> None:
    leaders = []
    for node in (1, 2, 3):
        replay = Replay(incident / f"node-{node}.qrec")
        assert replay.start.source == "node"
        if replay.run_until("kind=role role=leader"):
            assert replay.state.role == "leader"
            leaders.append((replay.wall_us, replay.state.term))
            before = replay.step_number
            assert replay.step()
            assert replay.step_number == before + 1
        assert replay.run() is None
    assert len(leaders) >= 2, "the leader was killed, and the next one was paused"
    terms = [term for _, term in sorted(leaders)]
    assert terms == sorted(set(terms))


def test_a_recording_is_private(incident: Path) -> None:
    for file in incident.glob("*.qrec"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_planted_change_is_the_first_differing_step(
    incident: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay runs the core of this process, in which candidates forget to vote for themselves."""
    monkeypatch.setattr(election, "count_own_vote", lambda server: None)
    ended = run_here(*REPLAY, str(incident))
    assert ended.code == 1
    differing = [report for report in json.loads(ended.stdout) if not report["equal"]]
    assert differing
    for report in differing:
        assert (
            f"step {report['step']} of life {report['life']} differs: recorded "
            in report["difference"]
        )
        assert report["difference"] in ended.stderr
        assert "RoleChanged" in report["difference"]
        assert report["state"]["role"] == "candidate"
