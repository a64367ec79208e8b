"""What the cluster knows about the slots of a job.

run_once/NAME//slot/NUMBER    the slot was started; how it ended
run_once/NAME//running        who runs the job now. The worker's lease deletes it
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

from qcore.errors import ConfigError
from qcore.kv.key_values import KeyVersion
from qcore.recipes.key_reads import prefix_of, read_state

if TYPE_CHECKING:
    from qcore.kv.kv_client import KeyValue

SlotState = Literal["started", "done", "failed"]
_STATES: Final[dict[str, SlotState]] = {"started": "started", "done": "done", "failed": "failed"}
_DIGITS: Final = 20
#: So many characters of a result are kept.
MAX_RESULT: Final = 1000


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What is known about a slot.

    Attributes:
        slot: its number.
        state: `started`, `done`, or `failed` if the job raised an exception. A slot whose worker has ended stays
            `started`.
        attempt: how often it was started.
        result: the result of the job, or the text of its exception.
        worker: which run this is; a text that no other run has.
    """

    slot: int
    state: SlotState
    attempt: int
    result: str
    worker: str

    def to_text(self) -> str:
        """As the value of a key."""
        fields = {
            "state": self.state,
            "attempt": self.attempt,
            "result": self.result,
            "worker": self.worker,
        }
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_value(cls, slot: int, value: bytes) -> Self | None:
        """What the value of a key says; None if it is no such value."""
        try:
            fields = json.loads(value)
            return cls(
                slot,
                _STATES[fields["state"]],
                int(fields["attempt"]),
                str(fields["result"]),
                str(fields["worker"]),
            )
        except (ValueError, TypeError, KeyError):
            return None


class SlotsSeen(NamedTuple):
    """The records as of one revision.

    Attributes:
        records: those that are kept, the oldest first.
        running: the key of the run that goes on; None if there is none.
        revision: the revision.
    """

    records: list[SlotRecord]
    running: KeyVersion | None
    revision: int


class SlotKeys:
    """The keys of one job.

    Args:
        name: the name of the job.

    Attributes:
        slots: the prefix of the keys of the slots.
        running: see the text of the module.

    Raises:
        ConfigError: the name cannot be used.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._prefix = prefix_of("run_once", name)
        self.slots = f"{self._prefix}slot/"
        self.running = f"{self._prefix}running"

    def slot(self, number: int) -> str:
        """The record of a slot."""
        return f"{self.slots}{number:0{_DIGITS}}"

    async def read(self, kv: KeyValue) -> SlotsSeen:
        """What the cluster knows now.

        Raises:
            ConfigError: another program writes to these keys.
        """
        state = await read_state(kv, self._prefix)
        records: list[SlotRecord] = []
        running: KeyVersion | None = None
        for found in state.kvs:
            if found.key == self.running.encode():
                running = found
            else:
                records.append(self.record_of(found))
        return SlotsSeen(records, running, state.revision)

    def record_of(self, found: KeyVersion) -> SlotRecord:
        """The record in a key.

        Raises:
            ConfigError: it is none.
        """
        number = found.key.decode(errors="replace").removeprefix(self.slots)
        record = (
            SlotRecord.from_value(int(number), found.value)
            if number.isdecimal() and len(number) == _DIGITS
            else None
        )
        if record is None:
            raise ConfigError(
                f"run_once {self.name}: the key {found.key!r} is not as RunOnce leaves it: let no other program write "
                f"below {self._prefix!r}"
            )
        return record
