"""Puts, deletions and transactions: etcd's requests for the machine, and its results as etcd's responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qcore.errors import LeaseNotFound, QcoreError, StoreError
from qcore.gateway.etcd_errors import (
    EMPTY_KEY,
    KEY_NOT_FOUND,
    LEASE_PROVIDED,
    TOO_MANY_OPERATIONS,
    VALUE_PROVIDED,
    Code,
    EtcdError,
)
from qcore.gateway.json_forms import Fields, message
from qcore.gateway.machine_access import Machine, range_fields
from qcore.gateway.operations.ranges_of_keys import (
    Found,
    RangeRequest,
    kv_message,
    range_message,
    read_range,
)
from qcore.kv.key_values import Json, data_json
from qcore.kv.txn_parts import Put

_RESULTS: Final = ("EQUAL", "GREATER", "LESS", "NOT_EQUAL")
_TARGETS: Final = ("VERSION", "CREATE", "MOD", "VALUE", "LEASE")
#: How the machine names both.
_RELATIONS: Final = ("=", ">", "<", "!=")
_NUMBERS: Final = ("version", "create_revision", "mod_revision", "value", "lease")
_VALUE: Final = 3
#: The most comparisons, and the most operations of each list: etcd's default for `--max-txn-ops`.
MAX_OPERATIONS: Final = 128
#: An error for which a client must find out itself what has happened.
_NO_ANSWER: Final = (
    "etcdserver: the transaction is done, but a range between its changes is larger than a page of the machine: read "
    "large ranges before the first change or after the last one"
)


@dataclass(slots=True, frozen=True)
class PutRequest:
    """etcd's `PutRequest`."""

    key: bytes
    value: bytes
    lease: int
    previous: bool
    keep_value: bool
    keep_lease: bool

    @classmethod
    def read(cls, fields: Fields) -> PutRequest:
        """The request of its JSON.

        Raises:
            EtcdError: it is invalid.
        """
        request = cls(
            fields.data("key"),
            fields.data("value"),
            fields.integer("lease"),
            fields.flag("prev_kv"),
            fields.flag("ignore_value"),
            fields.flag("ignore_lease"),
        )
        if not request.key:
            raise EtcdError(*EMPTY_KEY)
        if request.keep_value and request.value:
            raise EtcdError(*VALUE_PROVIDED)
        if request.keep_lease and request.lease:
            raise EtcdError(*LEASE_PROVIDED)
        return request

    def to_machine(self) -> dict[str, object]:
        """As the machine reads it.

        Raises:
            LeaseNotFound: there is no such lease: those of the machine have numbers above 0.
        """
        if self.lease < 0:
            raise LeaseNotFound(f"lease {self.lease} does not exist")
        value = None if self.keep_value else self.value
        lease = None if self.keep_lease else self.lease
        return Put(self.key, value, lease, self.previous).to_json()


@dataclass(slots=True, frozen=True)
class DeleteRequest:
    """etcd's `DeleteRangeRequest`."""

    key: bytes
    end: bytes
    previous: bool

    @classmethod
    def read(cls, fields: Fields) -> DeleteRequest:
        """The request of its JSON.

        Raises:
            EtcdError: it is invalid.
        """
        request = cls(fields.data("key"), fields.data("range_end"), fields.flag("prev_kv"))
        if not request.key:
            raise EtcdError(*EMPTY_KEY)
        return request

    def to_machine(self) -> dict[str, object]:
        """As the machine reads it."""
        request = {"op": "delete", **range_fields(self.key, self.end)}
        return {**request, "prev": True} if self.previous else request


@dataclass(slots=True, frozen=True)
class TxnRequest:
    """etcd's `TxnRequest`.

    Attributes:
        comparisons: as the machine reads them; those that always hold are left out.
        then, otherwise: the operations.
    """

    comparisons: Sequence[dict[str, object]]
    then: Sequence[Operation]
    otherwise: Sequence[Operation]

    @classmethod
    def read(cls, fields: Fields) -> TxnRequest:
        """The request of its JSON.

        Raises:
            EtcdError: it is invalid.
        """
        comparisons, then, otherwise = map(fields.list_of, ("compare", "success", "failure"))
        if max(map(len, (comparisons, then, otherwise))) > MAX_OPERATIONS:
            raise EtcdError(*TOO_MANY_OPERATIONS)
        compared = [_comparison(each) for each in comparisons]
        return cls(
            [each for each in compared if each is not None],
            [_operation(each) for each in then],
            [_operation(each) for each in otherwise],
        )

    def to_machine(self) -> dict[str, object]:
        """As the machine reads it."""
        return {
            "op": "txn",
            "if": self.comparisons,
            "then": [each.to_machine() for each in self.then],
            "else": [each.to_machine() for each in self.otherwise],
        }

    @property
    def only_reads(self) -> bool:
        """Whether it changes nothing, whatever the comparisons say."""
        return all(
            isinstance(each, RangeRequest) or (isinstance(each, TxnRequest) and each.only_reads)
            for each in (*self.then, *self.otherwise)
        )


Operation = RangeRequest | PutRequest | DeleteRequest | TxnRequest


def _operation(fields: Fields) -> Operation:
    if (inner := fields.inner("request_range")) is not None:
        return RangeRequest.read(inner)
    if (inner := fields.inner("request_put")) is not None:
        return PutRequest.read(inner)
    if (inner := fields.inner("request_delete_range")) is not None:
        return DeleteRequest.read(inner)
    if (inner := fields.inner("request_txn")) is not None:
        return TxnRequest.read(inner)
    raise EtcdError(*KEY_NOT_FOUND)


