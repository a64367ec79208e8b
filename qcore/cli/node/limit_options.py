"""Generates the options of `qcore node start` that set limits, one for each field of the configuration classes.

A new field of `TransportLimits` gets its option without further code. The field gives the name and the default, and the
docstring of the class gives the help text.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, TypeVar, cast

import typer
from typer.core import TyperCommand

from qcore.errors import ConfigError
from qcore.node.config import NodeConfig
from qcore.transport.limits import CLIENT_ONLY, OR_NEVER, TransportLimits

#: The fields of `NodeConfig` that are limits. `qcore.cli.node.start` declares the options for its other fields.
NODE_LIMITS: Final = (
    "max_command_bytes",
    "max_pending_requests",
    "max_pending_bytes",
    "max_session_requests",
    "max_admin_requests",
    "max_uncommitted_bytes",
    "max_inflight_messages",
    "max_inflight_bytes",
    "max_snapshot_size",
    "request_timeout_ms",
    "shutdown_grace_ms",
)

Number = int | float
F = TypeVar("F", bound=Callable[..., Any])  # any command


@dataclass(slots=True, frozen=True)
class Limit:
    """An option that sets a limit.

    Attributes:
        name: the name of the field and of the command's parameter.
        default: the value without the option.
        text: the help text.
    """

    name: str
    default: Number
    text: str

    @property
    def flag(self) -> str:
        """The option, such as `--max-clients` for `max_clients`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable, such as `QCORE_MAX_CLIENTS`."""
        return "QCORE_" + self.name.upper()


def limits_of(cls: type[object], names: Iterable[str]) -> list[Limit]:
    """The options for the named fields of a configuration class, in order, with the texts of its docstring."""
    texts = _attribute_texts(inspect.getdoc(cls) or "")
    defaults: dict[str, Any] = {each.name: each.default for each in fields(cast(Any, cls))}
    return [Limit(name, defaults[name], texts.get(name, "")) for name in names]


def _attribute_texts(docstring: str) -> dict[str, str]:
    """The text of each name in the section `Attributes:`. Several names may share a text."""
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for names, text in re.findall(r"^    (\w[\w, ]*): ((?:.|\n     )*)", section, re.MULTILINE):
        plain = " ".join(text.split()).replace("`", "")
        found |= dict.fromkeys(names.split(", "), plain[0].upper() + plain[1:])
    return found


TRANSPORT: Final = limits_of(
    TransportLimits, [each.name for each in fields(TransportLimits) if each.name not in CLIENT_ONLY]
)
#: All limits.
LIMITS: Final = [*limits_of(NodeConfig, NODE_LIMITS), *TRANSPORT]

#: The option of each number that errors of the configuration may name. Fields that are also plain words are left out.
_FLAGS: Final = {
    name: "--" + name.replace("_", "-")
    for name in (
        *(limit.name for limit in LIMITS),
        *(each.name for each in fields(NodeConfig) if isinstance(each.default, int)),
    )
    if "_" in name
}


def with_limits(command: F) -> F:
    """Decorate a command that takes `**limits`: give it an option for each limit."""
    declared = inspect.signature(command, eval_str=True)
    parameters = [
        each for each in declared.parameters.values() if each.kind is not each.VAR_KEYWORD
    ]
    options = [
        inspect.Parameter(
            limit.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=limit.default,
            annotation=Annotated[type(limit.default), _option(limit)],
        )
        for limit in LIMITS
    ]
    # Typer reads the parameters from here.
    command.__signature__ = declared.replace(parameters=[*parameters, *options])  # type: ignore[attr-defined]  # any callable may have this attribute
    return command


def _option(limit: Limit) -> Any:  # typer's class of options has no public name
    # A range of an option is inclusive, so for the other times `TransportLimits` itself rejects 0.
    minimum = 1 if isinstance(limit.default, int) else 0 if limit.name in OR_NEVER else None
    return typer.Option(
        limit.flag, envvar=limit.variable, min=minimum, help=_name_options(limit.text)
    )


def node_limits(limits: dict[str, Number]) -> dict[str, Any]:
    """Convert the values of the options into fields of `NodeConfig`.

    Raises:
        ConfigError: a value is out of range or contradicts another. The message names the options.
    """
    connections: dict[str, Any] = {limit.name: limits[limit.name] for limit in TRANSPORT}
    with_flags = {name: limits[name] for name in NODE_LIMITS}
    return {**with_flags, "limits": with_option_names(lambda: TransportLimits(**connections))}


_T = TypeVar("_T")


def with_option_names(make: Callable[[], _T]) -> _T:
    """Call `make`. In its errors, replace the names of fields with those of options.

    Raises:
        ConfigError: from `make`.
    """
    try:
        return make()
    except ConfigError as error:
        raise ConfigError(_name_options(str(error))) from None


def _name_options(text: str) -> str:
    """Replace the names of fields in the text with those of options."""
    return re.sub(r"\b\w+\b", lambda word: _FLAGS.get(word[0], word[0]), text)


class LimitsSection(TyperCommand):
    """A command whose help lists the limits in a separate section, after the other options.

    (`Any`: no name of typer's context and formatter classes is exported by all supported versions.)
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write both sections."""
        names = {limit.name for limit in LIMITS}
        for title, is_limit in (("Options", False), ("Limits (docs/reference/limits.md)", True)):
            records = [
                record
                for parameter in self.get_params(ctx)
                if (parameter.name in names) == is_limit
                and (record := parameter.get_help_record(ctx)) is not None
            ]
            with formatter.section(title):
                formatter.write_dl(records)
