"""Checks the members of a new cluster that an operator names."""

from __future__ import annotations

from collections.abc import Mapping

from qcore.errors import ConfigError
from qcore.node.addresses.member_addresses import member_address, members_problem


def checked_addresses(members: Mapping[int, str]) -> dict[int, str]:
    """The addresses of the members by id, in canonical spelling.

    Raises:
        ConfigError: one cannot be dialled, or two are the same.
    """
    addresses = {node: member_address(text, f"--members {node}") for node, text in members.items()}
    if (problem := members_problem(addresses)) is not None:
        raise ConfigError(f"--members: {problem}")
    return addresses
