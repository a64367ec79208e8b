"""A client: it begins a cluster if there is none, sets a schema, creates, writes, watches and reads entities.

Start a node first, or a cluster:

    qcore node start --id 1 --ws-addr 127.0.0.1:8080 --data-dir data/1 &
    python examples/client.py 127.0.0.1:8080
"""

# ruff: noqa: T201 - an example prints for the person who runs it

from __future__ import annotations

import asyncio
import sys

from qcore import Client, OutcomeUnknown, QcoreError
from qcore.client import Entity, WriteField


def field(kind: str, name: str, default: object, rank: int) -> dict[str, object]:
    """One field of a schema."""
    permissions = {"read_permission": None, "write_permission": None}
    return {kind: {"field_type": name, "default_value": default, "rank": rank, **permissions}}


ACCOUNT = {
    "entity_type": "Account",
    "inherit": None,
    "fields": {
        "Name": field("String", "Name", "", 0),
        "Balance": field("Int", "Balance", 0, 1),
    },
}


async def deposit(client: Client, account: Entity, amount: int) -> None:
    """Add to a balance. The client repeats the write until it knows the outcome, and it takes effect once."""
    try:
        await client.write(account, "Balance", amount, adjust_behavior="Add")
    except OutcomeUnknown as error:  # the cluster did not answer in time: look before you repeat
        balance = await client.read(account, "Balance")
        print(f"it is unknown whether {amount} was added ({error}); the balance is {balance}")


async def main(endpoints: list[str]) -> None:
    """Create two accounts, move money atomically, watch it arrive, and read it back."""
    async with Client(endpoints) as client:
        metrics = await client.get_metrics()
        if metrics["qcore"]["cluster_id"] is None:
            await client.init()  # a new node: begin a cluster of it alone

        await client.set_schema(ACCOUNT)
        ada = await client.create_entity("Account", "ada")
        grace = await client.create_entity("Account", "grace")
        print(f"created {ada.entity_id} and {grace.entity_id}")

        await asyncio.gather(*(deposit(client, ada, 10) for _ in range(10)))

        async with client.watch(entity=grace, field_type="Balance") as changes:
            # One update is one log entry: both writes take effect, or neither.
            await client.update(
                [
                    WriteField(ada, "Balance", 30, adjust_behavior="Subtract"),
                    WriteField(grace, "Balance", 30, adjust_behavior="Add"),
                ]
            )
            async for change in changes:
                print(f"grace had {change.previous_value} and now has {change.current_value}")
                break

        for account in (ada, grace):
            print(f"{account['Name']} has {await client.read(account, 'Balance')}")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:] or ["127.0.0.1:8080"]))
    except QcoreError as error:
        sys.exit(f"error: {error}")
