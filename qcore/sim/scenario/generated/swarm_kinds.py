"""The catalogue of a swarm: every kind of fault that a seed may draw, with the ranges of its strength, rate and length.

A new kind is one line of `SWARM_KINDS`. Its function draws the actions of one firing. The ranges keep a cluster able to
recover: what destroys data for good touches one node at a time, and every other fault ends with the quiet phase.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

#: The keys of a timeline item; `at_ms` counts from the firing, and None removes a key.
Block = dict[str, object]


@dataclass(frozen=True, slots=True)
class FiringDraw:
    """Draws the properties of one firing: whom it hits, and how strong it is."""

    rng: Random
    nodes: tuple[int, ...]

    def pick(self, *choices: object) -> object:
        """One of these, each as likely."""
        return choices[int(self.rng.random() * len(choices))]

    def one(self) -> object:
        """A single node: the leader more often than any other."""
        return self.pick("leader", "leader", "random", {"random": 1, "of": "followers"})

    def few(self) -> object:
        """A single node or a minority."""
        return self.pick("leader", "random", "random", "minority")

    def any_group(self) -> object:
        """Any group of nodes, also one without which there is no quorum."""
        return self.pick("leader", "random", "minority", "majority", "all")

    def member(self) -> int:
        """The id of one node."""
        return self.nodes[int(self.rng.random() * len(self.nodes))]

    def number(self, low: float, high: float) -> float:
        """A number between these, small ones as likely as large ones (log-uniform)."""
        return round(math.exp(self.rng.uniform(math.log(low), math.log(high))), 3)

    def whole(self, low: int, high: int) -> int:
        """A whole number between these."""
        return self.rng.randint(low, high)


@dataclass(frozen=True, slots=True)
class SwarmKind:
    """One kind of fault.

    Attributes:
        make: draws the items of one firing.
        gap_ms: the range of the mean time between two firings. Each seed draws the mean.
        lasts_ms: the shortest and the longest duration; None for what has no end. Each seed draws its longest.
        least_nodes: the smallest cluster that survives this kind.
        once: it fires once in a run.
        default: whether a swarm draws it that names no `kinds`. Kinds that came later are not, so that the seeds of a
            scenario draw the same faults as before. A random scenario draws them all.
    """

    make: Callable[[FiringDraw], Block | list[Block]]
    gap_ms: tuple[float, float]
    lasts_ms: tuple[float, float] | None = None
    least_nodes: int = 1
    once: bool = False
    default: bool = True


def _partition(draw: FiringDraw) -> Block:
    groups = draw.pick(
        [["leader"], ["rest"]],
        [["leader", "random"], ["rest"]],
        [["minority"], ["rest"]],
        [["majority"], ["rest"]],
        [["random"], ["random"], ["rest"]],
        {"halves": "all"},
        {"bridge": "random"},
        {"ring": "all"},
        {"majorities_ring": "all"},
        {"pendants": "minority"},
    )
    return {"partition": groups}


def _flapping(draw: FiringDraw) -> Block:
    times = {"down_ms": [10, draw.whole(30, 250)], "up_ms": [10, draw.whole(30, 250)]}
    return {"cut": {"nodes": draw.one()}, "flap": times}


def _narrow(draw: FiringDraw) -> Block:
    """Links with so little bandwidth that messages queue, and the last ones are lost."""
    return {
        "links": {
            "bandwidth_bytes_per_s": draw.whole(10_000, 200_000),
            "queue_length": draw.whole(5, 100),
        }
    }


def _freeze_machine(draw: FiringDraw) -> Block:
    """A machine freezes together with its network. Afterwards it serves what waited, before it hears of a successor."""
    target = draw.pick("leader", "leader", "leader", "follower_1")
    return {"do": [{"isolate": target}, {"pause": target}]}


def _power_loss_of_all(draw: FiringDraw) -> Block:
    return {"power_loss": {"nodes": "all", "survives": draw.pick("none", "random", "random")}}


def _wipe(draw: FiringDraw) -> list[Block]:
    """A member loses its disk and returns as a stranger, so it is removed; the others keep what it acknowledged."""
    return [{**block, "at_ms": number * 150.0} for number, block in enumerate(_lose(draw.member()))]


def _lose(node: int) -> list[Block]:
    """Wipe a member, start it as a stranger, and remove it."""
    blocks: list[Block] = [
        {"wipe": node},
        {"restart": node},
        {"remove": {"nodes": node, "timeout_ms": 60_000}},
    ]
    return [{**block, "until_ms": None} for block in blocks]


def _disk_error(draw: FiringDraw) -> list[Block]:
    """A node whose disk reports an error stops; an operator starts it again."""
    error = {
        "nodes": draw.pick("leader", "random"),
        "on": draw.pick("write", "sync"),
        "survives": draw.pick("none", "random", "all"),
    }
    return [
        {"disk_error": error},
        {"at_ms": 400.0, "restart": "down", "for_ms": None, "until_ms": None},
    ]


def _bit_rot(draw: FiringDraw) -> list[Block]:
    """A member whose log is damaged does not start again. It gets a blank disk, and is removed as with `wipe`."""
    node = draw.member()
    damaged: Block = {"bit_rot": {"nodes": node, "entry": draw.pick("first", "random", "last")}}
    later: list[Block] = [{"crash": node}, {"restart": node}, *_lose(node)]
    for number, block in enumerate(later, 1):
        block |= {"at_ms": number * 150.0, "until_ms": None}
    return [damaged, *later]


def _message(draw: FiringDraw, most: int) -> Block:
    return {
        "message": draw.pick(
            "AppendEntries",
            "AppendEntriesResponse",
            ["RequestVote", "RequestVoteResponse"],
            ["PreVote", "PreVoteResponse"],
            "InstallSnapshot",
            ["Forward", "ForwardResponse"],
        ),
        "times": draw.whole(1, most),
    }


def _power_loss_at_send(draw: FiringDraw) -> list[Block]:
    """Nodes lose power at the moment at which they promise something; sometimes the one that relies on it does, too."""
    message = draw.pick(
        "AppendEntriesResponse",
        "AppendEntriesResponse",
        "RequestVoteResponse",
        "InstallSnapshotResponse",
        "AppendEntries",
    )
    promise: Block = {
        "when": {"event": "send", "message": message},
        "times": draw.whole(1, 3),
        "power_loss": {"nodes": "sender", "survives": draw.pick("none", "none", "random")},
    }
    if draw.rng.random() < _OFTEN:
        return [promise]
    relies: Block = {"when": {"event": "commit"}, "power_loss": "event_node"}
    return [promise, {**relies, "at_ms": draw.number(1, 30)}]


def _split(draw: FiringDraw) -> list[Block]:
    """The leader loses its followers but not its clients, and another node campaigns before it notices.

    Sometimes the answers of the followers are late, so that the leader still receives some after the cut.
    """
    late_ms = float(draw.whole(40, 250)) if draw.rng.random() < _OFTEN else 0.0
    both: Block = {"cut": {"from": "rest", "to": "leader"}}
    blocks: list[Block] = [{"cut": {"from": "leader", "to": "rest"}}, both]
    if late_ms:
        blocks[0]["at_ms"] = draw.rng.uniform(0.2, 1.0) * late_ms
        both["at_ms"] = late_ms + _ARRIVES_MS
        blocks.insert(0, {"hold": {"from": "rest", "to": "leader"}, "for_ms": round(late_ms, 3)})
    if draw.rng.random() < 2 * _OFTEN:
        soon_ms = draw.number(1, 60) if draw.rng.random() < _OFTEN else draw.number(60, 400)
        campaign: Block = {"campaign": draw.pick("follower_1", "random"), "for_ms": None}
        blocks.append({**campaign, "at_ms": late_ms + soon_ms})
    return blocks


def _split_with_reads(draw: FiringDraw) -> list[Block]:
    """A split in which clients use both sides: they write to the new leader and read everywhere."""
    blocks = _split(draw)
    elected: Block = {"event": "role", "role": "leader"}
    plain: Block = {"for_ms": None, "at_ms": blocks[0].get("at_ms", 0.0)}
    for after_ms in (0.0, draw.number(1, 30)):
        write: Block = {"write": {"node": "event_node", "key": "k0"}}
        blocks.append({**plain, "when": elected, "after_ms": after_ms, **write})
    anywhere: Block = {
        "node": "all",
        "key": "k0",
        "read_kind": draw.pick("read", "lease_read", "lease_read"),
    }
    for after_ms in (draw.number(3, 20), draw.number(10, 80), draw.number(30, 200)):
        blocks.append({**plain, "when": elected, "after_ms": after_ms, "read": anywhere})
    return blocks


def _shrink(draw: FiringDraw) -> list[Block]:
    """A minority is cut off, and its leader is asked to make it the whole cluster. Later all are voters again."""
    few = sorted(draw.rng.sample(draw.nodes, max(1, (len(draw.nodes) - 1) // 2)))
    first_ms = draw.number(30, 300)
    ask: Block = {"voters": few, "at": few[0], "retry": False, "timeout_ms": 1000}
    back: Block = {"voters": [*draw.nodes], "timeout_ms": 60_000}
    apart_ms = draw.number(200, 1200)
    blocks: list[Block] = [
        {"campaign": few[0]},
        {"at_ms": first_ms, "partition": [few, ["rest"]], "for_ms": round(apart_ms, 3)},
        {"at_ms": first_ms + draw.number(1, 60), "change_members": ask},
        {"at_ms": first_ms + apart_ms + draw.number(100, 1000), "change_members": back},
    ]
    return [{**block, "until_ms": None} for block in blocks]


#: The probability of what a firing does or leaves out.
_OFTEN = 0.4
#: After this time, messages that were held have arrived, in milliseconds.
_ARRIVES_MS = 12.0
#: How long most faults last, in milliseconds.
_SHORT = (30.0, 900.0)

SWARM_KINDS: dict[str, SwarmKind] = {
    "crash": SwarmKind(lambda d: {"crash": d.few()}, (200, 1500), _SHORT),
    "crash_many": SwarmKind(lambda d: {"crash": d.any_group()}, (800, 4000), (20, 500)),
    "power_loss": SwarmKind(
        lambda d: {"power_loss": {"nodes": d.few(), "survives": d.pick("none", "random", "all")}},
        (300, 1500),
        (20, 500),
    ),
    "power_loss_of_all": SwarmKind(_power_loss_of_all, (500, 3000), (10, 150)),
    "pause": SwarmKind(lambda d: {"pause": d.few()}, (200, 1500), _SHORT),
    "crash_loop": SwarmKind(
        lambda d: {
            "crash_loop": {
                "nodes": d.one(),
                "up_ms": [20, d.whole(50, 500)],
                "down_ms": [10, d.whole(30, 300)],
            }
        },
        (800, 3000),
        (300, 2000),
    ),
    "slow_cpu": SwarmKind(
        lambda d: {"slow_cpu": {"nodes": d.few(), "step_ms": [0.1, d.number(0.2, 20)]}},
        (500, 2500),
        (200, 1500),
    ),
    "freeze_machine": SwarmKind(_freeze_machine, (400, 1600), (500, 1300)),
    "wipe": SwarmKind(_wipe, (1000, 6000), least_nodes=4, once=True),
    "isolate": SwarmKind(lambda d: {"isolate": d.one()}, (300, 2000), _SHORT),
    "partition": SwarmKind(_partition, (400, 2000), (100, 1000), least_nodes=3),
    "cut": SwarmKind(lambda d: {"cut": {"from": d.one(), "to": "random"}}, (150, 1000), (50, 900)),
    "flapping": SwarmKind(_flapping, (500, 2500), (200, 1500)),
    "clog": SwarmKind(lambda d: {"clog": {"nodes": d.one()}}, (300, 1500), (30, 600)),
    "swizzle_clog": SwarmKind(
        lambda d: {
            "swizzle_clog": {
                "clog_gap_ms": [0, 150],
                "clogged_ms": [0, d.whole(50, 500)],
                "unclog_gap_ms": [0, 150],
            }
        },
        (1000, 4000),
        (600, 1500),
        least_nodes=2,
    ),
    "deaf": SwarmKind(lambda d: {"deaf": d.one()}, (300, 2000), _SHORT),
    "mute": SwarmKind(lambda d: {"mute": d.one()}, (300, 2000), _SHORT),
    "loss": SwarmKind(lambda d: {"loss": d.number(0.01, 0.4)}, (300, 1500), (100, 1500)),
    "duplicate": SwarmKind(lambda d: {"duplicate": d.number(0.02, 0.6)}, (300, 1500), (100, 1500)),
    "reorder": SwarmKind(lambda d: {"reorder": d.number(0.02, 0.5)}, (300, 1500), (100, 1500)),
    "corrupt": SwarmKind(lambda d: {"corrupt": d.number(0.01, 0.3)}, (300, 1500), (100, 1500)),
    "narrow": SwarmKind(_narrow, (600, 2500), (100, 1000)),
    "latency": SwarmKind(
        lambda d: {"links": {"nodes": d.one(), "latency_ms": [1, d.whole(10, 120)]}},
        (300, 1500),
        (100, 1500),
    ),
    "disk_stall": SwarmKind(lambda d: {"disk_stall": d.few()}, (300, 1500), _SHORT),
    "disk_slow": SwarmKind(
        lambda d: {"disk_slow": {"nodes": {"random": 2}, "latency_ms": [5, d.whole(20, 100)]}},
        (200, 1000),
        (200, 1500),
        least_nodes=2,
    ),
    "disk_error": SwarmKind(_disk_error, (800, 3000), (100, 300)),
    "disk_full": SwarmKind(
        lambda d: {"disk_full": {"nodes": d.few(), "free_bytes": d.whole(0, 600)}},
        (800, 3000),
        (200, 1000),
    ),
    "bit_rot": SwarmKind(_bit_rot, (1000, 6000), least_nodes=5, once=True),
    "clock_drift": SwarmKind(
        lambda d: {"clock": {"nodes": "random", "drift_ppm": d.whole(-20_000, 20_000)}},
        (300, 1500),
        (200, 2000),
    ),
    "clock_jump": SwarmKind(
        lambda d: {"clock": {"nodes": "random", "offset_ms": d.whole(-3_600_000, 3_600_000)}},
        (300, 1500),
        (200, 2000),
    ),
    "campaign": SwarmKind(lambda d: {"campaign": "random"}, (100, 1000)),
    "snapshot": SwarmKind(
        lambda d: {"snapshot": {"nodes": "random", "keep_entries": d.whole(0, 20)}}, (150, 1000)
    ),
    "transfer": SwarmKind(lambda d: {"transfer": {"to": None, "timeout_ms": 1000}}, (300, 1500)),
    "drop": SwarmKind(lambda d: {"drop": _message(d, 8)}, (80, 600), (200, 1000)),
    "hold": SwarmKind(lambda d: {"hold": _message(d, 4)}, (100, 700), (50, 800)),
    "power_loss_at_send": SwarmKind(_power_loss_at_send, (300, 1500), (10, 150), default=False),
    "split": SwarmKind(_split, (300, 1200), (200, 900), least_nodes=3, default=False),
    "split_with_reads": SwarmKind(
        _split_with_reads, (300, 1200), (200, 900), least_nodes=3, default=False
    ),
    "shrink": SwarmKind(_shrink, (1500, 4000), least_nodes=3, default=False),
}
#: The kinds that a swarm draws which names none.
DEFAULT_KINDS = tuple(name for name, kind in SWARM_KINDS.items() if kind.default)
