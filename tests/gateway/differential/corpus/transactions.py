"""Transactions: comparisons, branches, nesting, errors.

No operation is `null`: etcd 3.4 closes the connection without an answer. None has two kinds: etcd chooses at random.
"""

from __future__ import annotations

from typing import Final

from tests.gateway.differential.corpus.key_requests import FIVE
from tests.gateway.differential.steps import Call, Json, Sequence, b64, call, get, keys, txn

TXN: Final = "/v3/kv/txn"


def compare(key: str, end: str = "", **fields: Json) -> Json:
    return {**keys(key, end or None), **fields}


def do_put(key: str, value: str = "t", **fields: Json) -> Json:
    return {"request_put": {"key": b64(key), "value": b64(value), **fields}}


def do_get(key: str, end: str | None = None, **fields: Json) -> Json:
    return {"request_range": {**keys(key, end), **fields}}


def do_delete(key: str, end: str | None = None, **fields: Json) -> Json:
    return {"request_delete_range": {**keys(key, end), **fields}}


def do_txn(compares: list[Json], success: list[Json], failure: list[Json] | None = None) -> Json:
    inner: dict[str, Json] = {"compare": compares, "success": success, "failure": failure or []}
    return {"request_txn": inner}


def holds(*compares: Json) -> Call:
    """A transaction that only says whether its comparisons hold."""
    return txn([*compares], [])


COMPARISONS: Final = Sequence(
    "comparisons",
    (
        *FIVE,
        *(
            holds(compare("a", target="VERSION", result=result, version=number))
            for result in ("EQUAL", "GREATER", "LESS", "NOT_EQUAL")
            for number in (2, "3", 4)
        ),
        *(
            holds(compare("a", target="VALUE", result=result, value=b64(value)))
            for result in ("EQUAL", "GREATER", "LESS", "NOT_EQUAL")
            for value in ("7", "7c", "8")
        ),
        *(
            holds(
                {
                    **keys("a"),
                    "target": target,
                    "result": result,
                    field: f"<{name}.header.revision>",
                }
            )
            for target, field in (("CREATE", "create_revision"), ("MOD", "mod_revision"))
            for result in (0, 1, 2, 3)
            for name in ("a1", "a3")
        ),
        *(
            holds({**keys("zz"), "target": target, "result": result, field: 0})
            for target, field in (
                ("VERSION", "version"),
                ("CREATE", "createRevision"),
                ("MOD", "modRevision"),
                ("LEASE", "lease"),
            )
            for result in ("EQUAL", "GREATER", "LESS", "NOT_EQUAL")
        ),
        *(holds(compare("zz", target="VALUE", result=result)) for result in range(4)),
        *(holds(compare("zz", target="VALUE", result=r, value="")) for r in range(4)),
        *(holds(compare("zz", target="LEASE", result=result, lease=7)) for result in range(4)),
        holds(compare("a", target="LEASE", lease=0)),
        holds(compare("a", target="LEASE", result="GREATER")),
    ),
)

DEFAULTS: Final = Sequence(
    "unset_fields_of_comparisons",
    (
        *FIVE,
        holds(compare("a")),
        holds(compare("zz")),
        holds(compare("a", version=3)),
        holds(compare("a", target="VERSION")),
        holds(compare("zz", target="VERSION")),
        holds(compare("a", target="CREATE")),
        holds(compare("a", target="MOD")),
        holds(compare("a", target="VALUE")),
        holds(compare("zz", target="VALUE")),
        holds(compare("a", target="VALUE", value=b64("7c"))),
        holds(compare("a", target="VALUE", version=3)),
        holds(compare("a", target="VERSION", value=b64("7c"))),
        holds(compare("a", target="MOD", version=3)),
        holds(compare("a", target=0, result=0, version="3")),
        holds(compare("a", target=3, result=0, value=b64("7c"))),
        holds(compare("a", target=9, version=3)),
        holds(compare("a", target=9, version=4)),
        holds(compare("a", result=9, version=3)),
        holds(compare("a", result=9, version=4)),
        holds(compare("a", result=-1, version=3)),
        holds(compare("zz", result=-1, version=3)),
        holds(compare("a", target="VERSION", result="BOGUS", version=3)),
        holds(compare("a", target="BOGUS", version=3)),
        holds(compare("a", target="VERSION", result="equal", version=3)),
        holds(compare("a", version=3, versionX=5)),
        holds({"target": "VALUE"}),
        holds({}),
        holds(compare("", version=3)),
    ),
)

