"""Password hashes are in no recording, and a recording replays without them."""

from __future__ import annotations

import json
from pathlib import Path

from qcore.core.config import RaftConfig
from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import DurableState, Entry, HardState, Membership, SnapshotMeta
from qcore.core.events import Campaign, MessageReceived, WriteDurable
from qcore.core.log.durable_state import apply_write
from qcore.core.messages import InstallSnapshot
from qcore.core.version import LATEST_RULES, ClusterVersion
from qcore.machines.register import RegisterMachine
from qcore.recording import GeneratorState, LifeRecorder, RecordingEnd, StartOfLife, read_lives
from qcore.recording.line_checksum import with_checksum, without_checksum
from qcore.replica.access.access_commands import SetPassword, SetRole, SetUser, command_text
from qcore.replica.access.access_records import ADMIN, Role, redacted
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.state_digests import StateDigests, replicated_digest
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import ClientRequest, ReplicaEvent, TriggerSnapshot
from qcore.replica.replica import Replica
from qcore.sim.replay.life_replay import LifeReplay

SECRET = "c29tZXNhbHQ$RdescudvJCsgt3ub+b31dWJWJTmaaJObG"
HASH = f"$argon2id$v=19$m=65536,t=3,p=4${SECRET}"


class Recorded:
    """A node that is a whole cluster, and its recording."""

    def __init__(self, path: Path, durable: DurableState | None = None) -> None:
        if durable is None:
            membership = Membership((1,), addresses=((1, "a:1"),), cluster_id="c")
            version = ClusterVersion(LATEST_RULES, "register", 1)
            begin = [
                Entry(1, 1, "membership", membership.to_json(), 0),
                Entry(2, 1, "version", version.to_json(), 0),
            ]
            durable = DurableState(HardState(1, None, 2), None, begin)
        self.path, self.durable, self.now = path, durable, 1_000
        generator = GeneratorState(5)
        config = ReplicaConfig(RaftConfig(1), keep_entries=0)
        self.replica = Replica(
            config, RegisterMachine(), durable, rng=generator.generator(), now=self.now
        )
        start = StartOfLife(
            config=config,
            machine="register",
            now=self.now,
            wall_us=0,
            generator=generator,
            durable=durable,
            source="node",
        )
        self.file = path.open("ab")
        self.recorder = LifeRecorder(start, self.file.write)
        self.step()
        self.step(Campaign())

    def step(self, *events: ReplicaEvent) -> None:
        """Take a step, and let what it writes be durable."""
        self.now += 500
        waiting = [*events]
        while True:
            effects = self.recorder.step(self.replica, waiting, self.now, self.now)
            writes = [
                each
                for each in effects
                if isinstance(each, AppendLog | SaveHardState | StoreSnapshot)
            ]
            for write in writes:
                apply_write(self.durable, write)
            if not writes:
                return
            waiting = [WriteDurable(writes[-1].write_id)]

    def users(self) -> None:
        """Make users and commands."""
        for number, (kind, payload, user) in enumerate(
            (
                ("access", command_text(SetUser("root", HASH, (ADMIN,))), ""),
                ("access", command_text(SetRole(Role("worker", ("write",)))), "root"),
                ("access", command_text(SetUser("ann", HASH, ("worker",))), "root"),
                ("access", command_text(SetPassword("ann", HASH + "2")), "ann"),
                ("write", json.dumps({"op": "set", "key": "a", "value": 1}), "ann"),
                ("write", json.dumps({"op": "set", "key": "a", "value": 1}), "eve"),
            )
        ):
            self.step(ClientRequest(number, kind, payload, 5_000, 0, user))  # type: ignore[arg-type]  # the kinds above

    def end(self) -> bytes:
        """End the recording. Returns the file."""
        self.recorder.end("stopped")
        self.file.close()
        return self.path.read_bytes()


def replayed(path: Path) -> RecordingEnd:
    """Replay every life of the file without a difference. Returns the last end."""
    end: RecordingEnd | None = None
    for life in read_lives(path):
        replay = LifeReplay(life)
        while replay.advance():
            assert replay.difference is None
        end = replay.end
        assert replay.difference is None
        assert replay.replica is not None
        assert replay.replica.access.active
    assert end is not None
    return end


def test_a_recording_has_no_hash_and_replays(tmp_path: Path) -> None:
    node = Recorded(tmp_path / "r")
    node.users()
    node.step(TriggerSnapshot())
    node.users()
    assert SECRET not in node.end().decode()
    end = replayed(tmp_path / "r")
    assert end.state is not None
    assert node.replica.access.user("ann") is not None
    # A life that begins with users in its snapshot and its log.
    again = Recorded(tmp_path / "again", node.durable)
    assert again.replica.access.digest == node.replica.access.digest
    again.users()
    assert SECRET not in again.end().decode()
    replayed(tmp_path / "again")


def test_the_end_covers_users_if_there_are_any(tmp_path: Path) -> None:
    node = Recorded(tmp_path / "r")
    node.users()
    content = node.end()
    assert replayed(tmp_path / "r").covers_users
    *_, last = content.splitlines()
    what, why, (index, machine, members) = json.loads(without_checksum(last))
    assert members == replicated_digest(node.replica.machine, node.replica.access)

    def ending_with(digest: list[object]) -> str | None:
        end = with_checksum(json.dumps([what, why, digest], separators=(",", ":")))
        (life,) = read_lives(content[: content.rindex(last)] + end + b"\n")
        replay = LifeReplay(life)
        while replay.advance():
            pass
        return None if replay.difference is None else replay.difference.recorded

    assert ending_with([index, machine, members]) is None
    assert "other" in str(ending_with([index, machine, "other"]))
    assert ending_with([index, machine]) is None, "as older recordings end"


def test_a_recording_ends_before_a_snapshot_with_users(tmp_path: Path) -> None:
    node = Recorded(tmp_path / "r")
    table = AccessTable()
    table.apply(Entry(3, 1, "access", command_text(SetUser("root", HASH, (ADMIN,))), 0))
    text = "".join(table.dump())
    meta = SnapshotMeta(9, 9, 0, Membership((1, 2)))
    chunk = InstallSnapshot(9, 2, 9, 9, 0, meta.membership, 0, len(text), 0, text, 0)
    node.step(MessageReceived(2, chunk))
    assert node.recorder.ended
    assert SECRET not in node.end().decode()
    (life,) = read_lives(tmp_path / "r")
    *_, end = life.steps()
    assert isinstance(end, RecordingEnd)
    assert "users" in end.text


def test_what_members_compare_is_the_same_in_a_replay() -> None:
    """Members send each other digests, so a replay without the hashes has to make the same ones."""
    version = ClusterVersion(LATEST_RULES, "register", 1)
    compared = []
    for password_hash in (HASH, redacted(HASH), HASH + "2"):
        table, machine = AccessTable(), RegisterMachine()
        digests = StateDigests(machine, table, hash_log=True)
        entry = Entry(1, 1, "access", command_text(SetUser("root", password_hash, (ADMIN,))), 0)
        table.apply(entry)
        digests.applied(entry, version)
        digests.now(1, version)
        compared.append(digests.all()[1])
    assert compared[0] == compared[1]
    assert compared[0].log != compared[2].log
    assert compared[0].state != compared[2].state


def test_a_redacted_text_keeps_its_length_and_stays_the_same() -> None:
    text = command_text(SetPassword("ann", HASH))
    hidden = redacted(text)
    assert SECRET not in hidden
    assert len(hidden) == len(text)
    assert redacted(hidden) == hidden
    assert redacted(command_text(SetPassword("ann", HASH + "2"))) != hidden + "2"
