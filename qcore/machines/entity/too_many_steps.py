"""The error for a request that takes more steps than a command or query may."""

from __future__ import annotations

from qcore.errors import TooManyOperations


def too_many_steps(limit: int, *, store_rules: bool) -> TooManyOperations:
    """Return the error.

    Args:
        limit: the steps that one request may take.
        store_rules: whether a command of apply rules 4 takes them. Results under earlier rules keep their text.
    """
    if not store_rules:
        return TooManyOperations(
            f"the request takes more than {limit} steps (reads, writes, references followed, entities deleted): split "
            "it"
        )
    return TooManyOperations(
        f"the request takes more than {limit} steps, the limit for one command: send it as several requests; delete "
        "what is below an entity before the entity itself"
    )
