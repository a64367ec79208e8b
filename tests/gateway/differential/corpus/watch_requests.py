"""Watches. Each ends with what makes the last item, so that nothing depends on how long one waits."""

from __future__ import annotations

import json
from typing import Final

from tests.gateway.differential.corpus.key_requests import COMPACT, FIVE
from tests.gateway.differential.corpus.transactions import do_delete, do_put
from tests.gateway.differential.steps import (
    Call,
    Json,
    Read,
    Sequence,
    Watch,
    b64,
    call,
    delete,
    keys,
    put,
    txn,
    watch,
)


def create(key: str, end: str | None = None, **fields: Json) -> str:
    """One message that begins a watch."""
    return json.dumps({"create_request": {**keys(key, end), **fields}})


LIVE: Final = Sequence(
    "live_watches",
    (
        put("a", "0"),
        watch("one", "a"),
        watch("some", "a", "c", prev_kv=True),
        watch("every", "\x00", "\x00", prevKv=True),
        put("a", "1"),
        put("b", "2"),
        put("c", "3"),
        delete("a"),
        delete("zz"),
        put("a", "4"),
        txn([], [do_put("a", "5"), do_put("b", "6"), do_delete("c")]),
        txn([], [do_delete("a"), do_put("zz", "7")]),
        Read("one", 5),
        Read("some", 7),
        Read("every", 10),
        delete("\x00", "\x00"),
        Read("some", 1),
        Read("every", 2),
    ),
)

EARLIER: Final = Sequence(
    "watches_from_a_revision",
    (
        *FIVE,
        delete("a", name="gone"),
        watch("first", "a", start_revision="<a1.header.revision>"),
        Read("first", 4),
        watch("second", "a", start_revision="<a2.header.revision>", prev_kv=True),
        Read("second", 3),
        watch("between", "a", startRevision="<a1.header.revision+1>"),
        Read("between", 3),
        Watch(
            "number",
            '{"create_request": {"key": "YQ==", "start_revision": <a3.header.revision>}}',
        ),
        Read("number", 2),
        watch("all", "a", "f", start_revision="<b1.header.revision>"),
        Read("all", 9),
        watch("last", "a", start_revision="<gone.header.revision>"),
        Read("last", 1),
        watch("next", "a", "f", start_revision="<gone.header.revision+1>"),
        put("a", "next"),
        Read("next", 1),
        watch("none", "zz", start_revision="<b1.header.revision>"),
        put("zz", "1"),
        Read("none", 1),
        watch("zero", "a", start_revision=0),
        put("a", "more"),
        Read("zero", 1),
        Read("first", 2),
    ),
)

FILTERS: Final = Sequence(
    "filters",
    (
        watch("noput", "a", "c", filters=["NOPUT"]),
        watch("nodelete", "a", "c", filters=["NODELETE"], prev_kv=True),
        watch("numbers", "a", "c", filters=[1]),
        watch("zero", "a", "c", filters=[0], prev_kv=True),
        watch("both", "a", "c", filters=["NOPUT", "NODELETE"]),
        watch("unknown", "a", "c", filters=[7]),
        watch("bogus", "a", filters=["BOGUS"]),
        watch("empty", "a", filters=[]),
        put("a", "1", "first"),
        delete("a"),
        put("b", "1"),
        delete("a", "c"),
        put("a", "2"),
        Read("noput", 2),
        Read("nodelete", 3),
        Read("numbers", 3),
        Read("zero", 2),
        Read("unknown", 5),
        Read("empty", 3),
        watch("earlier", "a", "c", filters=["NOPUT"], start_revision="<first.header.revision>"),
        Read("earlier", 2),
        watch("puts", "a", "c", filters=["NODELETE"], start_revision="<first.header.revision>"),
        Read("puts", 3),
    ),
)

RANGES_WATCHED: Final = Sequence(
    "ranges_of_watches",
    (
        watch("empty", ""),
        Watch("nokey", '{"create_request": {}}'),
        Watch("fromkey", '{"create_request": {"range_end": "AA=="}}'),
        watch("open", "b", "\x00"),
        watch("same", "b", "b"),
        watch("wrong", "c", "a"),
        Watch("camel", '{"createRequest": {"key": "YQ==", "rangeEnd": "Yw=="}}'),
        put("a", "1"),
        put("b", "2"),
        put("c", "3"),
        put("\x00", "4"),
        Read("fromkey", 4),
        Read("open", 2),
        Read("camel", 2),
    ),
)

