"""What each message of a client needs, once there are users: one table. A message without a row is refused."""

from __future__ import annotations

from typing import Final, Literal

from qcore.machines.permissions import Action
from qcore.store_api.message_table import STORE_MESSAGES

#: What a message needs:
#:
#: - an `Action`: a role that allows it.
#: - `everything`: the role `admin`.
#: - `user`: any user. The replica or the handler of the message checks what it needs besides.
#: - `nothing`: no user.
Need = Action | Literal["everything", "user", "nothing"]

#: By the name on the wire. The replica checks reads, writes, watches and changes of users by itself, because what
#: these need depends on their content.
MESSAGE_NEEDS: Final[dict[str, Need]] = {
    "Authenticate": "nothing",
    **dict.fromkeys(("GetFounder", "PromiseFounding", "AcceptFounding"), "nothing"),
    "WhoAmI": "nothing",
    "Perform": "user",
    **dict.fromkeys(STORE_MESSAGES, "user"),
    "StoreRegisterNotification": "user",
    "RegisterNotification": "user",
    "WatchChanges": "user",
    "StoreUnregisterNotification": "user",
    "UnregisterNotification": "user",
    "UnwatchChanges": "user",
    "StoreGetNotificationConfigs": "user",
    "GetNotificationConfigs": "user",
    "OpenSession": "user",
    "KeepSession": "user",
    "CloseSession": "user",
    "GetMetrics": "observe",
    "GetActivity": "observe",  # its handler keeps back what needs `manage`
    "Init": "manage",
    "AddLearner": "everything",  # a new member gets the whole state, and its key signs tokens for all users
    "AddJoinToken": "everything",
    "ListJoinTokens": "manage",
    "DeleteJoinToken": "manage",
    "ChangeMembership": "manage",
    "MoveMember": "manage",
    "TransferLeader": "manage",
    "ReinstallMember": "manage",
    "UpgradeMachine": "manage",
    "SaveSnapshot": "everything",  # a snapshot holds the whole state, and the password hashes
    "ReadSnapshot": "everything",
    "SetUser": "user",
    "DeleteUser": "user",
    "RevokeTokens": "user",
    "SetRole": "user",
    "DeleteRole": "user",
    "ListUsers": "users",
    "ListRoles": "users",
    "CreateToken": "user",
}

#: The HTTP pages that need no user: orchestrators ask for them, and the dashboard is the same page for everyone.
OPEN_PAGES: Final = ("/livez", "/readyz", "/")
