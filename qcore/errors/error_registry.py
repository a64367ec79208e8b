"""The base class of all errors, and the registry that turns errors into what the wire carries and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from qcore.display import MAX_ERROR_CHARS, truncate

DetailValue = str | int | float | bool | None

#: Reads a field of a detail, which comes from outside: an invalid value or None gives the value for "unknown".
ReadField = Callable[[DetailValue], DetailValue]

#: Integers on the wire are below this.
_INT_LIMIT: Final = 2**63

#: code -> class, in the order of their definitions.
_BY_CODE: Final[dict[str, type[QcoreError]]] = {}


class QcoreError(Exception):
    """The base class of every error that qcore raises deliberately.

    A subclass states what the wire carries: `class DiskFull(StorageError, code="DiskFull")`.

    Attributes:
        code: names the kind of error on the wire, in traces and in snapshots. It never changes.
        retryable: whether the operation certainly had no effect.
        fields: the names of the attributes that the detail also holds, and how to read each.
    """

    code: str = "QcoreError"
    retryable: bool = False
    fields: ClassVar[Mapping[str, ReadField]] = {}

    def __init_subclass__(
        cls, *, code: str | None = None, fields: Mapping[str, ReadField] | None = None
    ) -> None:
        super().__init_subclass__()
        if code is None:
            if fields is not None:
                raise TypeError(f"{cls.__name__} has fields for the wire, so it needs a code")
            return
        if code in _BY_CODE:
            raise TypeError(f"{cls.__name__}: the code {code!r} is that of {_BY_CODE[code]}")
        cls.code = code
        cls.fields = {**cls.fields, **(fields or {})}
        _BY_CODE[code] = cls

    def detail(self) -> dict[str, DetailValue]:
        """The structured detail that accompanies the text on the wire."""
        values: dict[str, DetailValue] = {"code": self.code, "retryable": self.retryable}
        values.update((name, getattr(self, name)) for name in self.fields)
        return values


_BY_CODE[QcoreError.code] = QcoreError


class UnknownError(QcoreError):
    """An error of a kind that this version does not know: a newer node sent it. Its text is the node's.

    Args:
        text: the text.
        detail: the detail that came with it, which this error keeps.
    """

    def __init__(self, text: str, detail: Mapping[str, DetailValue]) -> None:
        super().__init__(text)
        code = detail.get("code")
        self.code = code if isinstance(code, str) else ""
        self.retryable = detail.get("retryable") is True
        self._detail = dict(detail)

    def detail(self) -> dict[str, DetailValue]:
        return {**self._detail, "code": self.code, "retryable": self.retryable}


def error_classes() -> Mapping[str, type[QcoreError]]:
    """Every class that states a code, by code."""
    return dict(_BY_CODE)


def to_wire(error: QcoreError) -> tuple[str, dict[str, DetailValue]]:
    """The text and the detail that the wire carries for `error`.

    The text is truncated to `MAX_ERROR_CHARS`, because it may quote a request.
    """
    return truncate(str(error), MAX_ERROR_CHARS), error.detail()


def from_wire(text: str, detail: object) -> QcoreError:
    """The error for a text and a detail; inverse of `to_wire`.

    Both come from outside. A field that is missing or invalid is unknown, and a key that does not belong to the class
    is ignored. A code that no class has gives an `UnknownError` with the same text.
    """
    values = scalars(detail)
    code = values.get("code")
    cls = _BY_CODE.get(code) if isinstance(code, str) else None
    if cls is None:
        return UnknownError(text, values)
    error = cls.__new__(cls)  # not called: the text is complete, and the parameters differ
    error.args = (text,)
    for name, read in cls.fields.items():
        setattr(error, name, read(values.get(name)))
    return error


def scalars(detail: object) -> dict[str, DetailValue]:
    """The valid part of a detail, which comes from outside."""
    if not isinstance(detail, Mapping):
        return {}
    return {
        key: value
        for key, value in detail.items()
        if isinstance(key, str) and (value is None or isinstance(value, str | int | float | bool))
    }


def optional_int(value: DetailValue) -> int | None:
    return value if type(value) is int and abs(value) < _INT_LIMIT else None


def optional_text(value: DetailValue) -> str | None:
    return value if isinstance(value, str) else None


def word(value: DetailValue) -> str:
    return value if isinstance(value, str) else "unknown"


def hint_ms(value: DetailValue) -> int:
    return max(1, optional_int(value) or 1)


def count(value: DetailValue) -> int:
    """Read a number that is never negative, such as a log index; 0 if it is unknown."""
    return max(0, optional_int(value) or 0)
