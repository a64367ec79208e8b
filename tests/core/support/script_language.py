"""Command scripts: text in, text out (in the manner of datadriven tests).

A script is a list of blocks, separated by blank lines. A block consists of commands, a line `----`, and their
expected output. Lines that begin with `#` are comments. `pytest --rewrite-scripts tests/core` writes the
current output into the files: read the difference before you commit it.

All election timeouts are `election` ms (default 150), so that scripts are predictable, and there is one
clock. Any command may end in `quiet`, which hides writes, sends and applied entries.

| command | meaning |
|---|---|
| `nodes 3 [pristine] [voters=1,2 outgoing=.. learners=..] [priorities=1,5] [rules=2] [setting=value ..]` | a cluster |
| `restore 1 term=3 log=1,1,3 [vote=2] [commit=2]` | node 1 restarts with a log of these terms |
| `bootstrap 1` | initialise a pristine node with all nodes as voters |
| `lead 1` | elect node 1 and commit its no-op everywhere; prints nothing |
| `campaign 1`, `timeout 1` | campaign; move the clock to 1's deadline and tick 1 |
| `advance MS` | move only the clock |
| `run MS` | time passes: each node is ticked at its deadlines; every message and write completes immediately |
| `propose 1 x y`, `read 1 [lease]`, `snapshot 1 [keep=2]`, `unreachable 1 2` | events |
| `change 1 voters=1,2 [learners=3] [expect=INDEX] [known=9] [explicit]` | known: has an address; explicit: stay joint |
| `leave 1`, `transfer 1 [2]` | leave the joint phase; transfer leadership, to the best voter if no target is named |
| `durable 1 [n]` | the n oldest pending writes (default all) become durable |
| `stall 1`, `unstall 1` | whether `stabilize` skips the node's disk |
| `fill 1`, `empty 1` | whether the node's disk is almost full |
| `deliver 1->2 [n]`, `drop 1->2 [n]` | the n oldest messages (default all) |
| `duplicate 1->2`, `deliver_newest 1->2` | repeat the oldest message; deliver the newest |
| `hold 1->2 [n]`, `release 1->2` | keep messages back, also from `stabilize`; put them back as the newest |
| `isolate 1`, `cut 1->2`, `heal` | links; what arrives over a cut link is lost |
| `crash 1 [keep=n]`, `restart 1` | keep: how many pending writes survive |
| `stabilize [1 2 ..]` | deliver messages and make writes durable until none is pending [among these nodes] |
| `status [1 ..]`, `log [1 ..]`, `progress 1`, `messages`, `members [1 ..]` | print state |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import cast

from qcore.core import DurableState, HardState, Membership, RaftConfig, Safeguards
from qcore.core.effects import Effect
from qcore.core.events import (
    Bootstrap,
    ChangeMembership,
    LeaveJoint,
    PeerUnreachable,
    Tick,
    TransferLeadership,
)
from qcore.core.messages import RaftMessage
from qcore.replica.events import ReplicaEffect
from tests.core.support.safety_checks import Safety, SafetyViolation
from tests.core.support.script_output import (
    SHOWN_WHEN_QUIET,
    effect_text,
    log_text,
    membership_text,
    message_text,
    progress_lines,
    status_text,
)
from tests.driver.cores import CoreCluster, CoreDriver, CoreObserver
from tests.driver.first_state import begun, started
from tests.driver.network import Envelope
from tests.driver.observer import Node

SETTINGS = {field.name for field in fields(RaftConfig)}
SAFEGUARDS = {field.name for field in fields(Safeguards)}


class ScriptError(Exception):
    """A script cannot be understood."""


class NoSuchMessageError(Exception):
    """There is no such message. It is printed, so that the script shows where."""


class Recorder(CoreObserver):
    """Records the effects of every step."""

    def __init__(self) -> None:
        super().__init__(Safety())
        self.quiet = False
        self.lines: list[str] = []

    def stepped(self, node: Node, effects: Sequence[Effect | ReplicaEffect]) -> None:
        for effect in cast(Sequence[Effect], effects):  # a core has no others
            if not self.quiet or isinstance(effect, SHOWN_WHEN_QUIET):
                self.lines.append(f"{node.node_id}: {effect_text(effect)}")


def ids(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (text or "").split(",") if part)


class Script:
    """Runs commands against one cluster and returns what they print."""

    def __init__(self) -> None:
        self._cluster: CoreCluster | None = None
        self.recorder = Recorder()
        self.held: list[Envelope] = []
        self.membership = Membership()
        self.commands: dict[str, Callable[[list[str], dict[str, str]], list[str] | None]] = {
            name.removeprefix("do_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("do_")
        }

    @property
    def cluster(self) -> CoreCluster:
        if self._cluster is None:
            raise ScriptError("a script begins with `nodes`")
        return self._cluster

    def run(self, line: str) -> list[str]:
        """Run one command. Returns its output, line by line."""
        name, *words = line.split()
        if name not in self.commands:
            raise ScriptError(f"unknown command {name!r}")
        quiet = "quiet" in words
        options = dict(word.split("=", 1) for word in words if "=" in word)
        arguments = [word for word in words if "=" not in word and word != "quiet"]
        self.recorder.quiet = quiet
        self.recorder.lines = []
        try:
            printed = self.commands[name](arguments, options) or []
        except SafetyViolation as violation:
            printed = [f"VIOLATION {violation}"]
        except NoSuchMessageError as nothing:
            printed = [str(nothing)]
        return [*self.recorder.lines, *printed]

    # -- clusters --------------------------------------------------------------------------------

    def do_nodes(self, words: list[str], options: dict[str, str]) -> None:
        size = int(words[0])
        self.held.clear()
        priorities = dict(enumerate(ids(options.pop("priorities", None)), start=1))
        voters = ids(options.pop("voters", None)) or tuple(range(1, size + 1))
        self.membership = Membership(
            voters=voters,
            voters_outgoing=ids(options.pop("outgoing", None)),
            learners=ids(options.pop("learners", None)),
        )
        rules = int(options.pop("rules", "1"))
        pristine = "pristine" in words
        durable = {
            node_id: DurableState() if pristine else begun(self.membership, rules)
            for node_id in range(1, size + 1)
        }
        self.recorder = Recorder()
        self._cluster = CoreCluster(
            durable, _settings(options), priorities=priorities, observer=self.recorder
        )
        self.recorder.lines = []

    def do_restore(self, words: list[str], options: dict[str, str]) -> None:
        node = self.cluster.drivers[int(words[0])]
        state = started(self.membership, ids(options["log"]), int(options["term"]))
        vote = options.get("vote")
        state.hard_state = HardState(
            state.hard_state.term, int(vote) if vote else None, int(options.get("commit", "0"))
        )
        node.crash()
        node.disk.durable = state
        node.start()

    def do_bootstrap(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.step(int(words[0]), Bootstrap(self.membership, 0))

    # -- events ----------------------------------------------------------------------------------

    def do_campaign(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.campaign(int(words[0]))

    def do_lead(self, words: list[str], options: dict[str, str]) -> None:
        self.do_campaign(words, {})
        self.do_stabilize([], {})
        self.do_timeout(words, {})
        self.do_stabilize([], {})
        self.recorder.lines = []
        if self.cluster.leaders() != [int(words[0])]:
            raise ScriptError(f"node {words[0]} does not lead: {self.do_status([], {})}")

    def do_timeout(self, words: list[str], options: dict[str, str]) -> None:
        node_id = int(words[0])
        self.cluster.timeout(node_id)
        self._clocks_at(self.cluster.drivers[node_id].now)

    def _clocks_at(self, now: int) -> None:
        for node in self.cluster.drivers.values():
            node.now = max(node.now, now)

    def do_advance(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.advance(int(words[0]))

    def do_run(self, words: list[str], options: dict[str, str]) -> None:
        end = max(node.now for node in self.cluster.drivers.values()) + int(words[0]) * 1000
        self.do_stabilize([], {})
        while True:
            due = [(node.up.next_deadline(), node.node_id) for node in self.cluster.alive()]
            deadline, node_id = min(due)
            if deadline > end:
                break
            self._clocks_at(deadline)
            self.cluster.step(node_id, Tick())
            self.do_stabilize([], {})
        self._clocks_at(end)

    def do_propose(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.propose(int(words[0]), *words[1:])

    def do_read(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.read(int(words[0]), lease="lease" in words)

    def do_snapshot(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.take_snapshot(int(words[0]), int(options.get("keep", "0")))

    def do_unreachable(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.step(int(words[0]), PeerUnreachable(int(words[1])))

    def do_change(self, words: list[str], options: dict[str, str]) -> None:
        node_id = int(words[0])
        expect = options.get("expect")
        self.cluster.step(
            node_id,
            ChangeMembership(
                voters=ids(options["voters"]),
                learners=ids(options.get("learners")),
                addresses=tuple(
                    (member, f"node{member}:1")
                    for member in (*self.cluster.drivers, *ids(options.get("known")))
                ),
                wall_us=self.cluster.drivers[node_id].now,
                expected_index=None if expect is None else int(expect),
                auto_leave="explicit" not in words,
            ),
        )

    def do_leave(self, words: list[str], options: dict[str, str]) -> None:
        node_id = int(words[0])
        self.cluster.step(node_id, LeaveJoint(self.cluster.drivers[node_id].now))

    def do_transfer(self, words: list[str], options: dict[str, str]) -> None:
        to = int(words[1]) if len(words) > 1 else None
        self.cluster.step(int(words[0]), TransferLeadership(to))

    # -- disks -----------------------------------------------------------------------------------

    def do_durable(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.persist(int(words[0]), int(words[1]) if len(words) > 1 else None)

    def do_stall(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.drivers[int(words[0])].stalled = True

    def do_unstall(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.drivers[int(words[0])].stalled = False

    def do_fill(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.drivers[int(words[0])].core.set_short_of_space(True)

    def do_empty(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.drivers[int(words[0])].core.set_short_of_space(False)

    def do_crash(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.crash(int(words[0]), int(options.get("keep", "0")))

    def do_restart(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.drivers[int(words[0])].start()

    # -- the network -----------------------------------------------------------------------------

    def _on_link(self, words: list[str]) -> list[int]:
        """Positions of the messages on `a->b`, oldest first, at most as many as requested."""
        source, to = map(int, words[0].split("->"))
        found = [
            position
            for position, envelope in enumerate(self.cluster.network)
            if (envelope.source, envelope.to) == (source, to)
        ]
        if not found:
            raise NoSuchMessageError(f"no message {words[0]}")
        return found[: int(words[1])] if len(words) > 1 else found

    def _take(self, words: list[str]) -> list[Envelope]:
        messages = self.cluster.network.messages
        chosen = [messages[position] for position in self._on_link(words)]
        return self.cluster.network.hold_back(lambda envelope: envelope in chosen)

    def do_deliver(self, words: list[str], options: dict[str, str]) -> None:
        for envelope in self._take(words):
            self.cluster.deliver_envelope(envelope)

    def do_hold(self, words: list[str], options: dict[str, str]) -> None:
        self.held += self._take(words)

    def do_release(self, words: list[str], options: dict[str, str]) -> None:
        source, to = map(int, words[0].split("->"))
        chosen = [e for e in self.held if (e.source, e.to) == (source, to)]
        if not chosen:
            raise NoSuchMessageError(f"no held message {words[0]}")
        self.held = [e for e in self.held if (e.source, e.to) != (source, to)]
        self.cluster.network.messages += chosen

    def do_deliver_newest(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.deliver(self._on_link(words)[-1])

    def do_drop(self, words: list[str], options: dict[str, str]) -> list[str]:
        return [f"dropped {e.source}->{e.to} {_text(e)}" for e in self._take(words)]

    def do_duplicate(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.network.duplicate(self._on_link(words)[0])

    def do_isolate(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.isolate(int(words[0]))

    def do_cut(self, words: list[str], options: dict[str, str]) -> None:
        source, to = map(int, words[0].split("->"))
        self.cluster.network.cut.add((source, to))

    def do_heal(self, words: list[str], options: dict[str, str]) -> None:
        self.cluster.heal()

    def do_stabilize(self, words: list[str], options: dict[str, str]) -> None:
        among = set(map(int, words)) or set(self.cluster.drivers)
        for _ in range(2000):
            if not (self._persist_some(among) or self._deliver_one(among)):
                return
        raise ScriptError("the cluster does not come to rest")

    def _persist_some(self, among: set[int]) -> bool:
        for node in self.cluster.alive():
            if node.node_id in among and node.disk.pending and not node.stalled:
                node.persist()
                return True
        return False

    def _deliver_one(self, among: set[int]) -> bool:
        for position, envelope in enumerate(self.cluster.network):
            if envelope.source in among and envelope.to in among:
                self.cluster.deliver(position)
                return True
        return False

    # -- state -----------------------------------------------------------------------------------

    def _chosen(self, words: list[str]) -> list[CoreDriver]:
        wanted = set(map(int, words))
        return [
            node
            for node in self.cluster.drivers.values()
            if node.node_id in (wanted or {node.node_id})
        ]

    def do_status(self, words: list[str], options: dict[str, str]) -> list[str]:
        return [
            f"{node.node_id}: " + (status_text(node.core) if node.is_up else "down")
            for node in self._chosen(words)
        ]

    def do_log(self, words: list[str], options: dict[str, str]) -> list[str]:
        return [
            f"{node.node_id}: {log_text(node.up)}" for node in self._chosen(words) if node.is_up
        ]

    def do_progress(self, words: list[str], options: dict[str, str]) -> list[str]:
        return progress_lines(self.cluster.core(int(words[0])))

    def do_members(self, words: list[str], options: dict[str, str]) -> list[str]:
        return [
            f"{node.node_id}: {membership_text(node.up.membership)} (at {node.up.membership_index})"
            for node in self._chosen(words)
            if node.is_up
        ]

    def do_messages(self, words: list[str], options: dict[str, str]) -> list[str]:
        return [f"{e.source}->{e.to} {_text(e)}" for e in self.cluster.network]


def _text(envelope: Envelope) -> str:
    return message_text(cast(RaftMessage, envelope.message))  # a core sends no others


def _settings(options: dict[str, str]) -> RaftConfig:
    """`election`, and any setting or safeguard by name; `off` and `on` for switches."""
    election = int(options.pop("election", "150"))
    values: dict[str, int | bool] = {
        "election_timeout_min_ms": election,
        "election_timeout_max_ms": election,
    }
    safeguards: dict[str, bool] = {}
    for name, text in options.items():
        switch = {"on": True, "off": False}.get(text)
        if name in SAFEGUARDS and switch is not None:
            safeguards[name] = switch
        elif name in SETTINGS:
            values[name] = int(text) if switch is None else switch
        else:
            raise ScriptError(f"no such setting: {name}={text}")
    return RaftConfig(node_id=1, safeguards=Safeguards(**safeguards), **values)  # type: ignore[arg-type] # mypy cannot see which of int and bool each name takes


def run_script(text: str) -> str:
    """The script with the current output of its commands. Unchanged if the output is as expected."""
    script = Script()
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.strip("\n").split("\n")
        head = lines[: lines.index("----")] if "----" in lines else lines
        commands = [line for line in head if line and not line.startswith("#")]
        if not commands:
            blocks.append("\n".join(head))
            continue
        printed = [line for command in commands for line in script.run(command)]
        blocks.append("\n".join([*head, "----", *(printed or ["(nothing)"])]))
    return "\n\n".join(blocks) + "\n"
