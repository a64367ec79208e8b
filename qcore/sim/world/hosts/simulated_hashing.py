"""`SimulatedHashing`: the password hashes of simulated nodes.

Argon2 takes 20 ms and 19 MiB for each login by design. Here a hash has the same form and depends on the same salt and
password, but is a plain digest: a run must not wait, and there is nothing to protect.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final


class SimulatedHashing:
    """See `qcore.security.users.password.PasswordHashing`."""

    def hash(self, password: str, salt: bytes) -> str:
        """A digest in the form of a hash of argon2id."""
        return _hash(password, salt.hex())

    def matches(self, password_hash: str, password: str) -> bool:
        """Whether the hash is one of this password."""
        salt = password_hash.split("$")[-2:-1]
        return bool(salt) and _hash(password, salt[0]) == password_hash


def _hash(password: str, salt: str) -> str:
    digest = sha256(f"{salt} {password}".encode(errors="surrogatepass")).hexdigest()
    return f"$argon2id$v=19$m=8,t=1,p=1${salt}${digest}"


SIMULATED_HASHING: Final = SimulatedHashing()
