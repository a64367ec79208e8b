"""A client in 40 lines without qcore: init, metrics, create, write, read and watch, with `websockets` alone.
qcore node start --id 1 --ws-addr 127.0.0.1:8080 --data-dir data/raw &
python examples/raw_client.py ws://127.0.0.1:8080"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect

NO = {"read_permission": None, "write_permission": None}
NAME = {"field_type": "Name", "default_value": "", "rank": 0, **NO}
TANK = {"entity_type": "Tank", "inherit": None, "fields": {"Name": {"String": NAME}}}
READ = {"field_type": "Name", "value": None, "write_time": None, "writer_id": None}
WRITE = {**READ, "value": {"String": "T2"}, "push_condition": "Always", "adjust_behavior": "Set"}
WATCH = {"field_type": "Name", "trigger_on_change": True, "context": []}


async def main(url: str = "ws://127.0.0.1:8080") -> None:
    socket = await anext(_all := aiter(connect(url, proxy=None)))  # waits until a node listens

    async def ask(kind: str, **fields: object) -> dict:
        await socket.send(json.dumps({kind: {"id": kind, **fields}}))  # choose any id
        while True:
            ((name, message),) = json.loads(await socket.recv()).items()
            print(name, str(message.get("response", message))[:150])  # noqa: T201
            if message.get("id") == kind:  # it is the response; a notification has no id
                return message.get("response", {}).get("Ok")  # an error is in "Err"

    await ask("Init", nodes=[])  # this node alone; an error if it belongs to a cluster already
    await ask("GetMetrics")
    await ask("StoreSetEntitySchema", schema=TANK)
    tank = await ask("StoreCreateEntity", entity_type="Tank", parent_id=None, name="T1")
    it = {"entity_id": tank["entity_id"]}
    await ask("StoreRegisterNotification", config={"EntityId": {**it, **WATCH}})
    for request in ({"Write": {**it, **WRITE}}, {"Read": {**it, **READ}}):
        await ask("StorePerform", requests=[request])


asyncio.run(main(*sys.argv[1:]))
