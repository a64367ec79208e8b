"""`KeyValueMachine`: ordered keys with revisions, transactions, leases, and a history for watches.

Its model is that of etcd's v3 API. `docs/reference/kv.md` lists the commands, queries and results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from qcore.errors import LeaseExists, StoreError, to_wire
from qcore.machines.interface import ApplyContext, Change, WatchFilter
from qcore.machines.kv.key_changes import KeyChanged, key_watch
from qcore.machines.kv.kv_transaction import Transaction
from qcore.machines.kv.leases import MAX_LEASES, Lease, no_lease
from qcore.machines.kv.ranges import Work, read_range, steps_of_range
from qcore.machines.kv.requests import (
    Compact,
    Delete,
    Expire,
    Grant,
    History,
    LeaseRequest,
    Leases,
    Put,
    Range,
    Request,
    Status,
    Txn,
    parse_request,
)
from qcore.machines.kv.result_texts import list_json
from qcore.machines.kv.snapshot import KeyValueState, read_state, snapshot_chunks
from qcore.machines.kv.texts import encode, json_of
from qcore.machines.kv.versions import Version
from qcore.machines.limits import MAX_OPERATIONS, MAX_PAGE_BYTES, MAX_PAGE_ITEMS, MIB

#: The history that a new state keeps; the command `history` changes it.
DEFAULT_MAX_CHANGES: Final = 65_536
DEFAULT_MAX_BYTES: Final = 32 * MIB
#: Steps that take about as long as one small command.
_STEPS_PER_COST_UNIT: Final = 16


class KeyValueMachine:
    """Keys and values, both bytes. Every write has a revision, which is its log index.

    Results: `{"ok": true, "revision": R, ...}` with the revision of the newest change, or
    `{"ok": false, "error": text, "detail": {"code": ...}}` for a command that failed and changed nothing.

    Attributes:
        last_cost: see `SupportsWorkCost`.
    """

    name = "kv"
    versions = (1, 1)
    #: See `SupportsExpiry`.
    expiry_command = '{"op":"expire"}'

    def __init__(self) -> None:
        self._state = KeyValueState(DEFAULT_MAX_CHANGES, DEFAULT_MAX_BYTES)
        self._changes: Sequence[Change] = ()
        self.last_cost = 0

    # -- commands --------------------------------------------------------------------------------

    def apply(self, command: str, context: ApplyContext) -> str:
        """Apply a command. Never raises."""
        state = self._state
        self._changes, self.last_cost = (), 0
        revision = context.index + state.offset
        if revision <= state.keys.revision:
            revision = state.keys.revision + 1  # the state comes from a longer log
        clock_us = max(state.clock_us, context.clock_us)
        transaction = Transaction(state.keys, state.leases, revision, clock_us)
        try:
            fields = self._execute(parse_request(command), transaction, clock_us)
        except StoreError as error:
            return _error_json(error)
        state.offset, state.clock_us = revision - context.index, clock_us
        self._changes = _as_changes(transaction.changes)
        if transaction.changes:
            state.keys.free_some(len(transaction.changes))
        self.last_cost = transaction.work.steps // _STEPS_PER_COST_UNIT
        return f'{{"ok":true,"revision":{state.keys.revision}{fields}}}'

    def _execute(self, request: Request, transaction: Transaction, clock_us: int) -> str:
        match request:
            case Put() | Delete() | Range() | Txn():
                return transaction.run(request)
            case Grant():
                return self._grant(request, transaction.revision, clock_us)
            case LeaseRequest(op="lease"):
                return self._lease_fields(request.lease_id, clock_us)
            case LeaseRequest():
                return self._change_lease(request, transaction, clock_us)
            case Expire():
                return self._expire(transaction, clock_us)
            case Compact(revision=revision):
                self._state.keys.compact(revision)
                self._state.keys.free_some(0)
                return ""
            case History():
                self._state.keys.keep(request.max_changes, request.max_bytes)
                self._state.keys.free_some(0)
                return ""
            case Leases() | Status():
                return self._read(request)

    def last_changes(self) -> Sequence[Change]:
        """See `SupportsChanges`."""
        return self._changes

    def may_grow(self, command: str) -> bool:
        """See `SupportsStateSize`. A transaction may grow if one of its operations may."""
        try:
            return _may_grow(parse_request(command))
        except StoreError:
            return True

    def recognises(self, command: str) -> bool:
        """See `SupportsCommandCheck`."""
        try:
            parse_request(command)
        except StoreError:
            return False
        return True

    @property
    def state_bytes(self) -> int:
        """See `SupportsStateSize`."""
        return self._state.keys.state_bytes + self._state.leases.state_bytes

    # -- leases ----------------------------------------------------------------------------------

    def next_expiry_us(self) -> int | None:
        """See `SupportsExpiry`: when the next lease ends."""
        return self._state.leases.next_end_us()

    def _grant(self, grant: Grant, revision: int, clock_us: int) -> str:
        leases = self._state.leases
        if not clock_us:
            raise StoreError("leases need the cluster clock: raise the cluster's apply rules to 2")
        lease_id = revision if grant.lease_id is None else grant.lease_id
        if leases.get(lease_id) is not None:
            raise LeaseExists(f"lease {lease_id} exists already")
        if len(leases) >= MAX_LEASES:
            raise StoreError(f"there are {MAX_LEASES} leases, as many as there may be")
        leases.add(Lease(lease_id, grant.ttl_ms, clock_us + 1000 * grant.ttl_ms))
        return f',"id":{lease_id},"ttl_ms":{grant.ttl_ms}'

    def _change_lease(self, request: LeaseRequest, transaction: Transaction, clock_us: int) -> str:
        leases = self._state.leases
        if request.op == "keep":
            lease = leases.living(request.lease_id, clock_us)
            leases.extend(lease, clock_us)
            return f',"id":{lease.lease_id},"ttl_ms":{lease.ttl_ms}'
        held = leases.get(request.lease_id)
        if held is None:
            raise no_lease(request.lease_id)
        transaction.delete_keys_of(held)
        leases.remove(held)
        return f',"deleted":{len(transaction.changes)}'

    def _expire(self, transaction: Transaction, clock_us: int) -> str:
        leases = self._state.leases
        expired: list[str] = []
        steps = 0
        while (lease := leases.ended(clock_us)) is not None:
            steps += 1 + len(lease.keys)
            if expired and steps > MAX_OPERATIONS:
                break  # the next command deletes the rest
            transaction.delete_keys_of(lease)
            leases.remove(lease)
            expired.append(str(lease.lease_id))
        return f',"expired":{list_json(expired)}'

    # -- queries ---------------------------------------------------------------------------------

    def query(self, query: str) -> str:
        """Answer a query: `range`, `lease`, `leases`, `status`, or a `txn` that only reads.

        Raises:
            StoreError: it is no query, or it asks for what cannot be read.
        """
        self.last_cost = 0
        request = parse_request(query)
        state = self._state
        if isinstance(request, Range | LeaseRequest | Leases | Status) or _only_reads(request):
            fields = self._read(request)
            return f'{{"ok":true,"revision":{state.keys.revision}{fields}}}'
        raise StoreError("the request changes the state: send it as a command")

    def _read(self, request: Request) -> str:
        state = self._state
        match request:
            case Range():
                if request.revision is not None:
                    state.keys.require_readable(request.revision)
                work = Work()
                work.bytes_left = MAX_PAGE_BYTES
                work.take(steps_of_range(state.keys, request))
                self.last_cost = work.steps // _STEPS_PER_COST_UNIT
                return read_range(state.keys, request, work)
            case Txn():
                transaction = Transaction(
                    state.keys, state.leases, state.keys.revision, state.clock_us
                )
                fields = transaction.run(request)
                self.last_cost = transaction.work.steps // _STEPS_PER_COST_UNIT
                return fields
            case LeaseRequest(op="lease"):
                return self._lease_fields(request.lease_id, state.clock_us)
            case Leases():
                return self._lease_ids(request)
            case Status():
                keys = state.keys
                return (
                    f',"compacted":{keys.compacted},"keys":{len(keys)},"leases":{len(state.leases)},'
                    f'"history":{keys.history_changes},"max_changes":{keys.max_changes},'
                    f'"max_bytes":{keys.max_bytes},"bytes":{self.state_bytes}'
                )
            case _:
                raise StoreError("the request changes the state: send it as a command")

    def _lease_fields(self, lease_id: int, clock_us: int) -> str:
        lease = self._state.leases.living(lease_id, clock_us)
        remaining_ms = (lease.expires_us - clock_us) // 1000
        keys: list[str] = []
        size = 0
        for key in sorted(lease.keys):
            size += len(key)
            if size > MAX_PAGE_BYTES:
                break
            keys.append(json_of(key))
        more = "true" if len(keys) < len(lease.keys) else "false"
        return (
            f',"id":{lease.lease_id},"ttl_ms":{lease.ttl_ms},"remaining_ms":{remaining_ms},'
            f'"keys":{list_json(keys)},"more":{more}'
        )

    def _lease_ids(self, request: Leases) -> str:
        most = min(request.limit or MAX_PAGE_ITEMS, MAX_PAGE_ITEMS)
        ids = [lease.lease_id for lease in self._state.leases if lease.lease_id > request.after]
        more = "true" if len(ids) > most else "false"
        return f',"leases":{encode(ids[:most])},"more":{more}'

    # -- watches ---------------------------------------------------------------------------------

    def watch_filter(self, request: str, *, resumes: bool) -> WatchFilter:
        """See `SupportsWatchRequests`.

        Raises:
            StoreError: the request is invalid.
        """
        return key_watch(request)

    def first_change_index(self) -> int:
        """See `SupportsChangeHistory`."""
        return self._state.keys.compacted - self._state.offset

    def changes_from(self, index: int) -> tuple[int, Sequence[Change]] | None:
        """See `SupportsChangeHistory`."""
        state = self._state
        changes = state.keys.changes_from(index + state.offset)
        first = next(changes, None)
        if first is None:
            return None
        found = [first]
        for version in changes:
            if version.revision != first.revision:
                break
            found.append(version)
        return first.revision - state.offset, _as_changes(found)

    # -- the whole state -------------------------------------------------------------------------

    def snapshot(self) -> Iterable[str]:
        """Return the state as of this call, in chunks."""
        return snapshot_chunks(self._state)

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the whole state.

        Raises:
            StoreError: the text is not a whole snapshot of this machine; the state is unchanged.
        """
        for _ in self.restore_gradually(chunks):
            pass

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        """Like `restore`, a bounded part before each item. The state changes at the end.

        Raises:
            StoreError: see `restore`.
        """
        for state in read_state(chunks):
            if state is not None:
                self._state = state
            yield

    def state_hash(self) -> str:
        """Return a digest of the state. It costs time only for what changed since the last call."""
        state = self._state
        parts = (state.keys.digest(), state.leases.digest(), state.offset, state.clock_us)
        bounds = (state.keys.max_changes, state.keys.max_bytes)
        return hashlib.sha256(repr((*parts, *bounds)).encode()).hexdigest()


def _as_changes(versions: Sequence[Version]) -> list[KeyChanged]:
    return [KeyChanged(versions, at) for at in range(len(versions))]


def _error_json(error: StoreError) -> str:
    text, detail = to_wire(error)
    return f'{{"ok":false,"error":{encode(text)},"detail":{encode(detail)}}}'


def _may_grow(request: Request) -> bool:
    match request:
        case Put() | Grant():
            return True
        case Txn(then=then, otherwise=otherwise):
            return any(map(_may_grow, (*then, *otherwise)))
        case _:
            return False


def _only_reads(request: Request) -> bool:
    match request:
        case Range():
            return True
        case Txn(then=then, otherwise=otherwise):
            return all(map(_only_reads, (*then, *otherwise)))
        case _:
            return False