def _comparison(fields: Fields) -> dict[str, object] | None:
    """A comparison as the machine reads it; None if it always holds."""
    result = fields.choice("result", "etcdserverpb.Compare_CompareResult", _RESULTS)
    target = fields.choice("target", "etcdserverpb.Compare_CompareTarget", _TARGETS)
    key, end = fields.data("key"), fields.data("range_end")
    value = fields.data("value")
    numbers = {name: fields.integer(name) for name in _NUMBERS if name != "value"}
    if not key:
        raise EtcdError(*EMPTY_KEY)
    keys = range_fields(key, end)
    never: dict[str, object] = {**keys, "is": "<", "version": 0}
    # In etcd an unknown result always holds, and with an unknown target everything is equal.
    if not 0 <= result < len(_RELATIONS):
        return {**keys, "exists": True} if target == _VALUE else None
    relation = _RELATIONS[result]
    if not 0 <= target < len(_NUMBERS):
        return None if relation == "=" else never
    if target == _VALUE:
        return {**keys, "is": relation, "value": data_json(value)}
    name = _NUMBERS[target]
    if numbers[name] < 0:  # what it is compared with never is
        return None if relation in (">", "!=") else never
    return {**keys, "is": relation, name: numbers[name]}


async def put(machine: Machine, request: PutRequest) -> tuple[dict[str, object], int]:
    """Set a key. Returns the response without its header, and the revision."""
    done = await _written(machine, request.to_machine())
    return _put_message(done), int(done["revision"])


async def delete(machine: Machine, request: DeleteRequest) -> tuple[dict[str, object], int]:
    """Delete a range. Returns the response without its header, and the revision."""
    done = await _written(machine, request.to_machine())
    return _delete_message(done), int(done["revision"])


async def txn(machine: Machine, request: TxnRequest) -> tuple[dict[str, object], int]:
    """Run a transaction. Returns the response without its header, and the revision."""
    command = request.to_machine()
    if request.only_reads:
        done = await machine.read(command)
    else:
        done = await _written(machine, command)
    revision = int(done["revision"])
    return await _Responses(machine, done).of_txn(request, done), revision


async def _written(machine: Machine, command: dict[str, object]) -> Json:
    try:
        return await machine.write(command)
    except StoreError as error:
        # The machine has no separate class for this; a put that keeps the value or lease is the only reason.
        if type(error) is StoreError and "does not exist, so it has no value" in str(error):
            raise EtcdError(*KEY_NOT_FOUND) from None
        raise


def _put_message(done: Json) -> dict[str, object]:
    return message(prev_kv=kv_message(done["prev"]) if "prev" in done else None)


def _delete_message(done: Json) -> dict[str, object]:
    previous = [kv_message(kv) for kv in done.get("prev", ())]
    return message(deleted=int(done["deleted"]), prev_kvs=previous)


def _change_count(done: Json) -> int:
    """How many operations of a transaction have changed something."""
    return sum(
        _change_count(each) if each["op"] == "txn" else _has_changed(each)
        for each in done["responses"]
    )


def _has_changed(done: Json) -> bool:
    return done["op"] == "put" or (done["op"] == "delete" and bool(done["deleted"]))


class _Responses:
    """Makes the responses of one transaction.

    Args:
        machine: reads the rest of ranges that are larger than a page.
        done: the result of the transaction.
    """

    def __init__(self, machine: Machine, done: Json) -> None:
        self._machine = machine
        self._revision = int(done["revision"])
        #: How many operations have changed something, and how many of them come before the next one.
        self._changes = _change_count(done)
        self._seen = 0

    async def of_txn(self, request: TxnRequest, done: Json) -> dict[str, object]:
        """The `TxnResponse` without its header.

        Raises:
            EtcdError: the rest of a range cannot be read.
            QcoreError: the same, of a transaction that has changed nothing.
        """
        succeeded = bool(done["succeeded"])
        operations = request.then if succeeded else request.otherwise
        responses = [
            await self._of(operation, result)
            for operation, result in zip(operations, done["responses"], strict=True)
        ]
        return message(succeeded=succeeded, responses=responses)

    async def _of(self, operation: Operation, result: Json) -> dict[str, object]:
        if isinstance(operation, TxnRequest):
            return {"response_txn": {"header": {}, **await self.of_txn(operation, result)}}
        self._seen += _has_changed(result)
        header = message(revision=self._seen_revision)
        match operation:
            case RangeRequest():
                found = await self._complete(operation, result)
                return {"response_range": range_message(found, header)}
            case PutRequest():
                return {"response_put": {"header": header, **_put_message(result)}}
            case DeleteRequest():
                return {"response_delete_range": {"header": header, **_delete_message(result)}}

    @property
    def _seen_revision(self) -> int:
        """The revision that an operation sees: before the first change, that is the one before."""
        return self._revision - 1 if self._changes and not self._seen else self._revision

    async def _complete(self, request: RangeRequest, result: Json) -> Found:
        """What a range of the transaction found, also if it is more than a page of the machine."""
        revision = self._seen_revision
        found = Found(result["kvs"], bool(result["more"]), int(result["count"]), revision)
        if not found.more or (request.limit and len(found.kvs) >= request.limit):
            return found
        if not self._changes:
            return await read_range(self._machine, request.at(revision))
        try:
            if self._seen in (0, self._changes):  # the state at the time is that of a revision
                return await read_range(self._machine, request.at(revision))
        except (QcoreError, EtcdError) as error:
            raise EtcdError(Code.UNAVAILABLE, f"{_NO_ANSWER} ({error})") from error
        raise EtcdError(Code.UNAVAILABLE, _NO_ANSWER)
