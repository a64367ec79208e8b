"""`Place`: where founders are looked for, as the setting `discover` names it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from qcore.errors import ConfigError
from qcore.transport.address import Address

#: A name that founders announce: one part of a DNS name, because mDNS sends it as one.
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?")
_FORMS: Final = "static:HOST:PORT, dns:NAME:PORT or mdns:NAME"
#: The most places.
_MAX_PLACES: Final = 64


@dataclass(slots=True, frozen=True)
class Place:
    """A place where founders may be.

    Attributes:
        kind: how to look.
        address: of `static` the address; of `dns` the name, and the port at each of its addresses.
        name: of `mdns`: the name that founders announce.
    """

    kind: Literal["static", "dns", "mdns"]
    address: Address | None = None
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name or self.address}"


def places_of(texts: Sequence[str]) -> list[Place]:
    """The places that the setting `discover` names.

    Raises:
        ConfigError: a text names none.
    """
    if len(texts) > _MAX_PLACES:
        raise ConfigError(f"discover: {len(texts)} places are named; {_MAX_PLACES} are allowed")
    return [_place(text) for text in texts]


def _place(text: str) -> Place:
    kind, _, rest = text.partition(":")
    if kind == "mdns":
        if _NAME.fullmatch(rest) is None:
            raise ConfigError(
                f"discover: {text!r:.80}: the name after mdns: has from 1 to 40 letters, digits and hyphens"
            )
        return Place("mdns", name=rest)
    if kind == "dns":
        return Place("dns", _address(rest, text))
    return Place("static", _address(rest if kind == "static" else text, text))


def _address(text: str, whole: str) -> Address:
    try:
        return Address.parse(text, "discover")
    except ConfigError as error:
        raise ConfigError(f"{error}; {whole!r:.80} must be {_FORMS}") from None
