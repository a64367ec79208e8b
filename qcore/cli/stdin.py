"""Reads a request or command from an argument, or from standard input if the argument is `-`."""

from __future__ import annotations

import sys

from qcore.errors import ConfigError


def argument_or_stdin(argument: str, what: str) -> str:
    """Return the argument, or for `-` the content of standard input without its final newline.

    Args:
        argument: of the command line.
        what: names the argument in an error.

    Raises:
        ConfigError: the text is not UTF-8, or standard input is closed or exceeds the default size limit of a frame.
    """
    from qcore.transport.limits import TransportLimits

    limit = TransportLimits().max_frame_bytes
    try:
        if argument != "-":
            argument.encode()  # bytes that are not UTF-8 arrive as lone surrogates
            return argument
        if sys.stdin is None:
            raise ConfigError(f"cannot read the {what}: standard input is closed")
        given = sys.stdin.buffer.read(limit + 1)
        if len(given) > limit:
            raise ConfigError(
                f"the {what} on standard input is larger than the limit of {limit} bytes"
            )
        return given.decode().removesuffix("\n")
    except UnicodeError as error:
        raise ConfigError(f"the {what} is not UTF-8 text: {error}") from None
