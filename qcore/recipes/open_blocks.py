"""`OpenBlocks`: the blocks that tasks or threads have entered and not left."""

from __future__ import annotations

from typing import Generic, TypeVar

from qcore.errors import ConfigError

_Owner = TypeVar("_Owner")
_Held = TypeVar("_Held")


class OpenBlocks(Generic[_Owner, _Held]):
    """What each task or thread holds in its open blocks.

    Args:
        kind: `task` or `thread`, for errors.
        advice: what to do if one leaves the block of another one, and several have one.
    """

    def __init__(self, kind: str, advice: str) -> None:
        self._kind = kind
        self._advice = advice
        #: The innermost is the last one.
        self._held: dict[_Owner, list[_Held]] = {}

    def check_new(self, title: str, owner: _Owner, no_nesting: str | None) -> None:
        """Raise if an owner may not enter another block.

        Args:
            title: what it enters, for the error.
            owner: the task or thread.
            no_nesting: what to do in place of a second block; None if it may enter one.

        Raises:
            ConfigError: it has entered one.
        """
        if owner in self._held and no_nesting is not None:
            raise ConfigError(f"{title}: this {self._kind} has entered it already: {no_nesting}")

    def enter(self, owner: _Owner, held: _Held) -> None:
        """Note a block."""
        self._held.setdefault(owner, []).append(held)

    def leave(self, title: str, owner: _Owner) -> _Held:
        """What the innermost block of an owner holds. The block is no longer open.

        Args:
            title: what it leaves, for the error.
            owner: the task or thread. If it has none, it leaves the only block there is.

        Raises:
            ConfigError: it has none, and others have several.
        """
        if owner not in self._held:
            owner = self._only_owner(title)
        held = self._held[owner].pop()
        if not self._held[owner]:
            del self._held[owner]
        return held

    def _only_owner(self, title: str) -> _Owner:
        if sum(map(len, self._held.values())) != 1:
            raise ConfigError(
                f"{title}: a {self._kind} leaves what another one has entered, and several have: {self._advice}"
            )
        return next(iter(self._held))
