"""Reads the join token of a new node: from a file that only its owner may read, or from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.files import open_regular
from qcore.security.keys.join_token import MAX_CHARS, HeldJoinToken, read_join_token

#: The variable that holds the token itself.
JOIN_TOKEN_VARIABLE: Final = "QCORE_JOIN_TOKEN"
_ADVICE: Final = "make a new one with `qcore member token`"


def load_join_token(path: Path | None, environment: Mapping[str, str]) -> HeldJoinToken | None:
    """The join token of this node; None if it was given none.

    Args:
        path: the file, or None.
        environment: the variables of the process.

    Raises:
        ConfigError: the file cannot be read, others may read it, it holds no token, or there are a file and a variable.
    """
    text = environment.get(JOIN_TOKEN_VARIABLE, "").strip()
    if path is None:
        return _parsed(text, JOIN_TOKEN_VARIABLE) if text else None
    if text:
        raise ConfigError(
            f"both --join-token-file and {JOIN_TOKEN_VARIABLE} are given: give one of them"
        )
    where = f"--join-token-file {path}"
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_CHARS + 2)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigError(
            f"{where}: other users may read or change it (mode {mode & 0o777:04o}), and the token is a secret: chmod "
            f"600 it, or give the token in the variable {JOIN_TOKEN_VARIABLE}"
        )
    return _parsed(content.decode(errors="replace").strip(), where)


def _parsed(text: str, where: str) -> HeldJoinToken:
    try:
        return read_join_token(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}; {_ADVICE}") from None
