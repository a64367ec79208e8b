"""Shows keys of the key-value machine."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from qcore.cli.output import Row, shortened

if TYPE_CHECKING:
    from qcore.kv import KeyChange, KeyVersion

COLUMNS: Final = ("key", "value", "mod_revision", "create_revision", "version", "lease")
REVISION_COLUMNS: Final = ("revision", "type", "key", "value")


def value_text(data: bytes) -> str:
    """A key or value as text; bytes that are not UTF-8 as base64."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(data).decode()}"


def counted(deleted: int) -> str:
    """How many keys were deleted."""
    return f"deleted {deleted} {'key' if deleted == 1 else 'keys'}"


def _json(data: bytes) -> object:
    from qcore.kv.key_values import data_json

    return data_json(data)


def kv_body(kv: KeyVersion) -> dict[str, object]:
    """A key as JSON."""
    return {
        "key": _json(kv.key),
        "value": _json(kv.value),
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
        "version": kv.version,
        "lease": kv.lease,
    }


def kv_row(kv: KeyVersion) -> Row:
    """A key as a row with `COLUMNS`."""
    return {
        "key": value_text(kv.key),
        "value": value_text(kv.value),
        "mod_revision": kv.mod_revision,
        "create_revision": kv.create_revision,
        "version": kv.version,
        "lease": kv.lease or None,
    }


def change_body(change: KeyChange) -> dict[str, object]:
    """A change as JSON."""
    previous = change.previous
    kv = kv_body(change.kv)
    if change.kind == "delete":
        kv = {name: kv[name] for name in ("key", "mod_revision")}
    return {
        "type": change.kind,
        "kv": kv,
        "previous": None if previous is None else kv_body(previous),
    }


def change_row(change: KeyChange) -> Row:
    """A change as a row with `REVISION_COLUMNS`."""
    return {
        "revision": change.revision,
        "type": change.kind,
        "key": value_text(change.kv.key),
        "value": None if change.kind == "delete" else value_text(change.kv.value),
    }


def change_line(change: KeyChange) -> str:
    """A change as one line."""
    line = f"{change.revision:<10}  {change.kind:<6}  {value_text(change.kv.key)}"
    if change.kind == "put":
        line += f"  {shortened(value_text(change.kv.value))}"
    if change.previous is not None:
        line += f"  (before: {shortened(value_text(change.previous.value))})"
    return line
