"""Writes docs/scenarios.md from the models of a scenario: `python -m tests.docs.scenario_page`.

`make fix` runs it, and a test compares the page with the models. The prose is in `scenarios.template.md`. A line
`<!-- keys: network.links -->` there becomes the description of a model with the table of its keys, `<!-- actions -->`
becomes all actions, and `<!-- form: Distribution -->` the description of a short form. A model that the template does
not name gets a section after the model that holds it, so a new key needs no change here.
"""

from __future__ import annotations

import inspect
import re
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from qcore.sim.scenario.actions.registry import ACTIONS, REPAIRS, REVERSIBLE
from qcore.sim.scenario.distributions import Distribution
from qcore.sim.scenario.generated.random_faults_spec import RandomFault
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.specs.node_settings import NodeSettings
from qcore.sim.scenario.specs.setting_keys import SETTING_KEYS
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.values import Count, Selector
from tests.checkout import CHECKOUT, DOCS
from tests.docs.scenario_examples import Example, examples_of_actions, flow

PAGE = DOCS / "scenarios.md"
TEMPLATE = CHECKOUT / "tests" / "docs" / "scenarios.template.md"

Model = type[BaseModel]

#: Models that a file writes in a short form only, which the prose explains.
FORMS: dict[Model, str] = {
    Distribution: "[distribution](#distributions)",
    Selector: "[nodes](#names-of-nodes)",
    Count: "[count](#counts)",
}
#: Fields of items that a file writes in another way.
NOT_WRITTEN = ("actions", "random_actions")
#: Keys that a model reads before it checks its fields: the key, its value and its meaning.
MORE_KEYS: dict[Model, list[tuple[str, str, str]]] = {
    Item: [
        ("an action, such as `crash`", "[its keys](#actions)", "What happens, in this order."),
        ("`do`", "block or list of blocks", "Actions, in place of actions beside the times."),
        ("`one_of`", "list of blocks", "Blocks of actions, of which the seed draws one."),
    ],
    RandomFault: [
        (
            "`rate_per_s`",
            "number above 0",
            "The mean number of firings in a second, for `every_ms`.",
        ),
    ],
}
#: Fields that the place in the file gives.
IMPLIED = ("kind", "op")

#: The settings of replicas, which have one table for the cluster and single nodes.
SETTINGS = [each.field.name for each in SETTING_KEYS]

_DIRECTIVE = re.compile(
    r"^<!-- (?P<kind>keys|form|actions|settings|rest)(?:: (?P<path>[\w.]+))? -->$"
)


@dataclass(frozen=True, slots=True)
class Part:
    """A model, and the keys that lead to it from the root of a scenario."""

    model: Model
    path: str


