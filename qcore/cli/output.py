"""Prints the result of a command: as an aligned table for people, as JSON, or as CSV."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from qcore.cli.options import OutputFormat
from qcore.display import escape_unprintable

#: The value in one cell.
Cell: TypeAlias = str | int | float | bool | None
#: One row: column -> cell. The columns have the names of the keys in the JSON.
Row: TypeAlias = Mapping[str, Cell]

_GAP: Final = "  "
#: No column of a table on a terminal becomes narrower.
_NARROWEST: Final = 8
#: The most characters of one cell of a table.
_MAX_CELL: Final = 1000

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


def show(
    output: OutputFormat,
    body: Any,  # what `json.dumps` accepts
    *,
    rows: Sequence[Row] | None = None,
    columns: Sequence[str] = (),
    text: str | None = None,
    indent: int | None = None,
    shorten: Mapping[str, int] = NOTHING,
    leave_out: Sequence[str] = (),
) -> None:
    """Print a result on stdout.

    Args:
        output: the format.
        body: the result as JSON.
        rows: the result as rows. By default `body` is one object, and its only row.
        columns: the columns, in order; they are needed if there may be no row. By default those of the first row.
        text: what people read instead of a table.
        indent: the indentation of the JSON; None for one line.
        shorten: columns that a narrow terminal shows in part, each with its least width.
        leave_out: columns that a narrow terminal does not show, the first one first.
    """
    if output is OutputFormat.json:
        print(as_json(body, indent=indent))
        return
    if output is OutputFormat.table and text is not None:
        print("\n".join(map(escape_unprintable, text.split("\n"))))
        return
    rows = [flat(body)] if rows is None else rows
    columns = columns or (tuple(rows[0]) if rows else ())
    if output is OutputFormat.csv:
        csv_header(columns)
        csv_rows(columns, rows)
    elif columns:
        lines: list[Sequence[str]] = [
            _title(columns),
            *(tuple(map(shown, _cells(columns, row))) for row in rows),
        ]
        if sys.stdout.isatty():
            lines = _without_spare(columns, lines, shorten, leave_out)
        print(table(lines))


def flat(body: Mapping[str, Any]) -> dict[str, Cell]:
    """One row from an object: a nested object gives a column `outer.inner` for each key, and a list is JSON text."""
    row: dict[str, Cell] = {}
    for key, value in body.items():
        if isinstance(value, Mapping):
            row |= {f"{key}.{inner}": cell for inner, cell in flat(value).items()}
        elif isinstance(value, list | tuple):
            row[key] = as_json(value)
        else:
            row[key] = value
    return row


def as_json(body: Any, *, indent: int | None = None) -> str:  # what `json.dumps` accepts
    """The JSON text. Its characters are escaped if one of them cannot be printed."""
    text = json.dumps(body, ensure_ascii=False, indent=indent)
    if all(map(str.isprintable, text.split("\n"))):
        return text
    return json.dumps(body, indent=indent)


def csv_header(columns: Iterable[str]) -> None:
    """Print the header line of CSV."""
    print(_csv_line(columns))


def csv_rows(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Print rows as CSV: nothing for None, `true` and `false` for a Bool."""
    for row in rows:
        print(_csv_line(map(_csv_cell, _cells(columns, row))))


def table(lines: Iterable[Sequence[str]]) -> str:
    """Return lines of texts as aligned columns.

    On a terminal the columns fit its width: texts are wrapped, at spaces as long as the words fit.
    """
    texts = [[escape_unprintable(text) for text in line] for line in lines]
    if not texts:
        return ""
    widths = [max(map(width_of, column)) for column in zip(*texts, strict=True)]
    if sys.stdout.isatty():
        words = [max(map(_longest_word, column)) for column in zip(*texts, strict=True)]
        widths = _fitted(widths, words, shutil.get_terminal_size().columns)
    return "\n".join(line for each in texts for line in _wrapped_line(each, widths))