STREAMS: Final = Sequence(
    "several_watches_of_a_stream",
    (
        put("a", "0", "first"),
        Watch("two", create("a") + create("b"), 2),
        put("a", "1"),
        put("b", "2"),
        Read("two", 2),
        Watch("ids", create("a", watch_id=7) + create("b", watchId="9"), 2),
        put("a", "3"),
        put("b", "4"),
        Read("ids", 2),
        Watch("again", create("a", watch_id=7) + create("a", watch_id="7"), 2),
        Watch("mixed", create("a", watch_id=1) + create("b") + create("c"), 3),
        Watch("ended", create("a", watch_id=3) + '{"cancel_request": {"watch_id": 3}}', 2),
        Watch("camel", create("a", watch_id=3) + '{"cancelRequest": {"watchId": "3"}}', 2),
        Watch("other", create("a") + '{"cancel_request": {"watch_id": 99}}' + create("b"), 2),
        Watch("lines", create("a") + "\n" + create("b") + "\n", 2),
        Watch("unknown", '{"bogus": 1}' + create("a", bogus=True)),
        put("a", "5"),
        put("b", "6"),
        Read("other", 2),
        Read("lines", 2),
        Read("unknown", 1),
        Watch("negative", create("a", watch_id=-1)),
        Watch("negatives", create("a", watch_id=-5)),
    ),
)

PROGRESS: Final = Sequence(
    "progress",
    (
        put("a", "0"),
        Watch("asked", create("a") + '{"progress_request": {}}', 2),
        Watch("camel", create("a", watch_id=4) + '{"progressRequest": {}}', 2),
        watch("notified", "a", progress_notify=True),
        put("a", "1"),
        Read("asked", 1),
        Read("notified", 1),
    ),
)

COMPACTED: Final = Sequence(
    "compacted_watches",
    (
        *FIVE,
        watch("live", "a"),
        call(COMPACT, {"revision": "<a2.header.revision>"}),
        watch("first", "a", start_revision=1),
        Read("first", 1),
        watch("negative", "a", start_revision=-1),
        Read("negative", 1),
        watch("before", "a", "f", start_revision="<a2.header.revision-1>"),
        Read("before", 1),
        watch("given", "a", start_revision="<a1.header.revision>", watch_id=5, prev_kv=True),
        Read("given", 1),
        watch("at", "a", start_revision="<a2.header.revision>"),
        Read("at", 2),
        watch("prev", "a", start_revision="<a2.header.revision+1>", prev_kv=True),
        Read("prev", 1),
        put("a", "next"),
        Read("live", 1),
        Watch("both", create("a", start_revision=1) + create("b"), 2),
        put("b", "next"),
        Read("both", 2),
    ),
)

MALFORMED: Final = Sequence(
    "malformed_watches",
    (
        Call("/v3/watch", "bad"),
        Call("/v3/watch", "[]"),
        Call("/v3/watch", '{"create_request": {"key": "!!"}}'),
        Call("/v3/watch", '{"create_request": {"key": 5}}'),
        Call("/v3/watch", '{"create_request": [1]}'),
        Call("/v3/watch", '{"create_request": {"start_revision": "x"}}'),
        Call("/v3/watch", '{"create_request": {"key": "YQ==", "filters": ["BOGUS"]}}'),
        Call("/v3/watch", method="GET"),
    ),
)

LEASED: Final = Sequence(
    "events_of_leases",
    (
        watch("w", "a", "z", prev_kv=True),
        call("/v3/lease/grant", {"TTL": 600, "ID": 4242}),
        put("a", "1", lease=4242),
        put("b", "1", lease="4242"),
        put("c", "1"),
        put("b", ignore_value=True, ignore_lease=True),
        call("/v3/lease/revoke", {"ID": 4242}),
        Read("w", 6),
        Call("/v3/kv/put", json.dumps({"key": b64("d"), "value": b64(b"\xff\x00")})),
        Read("w", 1),
    ),
)

SEQUENCES: Final = (
    LIVE,
    EARLIER,
    FILTERS,
    RANGES_WATCHED,
    STREAMS,
    PROGRESS,
    COMPACTED,
    MALFORMED,
    LEASED,
)
