"""Says in one line what a log entry means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from qcore.core.entry import Entry, Membership
from qcore.core.version import ClusterVersion
from qcore.replica.access.access_commands import shown_text

#: The names of the machine whose commands are decoded. A cluster of 0.1.0 does not record the name.
_ENTITY_STORE: Final = ("entity", "")


def describe_entry(entry: Entry, machine: str) -> str:
    """What the entry means.

    Args:
        entry: the text in it is shown as it is, so the caller must escape it.
        machine: name of the cluster's state machine at that entry; empty if it is not recorded.
    """
    try:
        match entry.kind:
            case "noop":
                return f"the leader of term {entry.term} begins"
            case "membership":
                return describe_membership(Membership.from_json(entry.data))
            case "version":
                return describe_version(ClusterVersion.from_json(entry.data))
            case "session":
                return _session(entry.data, machine)
            case "command":
                return _command(entry.data, machine)
            case "access":
                return shown_text(entry.data)
    except (ValueError, RecursionError):
        return entry.data


def describe_membership(membership: Membership) -> str:
    """Voters and learners, with their addresses."""
    parts = [f"voters {_nodes(membership, membership.voters)}"]
    if membership.voters_outgoing:
        parts.append(f"outgoing voters {_nodes(membership, membership.voters_outgoing)}")
    learners = (*membership.learners, *membership.learners_next)
    if learners:
        parts.append(f"learners {_nodes(membership, learners)}")
    return "; ".join(parts)


def describe_version(version: ClusterVersion) -> str:
    """The rules and the state machine."""
    machine = f", state machine {version.machine} {version.machine_version}"
    return f"apply rules {version.rules}{machine if version.machine else ''}"


def _nodes(membership: Membership, ids: tuple[int, ...]) -> str:
    return ", ".join(f"{each} at {membership.address_of(each) or '-'}" for each in ids)


def _session(data: str, machine: str) -> str:
    match json.loads(data):
        case ["open", lifetime_ms]:
            return f"open a session for {lifetime_ms} ms"
        case ["keep", session]:
            return f"session {session}: keep alive"
        case ["close", session]:
            return f"session {session}: close"
        case ["run", session, sequence, acknowledged, str() as command]:
            inner = _command(command, machine)
            return f"session {session} #{sequence} (acknowledged {acknowledged}): {inner}"
        case ["tick"]:
            return "drop expired sessions"
    return data


def _command(data: str, machine: str) -> str:
    if machine not in _ENTITY_STORE:
        return data
    try:
        request = json.loads(data)
    except (ValueError, RecursionError):
        return data
    named = _named(request)
    return data if named is None else _request(*named)


def _named(value: object) -> tuple[str, Mapping[str, object]] | None:
    """The name and the body of a request, or None for anything else."""
    if isinstance(value, dict) and len(value) == 1:
        name, body = next(iter(value.items()))
        if isinstance(body, dict) and name[:1].isupper():
            return name, body
    return None


def _request(name: str, body: Mapping[str, object]) -> str:
    if name in ("Read", "Write") and "field_type" in body:
        return _field_request(name, body)
    return " ".join([name, *_fields(body)])


def _field_request(name: str, body: Mapping[str, object]) -> str:
    field = f"{name} {_value(body.get('entity_id'))}.{body['field_type']}"
    if name == "Read":
        return field
    value = body.get("value")
    options = [
        f"{body[key]}"
        for key, usual in (("push_condition", "Always"), ("adjust_behavior", "Set"))
        if body.get(key, usual) != usual
    ]
    by = body.get("writer_id")
    return " ".join(
        [field, "=", "default" if value is None else _value(value), *options]
        + ([f"by {_value(by)}"] if by is not None else [])
    )


def _value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if value.keys() == {"typ", "id"}:
        return f"{value['typ']}${value['id']}"
    named = _named(value)
    if named is not None and named[0] in ("Read", "Write"):
        return _request(*named)
    if named is not None:
        return f"{named[0]}({', '.join(_fields(named[1]))})"
    return "{" + ", ".join(_fields(value, ": ")) + "}"


def _fields(body: Mapping[str, object], between: str = "=") -> list[str]:
    return [f"{key}{between}{_value(value)}" for key, value in body.items()]
