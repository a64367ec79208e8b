"""Password hashes: argon2id (RFC 9106) in PHC form, which the log and snapshots hold instead of passwords."""

from __future__ import annotations

from typing import Final, Protocol

from qcore.errors import Refused

#: Bounds of a new password. The upper one keeps a request from costing more than others.
MIN_CHARS: Final = 8
MAX_BYTES: Final = 1024
SALT_BYTES: Final = 16

#: The cost of a hash: a recommendation of the OWASP Password Storage Cheat Sheet. About 20 ms.
_TIME_COST: Final = 2
_MEMORY_KIB: Final = 19 * 1024
_PARALLELISM: Final = 1
_HASH_BYTES: Final = 32

#: The hash of no password, with the same cost. It is compared for a user that does not exist, so that the response
#: takes as long as for one that does.
NOBODYS_HASH: Final = (
    f"$argon2id$v=19$m={_MEMORY_KIB},t={_TIME_COST},p={_PARALLELISM}$AAAAAAAAAAAAAAAAAAAAAA$"
    + "A" * 43
)


class PasswordHashing(Protocol):
    """Hashes passwords and compares them with hashes. Both take long: call them by `Runtime.run_long`."""

    def hash(self, password: str, salt: bytes) -> str:
        """See `hash_password`."""
        ...

    def matches(self, password_hash: str, password: str) -> bool:
        """See `is_password_of`."""
        ...


class Argon2:
    """The hashes of real nodes."""

    def hash(self, password: str, salt: bytes) -> str:
        """See `hash_password`."""
        return hash_password(password, salt)

    def matches(self, password_hash: str, password: str) -> bool:
        """See `is_password_of`."""
        return is_password_of(password_hash, password)


ARGON2: Final = Argon2()


def check_new_password(password: str) -> None:
    """Check a password that a user is to get.

    Raises:
        Refused: it is too short or too long. The text does not show it.
    """
    if len(password) < MIN_CHARS:
        raise Refused(f"the password has fewer than {MIN_CHARS} characters: choose a longer one")
    if len(password.encode(errors="surrogatepass")) > MAX_BYTES:
        raise Refused(f"the password has more than {MAX_BYTES} bytes: choose a shorter one")


def hash_password(password: str, salt: bytes) -> str:
    """The hash of a password. It takes milliseconds: do not call it on an event loop.

    Args:
        password: what `check_new_password` accepts.
        salt: `SALT_BYTES` random bytes.
    """
    from argon2.low_level import Type, hash_secret

    return hash_secret(
        _bytes(password), salt, _TIME_COST, _MEMORY_KIB, _PARALLELISM, _HASH_BYTES, Type.ID
    ).decode()


def is_password_of(password_hash: str, password: str) -> bool:
    """Whether the hash is one of this password. It takes as long as `hash_password`, also for an empty hash."""
    from argon2.exceptions import Argon2Error, InvalidHashError
    from argon2.low_level import Type, verify_secret

    compared = password_hash or NOBODYS_HASH
    try:
        verify_secret(compared.encode(), _bytes(password[:MAX_BYTES]), Type.ID)
    except (Argon2Error, InvalidHashError):
        return False
    return bool(password_hash) and len(password) <= MAX_BYTES


def _bytes(password: str) -> bytes:
    return password.encode(errors="surrogatepass")
