"""The results of the key-value machine as JSON text."""

from __future__ import annotations

from collections.abc import Iterable

from qcore.machines.kv.texts import json_of
from qcore.machines.kv.versions import Version


def version_json(version: Version, *, keys_only: bool = False) -> str:
    """A key with its value, revisions and lease."""
    value = "" if keys_only or version.value is None else f',"value":{json_of(version.value)}'
    lease = f',"lease":{version.lease}' if version.lease else ""
    return (
        f'{{"key":{json_of(version.key)}{value},"create_revision":{version.created},'
        f'"mod_revision":{version.revision},"version":{version.number}{lease}}}'
    )


def list_json(texts: Iterable[str]) -> str:
    """A JSON list of JSON texts."""
    return f"[{','.join(texts)}]"


def bool_json(value: bool) -> str:
    """`true` or `false`."""
    return "true" if value else "false"