def models_in(annotation: object) -> Iterator[Model]:
    """The models that a type names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def shown_fields(model: Model) -> dict[str, FieldInfo]:
    """The fields of a model that a file can give."""
    return {
        name: field
        for name, field in model.model_fields.items()
        if name not in IMPLIED
        and not field.exclude
        and not (issubclass(model, Item) and name in NOT_WRITTEN)
    }


def children(part: Part) -> Iterator[Part]:
    """The models of the keys of a model, except for short forms and actions."""
    for name, field in shown_fields(part.model).items():
        path = f"{part.path}.{field.alias or name}".lstrip(".")
        for model in models_in(field.annotation):
            if model not in FORMS:
                yield Part(model, path)


def all_parts(root: Model = Scenario, actions: Mapping[str, Model] = ACTIONS) -> list[Part]:
    """Every model below the root once, at its first place; parents before children."""
    found: dict[Model, Part] = {}

    def visit(part: Part) -> None:
        for child in children(part):
            if child.model not in found:
                found[child.model] = child
                visit(child)

    visit(Part(root, ""))
    for key, model in actions.items():
        visit(Part(model, key))
    return list(found.values())


class ScenarioPage:
    """The page of one root model.

    Args:
        root: the model of a scenario.
        template: the text of the template.
        actions: the keys of actions, with their models.
    """

    def __init__(
        self,
        root: Model = Scenario,
        template: str | None = None,
        actions: Mapping[str, Model] = ACTIONS,
    ) -> None:
        self._root = root
        self._template = TEMPLATE.read_text(encoding="utf-8") if template is None else template
        self._actions = actions
        named: dict[str, str] = {}  # the path of a model -> the heading above its table
        heading = ""
        for line in self._template.splitlines():
            heading = line.lstrip("# ") if re.match(r"#+ ", line) else heading
            match = _DIRECTIVE.match(line)
            if match and match["kind"] == "keys":
                named[match["path"]] = heading
        parts = all_parts(root, actions)
        known = {part.path for part in parts} | {""}
        if unknown := sorted({*named} - known - {"scenario"}):
            raise ValueError(f"{TEMPLATE.name}: no model is at {', '.join(unknown)}")
        self._parts = {part.path: part for part in parts}
        self._anchors = {
            part.model: slug(named.get(part.path, part.path))
            for part in [Part(root, "scenario"), *parts]
        }
        self._unnamed = [part for part in parts if part.path not in named]
        self._level = 1

    def text(self) -> str:
        """The text of the page."""
        lines: list[str] = []
        below: list[str] = []  # sections that follow the prose
        for line in [*self._template.splitlines(), "# "]:
            if re.match(r"#+ ", line):
                lines += [*below, ""] if below else []
                below = []
                self._level = len(line) - len(line.lstrip("#"))
            match = _DIRECTIVE.match(line)
            lines += self._expand(match["kind"], match["path"]) if match else [line]
            if match and match["path"] in self._parts:
                below += self._nested(self._parts[match["path"]], self._level + 1)
        text = "\n".join(lines[:-1]).strip()
        return re.sub(r"\n{3,}", "\n\n", text) + "\n"

    def _expand(self, kind: str, path: str | None) -> Iterator[str]:
        if kind == "actions":
            yield from self._action_sections()
        elif kind == "form":
            yield from docstring(next(model for model in FORMS if model.__name__ == path))
        elif kind == "settings":
            yield from self._table(self._parts["cluster"].model, SETTINGS)
        elif kind == "rest":
            top = [part for part in self._unnamed if "." not in part.path]
            for part in top:
                if part.path not in self._actions:
                    yield from self._section(part, self._level)
        elif path == "scenario":
            yield from self._table(self._root)
        else:
            assert path is not None, "`keys` names a path"
            part = self._parts[path]
            yield from [*docstring(part.model), ""]
            yield from self._table(part.model)

    def _section(self, part: Part, level: int) -> Iterator[str]:
        yield from ["", f"{'#' * level} {part.path}", "", *docstring(part.model), ""]
        yield from self._table(part.model)
        yield from self._nested(part, level + 1)

    def _nested(self, part: Part, level: int) -> Iterator[str]:
        """Sections for the models below, as far as the template does not name them."""
        for child in children(part):
            if child in self._unnamed:
                yield from self._section(child, level)

    # -- tables ----------------------------------------------------------------------------------

    def _table(self, model: Model, names: Sequence[str] = ()) -> Iterator[str]:
        rows = list(self._rows(model, names))
        if not rows:
            return
        with_default = any(row[2] for row in rows)
        heading = ["key", "value", *(["default"] if with_default else []), "meaning"]
        yield _row(heading)
        yield _row(["---"] * len(heading))
        for key, value, default, meaning in rows:
            yield _row([key, value, *([default] if with_default else []), meaning])

    def _rows(self, model: Model, names: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
        base = next((one for one in model.__mro__[1:] if one in self._anchors), None)
        inherited = base.model_fields if base is not None else {}
        for name, field in shown_fields(model).items():
            if name in inherited or (name not in names if names else name in SETTINGS):
                continue
            meaning = (field.description or "").replace("|", "\\|")
            yield f"`{field.alias or name}`", self.value_text(field), default_text(field), meaning
        for key, value, meaning in [] if names else MORE_KEYS.get(model, []):
            yield key, value, "", meaning
        if base is not None:
            yield "every other key", "", "", f"As in {self._model_text(base)}."
        if model is NodeSettings:
            yield "every other key", "", "", "A [setting of replicas](#settings-of-replicas)."

    def value_text(self, field: FieldInfo) -> str:
        """What the value of a key may be."""
        return self._type_text(field.annotation, field.metadata)

    def _type_text(self, annotation: object, metadata: Sequence[object] = ()) -> str:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            inner, *more = arguments
            metadata = [each for one in more for each in _constraints(one)]
            return self._type_text(inner, metadata)
        if origin in (Union, UnionType):
            texts = [self._type_text(one, metadata) for one in arguments if one is not NoneType]
            return " or ".join(dict.fromkeys(texts))
        if origin is Literal:
            return " or ".join(f"`{one}`" for one in arguments)
        if origin is tuple:
            word = "list" if arguments[-1] is Ellipsis else "pair"
            return f"{word}: {self._type_text(arguments[0])}"
        if origin is dict:
            key = self._type_text(arguments[0])
            key = "node id" if key.startswith("whole number") else key
            return f"map: {key} → {self._type_text(arguments[1])}"
        return self._plain_text(annotation, metadata)

    def _plain_text(self, kind: object, metadata: Sequence[object]) -> str:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return self._model_text(kind)
        words = {bool: "true or false", int: "whole number", float: "number", str: "text"}
        assert isinstance(kind, type), f"no words for {kind!r}"
        return words.get(kind, kind.__name__) + bounds_text(metadata)

    def _model_text(self, model: Model) -> str:
        if model in FORMS:
            return FORMS[model]
        return f"[{'items' if issubclass(model, Item) else 'keys'}](#{self._anchors[model]})"

    # -- actions ---------------------------------------------------------------------------------

    def _action_sections(self) -> Iterator[str]:
        keys: dict[Model, list[str]] = {}
        for key, model in self._actions.items():
            keys.setdefault(model, []).append(key)
        examples = examples_of_actions()
        yield _row(["action", "what it does", "`for_ms` ends it"])
        yield _row(["---"] * 3)
        for model, names in keys.items():
            links = ", ".join(f"[`{name}`](#{slug(', '.join(names))})" for name in names[:1])
            more = "".join(f", `{name}`" for name in names[1:])
            ends = "yes" if model in REVERSIBLE else "a repair" if model in REPAIRS else "no"
            yield _row([links + more, docstring(model)[0].split(". ")[0].rstrip(".") + ".", ends])
        for model, names in keys.items():
            title = ", ".join(names)
            yield from ["", f"{'#' * (self._level + 1)} {title}", "", *docstring(model), ""]
            if list(shown_fields(model)) != ["nodes"]:
                yield from [*self._table(model), ""]
            yield from example_lines(names, examples)
            yield from self._nested(Part(model, names[0]), self._level + 2)


def example_lines(names: Sequence[str], examples: Mapping[str, Sequence[Example]]) -> Iterator[str]:
    """The examples of an action, as a list."""
    found = [example for name in names for example in examples.get(name, ())][:3]
    for example in found:
        yield f"- `{example.text}` (in `{example.file}`)"


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")


def docstring(model: Model) -> list[str]:
    """The lines of a model's docstring, up to its list of attributes."""
    text = inspect.cleandoc(model.__doc__ or "").split("\nAttributes:")[0].strip()
    return text.splitlines() or [""]


