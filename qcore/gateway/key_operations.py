"""Puts, deletions and transactions: etcd's requests for the machine, and its results as etcd's responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qcore.errors import LeaseNotFound, StoreError
from qcore.gateway.etcd_errors import (
    EMPTY_KEY,
    KEY_NOT_FOUND,
    LEASE_PROVIDED,
    VALUE_PROVIDED,
    Code,
    EtcdError,
)
from qcore.gateway.json_forms import Fields, message
from qcore.gateway.machine_access import Machine, range_fields
from qcore.gateway.ranges_of_keys import Found, RangeRequest, kv_message, range_message
from qcore.kv.key_values import Json, data_json

_RESULTS: Final = ("EQUAL", "GREATER", "LESS", "NOT_EQUAL")
_TARGETS: Final = ("VERSION", "CREATE", "MOD", "VALUE", "LEASE")
#: How the machine names both.
_RELATIONS: Final = ("=", ">", "<", "!=")
_NUMBERS: Final = ("version", "create_revision", "mod_revision", "value", "lease")
_VALUE: Final = 3


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
        request: dict[str, object] = {"op": "put", "key": data_json(self.key)}
        request |= {"keep_value": True} if self.keep_value else {"value": data_json(self.value)}
        if self.keep_lease:
            request["keep_lease"] = True
        elif self.lease:
            request["lease"] = self.lease
        if self.previous:
            request["prev"] = True
        return request


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
        comparisons = [_comparison(each) for each in fields.list_of("compare")]
        return cls(
            [each for each in comparisons if each is not None],
            [_operation(each) for each in fields.list_of("success")],
            [_operation(each) for each in fields.list_of("failure")],
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
    if not 0 <= result < len(_RELATIONS) or not 0 <= target < len(_NUMBERS):
        raise EtcdError(
            Code.INVALID_ARGUMENT, "etcdserver: a comparison has an unknown result or target"
        )
    relation, name = _RELATIONS[result], _NUMBERS[target]
    keys = range_fields(key, end)
    if target == _VALUE:
        return {**keys, "is": relation, "value": data_json(value)}
    number = numbers[name]
    if number < 0:  # what it is compared with never is
        return None if relation in (">", "!=") else {**keys, "is": "<", name: 0}
    return {**keys, "is": relation, name: number}


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
    responses = _Responses(machine, revision, has_changed=_changes(done))
    return await responses.of_txn(request, done), revision


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


def _changes(done: Json) -> bool:
    """Whether operations of a transaction have changed something."""
    return any(
        each["op"] == "put"
        or (each["op"] == "delete" and each["deleted"])
        or (each["op"] == "txn" and _changes(each))
        for each in done["responses"]
    )


class _Responses:
    """Makes the responses of one transaction.

    Args:
        machine: reads the rest of ranges that are larger than a page.
        revision: of the transaction.
        has_changed: whether it has changed something.
    """

    def __init__(self, machine: Machine, revision: int, *, has_changed: bool) -> None:
        self._machine = machine
        self._final = revision
        #: The revision that an operation sees: before the first change, that is the one before.
        self._seen = revision - 1 if has_changed else revision

    async def of_txn(self, request: TxnRequest, done: Json) -> dict[str, object]:
        """The `TxnResponse` without its header."""
        succeeded = bool(done["succeeded"])
        operations = request.then if succeeded else request.otherwise
        responses = [
            await self._of(operation, result)
            for operation, result in zip(operations, done["responses"], strict=True)
        ]
        return message(succeeded=succeeded, responses=responses)

    async def _of(self, operation: Operation, result: Json) -> dict[str, object]:
        match operation:
            case RangeRequest():
                found = await self._complete(operation, result)
                return {"response_range": range_message(found, self._header())}
            case PutRequest():
                self._seen = self._final
                return {"response_put": {"header": self._header(), **_put_message(result)}}
            case DeleteRequest():
                if result["deleted"]:
                    self._seen = self._final
                body = {"header": self._header(), **_delete_message(result)}
                return {"response_delete_range": body}
            case TxnRequest():
                body = {"header": {}, **await self.of_txn(operation, result)}
                return {"response_txn": body}

    def _header(self) -> dict[str, object]:
        return message(revision=self._seen)

    async def _complete(self, request: RangeRequest, result: Json) -> Found:
        found = Found(result["kvs"], bool(result["more"]), int(result["count"]), self._seen)
        if not found.more or (request.limit and len(found.kvs) >= request.limit):
            return found
        raise EtcdError(
            Code.RESOURCE_EXHAUSTED,
            "etcdserver: a range of this transaction has more than a page of the machine: the transaction is done, and "
            "its answer is not known",
        )
