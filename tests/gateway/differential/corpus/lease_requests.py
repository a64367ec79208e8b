"""Leases: grants, keys, keep-alives, remaining times, revocations, ends."""

from __future__ import annotations

from typing import Final

from tests.gateway.differential.corpus.transactions import compare, do_delete, do_get, do_put, holds
from tests.gateway.differential.steps import (
    Call,
    Read,
    Sequence,
    call,
    delete,
    get,
    put,
    txn,
    watch,
)

GRANT: Final = "/v3/lease/grant"
REVOKE: Final = "/v3/lease/revoke"
KEEP: Final = "/v3/lease/keepalive"
TIME: Final = "/v3/lease/timetolive"
LEASES: Final = "/v3/lease/leases"

GRANTS: Final = Sequence(
    "grants",
    (
        call(LEASES),
        call(GRANT, {"TTL": 600}, "one"),
        call(GRANT, {"TTL": "600"}, "two"),
        call(GRANT, {"TTL": "700", "ID": "4242"}),
        call(GRANT, {"TTL": "700", "ID": 4242}),
        call(GRANT, {"TTL": 700, "ID": 0}, "zero"),
        call(GRANT, {"TTL": 9000000000, "ID": 5}),
        call(GRANT, {"TTL": 9000000001}),
        call(GRANT, {"TTL": "9223372036854775807"}),
        call(GRANT, {"TTL": "9223372036854775808"}),
        call(GRANT, {"TTL": 700, "ID": "9223372036854775807"}),
        call(GRANT, {"TTL": 1.5}),
        call(GRANT, {"TTL": "x"}),
        call(GRANT, {"TTL": None, "ID": 6}),
        call(GRANT, {"ttl": 600, "ID": 7}),
        call(GRANT, {"TTL": 600, "id": 77}, "lower"),
        call(LEASES),
        call("/v3/kv/lease/leases"),
        Call(LEASES, ""),
    ),
)

SHORTEST: Final = Sequence(
    "shortest_leases",
    (
        call(GRANT, {}),
        call(GRANT, {"TTL": 0}),
        call(GRANT, {"TTL": -5}),
        call(GRANT, {"TTL": 1, "ID": 8}),
        call(KEEP, {"ID": 8}),
        call(GRANT, {"TTL": 2}),
        call(GRANT, {"TTL": 3, "ID": 9}),
        call(KEEP, {"ID": 9}),
    ),
)

KEYS: Final = Sequence(
    "keys_of_leases",
    (
        call(GRANT, {"TTL": 600}, "one"),
        call(GRANT, {"TTL": 900, "ID": 4242}),
        put("a", "1", "a1", lease="<one.ID>"),
        put("b", "1", lease="<one.ID>", prev_kv=True),
        Call("/v3/kv/put", '{"key": "Yw==", "value": "MQ==", "lease": <one.ID>}'),
        get("a", "d"),
        call(TIME, {"ID": "<one.ID>"}),
        call(TIME, {"ID": "<one.ID>", "keys": True}),
        call(TIME, {"ID": 4242, "keys": True}),
        put("a", "2", lease=4242, prev_kv=True),
        put("b", "2", prev_kv=True),
        put("c", "2", ignore_lease=True, prev_kv=True),
        put("c", ignore_value=True, prev_kv=True),
        get("a", "d"),
        call(TIME, {"ID": "<one.ID>", "keys": True}),
        holds(compare("a", target="LEASE", lease=4242)),
        holds(compare("a", target="LEASE", result="GREATER", lease="4241")),
        holds(compare("b", target="LEASE", lease="0")),
        holds(compare("a", target="LEASE", result="NOT_EQUAL", lease="<one.ID>")),
        holds(compare("a", target=4, lease=4242)),
        txn([], [do_put("t", lease=4242, prev_kv=True), do_get("t"), do_delete("a", prev_kv=True)]),
        put("c", "3", lease="<one.ID>"),
        put("c2", "3", lease="<one.ID>"),
        call(TIME, {"ID": 4242, "keys": True}),
        call("/v3/kv/lease/timetolive", {"ID": "<one.ID>", "keys": True}),
        delete("c2"),
        call(TIME, {"ID": "<one.ID>", "keys": True}),
        call(REVOKE, {"ID": "<one.ID>"}),
        get("a", "z"),
        get("c", revision="<a1.header.revision>"),
        call("/v3/kv/lease/revoke", {"ID": 4242}),
        get("\x00", "\x00"),
        call(LEASES),
    ),
)

UNKNOWN: Final = Sequence(
    "unknown_leases",
    (
        put("a", "1"),
        call(REVOKE, {"ID": 999}),
        call(REVOKE, {}),
        call(REVOKE, {"ID": "x"}),
        call("/v3/kv/lease/revoke", {"ID": "999"}),
        call(KEEP, {"ID": 999}),
        call(KEEP, {"ID": "999"}),
        call(KEEP, {"ID": -1}),
        call(KEEP, {}),
        call(KEEP, {"bogus": 1}),
        Call(KEEP, ""),
        Call(KEEP, "bad"),
        call(KEEP, {"ID": "x"}),
        call(TIME, {"ID": 999}),
        call(TIME, {"ID": "999", "keys": True}),
        call(TIME, {}),
        call("/v3/kv/lease/timetolive", {"ID": 999}),
        put("a", "2", lease=999),
        put("a", "2", lease="999", prev_kv=True),
        txn([], [do_put("a", lease=999)]),
        get("a"),
        call(GRANT, {"TTL": 600, "ID": 999}),
        call(REVOKE, {"ID": 999}),
        call(REVOKE, {"ID": 999}),
        call(KEEP, {"ID": 999}),
        put("a", "2", lease=999),
    ),
)

KEPT: Final = Sequence(
    "keep_alives",
    (
        call(GRANT, {"TTL": 600}, "one"),
        call(GRANT, {"TTL": 700, "ID": 4242}),
        call(KEEP, {"ID": "<one.ID>"}),
        Call(KEEP, '{"ID": <one.ID>}'),
        call(KEEP, {"ID": 4242}),
        Call(KEEP, '{"ID": 4242}{"ID": "<one.ID>"}'),
        Call(KEEP, '{"ID": 4242}\n{"ID": 999}\n{"ID": 4242}\n'),
    ),
)

ENDS: Final = Sequence(
    "ends_of_leases",
    (
        watch("w", "a", "c"),
        call(GRANT, {"TTL": 2}, "one"),
        put("a", "1", lease="<one.ID>"),
        put("b", "1", lease="<one.ID>"),
        Read("w", 4),
        get("a", "c"),
        call(KEEP, {"ID": "<one.ID>"}),
        call(TIME, {"ID": "<one.ID>", "keys": True}),
        call(REVOKE, {"ID": "<one.ID>"}),
        call(LEASES),
    ),
    slow=True,
)

SEQUENCES: Final = (GRANTS, SHORTEST, KEYS, UNKNOWN, KEPT, ENDS)
