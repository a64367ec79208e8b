"""Puts, ranges, deletions and compactions.

No request sorts by an unknown number of a target: etcd 3.4 ends with a panic.
"""

from __future__ import annotations

from typing import Final

from tests.gateway.differential.steps import Call, Sequence, b64, call, delete, get, put

RANGE: Final = "/v3/kv/range"
PUT: Final = "/v3/kv/put"
COMPACT: Final = "/v3/kv/compaction"

#: Five keys with distinct orders by key, value, version, creation and change.
FIVE: Final = (
    put("b", "9", "b1"),
    put("a", "7", "a1"),
    put("d", "8", "d1"),
    put("c", "5", "c1"),
    put("e", "6", "e1"),
    put("a", "7b", "a2"),
    put("a", "7c", "a3"),
    put("c", "1", "c2"),
)

PUTS: Final = Sequence(
    "puts",
    (
        put("a", "1", "first"),
        put("a", "2", prev_kv=True),
        put("a", "2", prevKv=True),
        put("new", "1", prev_kv=True),
        put("a", ignore_value=True),
        get("a"),
        put("missing", ignore_value=True),
        put("missing", ignore_lease=True),
        put("missing", "1", ignore_lease=True),
        put("a", "x", ignore_value=True),
        put("a", "", ignore_value=True, prev_kv=True),
        put("a", "3", ignore_lease=True, prev_kv=True),
        put("a", ignore_value=True, ignore_lease=True),
        put("a", "3", lease=5, ignore_lease=True),
        put("a", "4", ignoreLease=True, prevKv=False),
        put("", "1"),
        call(PUT, {"value": b64("1")}),
        put("a"),
        put("a", prev_kv=True),
        get("a"),
        put("a", "5", lease=0),
        put("a", "5", lease="0"),
        put("a", "5", lease=12345),
        put("a", "5", lease="12345"),
        put("a", "5", lease=-1),
        put("a", "5", bogus=1, other={"x": [1, 2]}),
        put("\x00", "zero"),
        put("\x00\x00", "two zeros"),
        call(PUT, {"key": b64(b"\xff\xfe"), "value": b64(b"\x00\xff\x80")}),
        call(RANGE, {"key": "AA==", "range_end": "AA=="}),
        put("k" * 300, "v" * 3000),
        get("k" * 300),
        put("\u00fc/\u4e2d", "\U0001f600"),
        get("\u00fc/\u4e2d"),
    ),
)

RANGES: Final = Sequence(
    "ranges",
    (
        *FIVE,
        get("a"),
        get("zz"),
        get("a", "c"),
        get("a", "f"),
        get("b", "b"),
        get("c", "a"),
        get("b", "\x00"),
        get("\x00", "\x00"),
        get("\x00", "c"),
        call(RANGE, {"range_end": "AA=="}),
        call(RANGE, {"key": "", "range_end": "AA=="}),
        call(RANGE, {"key": "", "range_end": b64("c")}),
        call(RANGE, {}),
        call(RANGE, {"key": b64("b"), "rangeEnd": b64("d")}),
        call(RANGE, {"key": b64("b"), "range_end": ""}),
        get("a", "f", count_only=True),
        get("a", "f", countOnly=True, limit=2),
        get("zz", count_only=True),
        get("a", "f", keys_only=True),
        get("a", "f", keysOnly=True, limit="2"),
        get("a", "f", keys_only=True, count_only=True),
        get("a", serializable=True),
        get("a", "f", serializable=False, limit=0),
    ),
)

LIMITS: Final = Sequence(
    "limits_and_sorting",
    (
        *FIVE,
        get("a", "f", limit=1),
        get("a", "f", limit=4),
        get("a", "f", limit=5),
        get("a", "f", limit="6"),
        get("a", "f", limit=-1),
        *(
            get("a", "f", sort_order=order, sort_target=target)
            for order in ("NONE", "ASCEND", "DESCEND")
            for target in ("KEY", "VERSION", "CREATE", "MOD", "VALUE")
        ),
        *(
            get("a", "f", limit=2, sort_order=order, sort_target=target)
            for order in (1, 2)
            for target in range(5)
        ),
        get("a", "f", sortOrder="DESCEND", sortTarget="MOD", limit=1),
        get("a", "f", sort_target="VALUE"),
        get("a", "f", sort_order="DESCEND"),
        get("a", "f", sort_order="DESCEND", keys_only=True, sort_target="VALUE"),
        get("a", "f", sort_order=9),
        get("a", "f", sort_order=-1),
        get("a", "f", sort_order="1"),
        get("a", "f", sort_order="BOGUS"),
        get("a", "f", sort_target="BOGUS"),
        get("a", "f", sort_target="key"),
        get("zz", sort_order="DESCEND", limit=3),
    ),
)

