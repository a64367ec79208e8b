"""Leases: etcd's requests for the machine, and its results as etcd's responses."""

from __future__ import annotations

import secrets
from typing import Final

from qcore.errors import LeaseExists, LeaseNotFound
from qcore.gateway.etcd_errors import TTL_TOO_LARGE, Code, EtcdError
from qcore.gateway.json_forms import Fields, message, text_of
from qcore.gateway.machine_access import Machine
from qcore.kv.key_values import data_of

#: etcd's longest time to live, and the shortest one with its default election timeout, seconds.
_MAX_TTL_S: Final = 9_000_000_000
_MIN_TTL_S: Final = 2
_ID_BITS: Final = 63
#: How often the gateway draws a number that is used.
_TRIES: Final = 3


async def grant(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    """Grant a lease. Returns the response without its header, and the revision.

    The gateway draws the number of a lease, as etcd does: the machine's own ones are small, and a client may have
    chosen such a number for itself.
    """
    ttl_s, lease_id = fields.integer("TTL"), fields.integer("ID")
    if ttl_s > _MAX_TTL_S:
        raise EtcdError(*TTL_TOO_LARGE)
    if lease_id < 0:
        raise EtcdError(
            Code.INVALID_ARGUMENT, f"etcdserver: lease {lease_id}: give a number above 0"
        )
    ttl_s = max(ttl_s, _MIN_TTL_S)
    for attempt in range(1, _TRIES + 1):
        chosen = lease_id or secrets.randbits(_ID_BITS) or 1
        try:
            done = await machine.write({"op": "grant", "ttl_ms": 1000 * ttl_s, "id": chosen})
        except LeaseExists:
            if lease_id or attempt == _TRIES:
                raise
            continue
        return message(ID=chosen, TTL=ttl_s), int(done["revision"])
    raise AssertionError("the last attempt returns or raises")


async def revoke(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    """End a lease. Returns the response without its header, and the revision."""
    lease_id = fields.integer("ID")
    if lease_id <= 0:
        raise LeaseNotFound(f"lease {lease_id} does not exist")
    done = await machine.write({"op": "revoke", "id": lease_id})
    return {}, int(done["revision"])


async def keep_alive(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    """Begin the time to live of a lease again. The response for one that has ended has no TTL."""
    lease_id = fields.integer("ID")
    if lease_id > 0:
        try:
            done = await machine.write({"op": "keep", "id": lease_id})
        except LeaseNotFound:
            pass
        else:
            ttl_s = int(done["ttl_ms"]) // 1000
            return message(ID=lease_id, TTL=max(1, ttl_s)), int(done["revision"])
    return message(ID=lease_id), await machine.revision()


async def time_to_live(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    """What is left of a lease, and its keys. The response for one that has ended has a TTL of -1."""
    lease_id, with_keys = fields.integer("ID"), fields.flag("keys")
    if lease_id > 0:
        try:
            done = await machine.write({"op": "lease", "id": lease_id})
        except LeaseNotFound:
            pass
        else:
            if with_keys and done["more"]:
                raise EtcdError(
                    Code.RESOURCE_EXHAUSTED,
                    "etcdserver: the keys of the lease have more than 1 MiB",
                )
            keys = [text_of(data_of(key)) for key in done["keys"]] if with_keys else []
            body = message(
                ID=lease_id,
                TTL=int(done["remaining_ms"]) // 1000,
                grantedTTL=int(done["ttl_ms"]) // 1000,
                keys=keys,
            )
            return body, int(done["revision"])
    return message(ID=lease_id, TTL=-1), await machine.revision()


async def leases(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    """All leases."""
    numbers: list[int] = []
    while True:
        after = numbers[-1] if numbers else 0
        found = await machine.read({"op": "leases", "after": after})
        numbers += found["leases"]
        if not found["more"]:
            return message(leases=[message(ID=each) for each in numbers]), int(found["revision"])
