"""An incremental digest of a keyed state: only what changed since the last call is digested again."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, TypeVar

Key = TypeVar("Key", int, str)

_BYTES = 32
_MASK = (1 << 8 * _BYTES) - 1


class StateDigest(Generic[Key]):
    """The sum, modulo 2**256, of the digests of a state's parts.

    A sum does not depend on the order of its terms, so that neither history nor dictionary order nor
    `PYTHONHASHSEED` can show in it, and one changed part costs two digests whatever the size of the
    state (an additive multiset hash; Bellare and Micciancio, 1997: "AdHash"). It detects replicas that
    drifted apart; it does not defend against someone who forges a state on purpose.
    """

    def __init__(self) -> None:
        self._sum = 0
        self._terms: dict[Key, int] = {}
        self._dirty: dict[Key, None] = {}

    def touch(self, key: Key) -> None:
        """The part may have changed or appeared: digest it at the next `hexdigest`."""
        self._dirty[key] = None

    def drop(self, key: Key) -> None:
        """The part is gone."""
        self._sum = (self._sum - self._terms.pop(key, 0)) & _MASK
        self._dirty.pop(key, None)

    def hexdigest(self, text_of: Callable[[Key], str]) -> str:
        """The digest as 64 hexadecimal digits.

        Args:
            text_of: the canonical text of a part; it must contain the key, so that equal parts under
                different keys count as different.
        """
        if self._dirty:
            total, terms = self._sum, self._terms
            for key in self._dirty:
                term = digest_term(text_of(key).encode())
                total += term - terms.get(key, 0)
                terms[key] = term
            self._dirty.clear()
            self._sum = total & _MASK
        return f"{self._sum:064x}"


def digest_term(text: bytes) -> int:
    """What a part with this canonical text adds to such a sum."""
    return int.from_bytes(blake2b(text, digest_size=_BYTES).digest())
