"""Tables as data frames of pandas and Polars, with the right type for each column also when there are no rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from qcore.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

#: The types of cells that frames know. `nested` is everything else, such as tuples.
CellKind = Literal["int", "float", "bool", "str", "scalar", "nested"]

_KINDS: Final[Mapping[type, CellKind]] = {int: "int", float: "float", bool: "bool", str: "str"}
_PANDAS: Final[Mapping[CellKind, tuple[str, str]]] = {
    "int": ("int64", "Int64"),
    "float": ("float64", "float64"),
    "bool": ("bool", "boolean"),
    "str": ("string", "string"),
    "scalar": ("object", "object"),
    "nested": ("object", "object"),
}


@dataclass(slots=True, frozen=True)
class ColumnShape:
    """A column of a table: its name, the type of its cells, and whether a cell may be None."""

    name: str
    kind: CellKind
    may_be_none: bool


def column_shapes(row_type: type) -> tuple[ColumnShape, ...]:
    """The columns of a table of these rows: the fields of the class, then its public properties."""
    hints = get_type_hints(row_type)
    found = [_shape(field.name, hints[field.name]) for field in fields(row_type)]
    for name, value in _properties(row_type):
        found.append(_shape(name, get_type_hints(value).get("return", object)))
    return tuple(found)


def to_pandas(row_type: type, rows: Sequence[object]) -> pd.DataFrame:
    """The rows as a data frame of pandas.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise _missing("pandas") from None
    return pd.DataFrame(
        {
            shape.name: pd.Series(
                [getattr(row, shape.name) for row in rows],
                dtype=_PANDAS[shape.kind][shape.may_be_none],
            )
            for shape in column_shapes(row_type)
        }
    )


def to_polars(row_type: type, rows: Sequence[object]) -> pl.DataFrame:
    """The rows as a data frame of Polars. Nested cells, such as tuples, become JSON texts.

    Raises:
        ConfigError: Polars is not installed.
    """
    try:
        import polars as pl
    except ImportError:
        raise _missing("polars") from None
    types: dict[CellKind, Any] = {  # classes of Polars
        "int": pl.Int64,
        "float": pl.Float64,
        "bool": pl.Boolean,
        "str": pl.String,
        "scalar": pl.String,
        "nested": pl.String,
    }
    convert: dict[CellKind, Callable[[object], object]] = {"scalar": _text, "nested": _json}
    shapes = column_shapes(row_type)
    return pl.DataFrame(
        {
            shape.name: [convert.get(shape.kind, _same)(getattr(row, shape.name)) for row in rows]
            for shape in shapes
        },
        schema={shape.name: types[shape.kind] for shape in shapes},
    )


def _properties(row_type: type) -> Iterator[tuple[str, Callable[..., object]]]:
    for name in dict.fromkeys(name for kind in row_type.__mro__ for name in vars(kind)):
        value = getattr(row_type, name, None)
        if isinstance(value, property) and value.fget is not None and not name.startswith("_"):
            yield name, value.fget


def _shape(name: str, hint: object) -> ColumnShape:
    options = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
    may_be_none = NoneType in options
    options.discard(NoneType)
    kinds = {_kind(option) for option in options}
    if len(kinds) == 1:
        return ColumnShape(name, kinds.pop(), may_be_none)
    return ColumnShape(name, "nested" if "nested" in kinds else "scalar", may_be_none)


def _kind(hint: object) -> CellKind:
    if get_origin(hint) is Literal:
        kinds = {_KINDS.get(type(value), "nested") for value in get_args(hint)}
        return kinds.pop() if len(kinds) == 1 else "scalar"
    return _KINDS.get(hint, "nested") if isinstance(hint, type) else "nested"


def _same(value: object) -> object:
    return value


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> object:
    """The value as JSON can hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def _missing(library: str) -> ConfigError:
    return ConfigError(f'{library} is not installed: pip install "qcore-raft[{library}]"')
