"""`NoticeTexts`: what the watches of one change are sent, made once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pydantic_core import to_json

from qcore.errors import StoreError
from qcore.machines.entity.indirection import resolve
from qcore.machines.entity.permission_checks import check_read
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import value_bytes, value_to_json
from qcore.machines.entity.transaction import Transaction
from qcore.machines.entity.watches.field_changes import MAX_SENT_BYTES, EntityChange
from qcore.machines.permissions import Permissions

#: The steps that cost as much as one small command: a reference that a path of a context follows is one, and each path
#: `_STEPS_PER_PATH` besides.
_STEPS_PER_COST: Final = 16
_STEPS_PER_PATH: Final = 2


class NoticeTexts:
    """The texts of the last change. The history keeps none: they may be large.

    Args:
        view: makes a view of the current state for a user with these permissions.

    Attributes:
        last_cost: what the last text cost, in units of a small command's work; see `SupportsWorkCost`.
    """

    def __init__(self, view: Callable[[Permissions | None], Transaction]) -> None:
        self._view = view
        self.last_cost = 0
        self._change: EntityChange | None = None
        self._field_type = ""
        self._body: str | None = None
        self._differs: bool | None = None
        #: The value of each path as JSON text. A value that did not fit into its context is not kept.
        self._values: dict[str, str] = {}
        self._context: list[str] = []
        self._live = False
        self._text: str | None = None
        self._permissions: Permissions | None = None

    def of(
        self,
        change: EntityChange,
        field_type: str,
        context: list[str],
        *,
        live: bool,
        permissions: Permissions | None = None,
    ) -> str:
        """The notification of a change for a watch of a field with this context.

        Args:
            permissions: decide what the context may hold. The caller has checked the field.
        """
        if permissions is not self._permissions:
            self._permissions = permissions
            self._change = None  # the values of a context are those of another user
        self._turn_to(change, field_type)
        self.last_cost = 0
        if self._text is None or live is not self._live or context != self._context:
            if self._body is None:
                self._body = change.body_for(field_type)
            self._text = self._body + self._ending(change.entity_id, context, live=live)
            self._context, self._live = context, live
        return self._text

    def differs(self, change: EntityChange, field_type: str) -> bool:
        """Whether the value is another one than before. Two long lists are compared once."""
        self._turn_to(change, field_type)
        if self._differs is None:
            self._differs = change.is_difference()
        return self._differs

    def _turn_to(self, change: EntityChange, field_type: str) -> None:
        if change is not self._change:
            self._values = {}
        elif field_type == self._field_type:
            return
        self._change, self._field_type = change, field_type
        self._body = self._differs = self._text = None

    def _ending(self, entity_id: EntityId, context: list[str], *, live: bool) -> str:
        """The part of a notification behind its body. The values of a context have a bound in total."""
        if not context:
            return ',"context":{}}'
        if not live:
            return ',"context":null}'
        texts: dict[str, str] = {}
        omitted: list[str] = []
        left, looked_up = MAX_SENT_BYTES, 0
        view = self._view(self._permissions)
        for path in context:
            if path in texts:
                continue
            text = self._values.get(path)
            if text is None:
                looked_up += 1
                text = self._value(view, entity_id, path, left)
            if text is None or len(text) > left:
                omitted.append(path)
                text = "null"
            left -= len(text)
            texts[path] = text
        steps = looked_up * _STEPS_PER_PATH + view.operations
        self.last_cost = -(-steps // _STEPS_PER_COST)
        ending = ",".join(f"{to_json(path).decode()}:{text}" for path, text in texts.items())
        if omitted:
            return f',"context":{{{ending}}},"context_omitted":{to_json(omitted).decode()}}}'
        return f',"context":{{{ending}}}}}'

    def _value(self, view: Transaction, entity_id: EntityId, path: str, room: int) -> str | None:
        """The value that a path leads to, as JSON text; None if it is too large.

        It is `null` if the path leads nowhere now, or the user may not read it.
        """
        try:
            target = resolve(view, entity_id, path)
            if target.part is not None:
                text = "null"
            else:
                check_read(view, target.entity.entity_id.typ, target.field_type)
                value = view.field(target.entity, target.field_type).value
                if value_bytes(value) > room:
                    return None
                text = to_json(value_to_json(value)).decode()
        except StoreError:
            text = "null"
        self._values[path] = text
        return text
