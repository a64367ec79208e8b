"""The protocol that a replicated state machine implements. Bring your own: five methods.

`qcore.testing.state_machine_conformance` tries an implementation against all of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class StateMachine(Protocol):
    """A deterministic state machine driven by the replicated log.

    The same commands in the same order must give the same state, results and hash on every replica, in any
    process and under any `PYTHONHASHSEED`: no local clock, no randomness, no iteration over sets.
    Commands, results and queries are text; JSON is the custom.
    """

    def apply(self, command: str, index: int, time_us: int) -> str:
        """Carry out a committed command and return its result.

        Args:
            command: what a client proposed.
            index: the entry's position in the log: grows, not always by one. Derive ids from it.
            time_us: the leader's wall clock at append, microseconds since the Unix epoch, the same on
                every replica and never going back. The only clock to use.

        Must not raise: a bad command gives an error *result*. An exception stops the node.
        """
        ...

    def query(self, query: str) -> str:
        """Answer a read without changing anything.

        Raises:
            qcore.errors.StoreError: the query is bad; its text goes to the client.
        """
        ...

    def snapshot(self) -> Iterable[str]:
        """The state as of this call, in chunks of text.

        The iterable may be consumed later, after more commands were applied, and must still give the
        state as of the call. A small machine returns a list of one chunk.
        """
        ...

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the whole state by what `snapshot` gave: the same text, maybe cut into other chunks."""
        ...

    def state_hash(self) -> str:
        """A digest of the state as hexadecimal text, equal exactly when the states are equal."""
        ...


@runtime_checkable
class RestoresGradually(Protocol):
    """What a machine with a large state may have on top of `StateMachine`: the node goes on while it restores."""

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        """Do what `restore` does, a bounded part of it before each item that is yielded.

        Nothing is applied or asked until it is at its end. It may be dropped before: then another
        `restore` or `restore_gradually` comes, or nothing ever.
        """
        ...
