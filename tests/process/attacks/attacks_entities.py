"""Attacks on the entity store: small requests with much work, memory, state or output.

The first ones stopped nodes of version 0.1.0, and are kept exactly as they were found.
"""

from __future__ import annotations

from tests.process.attacks.amplification import Attack, AttackContext
from tests.process.attacks.attacker import Json
from tests.process.attacks.entity_requests import (
    create,
    delete,
    field,
    read,
    set_schema,
    update,
    write,
)

#: Nearly the maximum size of a command.
_LARGE = 1_000_000


def _ids(response: list[Json]) -> list[Json]:
    """The ids in the responses to `CreateEntity`."""
    bodies = [one["CreateEntity"]["response"] for one in response if one and "CreateEntity" in one]
    return [body for body in bodies if body is not None]


# --- found in 0.1.0 ---------------------------------------------------------------------------------


def references_with_a_long_type_name(context: AttackContext) -> None:
    """3,000 reads of a reference with a name of 900 kB, in one write, and in one read."""
    context.perform(set_schema("Link", field("EntityReference", "Target", None)))
    link = context.create("Link")
    target = {"EntityReference": {"typ": "x" * 900_000, "id": 1}}
    context.perform(update(write(link, "Target", target)))
    reads = [read(link, "Target")] * 3000
    context.perform(update(*reads, write(link, "Target", {"EntityReference": None})))
    context.perform(update(write(link, "Target", target)))
    context.perform(update(*reads))


def writers_with_a_long_type_name(context: AttackContext) -> None:
    """The same through `writer_id`."""
    context.perform(set_schema("Link", field("EntityReference", "Target", None)))
    link = context.create("Link")
    writer = {"typ": "\0" * 150_000, "id": 1}
    none = {"EntityReference": None}
    context.perform(update(write(link, "Target", none, writer=writer)))
    reads = [read(link, "Target")] * 3000
    context.perform(update(*reads, write(link, "Target", none)))
    context.perform(update(write(link, "Target", none, writer=writer)))
    context.perform(update(*reads))


def creates_with_a_large_default(context: AttackContext) -> None:
    """A type with a default of 1 MB and 3,000 entities of it, while clients take snapshots and read."""
    context.perform(set_schema("Fat", field("String", "Text", "x" * (_LARGE - 1000))))
    made = _ids(context.perform(*[create("Fat")] * context.scale(200, 3000)))
    context.ask("SaveSnapshot", timeout_ms=20_000)
    if made:
        context.perform(update(*[read(one, "Text") for one in made[:3000]]))
        context.perform(*[update(write(one, "Text", None)) for one in made[:100]])


