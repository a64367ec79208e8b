"""Every line that the coverage does not count gives its reason, and CONTRIBUTING.md lists it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.checkout import CHECKOUT

PRAGMA = re.compile(r"#\s*pragma:\s*no (?:cover|branch)(?P<reason>.*)")
ROW = re.compile(r"^\| `(?P<module>[\w/]+\.py)` \| (?P<reason>.+) \|$", re.MULTILINE)


def exceptions(package: Path) -> list[tuple[str, str]]:
    """Each exception: the module below the package, and the reason on the same line."""
    found: list[tuple[str, str]] = []
    for path in sorted(package.rglob("*.py")):
        for each in PRAGMA.finditer(path.read_text()):
            reason = each["reason"].strip().removeprefix("#").strip()
            found.append((path.relative_to(package).as_posix(), reason))
    return found


def test_each_exception_gives_its_reason_and_is_listed() -> None:
    document = (CHECKOUT / "CONTRIBUTING.md").read_text()
    section = document.partition("## Exceptions of coverage\n")[2].partition("\n## ")[0]
    listed = [(row["module"], row["reason"]) for row in ROW.finditer(section)]
    assert listed == exceptions(CHECKOUT / "qcore")
    assert all(reason for _, reason in listed)


def test_exception_without_a_reason_is_found(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "a()  # pragma: no cover\nb()  #pragma:no branch  # never false\n"
    )
    assert exceptions(tmp_path) == [("module.py", ""), ("module.py", "never false")]
