"""Attacks on the key-value machine."""

from __future__ import annotations

import json
from typing import Any

from tests.process.attacks.amplification import Arena, Attack
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


def large_registers(arena: Arena) -> None:
    """Registers as large as a command, set, read by the hundred, compared, added to."""
    for text in ("x" * 990_000, "\0" * 160_000, "\U0001d518" * 80_000, "\\" * 480_000):
        arena.perform(command("set", value=text))
        arena.perform(*[command("cas", old="no", new="x")] * arena.scale(20, 200))
        arena.perform(*[command("add", amount=1)] * arena.scale(20, 200))
        arena.perform(*[get()] * arena.scale(20, 200))
    arena.perform(command("set", key="\0" * 160_000, value=1), get("x" * 990_000))


def numbers_that_grow(arena: Arena) -> None:
    """Numbers whose canonical text is several times as long as what was sent."""
    for item in ("1e15", "9" * 4000, "1e308", "-0.0", "1E-7", "9" * 400_000):
        numbers = ",".join([item] * (950_000 // (len(item) + 1)))
        arena.perform(raw(f'{{"op":"set","key":"k","value":[{numbers}]}}'))
        arena.perform(raw(f'{{"op":"cas","key":"k","old":[{numbers}],"new":1}}'))
        arena.perform(get())
    arena.perform(raw(f'{{"op":"add","key":"n","amount":{"9" * 900_000}}}'))


def commands_of_any_form(arena: Arena) -> None:
    """Depth, width, unknown and repeated fields, text that is no JSON."""
    for value in (
        "[" * 150 + "]" * 150,
        "[" * 450_000 + "]" * 450_000,
        '{"a":' * 150 + "0" + "}" * 150,
        '{"a":' * 150_000 + "0" + "}" * 150_000,
        "{" + ",".join(f'"{n}":0' for n in range(80_000)) + "}",
        "[" * 900_000,
    ):
        for op in ('"set"', '"add","amount"', value):
            arena.perform(raw(f'{{"op":{op},"key":"k","value":{value}}}'[:1_000_000]))
    unknown = ",".join(f'"u{n}":0' for n in range(80_000))
    arena.perform(raw(f'{{"op":"set","key":"k","value":1,{unknown}}}'))
    arena.perform(raw('{"op":"set","key":"k","value":1,"' + "u" * 900_000 + '":0}'))
    arena.perform(raw('{"op":"' + "o" * 900_000 + '"}'), raw("x" * 990_000), raw("\0" * 160_000))


def replies_of_sessions(arena: Arena) -> None:
    """Large replies that grow when escaped, kept for many sessions; then copies of the state."""
    arena.perform(command("set", value="\U0001d518" * 80_000))
    large_set = command("set", value="\0" * 150_000)
    for _ in range(arena.scale(4, 100)):
        session = (arena.ask("OpenSession", lifetime_ms=600_000) or {}).get("Ok")
        if session is None:
            continue
        with arena.connect() as attacker:
            commands = [large_set, *[command("cas", old=0, new=0)] * arena.scale(8, 60)]
            fields = (
                {"request": one, "session": {"id": session, "sequence": number}}
                for number, one in enumerate(commands, 1)
            )
            arena.count(attacker.requests(fields, 40))
    arena.ask("TakeSnapshot", timeout_ms=20_000)


def write_register(arena: Arena) -> None:
    """A write as any client sends it, read back from every node."""
    (written,) = arena.perform(command("set", key="normal", value="still here"))
    assert '"ok":true' in written["Write"]["response"], written
    for node in arena.cluster.nodes.values():
        (seen,) = arena.perform(get("normal"), node=node)
        assert "still here" in seen["Read"]["response"]


ATTACKS: tuple[Attack, ...] = (
    large_registers,
    numbers_that_grow,
    commands_of_any_form,
    replies_of_sessions,
)
