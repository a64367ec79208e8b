"""An incremental digest of a state by keys: only parts that changed since the last call are digested again."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Generic, TypeVar

Key = TypeVar("Key", int, str)

_BYTES = 32
_MASK = (1 << 8 * _BYTES) - 1
#: The terms of texts of up to this many bytes are kept for a while.
_SHORT = 256


class StateDigest(Generic[Key]):
    """The sum, modulo 2**256, of the digests of a state's parts.

    A sum does not depend on the order of its terms, so history, dictionary order and `PYTHONHASHSEED` cannot affect
    it. One changed part costs two digests, whatever the size of the state (an additive multiset hash; Bellare and
    Micciancio, 1997: "AdHash"). It detects replicas that have diverged. It does not detect a state that was forged on
    purpose.
    """

    def __init__(self) -> None:
        self._sum = 0
        self._terms: dict[Key, int] = {}
        self._dirty: dict[Key, None] = {}

    def touch(self, key: Key) -> None:
        """Mark a part that may have changed or appeared. The next `hexdigest` digests it."""
        self._dirty[key] = None

    def drop(self, key: Key) -> None:
        """Remove a part."""
        self._sum = (self._sum - self._terms.pop(key, 0)) & _MASK
        self._dirty.pop(key, None)

    def hexdigest(self, text_of: Callable[[Key], str]) -> str:
        """Return the digest as 64 hexadecimal digits.

        Args:
            text_of: returns the canonical text of a part. It must contain the key, so that equal parts with different
                keys have different digests.
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
    """The contribution of a part with this canonical text to the sum."""
    return _short_term(text) if len(text) <= _SHORT else _term(text)


def _term(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=_BYTES).digest())


#: The nodes of a simulated cluster digest the same parts one after the other.
_short_term = lru_cache(maxsize=1024)(_term)
