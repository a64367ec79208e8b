"""Ranges: etcd answers with all keys, so the gateway reads every page of the machine, all at one revision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from qcore.errors import RevisionCompacted, RevisionInFuture, TooManyOperations
from qcore.gateway.etcd_errors import EMPTY_KEY, Code, EtcdError
from qcore.gateway.json_forms import Fields, message, text_of
from qcore.gateway.machine_access import Machine, range_fields
from qcore.kv.key_values import Json, KeyVersion, data_of

_ORDERS: Final = ("NONE", "ASCEND", "DESCEND")
_TARGETS: Final = ("KEY", "VERSION", "CREATE", "MOD", "VALUE")
#: The names of the targets for the machine.
_SORTS: Final = ("key", "version", "create_revision", "mod_revision", "value")
_BOUNDS: Final = (
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
)
#: The most bytes of keys and values in one answer.
MAX_ANSWER_BYTES: Final = 64 << 20
#: How often the gateway begins again because the revision of the first page was compacted meanwhile.
_TRIES: Final = 4


@dataclass(slots=True, frozen=True)
class RangeRequest:
    """etcd's `RangeRequest`.

    Attributes:
        sort_by: a name of the machine, see `_SORTS`.
        bounds: those that are given, by their names.
    """

    key: bytes
    end: bytes
    limit: int
    revision: int
    sort_by: str
    descending: bool
    serializable: bool
    keys_only: bool
    count_only: bool
    bounds: dict[str, int]

    @classmethod
    def read(cls, fields: Fields) -> RangeRequest:
        """The request of its JSON.

        Raises:
            EtcdError: it is invalid.
        """
        order = fields.choice("sort_order", "etcdserverpb.RangeRequest_SortOrder", _ORDERS)
        target = fields.choice("sort_target", "etcdserverpb.RangeRequest_SortTarget", _TARGETS)
        bounds = {name: fields.integer(name) for name in _BOUNDS}
        request = cls(
            fields.data("key"),
            fields.data("range_end"),
            max(0, fields.integer("limit")),
            max(0, fields.integer("revision")),
            _SORTS[target] if 0 <= target < len(_SORTS) else "key",
            order == 2,
            fields.flag("serializable"),
            fields.flag("keys_only"),
            fields.flag("count_only"),
            {name: bound for name, bound in bounds.items() if bound},
        )
        if not request.key:
            raise EtcdError(*EMPTY_KEY)
        return request

    def at(self, revision: int) -> RangeRequest:
        """The same as of a revision, unless it names another one."""
        return self if self.revision else replace(self, revision=revision)

    @property
    def is_plain(self) -> bool:
        """Whether it wants the first keys in their order."""
        return not self.bounds and self.sort_by == "key" and not self.descending

    def to_machine(self) -> dict[str, object]:
        """As the machine reads it."""
        request: dict[str, object] = {"op": "range", **range_fields(self.key, self.end)}
        if self.limit:
            request["limit"] = self.limit
        if self.revision:
            request["revision"] = self.revision
        if self.sort_by != "key":
            request["sort_by"] = self.sort_by
        if self.descending:
            request["descending"] = True
        if self.keys_only:
            request["keys_only"] = True
        if self.count_only:
            request["count_only"] = True
        # A lower bound below 0 means nothing, and no revision is below an upper one that is.
        request |= {name: max(0, bound) for name, bound in self.bounds.items()}
        return request


@dataclass(slots=True)
class Found:
    """What a range found. `kvs` are keys as the machine returns them."""

    kvs: Sequence[Json]
    more: bool
    count: int
    revision: int


async def read_range(machine: Machine, request: RangeRequest) -> Found:
    """All that the request asks for, as of one revision.

    Raises:
        EtcdError: the answer would be too large.
        QcoreError: it cannot be read.
    """
    for _ in range(_TRIES):
        try:
            return await _read_range(machine, request)
        except RevisionCompacted:
            if request.revision:
                raise
    raise EtcdError(
        Code.UNAVAILABLE, "etcdserver: the history was compacted while a range was read"
    )


async def _read_range(machine: Machine, request: RangeRequest) -> Found:
    try:
        first = await machine.read(request.to_machine(), serializable=request.serializable)
    except TooManyOperations:
        if request.is_plain:
            raise
        return await _sorted_here(machine, request)
    except RevisionInFuture as error:
        if request.revision == 1 and not error.revision:  # etcd's empty store has revision 1
            return Found((), False, 0, 0)
        raise
    found = Found(first["kvs"], bool(first["more"]), int(first["count"]), int(first["revision"]))
    complete = not found.more or (request.limit and len(found.kvs) >= request.limit)
    if not complete and not request.is_plain:
        return await _sorted_here(machine, request)
    if not complete:
        revision = request.revision or found.revision
        found = await _all_pages(machine, request, first, revision)
    if request.revision and (request.count_only or found.more):
        found.count = await _count_at(machine, request)
    return found


async def _all_pages(machine: Machine, request: RangeRequest, first: Json, revision: int) -> Found:
    """The pages of a range in the order of its keys, up to the limit."""
    page, newest = first, int(first["revision"])
    kvs: list[Json] = []
    size = 0
    while True:
        size += sum(len(str(kv["key"])) + len(str(kv.get("value", ""))) for kv in page["kvs"])
        if size > MAX_ANSWER_BYTES:
            raise EtcdError(
                Code.RESOURCE_EXHAUSTED,
                f"etcdserver: the answer has more than {MAX_ANSWER_BYTES >> 20} MiB: set a limit, and read in pages",
            )
        kvs += page["kvs"]
        more = bool(page["more"])
        if not more or (request.limit and len(kvs) >= request.limit):
            break
        after = page["next"] if "next" in page else page["kvs"][-1]["key"]
        following = request.to_machine() | {"revision": revision, "after": after}
        if request.limit:
            following["limit"] = request.limit - len(kvs)
        page = await _later_page(machine, following, serializable=request.serializable)
    return Found(kvs, more, int(first["count"]) if more else len(kvs), newest)


async def _later_page(machine: Machine, request: dict[str, object], *, serializable: bool) -> Json:
    if serializable:
        try:
            return await machine.read(request, serializable=True)
        except RevisionInFuture:
            pass  # another node, which is behind the first one
    return await machine.read(request)


async def _count_at(machine: Machine, request: RangeRequest) -> int:
    """How many keys the range had at its revision. The machine counts only a range that it reads as a whole."""
    count: dict[str, object] = {
        "op": "range",
        **range_fields(request.key, request.end),
        "revision": request.revision,
        "count_only": True,
        "sort_by": "mod_revision",
    }
    try:
        return int((await machine.read(count, serializable=request.serializable))["count"])
    except TooManyOperations:
        everything = await _everything(machine, request, keys_only=True)
        return len(everything.kvs)


async def _everything(machine: Machine, request: RangeRequest, *, keys_only: bool) -> Found:
    """All keys of the range, in their order."""
    plain = RangeRequest(
        request.key,
        request.end,
        0,
        request.revision,
        "key",
        False,
        request.serializable,
        keys_only,
        False,
        {},
    )
    first = await machine.read(plain.to_machine(), serializable=request.serializable)
    return await _all_pages(machine, plain, first, request.revision or int(first["revision"]))


async def _sorted_here(machine: Machine, request: RangeRequest) -> Found:
    """A range that the machine cannot sort or filter, because it has too many keys."""
    needs_values = request.sort_by == "value" or not (request.keys_only or request.count_only)
    found = await _everything(machine, request, keys_only=not needs_values)
    count = len(found.kvs)
    chosen = [kv for kv in found.kvs if _within(kv, request.bounds)]
    if request.sort_by != "key" or request.descending:
        chosen.sort(key=_SORT_KEYS[request.sort_by], reverse=request.descending)
    more = 0 < request.limit < len(chosen)
    if request.limit:
        chosen = chosen[: request.limit]
    if request.count_only:
        return Found((), False, count, found.revision)
    if request.keys_only:
        chosen = [{**kv, "value": ""} for kv in chosen]
    return Found(chosen, more, count, found.revision)


def _within(kv: Json, bounds: dict[str, int]) -> bool:
    for name, bound in bounds.items():
        kind, _, field = name.partition("_")
        number = int(kv[field])
        if number < bound if kind == "min" else number > bound:
            return False
    return True


_SORT_KEYS: Final[dict[str, Callable[[Json], int | bytes]]] = {
    "key": lambda kv: data_of(kv["key"]),
    "value": lambda kv: data_of(kv.get("value", "")),
    "version": lambda kv: int(kv["version"]),
    "create_revision": lambda kv: int(kv["create_revision"]),
    "mod_revision": lambda kv: int(kv["mod_revision"]),
}


def kv_message(kv: Json) -> dict[str, object]:
    """etcd's `KeyValue` of a key in a result of the machine."""
    return message(
        key=_base64(kv["key"]),
        create_revision=int(kv.get("create_revision", 0)),
        mod_revision=int(kv["mod_revision"]),
        version=int(kv.get("version", 0)),
        value=_base64(kv.get("value", "")),
        lease=int(kv.get("lease", 0)),
    )


def _base64(value: object) -> str:
    return text_of(data_of(value))


def version_message(kv: KeyVersion) -> dict[str, object]:
    """etcd's `KeyValue` of a key that a watch received."""
    return message(
        key=kv.key,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        value=kv.value,
        lease=kv.lease,
    )


def range_message(found: Found, header: dict[str, object]) -> dict[str, object]:
    """etcd's `RangeResponse`."""
    return message(
        header=header,
        kvs=[kv_message(kv) for kv in found.kvs],
        more=found.more,
        count=found.count,
    )