RANGES_COMPARED: Final = Sequence(
    "comparisons_of_ranges",
    (
        *FIVE,
        holds(compare("a", "f", target="VERSION", result="GREATER", version=0)),
        holds(compare("a", "f", target="VERSION", result="EQUAL", version=1)),
        holds(compare("x", "y", target="VERSION", result="EQUAL", version=0)),
        holds(compare("x", "y", target="VERSION", result="GREATER", version=0)),
        holds(compare("x", "y", target="VALUE", value=b64("1"))),
        holds(compare("x", "y", target="VALUE", result="NOT_EQUAL", value=b64("1"))),
        holds(compare("b", "\x00", target="VALUE", result="GREATER", value=b64("0"))),
        holds({"key": b64("a"), "rangeEnd": b64("c"), "target": "VERSION", "version": 1}),
        holds(compare("c", "a", version=7)),
        holds(compare("\x00", "\x00", target="CREATE", result="GREATER")),
        holds(compare("a", version=3), compare("b", version=1)),
        holds(compare("a", version=3), compare("b", version=2)),
    ),
)

BRANCHES: Final = Sequence(
    "branches",
    (
        *FIVE,
        call(TXN, {}),
        txn([], []),
        txn([], [do_get("a")]),
        txn([compare("a", version=9)], [do_get("a")], [do_get("b")]),
        txn([compare("a", version=9)], [do_get("a")]),
        txn([], [do_put("n1"), do_put("n2", prev_kv=True), do_get("n", "o")]),
        txn([], [do_put("a", "8", prev_kv=True), do_get("a"), do_delete("a"), do_get("a")]),
        txn([], [do_delete("n1"), do_put("n1", "after")]),
        txn([], [do_delete("n", "o", prev_kv=True), do_get("n", "o", count_only=True)]),
        txn([], [do_delete("n", "o")]),
        txn([], [do_put("c", ignore_value=True)]),
        txn([], [{"request_put": {"key": b64("c"), "ignore_value": True, "prev_kv": True}}]),
        txn([], [do_get("a", "f", limit=2, sort_order="DESCEND", sort_target="MOD")]),
        txn([], [do_get("a", "f", keys_only=True), do_get("zz")]),
        txn([], [do_get("b", revision="<c1.header.revision>")]),
        txn([], [do_put("q"), do_get("b", revision="<c1.header.revision>")]),
        txn([], [do_get("b", min_mod_revision="<c1.header.revision>")]),
        txn([], [{"requestPut": {"key": b64("camel")}}, {"requestRange": {"key": b64("camel")}}]),
        txn([], [{"requestDeleteRange": {"key": b64("camel"), "prevKv": True}}]),
        txn([compare("zz", target="CREATE")], [do_put("zz", "once")], [do_get("zz")]),
        txn([compare("zz", target="CREATE")], [do_put("zz", "once")], [do_get("zz")]),
        txn([], [do_get("a"), do_put("a", "9"), do_get("a")]),
        txn([], [do_delete("none"), do_put("a", "10"), do_delete("none")]),
        txn([], [do_get("b"), do_txn([], [do_get("b"), do_put("b", "11")]), do_get("b")]),
        Call(TXN, '{"success": null, "failure": null, "compare": null}'),
        Call(TXN, '{"success": [], "Failure": []}'),
        get("\x00", "\x00"),
    ),
)

