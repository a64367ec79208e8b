"""Searches places for secrets, in every form in which one could be written; and watches the list of processes."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

#: A line of a PEM file, or another part of a secret, that is long enough to be no coincidence.
_LONG: Final = 12
_SCAN_EVERY_S: Final = 0.02


class Secrets:
    """Everything that no place may hold."""

    def __init__(self) -> None:
        self._forms: dict[str, dict[bytes, None]] = {}

    def add(self, name: str, secret: str | bytes) -> None:
        """Add a secret: also as base64, as hex, and as part of a URL."""
        raw = secret.encode() if isinstance(secret, str) else secret
        assert len(raw) >= 8, f"{name} is too short to be searched for"
        forms = self._forms.setdefault(name, {})
        for form in (
            raw,
            raw.hex().encode(),
            base64.b64encode(raw).rstrip(b"="),
            base64.urlsafe_b64encode(raw).rstrip(b"="),
            quote(raw).encode(),
        ):
            forms[form] = None

    def add_password(self, user: str, password: str) -> None:
        """Add a password, and what HTTP Basic makes of it."""
        self.add(f"the password {password}", password)
        self.add(f"the password {password}", base64.b64encode(f"{user}:{password}".encode()))

    def add_token(self, name: str, token: str) -> None:
        """Add a token, and its signature."""
        self.add(name, token)
        self.add(name, token.rpartition(".")[2])

    def add_hash(self, name: str, password_hash: str) -> None:
        """Add a hash of argon2, and its salt and its digest."""
        for part in (password_hash, *password_hash.split("$")[-2:]):
            self.add(name, part)

    def add_pem(self, path: Path) -> None:
        """Add the private key in a PEM file: its lines, and the bytes."""
        found = re.findall(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END", path.read_text(), re.DOTALL
        )
        assert found, path
        for body in found:
            for line in body.split():
                if len(line) >= _LONG:
                    self.add(f"the key {path.name}", line)
            self.add(f"the key {path.name}", base64.b64decode(body))

    def found_in(self, content: str | bytes, *, allowed: tuple[str, ...] = ()) -> list[str]:
        """The names of the secrets in a text or in bytes, except those that may be there."""
        data = content.encode(errors="surrogatepass") if isinstance(content, str) else content
        return [
            name
            for name, forms in self._forms.items()
            if name not in allowed and any(form in data for form in forms)
        ]


class Places:
    """What was written to each place.

    Attributes:
        blind: the places where the search has missed what must be there.
    """

    def __init__(self) -> None:
        self.blind: list[str] = []
        self._contents: list[tuple[str, bytes, tuple[str, ...]]] = []

    def add(
        self, place: str, content: str | bytes, control: str, *, allowed: tuple[str, ...] = ()
    ) -> None:
        """Add what a place holds.

        Args:
            place: its name.
            content: all of it.
            control: a text that must be there. Without it the search has looked at the wrong place.
            allowed: the names of the secrets that are printed there on purpose.
        """
        data = content.encode(errors="surrogatepass") if isinstance(content, str) else content
        if control.encode() not in data:
            self.blind.append(f"{place} does not hold {control!r}: {data[-1000:]!r}")
        self._contents.append((place, data, allowed))

    def leaks(self, secrets: Secrets) -> dict[str, list[str]]:
        """Place -> the secrets in it."""
        found: dict[str, list[str]] = {}
        for place, data, allowed in self._contents:
            names = secrets.found_in(data, allowed=allowed)
            if names:
                found.setdefault(place, []).extend(names)
        return found

    def __len__(self) -> int:
        return len(self._contents)


class ProcessList:
    """Collects the command lines of all processes, until the context ends."""

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._collect, name="process list")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def text(self) -> bytes:
        """All command lines, one a line."""
        return b"\n".join([*self._seen])

    def _collect(self) -> None:
        while not self._ended.wait(_SCAN_EVERY_S):
            for process in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):  # the process has ended
                    line = Path("/proc", process, "cmdline").read_bytes()
                    self._seen[line.replace(b"\0", b" ")] = None
