"""The options of `qcore node start` that set limits: one for each field of the configuration classes.

A field that is added to `TransportLimits` has its option at once: its name, its default and its text in the docstring
are all there is to say.
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

#: Fields of `NodeConfig` that are limits. Its other fields are options of their own in `qcore.cli.node`.
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
    """One option.

    Attributes:
        name: of the field, and of the parameter.
        default: what holds without the option.
        text: what it bounds.
    """

    name: str
    default: Number
    text: str

    @property
    def flag(self) -> str:
        """`--max-clients` for `max_clients`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable, `QCORE_MAX_CLIENTS`."""
        return "QCORE_" + self.name.upper()


def limits_of(cls: type[object], names: Iterable[str]) -> list[Limit]:
    """The options for some fields of a configuration class, in order, with the texts of its docstring."""
    texts = _attribute_texts(inspect.getdoc(cls) or "")
    defaults: dict[str, Any] = {each.name: each.default for each in fields(cast(Any, cls))}
    return [Limit(name, defaults[name], texts.get(name, "")) for name in names]


def _attribute_texts(docstring: str) -> dict[str, str]:
    """What `Attributes:` says of each name; several names may share a text."""
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for names, text in re.findall(r"^    (\w[\w, ]*): ((?:.|\n     )*)", section, re.MULTILINE):
        plain = " ".join(text.split()).replace("`", "")
        found |= dict.fromkeys(names.split(", "), plain[0].upper() + plain[1:])
    return found


TRANSPORT: Final = limits_of(
    TransportLimits, [each.name for each in fields(TransportLimits) if each.name not in CLIENT_ONLY]
)
#: All of them.
LIMITS: Final = [*limits_of(NodeConfig, NODE_LIMITS), *TRANSPORT]

#: The option of each number that the configuration's errors name. Not of a field that is a plain word too.
_FLAGS: Final = {
    name: "--" + name.replace("_", "-")
    for name in (
        *(limit.name for limit in LIMITS),
        *(each.name for each in fields(NodeConfig) if isinstance(each.default, int)),
    )
    if "_" in name
}


def with_limits(command: F) -> F:
    """Give a command, which takes them as `**limits`, an option for each limit."""
    given = inspect.signature(command, eval_str=True)
    own = [each for each in given.parameters.values() if each.kind is not each.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            limit.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=limit.default,
            annotation=Annotated[type(limit.default), _option(limit)],
        )
        for limit in LIMITS
    ]
    # Where typer looks for the parameters.
    command.__signature__ = given.replace(parameters=[*own, *options])  # type: ignore[attr-defined]  # any callable may have one
    return command


def _option(limit: Limit) -> Any:  # typer's class of options has no name that is public
    # Of the other times `TransportLimits` refuses 0: an option's range can only say from where on, inclusive.
    least = 1 if isinstance(limit.default, int) else 0 if limit.name in OR_NEVER else None
    return typer.Option(
        limit.flag, envvar=limit.variable, min=least, help=_name_options(limit.text)
    )


def node_limits(limits: dict[str, Number]) -> dict[str, Any]:
    """The fields of `NodeConfig` for what the options of `with_limits` gave.

    Raises:
        ConfigError: a value is out of range or contradicts another; names the options.
    """
    connections: dict[str, Any] = {limit.name: limits[limit.name] for limit in TRANSPORT}
    with_flags = {name: limits[name] for name in NODE_LIMITS}
    return {**with_flags, "limits": with_option_names(lambda: TransportLimits(**connections))}


_T = TypeVar("_T")


def with_option_names(make: Callable[[], _T]) -> _T:
    """What `make` gives; an error of the configuration names the options instead of the fields.

    Raises:
        ConfigError: `make` did.
    """
    try:
        return make()
    except ConfigError as error:
        raise ConfigError(_name_options(str(error))) from None


def _name_options(text: str) -> str:
    """The text with the option in the place of each field."""
    return re.sub(r"\b\w+\b", lambda word: _FLAGS.get(word[0], word[0]), text)


class LimitsInOwnSection(TyperCommand):
    """A command whose help shows the limits in a section of their own, after the rest.

    (`Any`: typer's classes of contexts and formatters have no name that all supported versions export.)
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write both sections."""
        names = {limit.name for limit in LIMITS}
        for title, apart in (("Options", False), ("Limits (docs/limits.md)", True)):
            records = [
                record
                for parameter in self.get_params(ctx)
                if (parameter.name in names) == apart
                and (record := parameter.get_help_record(ctx)) is not None
            ]
            with formatter.section(title):
                formatter.write_dl(records)
