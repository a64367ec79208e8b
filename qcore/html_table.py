"""Short tables in HTML, for the cells of notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "", more: int = 0
) -> str:
    """A table with escaped cells.

    Args:
        columns: the names in the head.
        rows: the cells of each row; None is an empty cell.
        caption: a line above the table.
        more: how many further rows are not shown.
    """
    head = "".join(f"<th>{_head(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    below = f"<p>{more:,} more rows</p>" if more else ""
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _head(name: str) -> str:
    """A name that may be wrapped after each `_`: many columns of short numbers are then not wide."""
    return escape(name).replace("_", "_<wbr>")


def _cell(cell: object) -> str:
    return "" if cell is None else escape(str(cell))
