"""Which addresses may enter a cluster's configuration: every member must be able to dial every other.

| refused | why |
|---|---|
| `0.0.0.0`, `::`, port 0, in any spelling | a node listens there; whoever dials it reaches itself |
| one address for two members, in any spelling | one of them would never be reached |
| a loopback address beside one that is not | on every other machine it is that machine's own |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcore.core.entry import Membership
from qcore.errors import ConfigError
from qcore.node.address_kind import is_loopback, is_unspecified, normal_host
from qcore.transport.address import Address, parse_address

HINT: Final = (
    "start the node with --advertise-addr HOST:PORT, the address at which the other members reach it, or name that "
    "address in the request"
)


def member_address(text: str, where: str) -> str:
    """Read an address that others are to dial; returns it in its normal spelling.

    Args:
        text: `host:port`.
        where: what the address is for, for the error message.

    Raises:
        ConfigError: it is no address, or none that can be dialled.
    """
    address = parse_address(text, where, allow_port_zero=True)
    if is_unspecified(address.host):
        raise ConfigError(
            f"{where}: {text} means every address of a machine: a node can listen on it, but whoever dials it "
            f"reaches itself: {HINT}"
        )
    if address.port == 0:
        raise ConfigError(f"{where}: {text}: port 0 is no port that can be dialled: {HINT}")
    return str(Address(normal_host(address.host), address.port))


def same_address(one: str, other: str) -> bool:
    """Whether two addresses that were read before are the same, in whichever spelling."""
    return one == other or _key(one) == _key(other)


def members_problem(addresses: Mapping[int, str]) -> str | None:
    """Why these members (id -> address) cannot be in one configuration, or None if they can."""
    taken: dict[tuple[str, int], int] = {}
    local = [node_id for node_id, text in addresses.items() if is_local(text)]
    for node_id, text in addresses.items():
        other = taken.setdefault(_key(text), node_id)
        if other != node_id:
            return f"{text} is given to two nodes, {other} and {node_id}"
    if local and len(local) < len(addresses):
        return loopback_problem(local[0], addresses[local[0]])
    return None


def new_member_problem(node_id: int, address: str, present: Mapping[int, str]) -> str | None:
    """Why a new member with this address cannot be added to the present ones, or None if it can."""
    others = {member: text for member, text in present.items() if member != node_id}
    for member, text in others.items():
        if same_address(text, address):
            return f"{address} is the address of node {member}"
        if is_local(text) != is_local(address):
            local = (member, text) if is_local(text) else (node_id, address)
            return loopback_problem(*local)
    return None


def advertised_address_problem(node_id: int, membership: Membership, advertised: str) -> str | None:
    """What is wrong with the address that the configuration has for a node which was started with another one."""
    configured = membership.address_of(node_id)
    if configured is None or same_address(configured, advertised):
        return None
    return (
        f"the configuration has the address {configured} for node {node_id}, which was started with --advertise-addr "
        f"{advertised}: if the members cannot dial the first, remove the node and add it again with the right one"
    )


def is_local(address: str) -> bool:
    """Whether the address can only be dialled from its own machine."""
    return is_loopback(_key(address)[0])


def loopback_problem(node_id: int, address: str) -> str:
    """Why the loopback address of this member cannot stand beside one that is none."""
    return (
        f"{address} of node {node_id} is a loopback address, which on every other machine is that machine itself; "
        f"it is of use only where all members have one: {HINT}"
    )


def _key(text: str) -> tuple[str, int]:
    """Equal for two spellings of one address."""
    address = parse_address(text, "address", allow_port_zero=True)
    host = normal_host(address.host).rstrip(".")
    return ("127.0.0.1" if host == "localhost" else host), address.port
