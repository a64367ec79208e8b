"""`Passwords`: hashes and checks passwords in threads, a few at a time, and slows down who guesses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Final, Self

from qcore.errors import Overloaded, Unauthenticated
from qcore.node.access.failed_logins import FailedLogins, source_of
from qcore.replica.access.access_records import MAX_NAME_CHARS, User
from qcore.replica.access.access_table import AccessTable
from qcore.runtime.interface import Runtime
from qcore.security.users.password import SALT_BYTES, PasswordHashing

#: How many hashes are computed at a time. Each takes a core for 20 ms, and 19 MiB.
_AT_A_TIME: Final = 2
#: How many may wait, in all and from one address.
_MAX_WAITING: Final = 64
_MAX_WAITING_OF_SOURCE: Final = 8
_BUSY_MS: Final = 500
#: The same for a user that does not exist, one without a password, and a wrong password.
_WRONG: Final = "the user does not exist, or the password is wrong"


class Passwords:
    """Checks the passwords of users.

    Args:
        users: the replicated users.
        runtime: the world that the node runs in.
        hashing: makes and checks hashes.
        catch_up: waits until the users here are the newest ones, or until it is clear that they cannot be soon.
    """

    def __init__(
        self,
        users: AccessTable,
        runtime: Runtime,
        hashing: PasswordHashing,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._users = users
        self._runtime = runtime
        self._hashing = hashing
        self._catch_up = catch_up
        self._failures = FailedLogins()
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        #: How many requests of each source wait or are computed.
        self._waiting: dict[str, int] = {}

    def place(self, remote: str, user: str | None = None) -> Place:
        """A place among the passwords that wait. Take it before you make a task, so that places bound the tasks.

        Args:
            remote: where the request came from.
            user: whose password is to be checked; None for a new password.

        Raises:
            Overloaded: too many wait, or too many attempts failed.
        """
        source = source_of(remote)
        if user is not None:
            self._check_wait(source, _known_part(user))
        waiting = self._waiting.get(source, 0)
        if waiting >= _MAX_WAITING_OF_SOURCE or sum(self._waiting.values()) >= _MAX_WAITING:
            raise Overloaded.because("too many passwords wait to be checked", _BUSY_MS)
        self._waiting[source] = waiting + 1
        return Place(self, source)

    async def hash(self, password: str) -> str:
        """The hash of a new password. The caller has a place."""
        salt = self._runtime.random_bytes(SALT_BYTES)
        async with self._slots:
            return await self._runtime.run_long(partial(self._hashing.hash, password, salt))

    async def check(self, place: Place, user: str, password: str) -> User:
        """The user with this name and password.

        A client that has just added the user, or set its password, may reach a node that has not applied this yet.

        Raises:
            Unauthenticated: there is none.
            Overloaded: too many attempts failed.
        """
        source, user = place.source, _known_part(user)
        tried, found = await self._match(source, user, password)
        if found is None:
            await self._catch_up()
            if self._hash_of(user) != tried:
                _, found = await self._match(source, user, password)
        if found is not None:
            return found
        self._failures.failed(source, user, self._runtime.seconds())
        raise Unauthenticated(_WRONG)

    async def _match(self, source: str, user: str, password: str) -> tuple[str, User | None]:
        """The hash that was tried, and the user if the password is right."""
        async with self._slots:
            self._check_wait(source, user)  # others may have failed meanwhile
            tried = self._hash_of(user)
            matches = await self._runtime.run_long(partial(self._hashing.matches, tried, password))
        found = self._users.user(user)
        if matches and found is not None and found.password_hash == tried:
            return tried, found
        return tried, None

    def _hash_of(self, user: str) -> str:
        found = self._users.user(user)
        return "" if found is None else found.password_hash

    def _check_wait(self, source: str, user: str) -> None:
        wait_s = self._failures.wait_s(source, user, self._runtime.seconds())
        if wait_s > 0:
            raise Overloaded.because(
                "too many logins of this address or user have failed", int(wait_s * 1000) + 1
            )

    def release(self, source: str) -> None:
        """Give back a place. `Place` does."""
        left = self._waiting.pop(source) - 1
        if left:
            self._waiting[source] = left


class Place:
    """A place among the passwords that wait. Leaving the `with` statement gives it back.

    Attributes:
        source: whose place it is; see `source_of`.
    """

    __slots__ = ("_passwords", "source")

    def __init__(self, passwords: Passwords, source: str) -> None:
        self._passwords = passwords
        self.source = source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._passwords.release(self.source)


def _known_part(user: str) -> str:
    """The name as far as it matters: no user has a longer one, and failures are remembered by name."""
    return user[: MAX_NAME_CHARS + 1]
