"""The load of one client on sets or on append-only lists."""

from __future__ import annotations

import json

from qcore.sim.workload.workload import ClientWorkload

_ADDS = {"set": "add", "append": "append"}
_READS = {"set": "get_set", "append": "get_list"}


class CollectionWorkload(ClientWorkload):
    """Each operation adds an element that no other operation adds, or reads a whole collection."""

    def _begin(self, *, closed: bool = False) -> None:
        spec = self._spec
        key = self._key()
        reads = self._rng.random() < self._plan.at(self._engine.now).reads
        request: dict[str, object] = {"op": (_READS if reads else _ADDS)[spec.kind], "key": key}
        if not reads:
            request["element"] = self._new_value()
        self._client.begin_raw(
            "read" if reads else "write",
            json.dumps(request),
            timeout_ms=spec.timeout_ms,
            then=self._think_then_next if closed else None,
            key=key,
        )
