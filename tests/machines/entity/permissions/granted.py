"""A store with protected fields, and users with given rules."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any  # requests and results are JSON, compared without a type

from qcore.errors import BadRequest, PermissionDenied
from qcore.machines.permissions import Permissions
from qcore.replica.access.access_records import EntityRule, Role
from qcore.replica.access.grants import Grants
from tests.machines.entity.harness import FOLDER, OBJECT, USER, StoreHarness, field, schema

READERS, WRITERS = "Permission$7", "Permission$8"
EMPLOYEE = schema(
    "Employee",
    "User",
    field(
        "Int",
        "Salary",
        3000,
        read_permission={"typ": "Permission", "id": 7},
        write_permission={"typ": "Permission", "id": 8},
    ),
)
ADMIN = Grants("root", (), unrestricted=True)
DENIED = PermissionDenied.code


def user(needed: Iterable[str]) -> Grants:
    """A user with these rules, such as `User.Age:r`, and permissions, such as `Permission$7`."""
    rules: list[EntityRule] = []
    permissions: list[str] = []
    for text in needed:
        if "$" in text:
            permissions.append(text)
            continue
        where, _, access = text.partition(":")
        entity_type, _, name = where.partition(".")
        rules.append(EntityRule(entity_type, name, "read" if access == "r" else "write"))
    role = Role("role", ("read", "write"), tuple(rules), tuple(permissions))
    return Grants("ann", [role])


class Company(StoreHarness):
    """A folder `top` with an employee `ann`, whose manager is `bob`; both are users. `ann` has the friend `bob`."""

    def __init__(self) -> None:
        super().__init__(OBJECT, FOLDER, USER, EMPLOYEE)
        self.top = self.create("Folder", name="top")
        self.other = self.create("Folder", name="other")
        self.bob = self.create("User", self.top, "bob")
        self.ann = self.create("Employee", self.top, "ann")
        friends = {"EntityList": [self.bob]}
        self.do(ADMIN, "StorePerform", requests=[self.set(self.ann, "Friends", friends)])
        manager = {"EntityReference": self.bob}
        self.do(ADMIN, "StorePerform", requests=[self.set(self.ann, "Manager", manager)])

    @staticmethod
    def set(entity_id: object, path: str, value: object, **more: object) -> dict[str, Any]:
        """A write."""
        body = {
            "entity_id": entity_id,
            "field_type": path,
            "value": value,
            "push_condition": "Always",
            "adjust_behavior": "Set",
            "write_time": None,
            "writer_id": None,
            **more,
        }
        return {"Write": body}

    def do(self, permissions: Permissions | None, request: str, /, **fields: object) -> Any:
        """Execute a request for a user, as a query if it only reads. Returns the whole result."""
        payload = json.dumps({request: fields})
        try:
            return json.loads(self.store.query_as(payload, permissions))
        except PermissionDenied as error:
            return {"detail": error.detail()}
        except BadRequest:
            context = self.context()
            context.permissions = permissions
            return json.loads(self.store.apply(payload, context))


def code(result: Any) -> str | None:
    """The code of the error in a result; None if it succeeded."""
    if "response" in result or "detail" in result:
        detail = result.get("detail")
    else:
        (content,) = result.values()
        detail = content.get("detail")
    return None if detail is None else str(detail["code"])
