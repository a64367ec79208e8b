"""Versions, health, members, status, authentication, and what is no endpoint.

Go's HTTP server redirects `/v3` and `/v3/kv//range` to clean paths. No client asks for these, so they are not here.
"""

from __future__ import annotations

from typing import Final

from tests.gateway.differential.steps import Call, Sequence, call, put

ENDPOINTS: Final = (
    *("kv/range", "kv/put", "kv/deleterange", "kv/txn", "kv/compaction"),
    *("lease/grant", "lease/revoke", "lease/keepalive", "lease/timetolive", "lease/leases"),
    *("kv/lease/revoke", "kv/lease/timetolive", "kv/lease/leases"),
    *("watch", "maintenance/status", "cluster/member/list", "auth/authenticate"),
)

FACTS: Final = Sequence(
    "facts_of_the_cluster",
    (
        put("a", "1"),
        Call("/version", method="GET"),
        Call("/health", method="GET"),
        call("/v3/cluster/member/list"),
        Call("/v3/cluster/member/list"),
        call("/v3/cluster/member/list", {"bogus": 1}),
        call("/v3/maintenance/status"),
        Call("/v3/maintenance/status"),
        call("/v3/auth/authenticate", {"name": "root", "password": "x"}),
        call("/v3/auth/authenticate"),
        Call("/v3/auth/authenticate", "bad"),
    ),
)

PATHS: Final = Sequence(
    "paths_and_methods",
    (
        *(Call(f"/v3/{name}", method="GET") for name in ENDPOINTS),
        *(Call(path, method="GET") for path in ("/", "/nope", "/v3/", "/v3/nope")),
        *(Call(path, "{}") for path in ("/nope", "/v3/nope", "/v3/kv", "/v3/kv/range/")),
        Call("/v3/kv/range?key=YQ==", '{"key": "YQ=="}'),
        Call("/v3/kv/Range", '{"key": "YQ=="}'),
        Call("/version", "{}"),
        Call("/health", "{}"),
        *(Call("/v3/kv/range", method=method) for method in ("PUT", "DELETE", "HEAD")),
    ),
)

SEQUENCES: Final = (FACTS, PATHS)
