"""`scenario_text`: a counterexample as a scenario of the simulator, so that `run`, `shrink` and `replay` work on it.

Each step gets a slot of time. A message that arrives in a later step is held from the step that sends it, and released
in its slot. A message that never arrives is dropped. All timeouts are so long that no timer fires by itself.

The scenario runs whole replicas, whose logs hold a few more entries. So run it before you trust it: it expects a
violation.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from qcore.errors import ConfigError
from qcore.sim.exploration.counterexample import Counterexample

#: When the first step happens, and the time between two steps, ms.
_FIRST_MS: Final = 1000
_SLOT_MS: Final = 100
#: How long before a step its messages are held or dropped, ms.
_EARLY_MS: Final = 10
_KINDS: Final = ("deliver", "timeout", "write", "crash", "drop")
_CHECKS: Final = (
    "election_safety",
    "leader_append_only",
    "log_matching",
    "leader_completeness",
    "state_machine_safety",
)


def scenario_text(found: Counterexample, name: str = "explored") -> str:
    """The scenario's file.

    Raises:
        ConfigError: the counterexample has steps that no timeline can aim at.
    """
    bounds = found.bounds
    if bounds.sync == "free" or found.broken.check not in _CHECKS:
        raise ConfigError(
            "only a counterexample with --sync instant, without reads, can become a scenario"
        )
    items: list[tuple[int, str]] = []
    if bounds.start == "leader":
        items.append((_FIRST_MS // 2, "campaign: 1"))
    delivered = Counter(step.message for step in found.steps if step.choice.kind == "deliver")
    waiting: dict[str, list[str]] = {}
    for number, step in enumerate(found.steps):
        at = _FIRST_MS + number * _SLOT_MS
        kind, node, argument = step.choice
        if kind not in _KINDS:
            raise ConfigError(f"step {number + 1}, {kind}, cannot be an item of a timeline")
        links = Counter(_link(message) for message in step.sent)
        for message in step.sent:
            what = _link(message)
            if links[what] > 1:
                raise ConfigError(
                    f"step {number + 1} sends two messages that a timeline cannot distinguish"
                )
            if delivered[message] > 0:
                delivered[message] -= 1
                label = f"step_{number + 1}_to_{what.rsplit(': ', 1)[1]}"
                waiting.setdefault(message, []).append(label)
                items.append((at - _EARLY_MS, f"hold: {{{what}}}, label: {label}"))
            else:
                items.append((at - _EARLY_MS, f"drop: {{{what}}}"))
        if kind == "deliver":
            labels = waiting.get(step.message)
            if not labels:
                raise ConfigError(
                    f"step {number + 1} delivers a message from before the first step"
                )
            items.append((at, f"release: {labels.pop(0)}"))
        elif kind == "timeout":
            items.append((at, f"campaign: {node}"))
        elif kind == "write":
            items.append((at, f"write: {{node: {node}, key: x, value: {argument}}}"))
        elif kind == "crash":
            items.append((at, f"crash: {node}"))
            items.append((at + _SLOT_MS // 2, f"restart: {node}"))
    items += _election_after(found)
    off = ", ".join(f"{safeguard}: false" for safeguard in bounds.without)
    batch = "  max_batch_bytes: 1\n" if bounds.one_entry_appends else ""
    lines = "\n".join(f"  - {{at_ms: {at}, {what}}}" for at, what in sorted(items, key=_time_of))
    return (
        f"name: {name}\n"
        f"summary: A counterexample of an exploration. {found.broken.check} is broken.\n"
        "cluster:\n"
        f"  nodes: {bounds.nodes}\n"
        "  election_timeout_ms: [600000, 600001]\n"
        "  heartbeat_ms: 500000\n"
        f"  pre_vote: {str(bounds.pre_vote).lower()}\n"
        f"  check_quorum: {str(bounds.check_quorum).lower()}\n"
        f"{batch}"
        f"  safeguards: {{{off}}}\n"
        "  disk: {latency_ms: 1}\n"
        "network: {latency_ms: 2}\n"
        "workload: {clients: 0}\n"
        f"timeline:\n{lines}\n"
        f"until_ms: {_FIRST_MS + (len(found.steps) + 5) * _SLOT_MS}\n"
        f"expect:\n  violation: any\n  may_do_nothing: true\n"
    )


def _election_after(found: Counterexample) -> list[tuple[int, str]]:
    """The newest leader wins once more, with no message held or lost.

    The checks of a run inspect a leader when it is elected. An exploration also finds an entry that an older leader
    commits later.
    """
    at = _FIRST_MS + len(found.steps) * _SLOT_MS
    lines = [re.search(r"node (\d+)  leader  term (\d+)", line) for line in found.steps[-1].nodes]
    leaders = [(int(match[2]), int(match[1])) for match in lines if match is not None]
    if not leaders:
        return []
    node = max(leaders)[1]
    crash, restart = (at, f"crash: {node}"), (at + _SLOT_MS // 2, f"restart: {node}")
    return [crash, restart, (at + _SLOT_MS, f"campaign: {node}")]


def _time_of(item: tuple[int, str]) -> int:
    return item[0]


def _link(message: str) -> str:
    """The kind, sender and receiver of a message, as an action names them."""
    kind, ends = message.split("(", 1)[0], message.rsplit(" from ", 1)[1]
    sender, receiver = ends.split(" to ")
    return f"message: {kind}, from: {sender}, to: {receiver}"
