"""`warn_once`: warns of a file with a secret that other users of the computer can read."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: The bits of a mode that let the group or all users in.
ALL_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
#: Those that let all users in. A group that exists for this purpose often reads the private keys of TLS.
EVERY_USER: Final = stat.S_IRWXO

#: The files that were warned of, because a process reads some again and again.
_warned: Final[dict[str, None]] = {}


def exposure(path: Path, mode: int, others: int = ALL_OTHERS) -> str | None:
    """The warning for a file that others may read or change; None if they may not, or if it is no regular file.

    Args:
        path: the file.
        mode: its mode, from `stat`.
        others: the bits of the mode that no such file should have.
    """
    if not stat.S_ISREG(mode) or not mode & others:
        return None
    return (
        f"other users of this computer may read or change {path}, which holds a secret (mode {mode & 0o777:04o}): "
        f"chmod 600 {path}"
    )


def warn_once(
    path: Path, mode: int, warn: Callable[[str], object], others: int = ALL_OTHERS
) -> None:
    """Call `warn` with the text of `exposure`, once in a process for each file."""
    text = exposure(path, mode, others)
    if text is not None and str(path) not in _warned:
        _warned[str(path)] = None
        warn(text)
