"""Says where a client program failed, or where it waits: by the name of the file, never by a path of this machine."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, CoroutineType, FrameType
from typing import Any, Final

_PACKAGE: Final = str(Path(__file__).resolve().parents[3])
_ASYNCIO: Final = str(Path(asyncio.__file__).parent)
_STANDARD: Final = str(Path(asyncio.__file__).parents[1])
#: An address in memory differs from run to run.
_ADDRESS: Final = re.compile(r"\b0x[0-9a-fA-F]+")
_SHOWN_FRAMES: Final = 5
_SHOWN_CHARS: Final = 1000


def error_text(error: BaseException) -> str:
    """The error, and the lines of the program that led to it, outermost first; one text for each error of a group."""
    return "\n".join(_one_error(each) for each in _leaves(error))


def _one_error(error: BaseException) -> str:
    text = _ADDRESS.sub("0x...", _text(error))[:_SHOWN_CHARS]
    lines = [f"{type(error).__name__}: {text}" if text else type(error).__name__]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_of_program(frame.filename)] or frames[-1:]
    lines += [
        f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in own[-_SHOWN_FRAMES:]
    ]
    return "\n".join(lines)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:  # noqa: BLE001  # the error's class is user code, too
        return f"<its text raised {type(raised).__name__}>"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def waiting_place(task: asyncio.Task[Any]) -> str:
    """Where a task waits: the innermost line of the program, and what that awaits."""
    own, awaited = "", ""
    coro: object = task.get_coro()
    while coro is not None:
        frame, code, deeper = _frame_of(coro)
        if code is None:
            awaited = awaited or f"{type(coro).__name__}"
            break
        if frame is not None and _is_of_program(code.co_filename):
            own = f"{Path(code.co_filename).name}:{frame.f_lineno} in {code.co_name}"
            awaited = ""
        elif own and not awaited:
            awaited = code.co_qualname
        coro = deeper
    if not own:
        return "nowhere in the program"
    return f"{own} (awaits {awaited})" if awaited else own


def _frame_of(coro: object) -> tuple[FrameType | None, CodeType | None, object]:
    if isinstance(coro, CoroutineType):
        return coro.cr_frame, coro.cr_code, coro.cr_await
    for prefix in ("gi", "ag"):
        code = getattr(coro, f"{prefix}_code", None)
        if isinstance(code, CodeType):
            deeper = getattr(coro, "gi_yieldfrom" if prefix == "gi" else "ag_await", None)
            return getattr(coro, f"{prefix}_frame"), code, deeper
    return None, None, None


def _is_of_program(filename: str) -> bool:
    return not filename.startswith((_PACKAGE, _ASYNCIO, _STANDARD))
