"""The rows of a table: a list that knows the class of its rows, even if it is empty, and has a short repr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from itertools import islice
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

from qcore.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Row = TypeVar("_Row")
_SHOWN_ROWS = 3


class Rows(list[_Row]):
    """A list of rows of one kind.

    Args:
        row_type: the class of the rows.
        rows: the rows.
    """

    def __init__(self, row_type: type[_Row], rows: Iterable[_Row] = ()) -> None:
        super().__init__(rows)
        self.row_type = row_type

    @overload
    def __getitem__(self, place: SupportsIndex) -> _Row: ...

    @overload
    def __getitem__(self, place: slice) -> Rows[_Row]: ...

    def __getitem__(self, place: SupportsIndex | slice) -> _Row | Rows[_Row]:
        if isinstance(place, slice):
            return Rows(self.row_type, super().__getitem__(place))
        return super().__getitem__(place)

    def __repr__(self) -> str:
        shown = [repr(row) for row in islice(self, _SHOWN_ROWS)]
        if len(self) > _SHOWN_ROWS:
            shown.append(f"... {len(self)} rows")
        return f"Rows({', '.join([self.row_type.__name__, *shown])})"

    def __reduce__(self) -> tuple[type[Rows[_Row]], tuple[type[_Row], list[_Row]]]:
        return Rows, (self.row_type, list(self))


def columns(
    rows: Sequence[DataclassInstance], row_type: type[DataclassInstance] | None = None
) -> dict[str, list[Any]]:  # any cell
    """Rows as columns, for `pandas.DataFrame(columns(rows))`. No rows give the same columns, empty.

    Args:
        rows: a table, or some of its rows.
        row_type: the class of the rows, for a plain list that may be empty. Tables know their class.

    Raises:
        ConfigError: a plain list is empty and `row_type` is missing.
    """
    if rows:
        kind: type[DataclassInstance] | DataclassInstance = rows[0]
    elif row_type is not None:
        kind = row_type
    elif isinstance(rows, Rows):
        kind = rows.row_type
    else:
        raise ConfigError(
            "an empty list does not show which columns it has: give the class of its rows, for example "
            "columns(rows, OperationRow)"
        )
    cells = [asdict(row) for row in rows]
    return {field.name: [cell[field.name] for cell in cells] for field in fields(kind)}
