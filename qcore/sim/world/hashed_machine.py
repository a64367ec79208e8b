"""State machines in the simulator: which one a scenario runs, and a wrapper that hashes it on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from qcore.errors import StateMachineFailed
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext, StateMachine, SupportsGradualRestore
from qcore.machines.register import KeyValueMachine
from qcore.replica.apply.machine_results import digest_of, exception_text
from qcore.sim.workload.operations import EntityCodec, KeyValueCodec, OperationCodec, RequestSource

#: A digest is taken after every so many log indexes, the same ones on every replica.
HASH_EVERY = 8


@dataclass(slots=True, frozen=True)
class UserMachine:
    """A state machine that a user brings along.

    Attributes:
        make: gives a fresh machine, for each node and each of its lives.
        requests: draws what a client asks next; must use only the generator that it is given.
    """

    make: Callable[[], StateMachine]
    requests: RequestSource


class HashedMachine:
    """A state machine that reports its state hash at fixed indexes, for comparison between replicas.

    Args:
        inner: the machine.
        report: called with index and state hash.
        on_capture: called when a snapshot is about to be captured.

    Attributes:
        restored_hash: the state hash right after the last restore; empty before.
    """

    __slots__ = (
        "_inner",
        "_on_capture",
        "_report",
        "name",
        "query",
        "restore",
        "restored_hash",
        "versions",
    )

    def __init__(
        self,
        inner: StateMachine,
        report: Callable[[int, str], object],
        on_capture: Callable[[], None],
    ) -> None:
        self._inner = inner
        self._report = report
        self._on_capture = on_capture
        self.restored_hash = ""
        self.name = inner.name
        self.versions = inner.versions
        self.query: Callable[[str], str] = inner.query
        self.restore: Callable[[Iterable[str]], None] = inner.restore

    def apply(self, command: str, context: ApplyContext) -> str:
        """Apply, and report the digest if it is due at this index."""
        result = self._inner.apply(command, context)
        if context.index % HASH_EVERY == 0:
            self._report(context.index, self.state_hash())
        return result

    def state_hash(self) -> str:
        """The digest, which must be one.

        Raises:
            StateMachineFailed: it is no hexadecimal text.
        """
        return digest_of(self._inner)

    def snapshot(self) -> Iterable[str]:
        """The state as of now, in chunks."""
        self._on_capture()
        return self._inner.snapshot()

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        """In parts if the machine can, else at once: as it is driven without the wrapper."""
        if isinstance(self._inner, SupportsGradualRestore):
            yield from self._inner.restore_gradually(chunks)
        else:
            self._inner.restore(chunks)
        self.restored_hash = self.state_hash()


def create_machine(make: Callable[[], StateMachine]) -> StateMachine:
    """A fresh machine.

    Raises:
        StateMachineFailed: making it raised, which stops the node and not the run.
    """
    try:
        return make()
    except Exception as raised:  # the boundary to the user's own code
        raise StateMachineFailed(
            f"making the state machine raised {type(raised).__name__}: {exception_text(raised)}"
        ) from raised


def machine_factory(name: str) -> Callable[[], StateMachine]:
    """What makes a fresh machine of the kind that a scenario names: `kv` or `entity`."""
    return EntityStore if name == "entity" else KeyValueMachine


def codec_for(name: str, keys: int) -> OperationCodec:
    """How the clients speak to that machine.

    Args:
        name: `kv` or `entity`.
        keys: how many registers the workload uses.
    """
    return EntityCodec(keys) if name == "entity" else KeyValueCodec()
