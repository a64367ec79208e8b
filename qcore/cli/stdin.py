"""A request or command that is given as an argument, or as `-` on standard input."""

from __future__ import annotations

import sys

from qcore.errors import ConfigError


def argument_or_stdin(argument: str, what: str) -> str:
    """The argument itself; for `-` what standard input holds, without the newline at its end.

    Args:
        argument: as given.
        what: what it is, for an error.

    Raises:
        ConfigError: it is no UTF-8 text, or standard input is closed or holds more than a node takes in a
            frame by default.
    """
    from qcore.transport.limits import TransportLimits

    limit = TransportLimits().max_frame_bytes
    try:
        if argument != "-":
            argument.encode()  # what is no UTF-8 on the command line arrives as lone surrogates
            return argument
        if sys.stdin is None:
            raise ConfigError(f"the {what} is to come from standard input, which is closed")
        given = sys.stdin.buffer.read(limit + 1)
        if len(given) > limit:
            raise ConfigError(
                f"the {what} on standard input is larger than {limit} bytes, the most that this command sends"
            )
        return given.decode().removesuffix("\n")
    except UnicodeError as error:
        raise ConfigError(f"the {what} is not UTF-8 text: {error}") from None
