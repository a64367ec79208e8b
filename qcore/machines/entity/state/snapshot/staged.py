"""`Staged`: the parts of a snapshot that have arrived, beside the state that they will replace."""

from __future__ import annotations

from hashlib import blake2b

from pydantic_core import to_json

from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_records import Records


class Staged:
    """An upload. It is part of the replicated state until it replaces the rest, or is dropped.

    Attributes:
        upload: its id.
        began_ns: the time of its first command, nanoseconds since the Unix epoch.
        next_part: the number of the next part, from 0.
        size: length of its commands, bytes.
        last: the last entity, which the next part may continue.
        records: what its parts hold.
    """

    def __init__(self, upload: str, began_ns: int) -> None:
        self.upload = upload
        self.began_ns = began_ns
        self.next_part = 0
        self.size = 0
        self.last: EntityId | None = None
        self.records = Records()
        self.records.sparse = True

    def state_hash(self, live: str) -> str:
        """Return a digest of this and of the state beside it, which has the digest `live`."""
        parts = (
            live,
            self.upload,
            self.began_ns,
            self.next_part,
            self.size,
            self.last,
            self.records.state_hash(),
        )
        return blake2b(to_json(parts), digest_size=32).hexdigest()
