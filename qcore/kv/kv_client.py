"""`KeyValue`: the requests of the key-value machine as methods, on top of any client."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from qcore.errors import ConfigError, ErrorReply, RemoteProtocolError, StoreError, TooLarge
from qcore.kv.key_values import (
    OTHER_MACHINE,
    ChangeKind,
    Data,
    Deleted,
    Json,
    KeyVersion,
    LeaseInfo,
    MachineStatus,
    Page,
    TxnResult,
    data_of,
    deleted_of,
    page_of,
    previous_of,
    read_result,
    txn_result_of,
)
from qcore.kv.key_watches import KeyWatch
from qcore.kv.txn_parts import Condition, Delete, Put, Range, Txn, TxnOperation, range_json

if TYPE_CHECKING:
    from qcore.client.methods.call_options import Consistency
    from qcore.client.watching.changes import MachineChange, WatchPosition
    from qcore.client.watching.watch import Watch
    from qcore.runtime.interface import Runtime

#: The largest command that nodes take, unless they run with another `--max-command-bytes`.
DEFAULT_COMMAND_BYTES: Final = 1 << 20

#: How the machine `register` rejects a query of another machine. The key-value machine never says so.
_OTHER_QUERIES: Final = "op must be one of "


class TextClient(Protocol):
    """What `KeyValue` needs of `qcore.client.Client`."""

    @property
    def runtime(self) -> Runtime:
        """See `Client.runtime`."""
        ...

    async def execute(
        self,
        command: str,
        *,
        read: bool = False,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """See `Client.execute`."""
        ...

    def watch(
        self,
        *,
        topic: str,
        after: WatchPosition | tuple[int, int] | None = None,
        timeout_s: float | None = None,
    ) -> Watch[MachineChange]:
        """See `Client.watch`."""
        ...


class KeyValue:
    """The keys of a cluster that runs the machine `kv`.

    Each write takes effect once, however often the client sends it (`qcore.client.Client`). All methods raise

    - `StoreError` and its kinds if the machine rejects the request, such as `LeaseNotFound`,
    - `TooLarge` if the request is larger than nodes take; it is not sent,
    - `RemoteProtocolError` if the nodes do not run the machine `kv`,
    - the errors of `Client.execute` if the request could not be answered in time.

    Args:
        client: a client, which the caller closes.
        timeout_s: how long a request may take, with all retries; None for that of the client.
        max_command_bytes: the size of the largest request, bytes of its JSON: the nodes' `--max-command-bytes`.
    """

    def __init__(
        self,
        client: TextClient,
        *,
        timeout_s: float | None = None,
        max_command_bytes: int = DEFAULT_COMMAND_BYTES,
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._max_command_bytes = max_command_bytes

    @property
    def runtime(self) -> Runtime:
        """See `qcore.client.Client.runtime`."""
        return self._client.runtime

    # -- keys ------------------------------------------------------------------------------------

    async def get(
        self, key: Data, *, revision: int | None = None, consistency: Consistency | None = None
    ) -> KeyVersion | None:
        """The key, or None if it does not exist.

        Args:
            key: the key.
            revision: as of this revision; None for now.
            consistency: see `Client.execute`.
        """
        page = await self.range(Range(key, revision=revision), consistency=consistency)
        return page.kvs[0] if page.kvs else None

    async def range(self, request: Range, *, consistency: Consistency | None = None) -> Page:
        """One page of keys."""
        found = await self._read(request.to_json(), consistency)
        return page_of(found, int(found["revision"]))

    async def items(
        self,
        prefix: Data = "",
        *,
        page_size: int = 1000,
        revision: int | None = None,
        keys_only: bool = False,
    ) -> AsyncIterator[KeyVersion]:
        """All keys with a prefix, in order, as of one revision.

        Args:
            prefix: the prefix; every key has the empty one.
            page_size: how many keys one request reads, at most.
            revision: as of this revision; None for that of the first page.
            keys_only: leave out the values.

        Raises:
            RevisionCompacted: the revision was compacted meanwhile.
        """
        after: bytes | None = None
        while True:
            page = await self.range(
                Range(
                    prefix=prefix,
                    after=after,
                    limit=page_size,
                    revision=revision,
                    keys_only=keys_only,
                )
            )
            for kv in page.kvs:
                yield kv
            if page.after is None:
                return
            after = page.after
            revision = page.revision if revision is None else revision

    async def put(self, key: Data, value: Data, *, lease: int = 0) -> int:
        """Set a key, and return the revision of the write.

        Args:
            key, value: what to set.
            lease: the lease that deletes the key when it ends; 0 for none.
        """
        put = Put(key, _given(value), lease)
        return int((await self._write(put.to_json()))["revision"])

    async def replace(self, key: Data, value: Data, *, lease: int = 0) -> KeyVersion | None:
        """Set a key, and return it as it was before; None if it did not exist."""
        put = Put(key, _given(value), lease, previous=True)
        return previous_of(await self._write(put.to_json()))

    async def delete(
        self,
        key: Data | None = None,
        *,
        end: Data | None = None,
        prefix: Data | None = None,
        previous: bool = False,
    ) -> Deleted:
        """Delete a key, those from `key` on and before `end`, or those with a prefix.

        Args:
            key, end, prefix: which keys.
            previous: return the keys as they were before.
        """
        done = await self._write(Delete(key, end, prefix, previous).to_json())
        return deleted_of(done, int(done["revision"]))

    async def txn(
        self,
        conditions: Sequence[Condition],
        then: Sequence[TxnOperation] = (),
        otherwise: Sequence[TxnOperation] = (),
    ) -> TxnResult:
        """If all conditions hold, do the operations of `then`, else those of `otherwise`: all of them, or none.

        Raises:
            DuplicateKey: one key would be written twice.
            TooManyOperations: it is too much for one transaction.
        """
        done = await self._write(Txn(conditions, then, otherwise).to_json())
        return txn_result_of(done, int(done["revision"]))

    # -- leases ----------------------------------------------------------------------------------

    async def grant(self, ttl_s: float, *, lease_id: int | None = None) -> int:
        """Grant a lease, and return its number.

        It ends when the cluster clock has run for `ttl_s` since the grant or the last `keep_alive`.

        Args:
            ttl_s: its time to live, seconds.
            lease_id: its number, which must be free; None for a new one.

        Raises:
            LeaseExists: the number is used.
        """
        request: dict[str, object] = {"op": "grant", "ttl_ms": _milliseconds(ttl_s)}
        if lease_id is not None:
            request["id"] = lease_id
        return int((await self._write(request))["id"])

    async def keep_alive(self, lease_id: int) -> float:
        """Begin the lease's time to live again. Returns it, in seconds.

        Raises:
            LeaseNotFound: the lease has ended.
        """
        return int((await self._write({"op": "keep", "id": lease_id}))["ttl_ms"]) / 1000

    async def revoke(self, lease_id: int) -> int:
        """End a lease. Returns how many keys that deleted.

        Raises:
            LeaseNotFound: the lease has ended.
        """
        return int((await self._write({"op": "revoke", "id": lease_id}))["deleted"])

    async def lease(self, lease_id: int) -> LeaseInfo:
        """A lease with its keys; a megabyte of them at most.

        It goes through the log, because the remaining time is that of the cluster clock at this moment.

        Raises:
            LeaseNotFound: the lease has ended.
        """
        found = await self._write({"op": "lease", "id": lease_id})
        ttl_s, remaining_s = found["ttl_ms"] / 1000, found["remaining_ms"] / 1000
        return LeaseInfo(int(found["id"]), ttl_s, remaining_s, tuple(map(data_of, found["keys"])))

    async def leases(self) -> list[int]:
        """The numbers of all leases."""
        numbers: list[int] = []
        more = True
        while more:
            after = numbers[-1] if numbers else 0
            found = await self._read({"op": "leases", "after": after})
            numbers += found["leases"]
            more = bool(found["more"])
        return numbers

    # -- history ---------------------------------------------------------------------------------

    def watch(
        self,
        key: Data | None = None,
        *,
        end: Data | None = None,
        prefix: Data | None = None,
        from_revision: int | None = None,
        kinds: Sequence[ChangeKind] = ("put", "delete"),
        previous: bool = False,
        timeout_s: float | None = None,
    ) -> KeyWatch:
        """Watch a key, those from `key` on and before `end`, or those with a prefix.

        Args:
            key, end, prefix: which keys.
            from_revision: begin with the changes of this revision; None to begin now.
            kinds: only these changes.
            previous: with the key as it was before each change.
            timeout_s: see `Client.watch`.
        """
        request: dict[str, object] = range_json(key, prefix, end)
        if set(kinds) != {"put", "delete"}:
            request["types"] = list(kinds)
        if previous:
            request["prev"] = True
        after = None if from_revision is None else (from_revision, -1)
        topic = json.dumps(request, ensure_ascii=False)
        return KeyWatch(self._client.watch(topic=topic, after=after, timeout_s=timeout_s))

    async def compact(self, revision: int) -> None:
        """Make the revisions below this one unreadable.

        Raises:
            RevisionCompacted: they are already.
            RevisionInFuture: the revision does not exist yet.
        """
        await self._write({"op": "compact", "revision": revision})

    async def keep_history(self, max_changes: int, max_bytes: int) -> None:
        """Keep at most this many changes, and of this many bytes, for watches and earlier revisions."""
        request = {"op": "history", "max_changes": max_changes, "max_bytes": max_bytes}
        await self._write(request)

    async def status(self) -> MachineStatus:
        """The state of the machine in numbers."""
        found = await self._read({"op": "status"})
        names = ("revision", "compacted", "keys", "leases", "history", "max_changes", "max_bytes")
        return MachineStatus(*(int(found[name]) for name in (*names, "bytes")))

    # -- requests as JSON ------------------------------------------------------------------------

    async def _write(self, request: dict[str, object]) -> Json:
        return await self.request(request)

    async def _read(
        self, request: dict[str, object], consistency: Consistency | None = None
    ) -> Json:
        return await self.request(request, read=True, consistency=consistency)

    async def request(
        self,
        request: Mapping[str, object],
        *,
        read: bool = False,
        consistency: Consistency | None = None,
    ) -> Json:
        """Send a command, or with `read` a query, as the machine reads it; returns its result as it is.

        `docs/reference/kv.md` lists the fields of both. Keys and values are written with `data_json`.

        Args:
            request: the command or query.
            read: send a query, which changes nothing.
            consistency: of a query; see `Client.execute`.
        """
        text = json.dumps(request, ensure_ascii=False)
        self._check_size(text)
        try:
            answer = await self._client.execute(
                text, read=read, consistency=consistency, timeout_s=self._timeout_s
            )
        except ErrorReply as error:  # from the entity store, which reads commands before the log
            if str(error.detail().get("field", "")).startswith("Perform.request"):
                raise RemoteProtocolError(f"{OTHER_MACHINE} ({error})") from error
            raise
        except StoreError as error:  # a query of another machine
            if type(error) is StoreError and str(error).startswith(_OTHER_QUERIES):
                raise RemoteProtocolError(f"{OTHER_MACHINE} ({error})") from error
            raise
        return read_result(answer)

    def _check_size(self, text: str) -> None:
        """Reject a request that nodes do not take. A much larger one would end the connection."""
        size, limit = len(text) if text.isascii() else len(text.encode()), self._max_command_bytes
        if size > limit:
            raise TooLarge(
                f"the request has {size} bytes as JSON, and the limit is {limit}: write less at a time. If the nodes "
                "run with a larger --max-command-bytes, give it to KeyValue as max_command_bytes"
            )


def _given(value: Data | None) -> Data:
    """The value; in a `Put`, None would keep the one that the key has."""
    if value is None:
        raise ConfigError("value: None is neither a text nor bytes: call delete to delete the key")
    return value


def _milliseconds(seconds: float) -> int:
    if not 0 < seconds < math.inf:
        raise ConfigError(f"ttl_s: {seconds!r} is no number of seconds above 0")
    return round(1000 * seconds)
