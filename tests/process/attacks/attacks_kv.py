"""Attacks on the key-value machine."""

from __future__ import annotations

import json
from typing import Any

from tests.process.attacks.amplification import Attack, AttackContext
from tests.process.attacks.attacker import Json


def command(op: str, key: str = "k", **fields: Any) -> Json:
    """A command as `Perform.request`."""
    return {"Write": json.dumps({"op": op, "key": key, **fields})}


def raw(text: str) -> Json:
    """A command with exactly this text."""
    return {"Write": text}


def get(key: str = "k") -> Json:
    """A query as `Perform.request`."""
    return {"Read": json.dumps({"op": "get", "key": key})}


def large_registers(context: AttackContext) -> None:
    """Registers as large as a command: set, read hundreds of times, compared, added to."""
    for text in ("x" * 990_000, "\0" * 160_000, "\U0001d518" * 80_000, "\\" * 480_000):
        context.perform(command("set", value=text))
        context.perform(*[command("cas", old="no", new="x")] * context.scale(20, 200))
        context.perform(*[command("add", amount=1)] * context.scale(20, 200))
        context.perform(*[get()] * context.scale(20, 200))
    context.perform(command("set", key="\0" * 160_000, value=1), get("x" * 990_000))


def numbers_that_grow(context: AttackContext) -> None:
    """Numbers whose canonical text is several times as long as the text that was sent."""
    for item in ("1e15", "9" * 4000, "1e308", "-0.0", "1E-7", "9" * 400_000):
        numbers = ",".join([item] * (950_000 // (len(item) + 1)))
        context.perform(raw(f'{{"op":"set","key":"k","value":[{numbers}]}}'))
        context.perform(raw(f'{{"op":"cas","key":"k","old":[{numbers}],"new":1}}'))
        context.perform(get())
    context.perform(raw(f'{{"op":"add","key":"n","amount":{"9" * 900_000}}}'))


def commands_of_any_form(context: AttackContext) -> None:
    """Deep and wide JSON, unknown and repeated fields, text that is not JSON."""
    for value in (
        "[" * 150 + "]" * 150,
        "[" * 450_000 + "]" * 450_000,
        '{"a":' * 150 + "0" + "}" * 150,
        '{"a":' * 150_000 + "0" + "}" * 150_000,
        "{" + ",".join(f'"{n}":0' for n in range(80_000)) + "}",
        "[" * 900_000,
    ):
        for op in ('"set"', '"add","amount"', value):
            context.perform(raw(f'{{"op":{op},"key":"k","value":{value}}}'[:1_000_000]))
    unknown = ",".join(f'"u{n}":0' for n in range(80_000))
    context.perform(raw(f'{{"op":"set","key":"k","value":1,{unknown}}}'))
    context.perform(raw('{"op":"set","key":"k","value":1,"' + "u" * 900_000 + '":0}'))
    context.perform(raw('{"op":"' + "o" * 900_000 + '"}'), raw("x" * 990_000), raw("\0" * 160_000))


def responses_of_sessions(context: AttackContext) -> None:
    """Many sessions keep large results that grow when escaped; then clients take snapshots."""
    context.perform(command("set", value="\U0001d518" * 80_000))
    large_set = command("set", value="\0" * 150_000)
    for _ in range(context.scale(4, 100)):
        session = (context.ask("OpenSession", lifetime_ms=600_000) or {}).get("Ok")
        if session is None:
            continue
        with context.connect() as attacker:
            commands = [large_set, *[command("cas", old=0, new=0)] * context.scale(8, 60)]
            fields = (
                {"request": one, "session": {"id": session, "sequence": number}}
                for number, one in enumerate(commands, 1)
            )
            context.count(attacker.requests(fields, 40))
    context.ask("SaveSnapshot", timeout_ms=20_000)


def write_register(context: AttackContext) -> None:
    """Write as any client does, and read the value back from every node."""
    (written,) = context.perform(command("set", key="normal", value="still here"))
    assert '"ok":true' in written["Write"]["response"], written
    for node in context.cluster.nodes.values():
        (seen,) = context.perform(get("normal"), node=node)
        assert "still here" in seen["Read"]["response"]


ATTACKS: tuple[Attack, ...] = (
    large_registers,
    numbers_that_grow,
    commands_of_any_form,
    responses_of_sessions,
)
