"""Limits of the machines in qcore: how much work and memory one command or query may take.

They apply to commands from apply rules 3 on, and to queries always. They are part of the replicated rules and equal on
every replica. They are not settings: replicas with different limits would diverge. A command that exceeds one fails
with an error result and changes nothing. Sizes in bytes are those of the JSON text as UTF-8.
"""

from __future__ import annotations

from typing import Final

#: The first apply rules with these limits.
BOUNDED_RULES: Final = 3
#: The first apply rules with the commands of the `Store...` messages, and with what else they say about the entity
#: store in `qcore.core.version`.
STORE_RULES: Final = 4

KIB: Final = 1024
MIB: Final = 1024 * KIB

#: The name of a type or a field.
MAX_NAME_BYTES: Final = 256
#: One value: of a field, a schema's default, or a register. The list of an entity's children may be longer, because it
#: grows by `CreateEntity`, and a step never handles all of it.
MAX_VALUE_BYTES: Final = MIB
#: The values that one request reads; less than a frame (16 MiB). A request that also writes has the smaller limit,
#: because every replica executes it, and again when it starts. It counts the values read and those written.
MAX_RESPONSE_BYTES: Final = 8 * MIB
MAX_WRITE_RESPONSE_BYTES: Final = 2 * MIB
#: Steps of one request, each about the same amount of work:
#: - A read or a write: 1, and 1 for each reference that its path follows, and 1 for each `IDS_READ_PER_STEP` ids of a
#:   part of a list.
#: - A write to `Children`: also 1 for each `IDS_PER_STEP` ids. Another write that adds or subtracts: also 1 for each
#:   `BYTES_PER_STEP` of the two values. A write to an entity with many written fields: also 1 for each
#:   `FIELDS_COPIED_PER_STEP` of them.
#: - A deleted entity: 1, and 1 for each `FIELDS_PER_STEP` of its fields.
#: - From apply rules 4 on: a request of `StoreBulk`: 1 besides its own steps. A created entity: `STEPS_PER_ENTITY`. A
#:   change of a parent's list by a create, a delete or a move: `STEPS_PER_LIST`.
#: - A schema: 1 for each type below it, 1 for each field of these types that changes or has changed before, and 1 for
#:   each `PLAIN_FIELDS_PER_STEP` of the other fields.
MAX_OPERATIONS: Final = 20_000
FIELDS_PER_STEP: Final = 8
STEPS_PER_ENTITY: Final = 2
STEPS_PER_LIST: Final = 2
FIELDS_COPIED_PER_STEP: Final = 64
IDS_PER_STEP: Final = 2
IDS_READ_PER_STEP: Final = 8
BYTES_PER_STEP: Final = 256
PLAIN_FIELDS_PER_STEP: Final = 16

#: A page of entities: its items, the size of their JSON text, and the steps that it scans if it has a filter. A step is
#: an entity, and on each entity a path of the filter, a reference that a path follows, 4 KiB that the filter copies
#: (`entity_filter.MAX_COPIED_BYTES`), four comparisons, or 64 parts of the filter's text. A page that reaches a limit
#: ends early, with a cursor.
MAX_PAGE_ITEMS: Final = 10_000
MAX_PAGE_BYTES: Final = MIB
MAX_SCANNED: Final = 4_000

#: A type's complete schema, including inherited fields: the number of fields.
MAX_FIELDS: Final = 1024
#: Earlier defaults of one type's fields that older entities still read.
MAX_EARLIER_DEFAULTS: Final = 4096
#: Size of a type's complete schema.
MAX_SCHEMA_BYTES: Final = MIB
#: All types together: their number, the size of their schemas without inherited fields (but with the earlier defaults
#: that older entities still read), and the number of fields in their complete schemas.
MAX_TYPES: Final = 10_000
MAX_SCHEMAS_BYTES: Final = 16 * MIB
MAX_COMPLETE_FIELDS: Final = 100_000

#: `StoreTakeSnapshot` builds the whole state in one step of a replica. A state with more of these is rejected: fields,
#: types and entities together, and bytes of its JSON text, rounded up. A client's frame (6 MiB) can hold a snapshot.
MAX_SNAPSHOT_FIELDS: Final = 5_000
MAX_SNAPSHOT_BYTES: Final = 2 * MIB
#: A snapshot that is being restored: the commands that hold it, bytes, and the largest number of an entity in it. New
#: numbers are larger, and must also be exact as JSON numbers.
MAX_STAGED_BYTES: Final = 16 * MIB
MAX_RESTORED_ID: Final = 2**52
