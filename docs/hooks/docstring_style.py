"""An extension of griffe that reads four habits of this project, which griffe does not know.

- `first, second: meaning` in a docstring documents both names. griffe would take the second one for a type.
- `#:` comments above a constant or a type alias are its docstring.
- The text of a setting, `metadata=setting("...")`, is the docstring of its field.
- So is the description of a field of a scenario, `Field(description="...")`.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from griffe import Attribute, Docstring, Extension, GriffeLoader, Object

#: An entry under `Args:` or `Attributes:` with several names, and its continuation lines, which are indented more.
_JOINT = re.compile(
    r"^(?P<indent> {4,})(?P<names>\w+(?:, \w+)+)(?P<meaning>: .*(?:\n(?P=indent) +\S.*)*)", re.M
)


class DocstringStyle(Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: Object, loader: GriffeLoader, **kwargs: object) -> None:
        """Read the docstring of one object in the style of this project."""
        if obj.docstring is not None:
            obj.docstring.value = _JOINT.sub(_each_name, obj.docstring.value)
        elif isinstance(obj, Attribute) and (
            text := _comment_above(obj) or _setting_text(obj) or _field_text(obj)
        ):
            obj.docstring = Docstring(text, parent=obj)


def _each_name(match: re.Match[str]) -> str:
    names = match["names"].split(", ")
    return "\n".join(f"{match['indent']}{name}{match['meaning']}" for name in names)


def _comment_above(attribute: Attribute) -> str:
    """The text of the `#:` comment that ends on the line before an attribute, or an empty text."""
    assert attribute.lineno is not None
    assert isinstance(attribute.filepath, Path)
    lines = attribute.lines_collection[attribute.filepath]
    begin = end = attribute.lineno - 1
    while begin > 0 and lines[begin - 1].lstrip().startswith("#:"):
        begin -= 1
    return "\n".join(
        line.lstrip().removeprefix("#:").removeprefix(" ") for line in lines[begin:end]
    )


def _setting_text(attribute: Attribute) -> str:
    """The text of the setting that a field defines, or an empty text. The page then shows only the field's default."""
    if attribute.value is None or "setting(" not in str(attribute.value):
        return ""
    defined = ast.parse(str(attribute.value), mode="eval").body
    for call in ast.walk(defined):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "setting":
            assert isinstance(defined, ast.Call)
            default = [each.value for each in defined.keywords if each.arg == "default"]
            attribute.value = ast.unparse(default[0]) if default else None
            return str(ast.literal_eval(call.args[0]))
    return ""


def _field_text(attribute: Attribute) -> str:
    """The description of a pydantic field, or an empty text. The page then shows only the field's default."""
    if attribute.value is None or not str(attribute.value).startswith("Field("):
        return ""
    call = ast.parse(str(attribute.value), mode="eval").body
    assert isinstance(call, ast.Call)
    given = {each.arg: each.value for each in call.keywords}
    attribute.value = ast.unparse(given["default"]) if "default" in given else None
    return str(ast.literal_eval(given["description"])) if "description" in given else ""