def shown(cell: Cell) -> str:
    """A cell of a table: `-` for nothing and for no. A very long text is shortened."""
    if cell is None or cell is False:
        return "-"
    return "yes" if cell is True else shortened(str(cell))


def shortened(text: str) -> str:
    """The beginning of a very long text, and how to see all of it."""
    if len(text) <= _MAX_CELL:
        return text
    return f"{text[:_MAX_CELL]}... ({len(text)} characters; -o json shows all)"


def width_of(text: str) -> int:
    """The columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _title(columns: Iterable[str]) -> tuple[str, ...]:
    """The title of a table. The name of a field of an entity stays as it is."""
    return tuple(
        column.upper().replace("_", " ") if column.islower() else column for column in columns
    )


def _cells(columns: Iterable[str], row: Row) -> list[Cell]:
    return [row.get(column) for column in columns]


def _csv_line(cells: Iterable[str]) -> str:
    if (
        sys.stdout.isatty()
    ):  # no control code may reach a terminal; a file or a pipe gets the exact texts
        cells = map(escape_unprintable, cells)
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)  # its line end makes it quote a text that holds either part
    return line.getvalue().removesuffix("\r\n")


def _csv_cell(cell: Cell) -> str:
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _line_width(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _without_spare(
    columns: Sequence[str],
    lines: Sequence[Sequence[str]],
    shorten: Mapping[str, int],
    leave_out: Sequence[str],
) -> list[Sequence[str]]:
    """The lines with texts shortened, and then with columns left out, until they fit the terminal."""
    shown_columns = dict(zip(columns, zip(*lines, strict=True), strict=True))

    def too_wide() -> bool:
        widths = [
            max(width_of(escape_unprintable(text)) for text in texts)
            for texts in shown_columns.values()
        ]
        return _line_width(widths) > shutil.get_terminal_size().columns

    for column, width in shorten.items():
        if too_wide():
            title, *texts = shown_columns[column]
            shown_columns[column] = (title, *(text[:width] for text in texts))
    for column in leave_out:
        if too_wide():
            del shown_columns[column]
    return list(zip(*shown_columns.values(), strict=True))


def _longest_word(text: str) -> int:
    return max(map(width_of, text.split(" ")))


def _fitted(widths: Sequence[int], words: Sequence[int], terminal: int) -> list[int]:
    """The widths, with the widest columns made narrower until the line fits, or no column can become narrower.

    A column becomes narrower than its longest word only when all have reached theirs.
    """
    fitted = list(widths)
    for least in (words, [_NARROWEST] * len(words)):
        while _line_width(fitted) > terminal:
            width, place = max(
                (
                    (width, -place)
                    for place, width in enumerate(fitted)
                    if width > max(least[place], _NARROWEST)
                ),
                default=(0, 0),
            )
            if not width:
                break
            fitted[-place] -= 1
    return fitted


def _wrapped_line(line: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    parts = [_wrapped(text, width) for text, width in zip(line, widths, strict=True)]
    for number in range(max(map(len, parts))):
        cells = [part[number] if number < len(part) else "" for part in parts]
        yield _GAP.join(
            cell + " " * (width - width_of(cell)) for cell, width in zip(cells, widths, strict=True)
        ).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    """The text in parts of at most this width.

    A part ends at a space, unless it would be short and the next word must be cut anyway.
    """
    parts: list[str] = []
    while width_of(text) > width:
        end = max(1, _fitting(text, width))
        space = text.rfind(" ", 1, end + 1)
        if space > 0 and (
            space >= end // 2 or width_of(text[space + 1 :].partition(" ")[0]) <= width
        ):
            parts.append(text[:space])
            text = text[space + 1 :]
        else:
            parts.append(text[:end])
            text = text[end:]
    return [*parts, text]


def _fitting(text: str, width: int) -> int:
    """How many characters of the text fit into this width."""
    if text.isascii():
        return width
    taken = 0
    for number, character in enumerate(text):
        taken += width_of(character)
        if taken > width:
            return number
    return len(text)