def default_text(field: FieldInfo) -> str:
    """The default of a key as a file would give it; empty if it is required, or if leaving it out has no value."""
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    if default in (None, "", (), {}) or isinstance(default, BaseModel):
        return distribution_text(default) if isinstance(default, Distribution) else ""
    if isinstance(default, Selector):
        return f"`{default}`"
    if isinstance(default, tuple) and len(default) > 8:
        return "all"
    return f"`{flow(default)}`"


def distribution_text(spec: Distribution) -> str:
    """A distribution as a file gives it."""
    if spec.shape == "fixed":
        return f"`{spec.first:g}`"
    return f"`{{{spec.shape}: [{spec.first:g}, {spec.second:g}]}}`"


def bounds_text(metadata: Sequence[object]) -> str:
    """The bounds of a number in words."""
    low = high = ""
    for one in (each for item in metadata for each in _constraints(item)):
        match one:
            case Ge(ge=bound):
                low = f"from {bound}"
            case Gt(gt=bound):
                low = f"above {bound}"
            case Le(le=bound):
                high = f"to {bound}" if isinstance(bound, float) or bound < 1 << 40 else ""  # type: ignore[operator] # a number
            case Lt(lt=bound):
                high = f"below {bound}"
            case MinLen() | MaxLen():
                pass
    return f" {' '.join(filter(None, (low, high)))}" if low or high else ""


def _constraints(
    item: object,
) -> Iterator[Any]:  # the classes of annotated_types have no common base for this
    if isinstance(item, FieldInfo):
        yield from item.metadata
    else:
        yield item


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """The text of docs/scenarios.md."""
    return ScenarioPage().text()


if __name__ == "__main__":
    ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
