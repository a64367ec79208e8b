"""Random sequences: Hypothesis makes them, and shortens one that shows a difference."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from hypothesis import strategies as st

from tests.gateway.differential.steps import (
    END,
    Call,
    Json,
    Read,
    Step,
    Watch,
    b64,
    delete,
    keys,
    put,
)

#: So few that sequences meet the same keys again and again.
KEYS: Final = ("a", "b", "a/", "a/1", "a/2", "\x00", "\u00fc")
ENDS: Final = (None, "b", "a0", "a/2", "\x00", "a", "c")
VALUES: Final = (None, "", "1", "2", "10")
LEASES: Final = (0, 11, 12, 13)
TARGETS: Final = {
    "VERSION": "version",
    "CREATE": "create_revision",
    "MOD": "mod_revision",
    "VALUE": "value",
    "LEASE": "lease",
}
COMPACT: Final = "/v3/kv/compaction"
#: The comparisons and operations of one transaction, at most.
PARTS: Final = 3

Fields = dict[str, Json]


class Watching(NamedTuple):
    """A watch of a random sequence, and how it ends: with a change of a key that is in its range."""

    request: Fields
    key: str
    deleted: bool


def _optional(fields: dict[str, st.SearchStrategy[Json]]) -> st.SearchStrategy[Fields]:
    """Some of the fields, as often absent as not."""
    return st.fixed_dictionaries({}, optional=fields)


_flags = st.booleans()
#: The revision of a step that came so many steps before. Not one beside it: qcore's revisions do not grow by one.
_revisions: st.SearchStrategy[Json] = st.builds(
    lambda back: f"<back{back}.header.revision>", st.integers(0, 8)
)
#: Where a watch begins: with the change of a step, or behind it.
_starts: st.SearchStrategy[Json] = st.builds(
    lambda back, offset: f"<back{back}.header.revision{offset}>",
    st.integers(0, 8),
    st.sampled_from(("", "+1")),
)
_keys = st.sampled_from(KEYS)
_leases: st.SearchStrategy[Json] = st.sampled_from(LEASES)
_ranges: st.SearchStrategy[Fields] = st.builds(keys, _keys, st.sampled_from(ENDS))

_puts: st.SearchStrategy[Fields] = st.builds(
    lambda key, value, more: {
        "key": b64(key),
        **({} if value is None else {"value": b64(value)}),
        **more,
    },
    _keys,
    st.sampled_from(VALUES),
    _optional(
        {"lease": _leases, "prev_kv": _flags, "ignore_value": _flags, "ignore_lease": _flags}
    ),
)
_gets: st.SearchStrategy[Fields] = st.builds(
    lambda where, more: {**where, **more},
    _ranges,
    _optional(
        {
            "revision": _revisions,
            "limit": st.integers(-1, 4),
            "sort_order": st.sampled_from(("NONE", "ASCEND", "DESCEND")),
            "sort_target": st.sampled_from(("KEY", "VERSION", "CREATE", "MOD", "VALUE")),
            "keys_only": _flags,
            "count_only": _flags,
            "serializable": _flags,
            "min_mod_revision": _revisions,
            "max_mod_revision": _revisions,
            "min_create_revision": _revisions,
            "max_create_revision": _revisions,
        }
    ),
)
_deletes: st.SearchStrategy[Fields] = st.builds(
    lambda where, more: {**where, **more}, _ranges, _optional({"prev_kv": _flags})
)
#: Those of transactions lack either the key or the lease: see `corpus/deviations.py`.
_single_mistakes = _puts.filter(
    lambda fields: (
        not (fields.get("lease") and (fields.get("ignore_value") or fields.get("ignore_lease")))
    )
)
#: Those of transactions have an end: see `corpus/deviations.py`.
_bounded_deletes = _deletes.filter(lambda fields: fields.get("range_end") != b64("\x00"))


@st.composite
def _compares(draw: st.DrawFn) -> Fields:
    target = draw(st.sampled_from(tuple(TARGETS)))
    number: st.SearchStrategy[Json] = st.integers(0, 3)
    operands: dict[str, st.SearchStrategy[Json]] = {
        "VERSION": number,
        "CREATE": _revisions,
        "MOD": _revisions,
        "VALUE": st.sampled_from(VALUES[1:]).map(lambda value: b64(value or "")),
        "LEASE": _leases,
    }
    fields: Fields = {**draw(_ranges), "target": target}
    fields |= draw(_optional({TARGETS[target]: operands[target]}))
    results: st.SearchStrategy[Json] = st.sampled_from(("EQUAL", "GREATER", "LESS", "NOT_EQUAL"))
    return fields | draw(_optional({"result": results}))


def _as_json(objects: list[Fields]) -> Json:
    return [*objects]


def _txns(depth: int) -> st.SearchStrategy[Fields]:
    operations: list[st.SearchStrategy[Fields]] = [
        _single_mistakes.map(lambda fields: {"request_put": fields}),
        _gets.map(lambda fields: {"request_range": fields}),
        _bounded_deletes.map(lambda fields: {"request_delete_range": fields}),
    ]
    if depth:
        operations.append(_txns(depth - 1).map(lambda fields: {"request_txn": fields}))
    branch: st.SearchStrategy[Json] = st.lists(st.one_of(operations), max_size=PARTS).map(
        list[Json]
    )
    compares: st.SearchStrategy[Json] = st.lists(_compares(), max_size=PARTS).map(list[Json])
    return _optional({"compare": compares, "success": branch, "failure": branch})


def _calls(path: str, fields: st.SearchStrategy[Fields]) -> st.SearchStrategy[Call]:
    return fields.map(lambda given: Call(path, json.dumps(given)))


_known_leases: st.SearchStrategy[Json] = st.sampled_from(LEASES[1:])
_lease: st.SearchStrategy[Fields] = st.fixed_dictionaries({"ID": _known_leases})
_requests: st.SearchStrategy[Call] = st.one_of(
    _calls("/v3/kv/put", _puts),
    _calls("/v3/kv/put", _puts),
    _calls("/v3/kv/range", _gets),
    _calls("/v3/kv/deleterange", _deletes),
    _calls("/v3/kv/txn", _txns(2)),
    _calls("/v3/lease/grant", _lease.map(lambda fields: {**fields, "TTL": "600"})),
    _calls("/v3/lease/revoke", _lease),
    _calls("/v3/lease/keepalive", _lease),
    _calls("/v3/lease/timetolive", _lease.map(lambda fields: {**fields, "keys": True})),
    _calls("/v3/lease/leases", st.just({})),
    _calls(
        COMPACT,
        st.fixed_dictionaries({"revision": _revisions}, optional={"physical": _flags}),
    ),
)


@st.composite
def _watches(draw: st.DrawFn) -> Watching:
    key = draw(_keys)
    many = draw(st.booleans())
    request: Fields = (
        keys(key, "\x00" if draw(st.booleans()) else key + "\x7f") if many else keys(key)
    )
    request |= draw(_optional({"prev_kv": _flags, "start_revision": _starts}))
    # Only the end of a range is a key that nothing else changes, so only there a filter can hide one of its two events.
    filters: list[Json] = draw(st.sampled_from(([], [], ["NOPUT"], ["NODELETE"]))) if many else []
    if filters:
        request["filters"] = filters
    return Watching(request, f"{key}~" if many else key, many and filters != ["NODELETE"])


@st.composite
def sequences(draw: st.DrawFn, most: int = 20) -> tuple[Step, ...]:
    """Requests and watches, and at the end a change that each watch sees, up to which it is read."""
    drawn = draw(st.lists(st.one_of(_requests, _requests, _requests, _watches()), max_size=most))
    steps: list[Step] = [put("first", "", "s0")]
    reads: list[Read] = []
    ends: list[Step] = []
    past = compacted = False
    for number, one in enumerate(drawn, 1):
        if isinstance(one, Call):
            # etcd looks every 100 ms for watches that begin in the past, and ends those that a compaction overtook.
            if past and one.path == COMPACT:
                one = Call("/v3/kv/range", '{"key": "YQ=="}')
            compacted = compacted or one.path == COMPACT
            steps.append(Call(one.path, _refer(one.body, number), f"s{number}"))
            continue
        request = dict(one.request)
        if compacted:
            # Soon after a compaction, etcd forgets the deletions of the compacted revision.
            request.pop("start_revision", None)
        past = past or "start_revision" in request
        name = f"s{number}"
        body = _refer(json.dumps({"create_request": request}), number)
        steps.append(Watch(name, body))
        ends.append(put(one.key, END))
        if one.deleted:
            ends.append(delete(one.key))
        reads.append(Read(name, 0, ("DELETE" if one.deleted else "PUT", one.key)))
    return (*steps, *ends, *reads)


def _refer(body: str, number: int) -> str:
    """The body with the names of earlier steps, instead of how many steps lie between."""
    for back in range(9):
        body = body.replace(f"<back{back}.", f"<s{max(number - 1 - back, 0)}.")
    return body