BOUNDS: Final = Sequence(
    "bounds_of_revisions",
    (
        *FIVE,
        get("a", "f", min_mod_revision="<e1.header.revision>"),
        get("a", "f", max_mod_revision="<e1.header.revision>"),
        get("a", "f", min_create_revision="<d1.header.revision>"),
        get("a", "f", max_create_revision="<d1.header.revision>"),
        get("a", "f", minModRevision="<c1.header.revision>", maxModRevision="<a3.header.revision>"),
        get("a", "f", min_mod_revision="<e1.header.revision>", limit=1),
        get("a", "f", max_mod_revision="<e1.header.revision>", limit=1, sort_order="DESCEND"),
        get("a", "f", max_mod_revision="<b1.header.revision-1>"),
        get("a", "f", min_mod_revision="<b1.header.revision>", count_only=True),
        get("a", "f", max_create_revision="<d1.header.revision>", keys_only=True),
        get("a", min_mod_revision="<c2.header.revision+1000000>"),
        get("a", "f", min_mod_revision=-1),
    ),
)

PAST: Final = Sequence(
    "reads_of_the_past",
    (
        *FIVE,
        delete("d", name="gone"),
        *(get("a", "f", revision=f"<{name}.header.revision>") for name in ("b1", "a1", "e1", "c2")),
        get("d", revision="<gone.header.revision>"),
        get("d", revision="<gone.header.revision-1>"),
        get("a", revision="<a1.header.revision-1>"),
        get("a", "f", revision="<e1.header.revision>", limit=2),
        get("a", "f", revision="<e1.header.revision>", count_only=True),
        get("a", "f", revision="<a3.header.revision>", sort_order=2, sort_target="VERSION"),
        get("a", revision="<gone.header.revision+1>"),
        get("a", revision="<gone.header.revision+1000000>"),
        get("a", revision=-1),
        get("a", revision=0),
        get("a", revision=1),
        get("a", revision=1, serializable=True),
        put("d", "again", "again"),
        get("d"),
        get("d", revision="<gone.header.revision-1>"),
    ),
)

DELETIONS: Final = Sequence(
    "deletions",
    (
        *FIVE,
        delete("zz"),
        delete("zz", prev_kv=True),
        delete("a", prev_kv=True),
        delete("a"),
        delete("b", "d", prevKv=True),
        get("\x00", "\x00"),
        put("b", "new"),
        get("b"),
        delete("c", "b"),
        delete("b", "b"),
        call("/v3/kv/deleterange", {}),
        call("/v3/kv/deleterange", {"range_end": "AA=="}),
        call("/v3/kv/deleterange", {"key": "", "range_end": "AA=="}),
        delete("d", "\x00"),
        get("\x00", "\x00"),
        delete("\x00", "\x00"),
        delete("\x00", "\x00"),
        get("\x00", "\x00"),
    ),
)

COMPACTIONS: Final = Sequence(
    "compactions",
    (
        *FIVE,
        delete("d", name="gone"),
        call(COMPACT, {"revision": "<a2.header.revision>"}),
        get("a", revision="<a2.header.revision>"),
        get("a", "f", revision="<a2.header.revision>"),
        get("a", revision="<a2.header.revision-1>"),
        get("a", revision="<a1.header.revision>", count_only=True),
        get("a", revision="<a1.header.revision>", serializable=True),
        get("d", revision="<a3.header.revision>"),
        call(COMPACT, {"revision": "<a2.header.revision>"}),
        call(COMPACT, {"revision": "<a1.header.revision>"}),
        call(COMPACT, {"revision": "<gone.header.revision+1>"}),
        call(COMPACT, {"revision": "<gone.header.revision+1000000>", "physical": True}),
        call(COMPACT, {}),
        call(COMPACT, {"revision": 0}),
        call(COMPACT, {"revision": -7}),
        Call(COMPACT, '{"revision": <gone.header.revision>, "physical": true}'),
        get("\x00", "\x00"),
        get("d", revision="<gone.header.revision>"),
        get("d", revision="<gone.header.revision-1>"),
        put("a", "later", "later"),
        delete("a", prev_kv=True),
        call(COMPACT, {"revision": "<later.header.revision>"}),
        get("a", revision="<later.header.revision>"),
    ),
)

SEQUENCES: Final = (PUTS, RANGES, LIMITS, BOUNDS, PAST, DELETIONS, COMPACTIONS)
