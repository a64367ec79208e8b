"""The rows of a table: a list that knows the class of its rows, even if it is empty.

It has a short repr, a table for notebooks, and gives data frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, is_dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

from qcore.errors import ConfigError
from qcore.html_table import html_table

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from _typeshed import DataclassInstance

_Row = TypeVar("_Row")
_SHOWN_ROWS = 3
_SHOWN_HTML_ROWS = 10
#: The most columns of a table in a notebook, if the class of its rows does not choose them with `SHOWN`.
_SHOWN_HTML_COLUMNS = 14


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

    def _repr_html_(self) -> str:
        """The first rows as a table, for notebooks. Of many columns it has those that a reader needs first."""
        from qcore.analysis.frames.data_frames import column_shapes

        every = [shape.name for shape in column_shapes(self.row_type)]
        names = getattr(self.row_type, "SHOWN", every[:_SHOWN_HTML_COLUMNS])
        shown = [[_cell(getattr(row, name)) for name in names] for row in self[:_SHOWN_HTML_ROWS]]
        caption = f"{self.row_type.__name__}: {len(self):,} {'row' if len(self) == 1 else 'rows'}"
        if len(names) < len(every):
            caption += f", {len(names)} of {len(every)} columns (to_pandas() has all)"
        return html_table(names, shown, caption, max(len(self) - _SHOWN_HTML_ROWS, 0))

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a data frame of pandas, with a column for each field and property.

        Columns have their types also when there are no rows: `int64`, `Int64` where a cell may be None, `float64`,
        `bool`, `string`; `object` for tuples and mixed values. Times stay integers, in microseconds.

        Raises:
            ConfigError: pandas is not installed.
        """
        from qcore.analysis.frames.data_frames import to_pandas

        return to_pandas(self.row_type, self)

    def to_polars(self) -> pl.DataFrame:
        """The rows as a data frame of Polars, as with `to_pandas`. Tuples become JSON texts, mixed values texts.

        Raises:
            ConfigError: Polars is not installed.
        """
        from qcore.analysis.frames.data_frames import to_polars

        return to_polars(self.row_type, self)

    def __reduce__(self) -> tuple[type[Rows[_Row]], tuple[type[_Row], list[_Row]]]:
        return Rows, (self.row_type, list(self))


def _cell(value: object) -> object:
    """What a table shows of a value: of nested rows only their number."""
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return f"{len(value)} {type(value[0]).__name__}"
    return value


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
