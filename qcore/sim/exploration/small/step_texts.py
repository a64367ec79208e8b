"""Texts of choices, messages and states, for people and for files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qcore.core.entry import Entry, Membership
from qcore.sim.exploration.small.choices import Choice
from qcore.sim.exploration.small.fingerprints import message_fields
from qcore.sim.exploration.small.local_node import LocalNode
from qcore.sim.exploration.small.local_steps import InFlight, voters_in
from qcore.sim.exploration.small.small_cluster import SmallCluster, State


def message_text(flying: InFlight) -> str:
    """A message in one line. Two different messages in flight have different texts."""
    sender, receiver, message = flying
    named = ", ".join(
        f"{name}={_value_text(getattr(message, name))}" for name in message_fields(message)
    )
    return f"{type(message).__name__}({named}) from {sender} to {receiver}"


def _value_text(value: Any) -> str:  # Any: a field of a message
    if isinstance(value, list):
        return log_text(value, first=True)
    if isinstance(value, Membership):
        return value.to_json()
    return str(value)


def log_text(entries: Sequence[Entry], *, first: bool = False) -> str:
    """Entries as `term:content`, with the index of the first one in front if asked for."""
    parts = [
        f"{entry.term}:{entry.data if entry.kind == 'command' else entry.kind}" for entry in entries
    ]
    start = f"{entries[0].index}> " if first and entries else ""
    return f"[{start}{' '.join(parts)}]"


def choice_text(cluster: SmallCluster, choice: Choice) -> str:
    """What happens in a step, in one line."""
    kind, node, argument = choice
    match kind:
        case "deliver" | "duplicate" | "drop":
            message = message_text(cluster.steps.messages[argument])
            verb = {
                "deliver": "arrives",
                "duplicate": "arrives and is duplicated",
                "drop": "is lost",
            }
            return f"{message} {verb[kind]}"
        case "timeout":
            return f"node {node}: the election timeout fires"
        case "heartbeat":
            return f"node {node}: the heartbeat timer fires"
        case "sync":
            return f"node {node}: its writes become durable"
        case "crash":
            kept = f", {argument} unsynced writes survive" if argument else ""
            return f"node {node}: crashes and restarts{kept}"
        case "write":
            return f"node {node}: a client proposes w{argument}"
        case "read":
            return f"node {node}: a client begins read {argument}"
        case "transfer":
            return f"node {node}: is asked to transfer leadership to node {argument}"
        case "snapshot":
            return f"node {node}: takes a snapshot"
        case _:
            voters = ", ".join(map(str, voters_in(argument)))
            return f"node {node}: is asked to change the voters to {voters}"


def node_text(node: LocalNode) -> str:
    """The state of a node in one line."""
    server = node.core._server
    vote = "-" if server.voted_for is None else server.voted_for
    unsynced = f"  unsynced {len(node.unsynced)}" if node.unsynced else ""
    held = f"  held {len(node.held)}" if node.held else ""
    offset = f"{server.log.offset}|" if server.log.offset else ""
    return (
        f"{server.role}  term {server.term}  vote {vote}  commit {server.commit_index}  "
        f"log {offset}{log_text(server.log.entries)}{unsynced}{held}"
    )


def state_lines(cluster: SmallCluster, state: State, moved: int) -> list[str]:
    """The state of each node; a star marks the one that took the step."""
    return [
        f"{'*' if place + 1 == moved else ' '} node {place + 1}  "
        f"{node_text(cluster.steps.states[state[place]])}"
        for place in range(cluster.size)
    ]
