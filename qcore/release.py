"""What this release is: its version, and the folders of files that come with it."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from qcore.errors import ConfigError

#: The only place that states the version. The build reads it from here.
__version__: Final = "0.2.0.dev0"

_PACKAGE: Final = Path(__file__).parent


def unknown_format(found: object, newest: int) -> str:
    """Why this program cannot read data with this number of its format: the end of a sentence that names the data.

    Args:
        found: the number in the data.
        newest: the newest format that this program reads.
    """
    if type(found) is int and found > newest:
        return f"was written by a newer qcore: format {found}, this program reads up to {newest}"
    return f"has the unknown format {found!r:.40}, this program reads up to {newest}"


def shipped_folder(name: Literal["scenarios", "examples", "notebooks"]) -> Path:
    """The folder with the scenarios, examples or notebooks of this release.

    An installed package holds them in `qcore/data`. A checkout holds them beside the package.

    Raises:
        ConfigError: the folder is missing, because only a part of qcore was copied here.
    """
    for folder in (_PACKAGE / "data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise ConfigError(
        f"the {name} of qcore are missing in {_PACKAGE / 'data'}: install qcore again, from a wheel or a checkout"
    )
