"""Reads passwords and tokens: from a file, or at the terminal without showing them. Never from arguments."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from qcore.display import escape_unprintable
from qcore.errors import ConfigError

_MAX_BYTES: Final = 8192


def read_secret(path: Path) -> str:
    """The first line of a file. A path such as `/dev/stdin` works, too. Warns of a file that others can read.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    from qcore.client.login.credentials import first_line
    from qcore.security.secret_files import warn_once

    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    warn_once(path, mode, warn)
    if len(content) > _MAX_BYTES and b"\n" not in content:
        raise ConfigError(f"{path}: its first line is too long: write the secret there")
    return first_line(content, str(path))


def warn(text: str) -> None:
    """Print a warning on stderr."""
    print(f"warning: {escape_unprintable(text)}", file=sys.stderr)


def ask_password(what: str) -> str:
    """Ask for a password at the terminal, without showing it.

    Raises:
        ConfigError: there is no terminal.
    """
    from getpass import getpass

    if not sys.stdin.isatty():
        raise ConfigError(
            f"the {what} is needed, and there is no terminal to ask for it: give a file with the option that "
            "`--help` names"
        )
    return getpass(f"{what}: ")


def ask_new_password() -> str:
    """Ask twice for a new password.

    Raises:
        ConfigError: there is no terminal, or the two differ.
    """
    password = ask_password("new password")
    if ask_password("the same again") != password:
        raise ConfigError("the two passwords differ: try again")
    return password
