"""A plant: simulated sensors write their values, and an alarm watcher reports each value beyond a limit.

The topology plant.yaml holds the site, its areas, machines and sensors:

    qcore node start --id 1 --ws-addr 127.0.0.1:8080 --data-dir data/plant --topology examples/plant/plant.yaml &
    qcore cluster init --endpoints 127.0.0.1:8080
    python examples/plant/plant.py 127.0.0.1:8080 --seconds 5
"""

# ruff: noqa: T201 - an example prints for the person who runs it

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from collections.abc import Mapping
from contextlib import suppress

from qcore import Client, QcoreError
from qcore.client import Choice, Entity, EntityId, FieldChange, Value, WriteField
from qcore.errors import EntityNotFound

STEP_S = 0.1
OK, LOW, HIGH = Choice(0), Choice(1), Choice(2)  # of the field Alarm

#: What a notification brings along, read just after the write: so the watcher sends no request for it.
CONTEXT = [
    "Name",
    "Parent->Name",
    "Parent->Parent->Name",
    "Parent->Operator",
    "Unit",
    "LowLimit",
    "HighLimit",
    "Alarm",
]


async def simulate(client: Client) -> None:
    """Write a value for every sensor, again and again. Each goes up and down, a little beyond its limits."""
    sensors = [
        await client.get_entity(sensor, ["LowLimit", "HighLimit"])
        async for sensor in client.entities("Sensor")
    ]
    step = 0
    while True:
        writes = [
            WriteField(sensor, "Value", value_at(sensor, step + 5 * place))
            for place, sensor in enumerate(sensors)
        ]
        await client.update(writes)  # one command: all values of a step, or none
        step += 1
        await asyncio.sleep(STEP_S)


def value_at(sensor: Entity, step: int) -> float:
    """The value of a sensor in this step."""
    low, high = sensor["LowLimit"], sensor["HighLimit"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    return round((low + high) / 2 + 0.6 * (high - low) * math.sin(step / 4), 2)


async def report_alarms(client: Client) -> None:
    """Watch the values of all sensors. Record and print each alarm that begins or ends."""
    alarms: dict[EntityId, Choice] = {}
    async for change in client.watch(entity_type="Sensor", field_type="Value", context=CONTEXT):
        with suppress(EntityNotFound):  # the sensor was deleted meanwhile
            await check(client, change, alarms)


async def check(client: Client, change: FieldChange, alarms: dict[EntityId, Choice]) -> None:
    """Compare a value with its limits. `alarms` has the alarms that were written."""
    sensor, about = change.entity_id, change.context
    if about is None:  # sent again after a lost connection: read what it does not bring along
        entity = await client.get_entity(sensor, CONTEXT)
        about = {path: field.value for path, field in entity.fields.items()}
    match change.current_value, about["LowLimit"], about["HighLimit"]:
        case float(value), float(low), float(high):
            alarm = HIGH if value > high else LOW if value < low else OK
        case _:
            return  # the sensor was deleted
    # The context may be older than the alarm that was written last.
    if alarm != alarms.get(sensor, about["Alarm"]):
        alarms[sensor] = alarm
        await client.write(sensor, "Alarm", alarm)
        print(message(value, about, alarm), flush=True)


def message(value: float, about: Mapping[str, Value], alarm: Choice) -> str:
    """One line about an alarm, which names the sensor by its machine and area."""
    place = ", ".join(str(about[path]) for path in ("Parent->Parent->Name", "Parent->Name"))
    reading = f"{place}: {about['Name']!s} is {value} {about['Unit']!s}"
    if alarm == OK:
        return f"ok     {reading}"
    side, limit = ("above", "HighLimit") if alarm == HIGH else ("below", "LowLimit")
    return f"ALARM  {reading}, {side} {about[limit]!s}: call {about['Parent->Operator']!s}"


async def main(endpoints: list[str], seconds: float | None) -> None:
    """Watch and write until the time is over."""
    async with Client(endpoints) as client:
        work = asyncio.gather(report_alarms(client), simulate(client))
        try:
            await asyncio.wait_for(work, seconds)
        except TimeoutError:
            print("the time is over")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("endpoints", nargs="*", default=["127.0.0.1:8080"])
    parser.add_argument("--seconds", type=float, help="end after this time; default: never")
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.endpoints, arguments.seconds))
    except QcoreError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
