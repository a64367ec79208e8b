"""Reads the imports of a module from its source."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.checkout import CHECKOUT


def imports_of(tree: ast.Module, path: Path, root: Path = CHECKOUT) -> list[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, anywhere in its text.

    Imports within functions count, and so do those for type checkers only. `from package import name` gives
    `package.name`, because the name may be a module; `from module import name` gives the module.

    Args:
        tree: the module, parsed.
        path: its file, for messages.
        root: the folder of the top packages.
    """
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; name the package"
            assert node.module is not None
            if (root / node.module.replace(".", "/")).is_dir():
                found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, node.module))
    return found