NESTED: Final = Sequence(
    "nested",
    (
        *FIVE,
        txn([], [do_txn([], [])]),
        txn([], [do_txn([], [do_put("n")]), do_get("n")]),
        txn([compare("a", version=9)], [], [do_txn([compare("b", version=1)], [do_put("f")])]),
        txn([compare("a", version=9)], [], [do_txn([compare("b", version=2)], [], [do_get("a")])]),
        txn(
            [compare("a", version=9)],
            [],
            [do_txn([compare("zz", version=1)], [do_put("x")], [do_delete("zz"), do_get("a")])],
        ),
        txn([], [do_put("c", "5"), do_txn([compare("c", version=2)], [do_get("c")])]),
        txn([], [do_txn([], [do_txn([], [do_txn([], [do_put("deep", prev_kv=True)])])])]),
        txn([], [do_txn([], [do_delete("deep")]), do_txn([], [do_get("deep")])]),
        txn([], [do_txn([], [do_put("p")]), do_txn([], [do_put("q")])]),
        txn([], [do_txn([], [do_put("p")]), do_txn([], [do_put("p")])]),
        txn([], [do_put("p"), do_txn([], [do_put("p")])]),
        txn([], [do_txn([compare("a")], [do_put("p")], [do_put("p")])]),
        txn([], [{"requestTxn": {"success": [{"requestRange": {"key": b64("a")}}]}}]),
        txn([], [{"request_txn": {}}]),
        txn([], [do_txn([{"target": "VALUE"}], [])]),
        txn([], [do_txn([], [{"request_put": {"value": b64("1")}}])]),
        get("\x00", "\x00"),
    ),
)

ERRORS: Final = Sequence(
    "errors_of_transactions",
    (
        *FIVE,
        txn([], [do_put("p"), do_put("p")]),
        txn([], [do_put("p"), do_delete("o", "q")]),
        txn([], [do_delete("p"), do_put("p")]),
        txn([], [do_delete("a", "c"), do_delete("b", "d")]),
        txn([compare("a", version=9)], [do_put("p"), do_put("p")], []),
        txn([compare("a", version=9)], [do_put("p")], [do_put("p")]),
        txn([], [do_put("")]),
        txn([], [{"request_range": {}}]),
        txn([], [{"request_delete_range": {}}]),
        txn([], [{}]),
        txn([], [{"bogus": {}}]),
        txn([], [do_put("p", lease=77)]),
        txn([], [do_put("before"), do_put("p", lease="77")]),
        get("before"),
        txn([compare("a", version=9)], [do_put("p", lease=77)], [do_get("a")]),
        txn([], [do_put("p", ignore_value=True)]),
        txn([], [{"request_put": {"key": b64("zz"), "ignore_value": True}}]),
        txn([], [do_put("zz", ignore_lease=True)]),
        txn([], [do_put("a", lease=5, ignore_lease=True)]),
        txn([], [do_get("a", revision=1)]),
        txn([], [do_get("a", revision="<c2.header.revision+1000000>")]),
        txn([], [do_put("p"), do_get("a", revision=1)]),
        txn([], [do_get("a", sort_order="BOGUS")]),
        txn([], [{"request_put": {"key": "!!"}}]),
        txn([], [{"request_put": [1]}]),
        call(TXN, {"compare": {"key": b64("a")}}),
        call(TXN, {"success": "none"}),
        call(TXN, {"success": [do_get(str(number)) for number in range(129)]}),
        call(TXN, {"success": [do_get(str(number)) for number in range(128)]}),
        call(TXN, {"compare": [compare("a", version=3)] * 129}),
        get("\x00", "\x00"),
    ),
)

SEQUENCES: Final = (COMPARISONS, DEFAULTS, RANGES_COMPARED, BRANCHES, NESTED, ERRORS)
