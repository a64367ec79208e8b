"""Checks the addresses in a configuration: every member must be able to dial every other.

| rejected | because |
|---|---|
| `0.0.0.0`, `::`, port 0, in any spelling | a node can listen on it, but a node that dials it reaches itself |
| one address for two members, in any spelling | one of them cannot be reached |
| a loopback address beside one that is not | on another machine it means that other machine |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcore.core.entry import Membership
from qcore.errors import ConfigError
from qcore.transport.address import Address

HINT: Final = (
    "start the node with --advertise-addr HOST:PORT, the address at which the other members reach it, or name that "
    "address in the request"
)


def member_address(text: str, where: str) -> str:
    """Check an address that other members dial; returns it in canonical spelling.

    Args:
        text: `host:port`.
        where: what the address is for; begins the error message.

    Raises:
        ConfigError: it is not an address, or cannot be dialled.
    """
    address = Address.parse(text, where, allow_port_zero=True)
    if address.is_unspecified:
        raise ConfigError(
            f"{where}: {text} means every address of a machine: a node can listen on it, but a node that dials "
            f"it reaches itself: {HINT}"
        )
    if address.port == 0:
        raise ConfigError(f"{where}: {text}: port 0 cannot be dialled: {HINT}")
    return str(address.canonical)


def same_address(one: str, other: str) -> bool:
    """Whether two well-formed addresses are the same, in any spelling."""
    return one == other or _read(one).is_same_as(_read(other))


def is_same_address(one: str, other: str) -> bool:
    """The same for texts of other nodes: what is no address is the same as nothing. 0.1.0 accepted any text."""
    try:
        return same_address(one, other)
    except ConfigError:
        return False


def members_problem(addresses: Mapping[int, str]) -> str | None:
    """Why these addresses (by node id) cannot be in one configuration, or None if they can."""
    taken: dict[tuple[str, int], int] = {}
    local = [node_id for node_id, text in addresses.items() if is_local(text)]
    for node_id, text in addresses.items():
        other = taken.setdefault(_read(text).comparable, node_id)
        if other != node_id:
            return f"{text} is given to two nodes, {other} and {node_id}"
    if local and len(local) < len(addresses):
        return loopback_problem(local[0], addresses[local[0]])
    return None


def new_member_problem(node_id: int, address: str, members: Mapping[int, str]) -> str | None:
    """Why a node with this address cannot join these members (address by id), or None if it can."""
    others = {member: text for member, text in members.items() if member != node_id}
    for member, text in others.items():
        if same_address(text, address):
            return f"{address} is the address of node {member}"
        if is_local(text) != is_local(address):
            local = (member, text) if is_local(text) else (node_id, address)
            return loopback_problem(*local)
    return None


def moved_members_problem(moved: Mapping[int, str], members: Mapping[int, str]) -> str | None:
    """Why these members cannot have these addresses (by id) together, or None. `members` are all, by id."""
    after = {**members, **moved}
    return next(
        (
            problem
            for node_id, address in moved.items()
            if (problem := moved_member_problem(node_id, address, after)) is not None
        ),
        None,
    )


def moved_member_problem(node_id: int, address: str, members: Mapping[int, str]) -> str | None:
    """Why a member cannot move to this address, or None if it can. `members` are the addresses of all, by id.

    A member may leave the loopback interface before the others do: the leader reaches it at the new address.
    """
    for member, text in members.items():
        if member == node_id:
            continue
        if same_address(text, address):
            return f"{address} is the address of node {member}"
        if is_local(address) and not is_local(text):
            return loopback_problem(node_id, address)
    return None


def advertised_address_problem(
    node_id: int, membership: Membership, advertised: Address
) -> str | None:
    """A warning if the configuration has another address for this node than its advertised one, else None."""
    configured = membership.address_of(node_id)
    if configured is None or _read(configured).is_same_as(advertised):
        return None
    return (
        f"the configuration has the address {configured} for node {node_id}, which was started with --advertise-addr "
        f"{advertised}: "
        + (
            "the leader changes it once it reaches the node there"
            if membership.key_of(node_id)
            else f"change it with `qcore member move {node_id} --address {advertised}`"
        )
    )


def is_local(address: str) -> bool:
    """Whether the address can be dialled only on the machine that it belongs to."""
    return _read(address).is_loopback


def loopback_problem(node_id: int, address: str) -> str:
    """Why this member's loopback address cannot be in one configuration with other addresses."""
    return (
        f"{address} of node {node_id} is a loopback address, which on every other machine means that machine itself; "
        f"it is of use only if all members have one: {HINT}"
    )


def _read(text: str) -> Address:
    return Address.parse(text, allow_port_zero=True)
