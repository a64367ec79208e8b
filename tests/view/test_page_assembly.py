"""`page`: one file of a page's parts, which a content security policy allows, and of escaped data."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest

from qcore.pages import page_assembly
from qcore.pages.page_assembly import PageName, content_policy, page

#: The pages that exist.
PAGES = [
    name
    for name in get_args(PageName)
    if files("qcore.pages").joinpath(name, "index.html").is_file()
]

_NAME_AT_TOP = re.compile(
    r"^(?:export )?(?:async )?(?:function\*?|class|const|let) (\w+)", re.MULTILINE
)
_EXPORTED = re.compile(r"^export (?:async )?(?:function\*?|class|const|let) (\w+)", re.MULTILINE)
_IMPORTED = re.compile(r'^import \{([^}]*)\} from "([^"]*)";$', re.MULTILINE)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small page in the place of `viewer`."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "viewer").mkdir()
    (tmp_path / "viewer/index.html").write_text(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<!-- parts: look.css shared/dom.js\n main.js -->\n</head>\n<body>\n<p>Hello</p>\n</body>\n</html>\n"
    )
    (tmp_path / "viewer/look.css").write_text("p { color: red; }\n")
    (tmp_path / "shared/dom.js").write_text("export function find(id) { return id; }\n")
    (tmp_path / "viewer/main.js").write_text(
        'import {\n  find,\n} from "../shared/dom.js";\nexport const here = find("important");\n'
    )
    monkeypatch.setattr(page_assembly, "_read", lambda path: (tmp_path / path).read_text())
    return tmp_path


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    page_assembly._assemble.cache_clear()
    yield
    page_assembly._assemble.cache_clear()


def test_parts_become_one_script_and_one_style(parts: Path) -> None:
    text = page("viewer", "A <title>", [("head", "application/json", '{"a":"</script>"}')])
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script == (
        '\n(() => {\n"use strict";\nfunction find(id) { return id; }\n\n'
        'const here = find("important");\n})();\n'
    )
    assert "<title>A &lt;title&gt;</title>\n<style>p { color: red; }\n</style>" in text
    assert (
        '<script type="application/json" id="head">{"a":"\\u003c/script>"}</script>\n<script>'
        in text
    )
    assert text.endswith("</script>\n</body>\n</html>\n")


def test_the_policy_allows_this_script_and_style(parts: Path) -> None:
    text = page("viewer", "A page")
    policy = content_policy("viewer")
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in text
    assert "unsafe" not in policy
    for element in ("script", "style"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy


def test_data_cannot_end_its_element(parts: Path) -> None:
    with pytest.raises(ValueError, match="contains the character <"):
        page("viewer", "A page", [("overview", "text/plain", "</script>")])


def test_a_script_cannot_end_its_element(parts: Path) -> None:
    (parts / "viewer/main.js").write_text('const end = "</script>";\n')
    with pytest.raises(ValueError, match="contains its own end"):
        page("viewer", "A page")


@pytest.mark.parametrize("name", PAGES)
def test_names_of_the_scripts_of_a_page(name: PageName) -> None:
    """Each imported name is exported by that part, which comes before; no name at the top occurs twice."""
    folder = Path(str(files("qcore.pages")))
    outline = (folder / name / "index.html").read_text(encoding="utf-8")
    (listed,) = re.findall(r"<!--\s*parts:(.*?)-->", outline, re.DOTALL)
    paths = [folder / (part if "/" in part else f"{name}/{part}") for part in listed.split()]
    scripts = {path: path.read_text(encoding="utf-8") for path in paths if path.suffix == ".js"}
    names = Counter(found for text in scripts.values() for found in _NAME_AT_TOP.findall(text))
    assert [found for found, count in names.items() if count > 1] == []
    for path, text in scripts.items():
        imports = _IMPORTED.findall(text)
        assert len(imports) == len(re.findall(r"^import\b", text, re.MULTILINE)), path
        for imported, source in imports:
            target = (path.parent / source).resolve()
            assert target in scripts, f"{path.name}: {source} is no part of the page"
            wanted = {one.strip() for one in imported.split(",") if one.strip()}
            assert wanted <= set(_EXPORTED.findall(scripts[target])), f"{path.name}: {source}"
    text = page(name, name)
    assert not re.search(r"^(?:import|export)\b", text, re.MULTILINE)
