"""Bodies that are no JSON, have other types, other names of fields, or unusual base64."""

from __future__ import annotations

from typing import Final

from tests.gateway.differential.steps import Call, Sequence, get

PUT: Final = "/v3/kv/put"
RANGE: Final = "/v3/kv/range"


def puts(*bodies: str) -> tuple[Call, ...]:
    return tuple(Call(PUT, body) for body in bodies)


TEXTS: Final = Sequence(
    "texts_that_are_no_json",
    (
        *puts("", " ", "not json", "nul", "{", "}", "[]", "[1]", "5", '"text"', "null", "true"),
        *puts('{"key"', '{"key":', '{"key": "YQ=="', '{"key": "YQ==",}', '{"key" "YQ=="}'),
        *puts(
            "{key: 1}", "{'key': 1}", '{"key": "YQ=="} trailing', '{"key": "YQ=="}{"key": "Yg=="}'
        ),
        *puts('{"key": "YQ==" "value": ""}', '{"key": tru}', '{"key": "\\x"}', '{"key": "Y\nQ=="}'),
        *puts('{"key": "YQ=="}\n\n', ' \t\n{"key": "YQ=="}', '{"key": 01}', '{"key": -}'),
        Call(RANGE, "bad"),
        Call("/v3/kv/txn", "[]"),
        Call("/v3/kv/deleterange", "{"),
        Call("/v3/kv/compaction", '"x"'),
        Call("/v3/lease/grant", "bad"),
        Call("/v3/lease/leases", "bad"),
        Call("/v3/cluster/member/list", "bad"),
        Call("/v3/maintenance/status", "bad"),
        get("\x00", "\x00"),
    ),
)

TYPES: Final = Sequence(
    "other_types",
    (
        *puts('{"key": 5}', '{"key": true}', '{"key": null}', '{"key": {}}'),
        *puts('{"key": ["YQ=="]}', '{"key": 1.5}'),
        *puts('{"key": "YQ==", "value": 5}', '{"key": "YQ==", "value": null}'),
        *puts('{"key": "YQ==", "lease": "abc"}', '{"key": "YQ==", "lease": true}'),
        *puts('{"key": "YQ==", "lease": ""}', '{"key": "YQ==", "lease": null}'),
        *puts('{"key": "YQ==", "lease": " 5"}', '{"key": "YQ==", "lease": "5 "}'),
        *puts('{"key": "YQ==", "lease": {}}', '{"key": "YQ==", "lease": []}'),
        *puts('{"key": "YQ==", "lease": 1e3}', '{"key": "YQ==", "lease": "1e3"}'),
        *puts('{"key": "YQ==", "lease": 1.0}', '{"key": "YQ==", "lease": "0x5"}'),
        *puts('{"key": "YQ==", "lease": 9223372036854775808}', '{"key": "YQ==", "lease": "+5"}'),
        *puts('{"key": "YQ==", "prev_kv": "true"}', '{"key": "YQ==", "prev_kv": 1}'),
        *puts('{"key": "YQ==", "prev_kv": null}', '{"key": "YQ==", "ignore_value": "x"}'),
        Call(RANGE, '{"key": "YQ==", "limit": 1.5}'),
        Call(RANGE, '{"key": "YQ==", "limit": "1.5"}'),
        Call(RANGE, '{"key": "YQ==", "limit": true}'),
        Call(RANGE, '{"key": "YQ==", "limit": "--1"}'),
        Call(RANGE, '{"key": "YQ==", "limit": 1e20}'),
        Call(RANGE, '{"key": "YQ==", "revision": "x"}'),
        Call(RANGE, '{"key": "YQ==", "serializable": "true"}'),
        Call(RANGE, '{"key": "YQ==", "serializable": 0}'),
        Call(RANGE, '{"key": "YQ==", "sort_order": true}'),
        Call(RANGE, '{"key": "YQ==", "sort_order": null}'),
        Call(RANGE, '{"key": "YQ==", "sort_order": 1.5}'),
        Call(RANGE, '{"key": "YQ==", "sort_order": {}}'),
        Call(RANGE, '{"key": "YQ==", "sort_order": ""}'),
        Call("/v3/kv/txn", '{"compare": "x"}'),
        Call("/v3/kv/txn", '{"compare": [5]}'),
        Call("/v3/kv/txn", '{"compare": [{"key": "YQ==", "version": "x"}]}'),
        Call("/v3/kv/txn", '{"compare": [{"key": "YQ==", "version": 1, "version": 2}]}'),
        Call("/v3/kv/compaction", '{"revision": []}'),
        Call("/v3/kv/compaction", '{"physical": "x"}'),
    ),
)

BASE64: Final = Sequence(
    "base64",
    (
        *puts('{"key": "Y"}', '{"key": "YQ"}', '{"key": "YQ="}', '{"key": "YQ==="}'),
        *puts('{"key": "YR=="}', '{"key": "YQ== "}', '{"key": " YQ=="}', '{"key": "Y Q=="}'),
        *puts('{"key": "Y\\nQ=="}', '{"key": "YQ==\\n"}', '{"key": "YQ\\r\\n=="}'),
        *puts('{"key": "_-8="}', '{"key": "/+8="}', '{"key": "!!!!"}', '{"key": "YWI=YQ=="}'),
        *puts('{"key": "YWJj"}', '{"key": "YWJjZA=="}', '{"key": "="}', '{"key": "YWJ!"}'),
        *puts(
            '{"key": "\\u0059Q=="}', '{"key": "\u00fc"}', '{"key": "YWJjY"}', '{"key": "YWJjYW"}'
        ),
        *puts('{"key": "YQ==", "value": "Y"}', '{"key": "YQ==", "value": "%"}'),
        get("\x00", "\x00"),
    ),
)

NAMES: Final = Sequence(
    "names_of_fields",
    (
        *puts('{"Key": "YQ=="}', '{"KEY": "YQ=="}', '{"key": "YQ==", "Value": "MQ=="}'),
        *puts('{"key": "YQ==", "prevKv": true}', '{"key": "YQ==", "prev_kv": true}'),
        *puts('{"key": "YQ==", "PrevKv": true}', '{"key": "YQ==", "prevkv": true}'),
        *puts('{"key": "YQ==", "prev_kv": false, "prevKv": true}'),
        *puts('{"key": "YQ==", "prev_kv": true, "prevKv": false}'),
        *puts('{"key": "YQ==", "key": "Yg=="}', '{"key": "YQ==", "": 1}'),
        *puts('{"key": "YQ==", "bogus": tru}', '{"key": "YQ==", "bogus": {"a": [}}'),
        Call(RANGE, '{"key": "YQ==", "range_end": "Yg==", "rangeEnd": "Yw=="}'),
        Call(RANGE, '{"key": "YQ==", "rangeend": "Yw=="}'),
        get("\x00", "\x00"),
    ),
)

SEQUENCES: Final = (TEXTS, TYPES, BASE64, NAMES)