def ancestors_with_large_defaults(context: AttackContext) -> None:
    """90 ancestors with defaults of 1 MB; then the complete schema of the last type, and an entity of it."""
    count = context.scale(10, 90)
    schemas = [
        set_schema(
            f"Level{n}",
            field("String", f"Text{n}", "x" * (_LARGE - 1000)),
            inherit=f"Level{n - 1}" if n else None,
        )
        for n in range(count)
    ]
    context.perform(*schemas)
    for n in (count - 1, count // 2, 0):
        context.perform(*[{"GetCompleteSchema": {"entity_type": f"Level{n}"}}] * 5)
        context.perform(*[create(f"Level{n}")] * 5)


def schema_of_many_entities(context: AttackContext) -> None:
    """`SetSchema` of a type with many entities: another default, another kind, one field less."""
    one, other = field("Int", "Count", 1), field("String", "Text", "x")
    context.perform(set_schema("Crowd", one, other))
    context.perform(*[create("Crowd")] * context.scale(2_000, 150_000))
    for fields in (
        (field("Int", "Count", 2), other),
        (field("String", "Count", "now a text"), other),
        (one,),
        (one, other, field("Blob", "Bytes", [1] * 100)),
    ):
        context.perform(set_schema("Crowd", *fields))


def many_children(context: AttackContext) -> None:
    """100,000 entities under one parent; its list is read in full, in parts and by index, then written and deleted."""
    context.perform(
        set_schema("Tree", field("EntityList", "Children", []), field("String", "Name", ""))
    )
    root = context.create("Tree")
    count = context.scale(1_000, 100_000)
    made = _ids(context.perform(*[create("Tree", root)] * count))
    context.perform(update(read(root, "Children")), update(*[read(root, "Children")] * 3000))
    context.perform(update(*[read(root, f"Children->0:{count}")] * 3000))
    context.perform(update(*[read(root, f"Children->{count - 2}->Name")] * 5000))
    context.perform(*[delete(child) for child in made[: count // 4]])
    context.perform(update(write(root, "Children", None)))
    context.perform(delete(root))


# --- values -----------------------------------------------------------------------------------------


def adds_that_double(context: AttackContext) -> None:
    """Thousands of `Add` of a large default in one small request, for each kind that supports `Add`."""
    ids = [{"typ": "", "id": number} for number in range(context.scale(4_000, 30_000))]
    kinds: dict[str, object] = {"String": "x" * 900_000, "Blob": [1] * 400_000, "EntityList": ids}
    for kind, default in kinds.items():
        context.perform(set_schema(f"Add{kind}", field(kind, "Sum", default)))
        entity = context.create(f"Add{kind}")
        adds = [write(entity, "Sum", None, "Add")] * 3000
        context.perform(update(*adds))
        context.perform(*[update(add) for add in adds[: context.scale(3, 30)]])
        context.perform(update(*[write(entity, "Sum", None, "Subtract")] * 3000))


def null_writes_of_a_large_default(context: AttackContext) -> None:
    """Each write has no value and returns 900 kB."""
    context.perform(set_schema("Default", field("String", "Text", "\\" * 450_000)))
    entity = context.create("Default")
    context.perform(*[update(*[write(entity, "Text", None)] * 3000)] * context.scale(2, 5))


def lists_of_children_that_clients_write(context: AttackContext) -> None:
    """Lists as large as a command: of one id, of many, of an ancestor; added, subtracted, and as a default."""
    many: list[Json] = [{"typ": "", "id": number} for number in range(context.scale(4_000, 40_000))]
    same: list[Json] = [{"typ": "", "id": 1}] * context.scale(4_000, 50_000)
    context.perform(set_schema("List", field("EntityList", "Children", [])))
    context.perform(set_schema("Listed", field("EntityList", "Children", many)))
    one, other = context.create("List"), context.create("Listed")
    for ids in (many, same):
        value = {"EntityList": ids}
        context.perform(update(write(one, "Children", value)))
        context.perform(update(write(one, "Children", value, "Add")))
        context.perform(update(write(one, "Children", value, "Subtract")))
    context.perform(update(*[write(other, "Children", None)] * 3000))
    context.perform(update(*[write(other, "Children", None, "Add")] * 3000))
    context.perform(
        create("List", other), update(write(one, "Children", {"EntityList": [one] * 9000}))
    )
    context.perform(delete(one), delete(other))


def paths(context: AttackContext) -> None:
    """Paths with very many segments, empty segments and huge indexes, thousands in a request."""
    context.perform(
        set_schema(
            "Round", field("EntityReference", "Next", None), field("EntityList", "Children", [])
        )
    )
    entity = context.create("Round")
    itself = {"EntityReference": entity}
    context.perform(update(write(entity, "Next", itself)))
    context.perform(update(write(entity, "Children", {"EntityList": [entity] * 100})))
    for path in (
        "Next->" * 160_000 + "Next",
        "Next->" * 19_000 + "Next",
        "->" * 450_000,
        "Children->0->" * 70_000 + "Next",
        f"Children->{'9' * 900_000}->Next",
        f"Children->{'0' * 900_000}->Next",
        f"Children->0:{'9' * 18}",
        "Children->" * 90_000,
    ):
        context.perform(*[update(read(entity, path))] * context.scale(1, 10))
        context.perform(update(write(entity, path, itself)))
    context.perform(update(*[read(entity, "Next->" * 10 + "Children->0:100")] * 5000))
    context.perform(delete(entity))


def circles_of_children(context: AttackContext) -> None:
    """Cyclic lists: each of many entities lists all of them, so a deletion visits them all."""
    context.perform(set_schema("Circle", field("EntityList", "Children", [])))
    made = _ids(context.perform(*[create("Circle")] * context.scale(60, 200)))
    everyone = {"EntityList": made}
    context.perform(*[update(write(one, "Children", everyone)) for one in made])
    context.perform(*[delete(one) for one in made])


# --- types ------------------------------------------------------------------------------------------


def many_types_below_a_wide_one(context: AttackContext) -> None:
    """A type with 1,000 fields, thousands of subtypes with an entity each; then the base type changes."""
    count = context.scale(110, 2_000)

    def base(default: int) -> Json:
        return set_schema("Wide", *(field("Int", f"F{n}", default) for n in range(1000)))

    context.perform(base(0))
    context.perform(*(set_schema(f"Sub{n}", inherit="Wide") for n in range(count)))
    context.perform(*(create(f"Sub{n}") for n in range(count)))
    for default in range(1, context.scale(3, 30)):
        context.perform(base(default))
    context.perform(*[{"GetCompleteSchema": {"entity_type": "Sub1"}}] * context.scale(10, 100))
    context.perform(set_schema("Wide"))


def schemas_of_every_size(context: AttackContext) -> None:
    """Thousands of choices, names, fields and ancestors, and a cycle of inheritance."""
    choice = field("Choice", "Pick", 0)
    choice["Choice"]["choices"] = [str(n) for n in range(90_000)]
    context.perform(set_schema("Chooser", choice))
    context.perform(*[create("Chooser")] * 100, *[{"GetSchema": {"entity_type": "Chooser"}}] * 20)
    context.perform(set_schema("x" * 900_000), create("x" * 900_000))
    context.perform(set_schema("Widest", *(field("Bool", f"F{n}", True) for n in range(7_000))))
    chain = [set_schema(f"Chain{n}", inherit=f"Chain{n - 1}" if n else None) for n in range(150)]
    context.perform(*chain, set_schema("Chain0", inherit="Chain99"))
    context.perform(*(set_schema(f"Many{n}") for n in range(context.scale(500, 12_000))))


def defaults_that_older_entities_keep(context: AttackContext) -> None:
    """The large default changes repeatedly, and an entity is created after each change."""
    for n in range(context.scale(10, 300)):
        context.perform(
            set_schema("Old", field("String", "Text", f"{n}" + "x" * 500_000)), create("Old")
        )


def large_names_of_entities(context: AttackContext) -> None:
    """Names of 1 MB of characters that grow when escaped."""
    context.perform(set_schema("Named", field("String", "Name", "")))
    made = _ids(context.perform(*[create("Named", name="\0" * 160_000)] * context.scale(10, 60)))
    context.perform(update(*[read(one, "Name") for one in made * 50]))
    context.perform(*map(delete, made))


ATTACKS: tuple[Attack, ...] = (
    references_with_a_long_type_name,
    writers_with_a_long_type_name,
    creates_with_a_large_default,
    ancestors_with_large_defaults,
    schema_of_many_entities,
    many_children,
    adds_that_double,
    null_writes_of_a_large_default,
    lists_of_children_that_clients_write,
    paths,
    circles_of_children,
    many_types_below_a_wide_one,
    schemas_of_every_size,
    defaults_that_older_entities_keep,
    large_names_of_entities,
)
