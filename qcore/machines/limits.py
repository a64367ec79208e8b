"""Bounds of the machines that come with qcore: what one command or query may make a replica build.

They hold for commands from apply rules 3 on, and for queries always. They are part of the replicated rules, the same
on every replica, and no settings: a bound that differed between two replicas would let them drift apart. A command
beyond one of them is refused with an error value and changes nothing. Bytes are those of the JSON text as UTF-8.
"""

from __future__ import annotations

from typing import Final

#: The first apply rules under which the bounds hold.
BOUNDED_RULES: Final = 3

KIB: Final = 1024
MIB: Final = 1024 * KIB

#: A type's name, or a field's.
MAX_NAME_BYTES: Final = 256
#: One value: of a field, a schema's default, or a register. The list of an entity's children may be longer: it grows
#: by `CreateEntity`, and a step never handles all of it.
MAX_VALUE_BYTES: Final = MIB
#: The values that one request reads, below a frame (16 MiB). Of a request that also writes, which every replica carries
#: out, and again when it starts: the values that it reads and those that its writes leave.
MAX_RESPONSE_BYTES: Final = 8 * MIB
MAX_WRITE_RESPONSE_BYTES: Final = 2 * MIB
#: Steps of one request. A read or a write counts as one, and one more for each reference that its path follows,
#: and for each `IDS_READ_PER_STEP` ids of a part of a list. A write to `Children` counts one more for each
#: `IDS_PER_STEP` ids, any
#: that adds or subtracts one for each `BYTES_PER_STEP` of the two values, and one to an entity with many written fields
#: one for each `FIELDS_COPIED_PER_STEP` of them. A deleted entity counts as one, and one more for each
#: `FIELDS_PER_STEP` of its
#: fields. A schema counts one for each type below it, for each field of these that changes or has changed before, and
#: for each `PLAIN_FIELDS_PER_STEP` of the others.
MAX_OPERATIONS: Final = 20_000
FIELDS_PER_STEP: Final = 8
FIELDS_COPIED_PER_STEP: Final = 64
IDS_PER_STEP: Final = 2
IDS_READ_PER_STEP: Final = 8
BYTES_PER_STEP: Final = 256
PLAIN_FIELDS_PER_STEP: Final = 16

#: A type's complete schema, inherited fields included: how many fields, and how large.
MAX_FIELDS: Final = 1024
#: Defaults of one type's fields that only entities from before they changed still read.
MAX_EARLIER_DEFAULTS: Final = 4096
MAX_SCHEMA_BYTES: Final = MIB
#: All types together: how many, how large their own schemas are (with the defaults that older entities still have), and
#: how many fields their complete schemas have.
MAX_TYPES: Final = 10_000
MAX_SCHEMAS_BYTES: Final = 16 * MIB
MAX_COMPLETE_FIELDS: Final = 100_000
