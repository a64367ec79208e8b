"""What the access table holds: users, roles and join tokens, and the bounds of their parts."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from qcore.compiled_build import register_copies
from qcore.core.text_size import lone_surrogate, utf8_length
from qcore.machines.permissions import ACTIONS, Action

#: The built-in role that allows everything. It is not in the table.
ADMIN: Final = "admin"

#: Bounds of the table. Part of the replicated rules: the same on every replica, not configuration.
MAX_USERS: Final = 10_000
MAX_ROLES: Final = 1_000
MAX_JOIN_TOKENS: Final = 256
MAX_ROLES_OF_USER: Final = 32
MAX_RULES_OF_ROLE: Final = 256
MAX_PERMISSIONS_OF_ROLE: Final = 256
#: All rows as text, bytes.
MAX_TABLE_BYTES: Final = 4 * 1024 * 1024
#: A type, a field or a permission in a role, bytes.
MAX_RULE_BYTES: Final = 256
#: A password hash, characters. An argon2id hash has about 100.
MIN_HASH_CHARS: Final = 64
MAX_HASH_CHARS: Final = 512
#: Numbers are below this.
NUMBER_LIMIT: Final = 2**63

#: The longest name of a user, role or join token.
MAX_NAME_CHARS: Final = 64
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_HASH: Final = re.compile(r"\$argon2id\$[A-Za-z0-9+/.,=$-]+")
_REDACTED: Final = "$argon2id$redacted$"
_KEY: Final = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True)
class EntityRule:
    """Allows one kind of access to fields of the entity store.

    Attributes:
        type: a type, which stands for the types that inherit it, too; `*` for all.
        field: a field; `*` for every field; it also allows to create and delete entities.
        access: `read` or `write`. Neither includes the other.
    """

    type: str
    field: str
    access: Literal["read", "write"]


@dataclass(frozen=True)
class Role:
    """What its users may do.

    Attributes:
        name: 1 to 64 letters, digits, `_`, `.`, `@` or `-`, not at the beginning but for letters and digits.
        actions: in the order of `ACTIONS`.
        rules: for the entity store.
        permissions: what `read_permission` and `write_permission` of fields ask for, such as `Permission$12`.
        grown: the log index at which it last got more than before; 0 if it never did. Older tokens of its users are
            invalid. The table sets it.
    """

    name: str
    actions: tuple[Action, ...] = ()
    rules: tuple[EntityRule, ...] = ()
    permissions: tuple[str, ...] = ()
    grown: int = 0


@dataclass(frozen=True)
class User:
    """One user.

    Attributes:
        name: as of a role.
        password_hash: argon2id, in PHC form; empty for a user that cannot log in with a password.
        roles: names of roles, sorted.
        epoch: raised with each new password, each revocation, and roles that give more rights. A token of an earlier
            epoch is invalid.
        created: the log index of its creation. It distinguishes a user from a deleted one with the same name.
        password_by: who knows the password, or knew the one before it: the user who set it for this one, if that is
            not `admin`. A later change by the user itself keeps it, because who knows a password can change it.
    """

    name: str
    password_hash: str = field(repr=False)
    roles: tuple[str, ...]
    epoch: int
    created: int
    password_by: str = ""


@dataclass(frozen=True)
class JoinToken:
    """Lets one new node join.

    Attributes:
        id: names the token.
        key: the token's public key.
        expires_us: the cluster clock at which it ends.
        created: the log index of its creation.
    """

    id: str
    key: str
    expires_us: int
    created: int


def check_name(name: str, what: str) -> None:
    """Check the name of a user, role or join token.

    Raises:
        ValueError: it is not valid.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{what} is 1 to 64 letters, digits, `_`, `.`, `@` or `-` and begins with a letter or digit"
        )


def check_hash(password_hash: str) -> None:
    """Check the form of a password hash, which may be empty.

    Raises:
        ValueError: it is not valid. The text does not show it.
    """
    in_bounds = MIN_HASH_CHARS <= len(password_hash) <= MAX_HASH_CHARS
    if password_hash and not (in_bounds and _HASH.fullmatch(password_hash)):
        raise ValueError(
            f"password_hash is an argon2id hash in PHC form of {MIN_HASH_CHARS} to {MAX_HASH_CHARS} characters"
        )


def redacted(text: str) -> str:
    """The text with each password hash replaced by a digest of it, of the same form and length.

    What is redacted already stays the same. So a recording without hashes replays to the same digests.
    """
    return _HASH.sub(_redacted_hash, text)


def _redacted_hash(found: re.Match[str]) -> str:
    held = found[0]
    if held.startswith(_REDACTED):
        return held
    digest = hashlib.sha256(held.encode()).hexdigest()
    return (_REDACTED + digest * (len(held) // len(digest) + 1))[: len(held)]


def check_key(key: str) -> None:
    """Check the form of a join token's public key.

    Raises:
        ValueError: it is not valid.
    """
    if not _KEY.fullmatch(key):
        raise ValueError("key is 1 to 128 visible ASCII characters")


def check_roles(roles: tuple[str, ...]) -> None:
    """Check the names of a user's roles.

    Raises:
        ValueError: one is not valid, or there are too many.
    """
    if len(roles) > MAX_ROLES_OF_USER:
        raise ValueError(f"a user has at most {MAX_ROLES_OF_USER} roles")
    for role in roles:
        check_name(role, "the name of a role")


def check_role(role: Role) -> None:
    """Check the parts of a role.

    Raises:
        ValueError: one is not valid.
    """
    check_name(role.name, "the name of a role")
    for action in role.actions:
        if action not in ACTIONS:
            raise ValueError(f"an action is one of {', '.join(ACTIONS)}")
    if len(role.rules) > MAX_RULES_OF_ROLE:
        raise ValueError(f"a role has at most {MAX_RULES_OF_ROLE} rules")
    if len(role.permissions) > MAX_PERMISSIONS_OF_ROLE:
        raise ValueError(f"a role has at most {MAX_PERMISSIONS_OF_ROLE} permissions")
    for rule in role.rules:
        _check_text(rule.type, "the type of a rule")
        _check_text(rule.field, "the field of a rule")
        if rule.access not in ("read", "write"):
            raise ValueError("the access of a rule is read or write")
    for permission in role.permissions:
        _check_text(permission, "a permission")


def check_number(number: int, what: str) -> None:
    """Check a number of a command.

    Raises:
        ValueError: it is not valid.
    """
    if not 0 <= number < NUMBER_LIMIT:
        raise ValueError(f"{what} is at least 0 and has at most 63 bits")


def _check_text(text: str, what: str) -> None:
    if not text or utf8_length(text) > MAX_RULE_BYTES or lone_surrogate(text) is not None:
        raise ValueError(f"{what} has 1 to {MAX_RULE_BYTES} bytes")


register_copies(globals())
