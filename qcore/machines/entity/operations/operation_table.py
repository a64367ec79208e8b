"""The table of the store's requests: what executes each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcore.machines.entity.operations.bulk import BULK_OPERATIONS
from qcore.machines.entity.operations.entities import ENTITY_OPERATIONS
from qcore.machines.entity.operations.pages import PAGE_OPERATIONS
from qcore.machines.entity.operations.schemas import SCHEMA_OPERATIONS
from qcore.machines.entity.operations.store_operation import StoreOperation
from qcore.machines.entity.operations.tree import TREE_OPERATIONS

#: Every request by name.
STORE_OPERATIONS: Final[Mapping[str, StoreOperation]] = {
    **ENTITY_OPERATIONS,
    **SCHEMA_OPERATIONS,
    **TREE_OPERATIONS,
    **PAGE_OPERATIONS,
    **BULK_OPERATIONS,
}
