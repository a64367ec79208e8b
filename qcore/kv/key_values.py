"""What the key-value machine returns, as Python values."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal  # Any: JSON of a node, checked where it is read

from qcore.errors import ConfigError, QcoreError, RemoteProtocolError, from_wire

#: A key or a value: bytes, or a text for its UTF-8.
Data = str | bytes

ChangeKind = Literal["put", "delete"]
_KINDS: Final[dict[str, ChangeKind]] = {"put": "put", "delete": "delete"}
#: An error: the cluster has another state machine.
OTHER_MACHINE: Final = (
    "the answer is not one of the key-value machine: start the nodes with --machine kv"
)


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """A key as one write left it.

    Attributes:
        key: the key.
        value: its value; empty if only the keys were asked for, or the key was deleted.
        create_revision: the revision that created the key; 0 for a deletion.
        mod_revision: the revision of this write.
        version: 1 for the first value since the key was created; 0 for a deletion.
        lease: the lease that deletes the key when it ends; 0 for none.
    """

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int

    @property
    def text(self) -> str:
        """The value as text.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        return self.value.decode()


@dataclass(frozen=True, slots=True)
class Page:
    """Keys of a range.

    Attributes:
        kvs: the keys.
        more: whether the range may have other keys.
        after: where the next page begins, in the order of the keys; None if there is none.
        count: how many keys the range has; of a very long range at an earlier revision, how many it has now.
        revision: the newest revision when the range was read. A later page at this revision fits this one.
    """

    kvs: tuple[KeyVersion, ...]
    more: bool
    after: bytes | None
    count: int
    revision: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion did.

    Attributes:
        count: how many keys it deleted.
        previous: these keys, if they were asked for.
        revision: the newest revision.
    """

    count: int
    previous: tuple[KeyVersion, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction did.

    Attributes:
        succeeded: whether its conditions held.
        results: of each operation, in order: the key before a put, or None; or as for the operation alone.
        revision: the newest revision.
    """

    succeeded: bool
    results: tuple[KeyVersion | Page | Deleted | TxnResult | None, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """A lease.

    Attributes:
        lease_id: its number.
        ttl_s: its time to live, seconds.
        remaining_s: how long it lives if it is not kept alive, seconds of the cluster clock.
        keys: the keys that it deletes when it ends.
    """

    lease_id: int
    ttl_s: float
    remaining_s: float
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """The state of the machine in numbers.

    Attributes:
        revision: the newest revision.
        compacted: the oldest revision that can be read.
        keys, leases: how many there are.
        history: how many changes are kept for watches and earlier revisions.
        max_changes, max_bytes: how many are kept at most, and of how many bytes.
        size_bytes: about the size of the state in a snapshot.
    """

    revision: int
    compacted: int
    keys: int
    leases: int
    history: int
    max_changes: int
    max_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A key was set or deleted.

    Attributes:
        kind: `put` or `delete`.
        kv: the key after the change.
        previous: the key before it, if the watch asked for that and the history still has it.
        more: whether the watch receives another change of the same revision.
    """

    kind: ChangeKind
    kv: KeyVersion
    previous: KeyVersion | None
    more: bool = False

    @property
    def revision(self) -> int:
        """The revision of the change."""
        return self.kv.mod_revision


Json = Mapping[str, Any]


def data_json(data: Data) -> object:
    """A key or value for the machine: text, or `{"base64": text}`.

    Raises:
        ConfigError: it is neither a text nor bytes, or the text has lone surrogates.
    """
    if isinstance(data, str):
        try:
            data.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{data[:80]!r} has no UTF-8: give bytes") from None
        return data
    if not isinstance(data, bytes | bytearray):
        raise ConfigError(
            f"a key or value is a text or bytes, and not {repr(data)[:80]}: encode it"
        )
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def read_result(text: str) -> Json:
    """The result of a command or query.

    Raises:
        StoreError: the machine rejected it.
        RemoteProtocolError: it is no result of the key-value machine.
    """
    try:
        result = json.loads(text)
        if result["ok"]:
            return _checked(result)
        error: QcoreError = from_wire(str(result["error"]), result["detail"])
    except (ValueError, TypeError, KeyError):
        raise RemoteProtocolError(OTHER_MACHINE) from None
    raise error


def _checked(result: Any) -> Json:
    if not isinstance(result, dict) or not isinstance(result["revision"], int):
        raise ValueError("no revision")
    return result


def data_of(value: object) -> bytes:
    """The bytes of a key or value in a result."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and isinstance(value.get("base64"), str):
        return base64.b64decode(value["base64"])
    raise RemoteProtocolError(
        f"a key or value in the answer is no text and no bytes: {value!r}"[:300]
    )


def version_of(kv: Json) -> KeyVersion:
    """A key in a result."""
    return KeyVersion(
        data_of(kv["key"]),
        data_of(kv.get("value", "")),
        int(kv.get("create_revision", 0)),
        int(kv["mod_revision"]),
        int(kv.get("version", 0)),
        int(kv.get("lease", 0)),
    )


def versions_of(kvs: Sequence[Json]) -> tuple[KeyVersion, ...]:
    """The keys in a result."""
    return tuple(map(version_of, kvs))


def previous_of(result: Json) -> KeyVersion | None:
    """The field `prev` of a put."""
    return None if "prev" not in result else version_of(result["prev"])


def page_of(result: Json, revision: int) -> Page:
    """The result of a range."""
    kvs, more = versions_of(result["kvs"]), bool(result["more"])
    after = kvs[-1].key if more and kvs else None
    if "next" in result:
        after = data_of(result["next"])
    return Page(kvs, more, after, int(result["count"]), revision)


def deleted_of(result: Json, revision: int) -> Deleted:
    """The result of a deletion."""
    return Deleted(int(result["deleted"]), versions_of(result.get("prev", ())), revision)


def txn_result_of(result: Json, revision: int) -> TxnResult:
    """The result of a transaction."""
    return TxnResult(
        bool(result["succeeded"]),
        tuple(_operation_result(each, revision) for each in result["responses"]),
        revision,
    )


def _operation_result(
    result: Json, revision: int
) -> KeyVersion | Page | Deleted | TxnResult | None:
    match result["op"]:
        case "put":
            return previous_of(result)
        case "range":
            return page_of(result, revision)
        case "delete":
            return deleted_of(result, revision)
        case _:
            return txn_result_of(result, revision)


def change_of(change: Json) -> KeyChange:
    """A change that a watch received."""
    kind, more = _KINDS[change["type"]], bool(change.get("more", False))
    return KeyChange(kind, version_of(change["kv"]), previous_of(change), more)
