"""`MachineMethods`: commands and queries of a state machine other than the entity store."""

from __future__ import annotations

from qcore.client.methods.call_options import Consistency
from qcore.client.methods.method_base import ClientMethods
from qcore.client.request_sender import Json
from qcore.client.sessions.session import ClientSession
from qcore.display import truncate
from qcore.errors import ConfigError


class MachineMethods(ClientMethods):
    """The method for state machines whose commands, queries and results are text."""

    async def execute(
        self,
        command: str,
        *,
        read: bool = False,
        consistency: Consistency | None = None,
        session: ClientSession | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """Send a command, or with `read` a query, to a cluster whose state machine is not the entity store.

        Args:
            command: the command or query, in the format of the state machine.
            read: send a query, which changes nothing.
            consistency: how a query is served: `linearizable` (the default), `lease`, `follower` or
                `qcore.client.Stale(milliseconds)`.
            session: the session in which a command takes effect once. By default the client uses one that it opened.
            timeout_s: how long it may take, with all retries; by default the client's `timeout_s`.

        Returns:
            The state machine's result, whatever the options.

        Raises:
            ConfigError: `consistency` was given for a command, or `session` for a query.
            OutcomeUnknown: the command may or may not take effect.
            StoreError: the state machine rejects the query.
            QcoreError: every attempt was rejected until the timeout; the command had no effect.
        """
        if not isinstance(command, str):
            raise ConfigError(
                f"command: {truncate(repr(command))} is not a text: encode it in the format of the state machine"
            )
        if read:
            if session is not None:
                raise ConfigError("session: a query changes nothing, so it needs no session")
            return await self._read(
                "Perform",
                {"request": {"Read": command}},
                _text,
                {"consistency": consistency, "timeout_s": timeout_s},
            )
        if consistency is not None:
            raise ConfigError("consistency: it is for queries: give read=True, or leave it out")
        return await self._write(
            "Perform",
            {"request": {"Write": command}},
            _text,
            {"session": session, "timeout_s": timeout_s},
        )


def _text(result: Json) -> str:
    if not isinstance(result, str):
        raise ValueError("expected a text")
    return result
