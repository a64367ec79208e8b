"""More rights end old credentials: tokens, and passwords that a user with fewer rights knows."""

from __future__ import annotations

import pytest

from qcore.replica.access.access_commands import (
    AccessCommand,
    DeleteUser,
    SetPassword,
    SetRole,
    SetUser,
)
from qcore.replica.access.access_records import ADMIN, EntityRule, Role
from tests.replica.access.test_access_table import HASH, Log, restored, with_users

READS = EntityRule("User", "*", "read")


def epoch_of(log: Log, name: str) -> int:
    user = log.table.user(name)
    assert user is not None
    return user.epoch


def with_carol() -> Log:
    """As `with_users`; `carol` has the role `clerk`, and a password from `root`."""
    log = with_users()
    log.ok(SetRole(Role("clerk", (), (READS,))))
    log.ok(SetUser("carol", HASH, ("clerk",)))
    return log


@pytest.mark.parametrize(
    ("command", "ends"),
    [
        (SetUser("carol", None, (ADMIN,)), True),
        (SetUser("carol", None, ("clerk", "ops")), True),
        (SetUser("carol", None, ()), False),
        (SetUser("carol", None, ("clerk", "same")), False),
        (SetRole(Role("clerk", ("write",), (READS,))), True),
        (SetRole(Role("clerk", (), (EntityRule("*", "*", "read"),))), True),
        (SetRole(Role("clerk", (), (READS,), ("p",))), True),
        (SetRole(Role("clerk", (), (READS,))), False),
        (SetRole(Role("clerk", (), (EntityRule("User", "Age", "read"),))), False),
        (SetRole(Role("same", ("users",), (READS,))), False),
    ],
)
def test_more_rights_end_the_tokens_of_before(command: AccessCommand, ends: bool) -> None:
    """Else who made a token for a user of few rights gets all that the user is given later."""
    log = with_carol()
    log.ok(SetRole(Role("same", (), (EntityRule("User", "Age", "read"),))))
    before = epoch_of(log, "carol"), epoch_of(log, "root"), epoch_of(log, "ann")
    log.ok(command)
    assert (epoch_of(log, "carol") > before[0]) is ends
    assert (epoch_of(log, "root"), epoch_of(log, "ann")) == before[1:]
    copy, _ = restored("".join(log.table.dump()))
    assert copy.digest == log.table.digest
    assert [user.epoch for user in copy.users()] == [user.epoch for user in log.table.users()]


def test_a_token_ended_by_its_role_stays_ended_without_it() -> None:
    log = with_carol()
    log.ok(SetRole(Role("clerk", ("write",), (READS,))))
    grown = epoch_of(log, "carol")
    assert grown == log.index
    log.ok(SetUser("carol", None, ()))
    assert epoch_of(log, "carol") == grown


def test_administrators_gain_nothing_from_roles_that_grow() -> None:
    log = with_carol()
    log.ok(SetUser("root", None, (ADMIN, "clerk")))
    before = epoch_of(log, "root")
    log.ok(SetRole(Role("clerk", ("write",), (READS,))))
    assert epoch_of(log, "root") == before


def carol_of_ann(*more: AccessCommand) -> Log:
    """`ann`, who may change users but is no administrator, has given `carol` a password. `carol` sent `more`."""
    log = with_users()
    log.ok(SetUser("carol", HASH, ()), "ann")
    for command in more:
        log.ok(command, "carol")
    return log


@pytest.mark.parametrize("more", [(), (SetPassword("carol", HASH + "2"),)])
def test_who_knows_a_password_gains_no_more_with_it(more: tuple[AccessCommand, ...]) -> None:
    """A change by `carol` does not count, because `ann`, who knows her password, can make it."""
    log = carol_of_ann(*more)
    assert log.refused(SetUser("carol", None, (ADMIN,))) == "password_known"
    copy, _ = restored("".join(log.table.dump()))
    assert copy.user("carol") == log.table.user("carol")
    log.ok(SetUser("carol", HASH + "3", (ADMIN,)))
    log.ok(SetUser("carol", None, ()))
    log.ok(SetUser("carol", None, (ADMIN,)))


def test_a_password_of_a_removed_user_is_known_as_well() -> None:
    log = carol_of_ann()
    log.ok(SetRole(Role("clerk", (), (READS,))))
    log.ok(DeleteUser("ann"))
    assert log.refused(SetUser("carol", None, ("clerk",))) == "password_known"
    log.ok(SetUser("carol", "", None))
    log.ok(SetUser("carol", None, ("clerk",)))


def test_roles_of_the_one_who_set_the_password_may_be_given() -> None:
    log = carol_of_ann()
    log.ok(SetUser("carol", None, ("ops",)), "ann")


def test_a_role_grows_only_if_no_outsider_knows_a_password() -> None:
    log = carol_of_ann()
    log.ok(SetRole(Role("clerk", (), (READS,))), "ann")
    log.ok(SetUser("carol", None, ("clerk",)), "ann")
    grown = SetRole(Role("clerk", ("manage",), (READS,)))
    assert log.refused(grown) == "password_known"
    log.ok(SetUser("ann", None, ("clerk", "ops")))
    log.ok(grown)
