"""The commands that replace the whole state: parts of a snapshot, and then one command that puts them to use.

No client sends them. A node makes them from `StoreRestoreSnapshot`; see `restore_commands`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import FailFast, Field, with_config
from typing_extensions import TypedDict

from qcore.machines.entity.state.entity_schema import EntitySchemaJson
from qcore.machines.entity.state.snapshot.store_snapshot import FieldJson
from qcore.machines.entity.state.wire.value_json import STRICT, EntityIdJson

#: The id of an upload, and how many parts it has.
UploadId = Annotated[str, Field(min_length=1, max_length=64)]
PartNumber = Annotated[int, Field(ge=0, lt=2**31)]


@with_config(STRICT)
class StagedEntityJson(TypedDict):
    """An entity with fields.

    Attributes:
        parent_id: its parent, whether or not its type has the field `Parent`.
        continued: whether it continues the last entity of the part before. A list of entities continues, too.
    """

    entity_id: EntityIdJson
    parent_id: EntityIdJson | None
    fields: dict[str, FieldJson]
    continued: bool


@with_config(STRICT)
class StageBody(TypedDict):
    """A part of a snapshot. All schemas come before the entities, each after the one that it inherits from."""

    upload: UploadId
    part: PartNumber
    schemas: Annotated[list[EntitySchemaJson], FailFast()]
    entities: Annotated[list[StagedEntityJson], FailFast()]


@with_config(STRICT)
class UseStagedBody(TypedDict):
    """Put an upload that has this many parts in the place of the whole state."""

    upload: UploadId
    parts: PartNumber
