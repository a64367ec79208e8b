"""Users, roles and join tokens: which commands are valid, and that every replica has the same table."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core.entry import Entry
from qcore.errors import AccessRefused, PermissionDenied, QcoreError
from qcore.machines.permissions import ACTIONS
from qcore.replica.access import access_table, access_text
from qcore.replica.access.access_commands import (
    AccessCommand,
    AddJoinToken,
    DeleteJoinToken,
    DeleteRole,
    DeleteUser,
    RevokeTokens,
    SetPassword,
    SetRole,
    SetUser,
    UseJoinToken,
    command_text,
    parse_command,
    shown_text,
)
from qcore.replica.access.access_records import ADMIN, EntityRule, Role
from qcore.replica.access.access_table import AccessTable

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b31dWJWJTmaaJObG"

NAMES = st.sampled_from(["root", "ann", "bob", "ops", "x"])
HASHES = st.sampled_from(["", HASH, HASH + "2"])
RULES = st.builds(
    EntityRule,
    st.sampled_from(["*", "User", "é"]),
    st.sampled_from(["*", "Age", 'a"b\\']),
    st.sampled_from(["read", "write"]),
)
ROLES = st.builds(
    Role,
    NAMES,
    st.lists(st.sampled_from(ACTIONS), max_size=3, unique=True).map(
        lambda found: tuple(sorted(found, key=ACTIONS.index))
    ),
    st.lists(RULES, max_size=3, unique=True).map(tuple),
    st.lists(st.sampled_from(["Permission$1", "p"]), max_size=2, unique=True).map(tuple),
)
ROLE_NAMES = st.lists(st.sampled_from([ADMIN, "ops", "x"]), max_size=2, unique=True).map(
    lambda found: tuple(sorted(found))
)
IDS = st.sampled_from(["t1", "t2"])
COMMANDS: st.SearchStrategy[AccessCommand] = st.one_of(
    st.builds(SetUser, NAMES, st.none() | HASHES, st.none() | ROLE_NAMES),
    st.builds(SetPassword, NAMES, HASHES),
    st.builds(DeleteUser, NAMES),
    st.builds(RevokeTokens, NAMES),
    st.builds(SetRole, ROLES),
    st.builds(DeleteRole, NAMES),
    st.builds(AddJoinToken, IDS, st.just("ed25519:x"), st.integers(0, 40)),
    st.builds(DeleteJoinToken, IDS),
    st.builds(UseJoinToken, IDS),
)
KEYS = st.sampled_from(["set_user", "set_role", "name", "password_hash", "roles", "rules"])
JSON: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | HASHES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)
#: The user of each command, and the command. Most come from an administrator.
HISTORIES = st.lists(
    st.tuples(st.sampled_from(["root", "root", "root", "ann", "bob", ""]), COMMANDS), max_size=30
)


class Log:
    """A table, and the next index of its log."""

    def __init__(self) -> None:
        self.table = AccessTable()
        self.index = 0

    def send(self, command: AccessCommand, user: str = "") -> QcoreError | None:
        """Apply a command of a user. Returns its error."""
        self.index += 1
        entry = Entry(self.index, 1, "access", command_text(command), 0, self.index, user)
        _, error = self.table.apply(entry)
        return error

    def ok(self, command: AccessCommand, user: str = "root") -> None:
        """Apply a command that succeeds."""
        assert self.send(command, user) is None

    def refused(self, command: AccessCommand, user: str = "root") -> str:
        """Apply a command that is refused. Returns the reason."""
        before = self.table.digest
        error = self.send(command, user)
        assert self.table.digest == before
        if isinstance(error, PermissionDenied):
            return "denied"
        assert isinstance(error, AccessRefused)
        return error.name


def with_users() -> Log:
    """An administrator `root`, and `ann`, who has the role `ops`: she may write and change users."""
    log = Log()
    log.ok(SetUser("root", HASH, (ADMIN,)), "")
    log.ok(SetRole(Role("ops", ("write", "users"), (EntityRule("User", "*", "read"),))))
    log.ok(SetUser("ann", HASH, ("ops",)))
    return log


def restored(text: str) -> tuple[AccessTable, int]:
    """The table from a text, and where the text goes on."""
    table = AccessTable()
    loading = table.load(text)
    while True:
        try:
            next(loading)
        except StopIteration as end:
            return table, int(end.value)


@given(HISTORIES)
def test_a_dump_restores_the_same_table(history: list[tuple[str, AccessCommand]]) -> None:
    log = Log()
    for user, command in history:
        log.send(command, user)
        copy, at = restored("".join(log.table.dump()) + '{"sessions":0}\n{}')
        assert at == len("".join(log.table.dump()))
        assert copy.digest == log.table.digest
        assert (copy.digest == "") == (not [*copy.dump()])
        assert copy.users() == log.table.users()
        assert copy.roles() == log.table.roles()
        assert copy.join_tokens() == log.table.join_tokens()
        lines = "".join(copy.dump()).splitlines(keepends=True)[1:]
        assert copy._bytes == log.table._bytes == sum(len(line.encode()) for line in lines)


@given(HISTORIES, st.integers(0, 30))
def test_replicas_agree_also_after_a_snapshot(
    history: list[tuple[str, AccessCommand]], cut: int
) -> None:
    one, other = Log(), Log()
    for number, (user, command) in enumerate(history):
        if number == cut:
            other.table, _ = restored("".join(other.table.dump()))
        first, second = one.send(command, user), other.send(command, user)
        assert (type(first), str(first)) == (type(second), str(second))
        assert one.table.digest == other.table.digest


@given(HISTORIES)
def test_there_is_always_an_admin_once_there_are_users(
    history: list[tuple[str, AccessCommand]],
) -> None:
    log, was_active = Log(), False
    for user, command in history:
        log.send(command, user)
        was_active = was_active or log.table.active
        assert log.table.active == was_active
        assert was_active == any(ADMIN in each.roles for each in log.table.users())


@given(HISTORIES, COMMANDS)
def test_no_user_gets_more_than_the_sender_has(
    history: list[tuple[str, AccessCommand]], command: AccessCommand
) -> None:
    log = Log()
    for user, earlier in history:
        log.send(earlier, user)
    held = log.table.permissions_of("ann")
    if held is None or held.unrestricted or not held.may("users"):
        return
    before = {each.name: log.table.permissions_of(each.name) for each in log.table.users()}
    log.send(command, "ann")
    for each in log.table.users():
        after, earlier_grants = log.table.permissions_of(each.name), before.get(each.name)
        assert after is not None
        for action in ACTIONS:
            had = earlier_grants is not None and earlier_grants.may(action)
            assert not after.may(action) or had or held.may(action)


@given(COMMANDS)
def test_a_command_is_read_as_it_was_written(command: AccessCommand) -> None:
    text = command_text(command)
    assert parse_command(text) == command
    assert HASH not in shown_text(text)
    assert HASH not in repr(command)


@given(st.text() | JSON.map(json.dumps))
def test_other_data_is_refused_without_quoting_it(text: str) -> None:
    reason = ""
    try:
        parse_command(text)
    except ValueError as error:
        reason = str(error)
    assert "$argon2id$v" not in reason


def test_first_user_is_an_admin() -> None:
    log = Log()
    assert log.refused(SetUser("ann", HASH, ()), "") == "first_admin"
    assert log.refused(SetRole(Role("ops")), "") == "no_users"
    assert log.refused(SetPassword("ann", HASH), "") == "no_users"
    assert log.table.permissions_of("anything") is None
    log.ok(SetUser("root", "", (ADMIN,)), "")
    assert log.table.permissions_of("root") is not None
    for unknown in ("", "unknown"):
        permissions = log.table.permissions_of(unknown)
        assert permissions is not None
        assert not any(map(permissions.may, ACTIONS))
        assert not permissions.may_read("User", "Age")


def test_last_admin_stays() -> None:
    log = with_users()
    assert log.refused(DeleteUser("root")) == "last_admin"
    assert log.refused(SetUser("root", None, ("ops",))) == "last_admin"
    log.ok(SetUser("bob", None, (ADMIN,)))
    log.ok(DeleteUser("root"), "bob")
    assert log.refused(DeleteUser("bob"), "bob") == "last_admin"


def test_a_role_in_use_stays() -> None:
    log = with_users()
    assert log.refused(DeleteRole("ops")) == "role_in_use"
    log.ok(SetUser("ann", None, ()))
    log.ok(DeleteRole("ops"))
    assert log.refused(SetUser("ann", None, ("ops",))) == "no_such_role"


def test_no_escalation_by_users_who_change_users() -> None:
    log = with_users()
    for command in (
        SetUser("eve", HASH, (ADMIN,)),
        SetUser("ann", None, (ADMIN,)),
        SetUser("root", HASH, None),
        SetPassword("root", HASH),
        RevokeTokens("root"),
        DeleteUser("root"),
        SetRole(Role("ops", ("write", "users", "manage"))),
        SetRole(Role("more", (), (EntityRule("*", "Age", "read"),))),
        SetRole(Role("more", (), (EntityRule("User", "Age", "write"),))),
        SetRole(Role("more", (), (), ("Permission$1",))),
    ):
        assert log.refused(command, "ann") == "denied", command
    log.ok(SetRole(Role("less", ("write",), (EntityRule("User", "Age", "read"),))), "ann")
    log.ok(SetUser("eve", HASH, ("less",)), "ann")
    assert log.refused(SetUser("bob", HASH, ()), "eve") == "denied"


def test_a_user_changes_its_password_and_tokens_itself() -> None:
    log = with_users()
    log.ok(SetUser("eve", HASH, ()))
    log.ok(SetPassword("eve", HASH + "2"), "eve")
    log.ok(RevokeTokens("eve"), "eve")
    assert log.refused(SetPassword("ann", HASH), "eve") == "denied"
    assert log.refused(SetPassword("unknown", HASH), "unknown") == "no_such_user"


def test_epochs_only_grow_also_for_a_user_made_again() -> None:
    log, epochs = with_users(), []
    for command in (
        SetUser("eve", HASH, ()),
        SetPassword("eve", HASH),
        RevokeTokens("eve"),
        SetUser("eve", HASH, None),
        DeleteUser("eve"),
        SetUser("eve", HASH, ()),
    ):
        log.ok(command)
        user = log.table.user("eve")
        if user is not None:
            epochs.append(user.epoch)
    assert all(one < other for one, other in pairwise(epochs))
    log.ok(SetUser("eve", None, ("ops",)))
    found = log.table.user("eve")
    assert found is not None
    assert found.epoch == log.index  # it has gained rights


def test_join_tokens_are_used_once_before_they_expire() -> None:
    log = Log()
    log.ok(AddJoinToken("a", "ed25519:x", 10), "")
    assert log.refused(AddJoinToken("a", "ed25519:x", 10), "") == "exists"
    log.ok(UseJoinToken("a"), "")
    assert log.refused(UseJoinToken("a"), "") == "no_such_token"
    log.ok(AddJoinToken("b", "ed25519:x", log.index + 1), "")
    log.index += 5
    assert log.refused(UseJoinToken("b"), "") == "no_such_token"
    log.ok(AddJoinToken("b", "ed25519:x", 100), "")  # the expired one is gone
    log = with_users()
    assert log.refused(AddJoinToken("a", "ed25519:x", 100), "ann") == "denied"
    assert log.refused(AddJoinToken("a", "ed25519:x", 100), "") == "denied"
    log.ok(SetRole(Role("keeper", ("read", "write", "observe", "manage"))))
    log.ok(SetUser("olga", HASH, ("keeper",)))
    assert (
        log.refused(AddJoinToken("a", "ed25519:x", 100), "olga") == "denied"
    )  # it gets everything
    log.ok(AddJoinToken("a", "ed25519:x", 100))
    assert log.refused(UseJoinToken("a"), "ann") == "denied"
    assert log.refused(DeleteJoinToken("a"), "ann") == "denied"
    log.ok(DeleteJoinToken("a"))


def test_numbers_and_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    log = with_users()
    monkeypatch.setattr(access_table, "MAX_USERS", 2)
    monkeypatch.setattr(access_table, "MAX_ROLES", 1)
    monkeypatch.setattr(access_table, "MAX_JOIN_TOKENS", 0)
    assert log.refused(SetUser("eve", HASH, ())) == "too_many"
    assert log.refused(SetRole(Role("more"))) == "too_many"
    assert log.refused(AddJoinToken("a", "ed25519:x", 100)) == "too_many"
    log.ok(SetUser("ann", HASH, ()))
    monkeypatch.setattr(access_table, "MAX_TABLE_BYTES", log.table._bytes)
    assert log.refused(SetUser("ann", HASH + "x", None)) == "too_many"
    log.ok(SetUser("ann", HASH[:-1], None))


@pytest.mark.parametrize(
    "make",
    [
        lambda: SetUser("", None, ()),
        lambda: SetUser("a" * 65),
        lambda: SetUser("a b"),
        lambda: SetUser("é"),
        lambda: SetUser("ann", "password"),
        lambda: SetUser("ann", "$argon2id$" + "x" * 512),
        lambda: SetUser("ann", "$argon2id$a b"),
        lambda: SetUser("ann", None, ("r",) * 33),
        lambda: SetPassword("ann", "$2b$"),
        lambda: SetRole(Role("r", ("fly",))),  # type: ignore[arg-type]  # what a client may send
        lambda: SetRole(Role("r", (), (EntityRule("", "a", "read"),))),
        lambda: SetRole(Role("r", (), (EntityRule("é" * 129, "a", "read"),))),
        lambda: SetRole(Role("r", (), (EntityRule("a", "\ud800", "read"),))),
        lambda: SetRole(Role("r", (), (EntityRule("a", "b", "read"),) * 257)),
        lambda: SetRole(Role("r", (), (), ("p",) * 257)),
        lambda: AddJoinToken("t", "a key", 1),
        lambda: AddJoinToken("t", "k", 2**63),
        lambda: AddJoinToken("t", "k", -1),
    ],
)
def test_parts_of_commands_are_bounded(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r".") as caught:
        make()
    assert "$2b$" not in str(caught.value)


def test_a_large_table_is_written_and_read_in_parts() -> None:
    log = with_users()
    for number in range(1500):
        log.ok(SetUser(f"user{number}", HASH, ("ops",)))
    parts = [*log.table.dump()]
    assert len(parts) > 3
    assert max(map(len, parts)) < 2 * access_text.PART_CHARS
    loading = AccessTable().load("".join(parts))
    assert sum(1 for _ in loading) > 2


def test_a_dump_is_that_of_its_moment() -> None:
    log = with_users()
    text = "".join(log.table.dump())
    begun = log.table.dump()
    log.ok(SetUser("eve", HASH, ()))
    assert "".join(begun) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"access":[1,0]}\n',
        '{"access":[1,0,0]}\n["ann"]\n',
        '{"access":[1,0,0]}\n["ann","password",[],1,1]\n',
        '{"access":[0,1,0]}\n["r",["fly"],[],[]]\n',
        '{"access":[0,1,0]}\n["r",[],[["a","b"]],[]]\n',
        '{"access":[0,0,1]}\n["t","k",-1,1]\n',
        '{"access":[0,0,1]}\n',
    ],
)
def test_a_malformed_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        restored(text)
