"""Executes the operations of the key-value machine: all of a transaction, or nothing.

As in etcd, all comparisons look at the state before the transaction, those of inner transactions, too. They decide
which operations run. Those are checked before the first one changes anything. Then they run in order, and each sees
what the ones before it did.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from qcore.errors import DuplicateKey, StoreError
from qcore.machines.kv.leases import MAX_LEASE_KEYS, Lease, LeaseTable
from qcore.machines.kv.ranges import Work, read_range, steps_of_range
from qcore.machines.kv.requests import (
    Comparison,
    Delete,
    KeyRange,
    Operation,
    Put,
    Range,
    Relation,
    Target,
    Txn,
)
from qcore.machines.kv.result_texts import bool_json, list_json, version_json
from qcore.machines.kv.versions import Version, VersionedKeys

_HOLDS: Final[dict[Relation, Callable[[int | bytes, int | bytes], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(slots=True)
class _Written:
    """What one branch writes, to find keys that would be written twice."""

    puts: set[bytes] = field(default_factory=set)
    deletes: list[KeyRange] = field(default_factory=list)


class Transaction:
    """The operations of one command.

    Args:
        keys, leases: the state.
        revision: the revision of what the command changes.
        clock_us: the cluster clock of the command.

    Attributes:
        revision: see above.
        changes: what was changed, in order.
        work: counts the steps.
    """

    def __init__(
        self, keys: VersionedKeys, leases: LeaseTable, revision: int, clock_us: int
    ) -> None:
        self._keys = keys
        self._leases = leases
        self._clock_us = clock_us
        self.revision = revision
        self.changes: list[Version] = []
        self.work = Work()
        #: Whether the comparisons of each transaction hold, in the order in which `_check` and `_run` come to them.
        self._chosen: list[bool] = []
        self._runs = 0
        #: How many keys each lease gets, at most.
        self._attached: dict[int, int] = {}

    def run(self, operation: Operation) -> str:
        """Do an operation. Returns the fields of its result, as JSON text, each with a comma before it.

        Raises:
            StoreError: it cannot be done; nothing has changed.
        """
        if isinstance(operation, Txn):
            _collect([operation], _Written())
        self._check(operation)
        return self._run(operation)

    def delete_keys_of(self, lease: Lease) -> None:
        """Delete the keys of a lease that ends."""
        for key in sorted(lease.keys):
            self.work.steps += 1
            self.changes.append(self._keys.delete(key, self.revision, len(self.changes)))

    # -- before anything changes -----------------------------------------------------------------

    def _check(self, operation: Operation) -> None:
        self.work.take()
        match operation:
            case Put():
                self._check_put(operation)
            case Delete(keys=keys, prev=prev):
                self.work.take(self._keys.count(keys.begin, keys.end))
                if prev:
                    for held in self._keys.scan(keys.begin, keys.end):
                        self.work.take_bytes(held.size_bytes)
            case Range(revision=revision):
                if revision is not None:
                    self._keys.require_readable(revision)
                self.work.take(steps_of_range(self._keys, operation))
            case Txn(comparisons=comparisons, then=then, otherwise=otherwise):
                chosen = all(map(self._holds, comparisons))
                self._chosen.append(chosen)
                for inner in then if chosen else otherwise:
                    self._check(inner)

    def _check_put(self, put: Put) -> None:
        held = self._keys.get(put.key)
        if put.lease:
            lease = self._leases.living(put.lease, self._clock_us)
            attached = self._attached[put.lease] = self._attached.get(put.lease, 0) + 1
            if put.key not in lease.keys and len(lease.keys) + attached > MAX_LEASE_KEYS:
                raise StoreError(f"lease {put.lease} has {MAX_LEASE_KEYS} keys, as many as it may")
        if (put.value is None or put.lease is None) and held is None:
            raise StoreError("the key does not exist, so it has no value or lease to keep")
        if put.prev and held is not None:
            self.work.take_bytes(held.size_bytes)

    def _holds(self, comparison: Comparison) -> bool:
        keys = comparison.keys
        self.work.take()
        if keys.single:
            return _holds_for(comparison, self._keys.get(keys.begin))
        found = False
        for version in self._keys.scan(keys.begin, keys.end):
            self.work.take()
            found = True
            if not _holds_for(comparison, version):
                return False
        return found or _holds_for(comparison, None)

    # -- the changes -----------------------------------------------------------------------------

    def _run(self, operation: Operation) -> str:
        match operation:
            case Put():
                return self._put(operation)
            case Delete():
                return self._delete(operation)
            case Range():
                return read_range(self._keys, operation, self.work)
            case Txn(then=then, otherwise=otherwise):
                chosen = self._chosen[self._runs]
                self._runs += 1
                results = [
                    f'{{"op":"{type(inner).__name__.lower()}"{self._run(inner)}}}'
                    for inner in (then if chosen else otherwise)
                ]
                return f',"succeeded":{bool_json(chosen)},"responses":{list_json(results)}'

    def _put(self, put: Put) -> str:
        key, before = put.key, self._keys.get(put.key)
        old_lease = 0 if before is None else before.lease
        lease = old_lease if put.lease is None else put.lease
        value = put.value
        if value is None:
            assert before is not None, "checked before anything changed"
            assert before.value is not None, "the key exists"
            value = before.value
        if lease != old_lease:
            self._detach(key, old_lease)
            attached = self._leases.get(lease) if lease else None
            if attached is not None:
                attached.keys[key] = None
        self.changes.append(self._keys.put(key, value, lease, self.revision, len(self.changes)))
        if not put.prev or before is None:
            return ""
        return f',"prev":{version_json(before)}'

    def _delete(self, delete: Delete) -> str:
        begin, end = delete.keys.begin, delete.keys.end
        held = [*self._keys.scan(begin, end)]
        for version in held:
            self._detach(version.key, version.lease)
            self.changes.append(self._keys.delete(version.key, self.revision, len(self.changes)))
        prev = f',"prev":{list_json(map(version_json, held))}' if delete.prev else ""
        return f',"deleted":{len(held)}{prev}'

    def _detach(self, key: bytes, lease_id: int) -> None:
        lease = self._leases.get(lease_id) if lease_id else None
        if lease is not None:
            lease.keys.pop(key, None)


def _holds_for(comparison: Comparison, version: Version | None) -> bool:
    """Whether a comparison holds for one key, or for a key that does not exist."""
    holds = _HOLDS[comparison.relation]
    if comparison.target == "value":
        # A value that does not exist is not comparable, not even as different.
        if version is None or version.value is None:
            return False
        return holds(version.value, comparison.value)
    return holds(0 if version is None else _number(comparison.target, version), comparison.number)


def _number(target: Target, version: Version) -> int:
    match target:
        case "version":
            return version.number
        case "create_revision":
            return version.created
        case "mod_revision":
            return version.revision
        case "lease":
            return version.lease
        case _:
            return 1  # it exists


def _collect(branch: Sequence[Operation], written: _Written) -> None:
    """Reject a branch that would write a key twice, whether it is chosen or not: the request is wrong."""
    for operation in branch:
        match operation:
            case Put(key=key):
                if key in written.puts or any(key in keys for keys in written.deletes):
                    raise _duplicate()
                written.puts.add(key)
            case Delete(keys=keys):
                if any(key in keys for key in written.puts):
                    raise _duplicate()
                written.deletes.append(keys)
            case Txn(then=then, otherwise=otherwise):
                before = len(written.deletes)
                either = [_Written({*written.puts}, [*written.deletes]) for _ in range(2)]
                _collect(then, either[0])
                _collect(otherwise, either[1])
                for one in either:
                    written.puts |= one.puts
                    written.deletes += one.deletes[before:]
            case Range():
                pass


def _duplicate() -> DuplicateKey:
    return DuplicateKey("a transaction writes one key at most once")
