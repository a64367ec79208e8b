"""`Reload`: what a process of a node does on SIGHUP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Final

from qcore.errors import ConfigError
from qcore.node.config import NodeConfig
from qcore.node.node_files import NodeFiles
from qcore.node.observability.logs import NodeLog
from qcore.node.process.service_manager import ServiceManager
from qcore.security.certificate_validity import certificate_problem

_DEFAULT_LEVEL: Final = next(
    str(each.default) for each in fields(NodeConfig) if each.name == "log_level"
)


class Reload:
    """Opens the files of log, audit log and trace again, checks the certificates, and takes the log level of the file.

    A file that cannot be used is an error line, and the node goes on with what it had. Other settings need a restart:
    a warning names those that have changed.

    Args:
        config: the settings at the start.
        log: the log of the node.
        files: its other files.
        manager: gets a report at the begin and at the end.
        read_settings: see `run_node`.

    Raises:
        ConfigError: `read_settings` raised it.
    """

    def __init__(
        self,
        config: NodeConfig,
        log: NodeLog,
        files: NodeFiles,
        manager: ServiceManager,
        read_settings: Callable[[], Mapping[str, object]],
    ) -> None:
        self._config = config
        self._log = log
        self._files = files
        self._manager = manager
        self._read_settings = read_settings
        self._settings = read_settings()
        self._level = str(config.log_level)

    def __call__(self) -> None:
        """Do it."""
        self._manager.reloading()
        self._log.info("signal: opening and reading files again", signal="SIGHUP")
        self._log.reopen()
        self._files.reopen(self._config, self._log)
        try:
            # New connections use changed files in any case. This reports now what is wrong with them.
            self._config.tls.contexts()
        except ConfigError as error:
            self._log.error("the files for TLS cannot be used", why=str(error))
        files = self._config.tls.files()
        if files is not None and (problem := certificate_problem(files.certificate())):
            self._log.error(f"the certificate in the file {problem}", path=str(files.cert))
        try:
            self._use(self._read_settings())
        except ConfigError as error:
            self._log.error("the configuration file cannot be used", why=str(error))
        self._manager.reloaded()

    def _use(self, settings: Mapping[str, object]) -> None:
        """Take the log level, and name the other settings that differ from those of the start."""
        given = _DEFAULT_LEVEL if "log_level" in self._settings else self._config.log_level
        level = str(settings.get("log_level", given))
        if level != self._level:
            self._level = level
            self._log.set_level(level)
            self._log.info("the log level has changed", log_level=level)
        names = sorted({*self._settings, *settings} - {"log_level"})
        changed = [name for name in names if self._settings.get(name) != settings.get(name)]
        if changed:
            self._log.warning(
                "settings in the configuration file have changed: restart the node to use them",
                settings=",".join(changed),
            )
