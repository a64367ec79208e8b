"""The text of the run viewer: one file that shows texts as texts, in colours that can be read."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from typing import Final

import pytest

from qcore.pages.page_assembly import page
from tests.checkout import CHECKOUT
from tests.web.test_page_text import Outline

PAGES: Final = CHECKOUT / "qcore/pages"
FOLDERS: Final = ("shared", "viewer", "viewer_tabs")
SCRIPTS: Final = {
    f"{folder}/{path.name}": path.read_text(encoding="utf-8")
    for folder in FOLDERS
    for path in sorted((PAGES / folder).glob("*.js"))
}
STYLES: Final = "".join(
    path.read_text(encoding="utf-8")
    for folder in FOLDERS
    for path in sorted((PAGES / folder).glob("*.css"))
)
PALETTE: Final = (PAGES / "shared/palette.css").read_text(encoding="utf-8")

IMPORT: Final = re.compile(r'^import \{([^}]*)\} from "([^"]+)";$', re.MULTILINE)
EXPORT: Final = re.compile(r"^export (?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)
#: Names at the beginning of a line, outside of any function.
TOP_LEVEL: Final = re.compile(
    r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)|^(?:export )?const (\w+) = .*, (\w+) = ",
    re.MULTILINE,
)

#: Colours of text, each with the colours on which it stands.
TEXTS: Final = {
    "text": ("page", "panel", "hover", "picked", "chip"),
    "faint": ("page", "panel"),
    "ok-text": ("panel",),
    "refused-text": ("panel",),
    "unknown-text": ("panel",),
    "lost-text": ("panel", "lost-page"),
    "fault-text": ("panel", "fault-page"),
    "accent": ("panel",),
    "on-accent": ("accent",),
    "on-leader": ("leader",),
    "on-candidate": ("candidate",),
    "on-pre-candidate": ("pre-candidate",),
    "on-follower": ("follower",),
    "on-learner": ("learner",),
    "vote": ("panel",),
    "forward": ("panel",),
    "append": ("panel",),
    "response": ("panel",),
}
#: Marks and edges of marks, which must stand out from the panel.
MARKS: Final = (
    *("edge", "leader", "candidate", "ok", "refused", "unknown", "lost"),
    *("vote", "append", "response", "snapshot", "forward", "accent"),
)


def outline() -> Outline:
    parser = Outline()
    parser.feed(page("viewer", "a run"))
    parser.close()
    return parser


def themes() -> dict[str, dict[str, str]]:
    """The colours of the light theme, of the dark one of the system, and of the dark one that the user chose."""
    blocks = re.findall(r"([^{}]*)\{([^{}]*)\}", PALETTE)
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", body)) for _, body in blocks]
    light, system, chosen = (colours for colours in found if len(colours) > 20)
    return {"light": light, "dark": light | system, "chosen dark": light | chosen}


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """The contrast ratio of WCAG 2, 1 to 21."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_every_element_ends_and_the_page_needs_no_other_file() -> None:
    found = outline()
    assert found.open == []
    references = {
        value
        for _, name, value in found.attributes
        if name in {"src", "srcset", "href", "action", "data", "poster"}
    }
    assert references == {"data:,"}  # no icon
    assert "@import" not in STYLES
    assert not re.search(r"url\((?!#)", STYLES + "".join(SCRIPTS.values()))
    # The browser enforces it: only this script and this style, and no connection.
    assert found.policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in found.policy
    assert "connect-src" not in found.policy


def test_texts_of_a_trace_cannot_become_html() -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
    for name, text in SCRIPTS.items():
        assert not re.findall(ways, text), name
        assert "javascript:" not in text, name
        assert 'setAttribute("style' not in text, name  # the policy forbids it
    attributes = outline().attributes
    assert not [name for _, name, _ in attributes if name.startswith("on") or name == "style"]


def test_each_import_is_exported_by_a_part_before() -> None:
    parts = re.search(r"<!--\s*parts:(.*?)-->", (PAGES / "viewer/index.html").read_text(), re.S)
    assert parts is not None
    order = [part if "/" in part else f"viewer/{part}" for part in parts[1].split()]
    assert set(SCRIPTS) == {part for part in order if part.endswith(".js")}
    for place, name in enumerate(order):
        if not name.endswith(".js"):
            continue
        lines = SCRIPTS[name].splitlines()
        assert len(IMPORT.findall(SCRIPTS[name])) == sum(x.startswith("import") for x in lines)
        for names, source in IMPORT.findall(SCRIPTS[name]):
            folder = name.split("/")[0]
            target = f"{folder}/{source[2:]}" if source.startswith("./") else source[3:]
            assert target in order[:place], f"{name} imports {target}, which comes later"
            exported = set(EXPORT.findall(SCRIPTS[target]))
            assert {each.strip() for each in names.split(",")} <= exported, f"{name}: {target}"


def test_no_two_parts_use_one_name() -> None:
    # All parts share one scope in the page.
    names = Counter(
        found
        for text in SCRIPTS.values()
        for groups in TOP_LEVEL.findall(text)
        for found in groups
        if found
    )
    assert len(names) > 80
    assert not [name for name, count in names.items() if count > 1]


def test_each_element_that_the_script_needs_is_in_the_page() -> None:
    ids = {value for _, name, value in outline().attributes if name == "id"}
    made = set(re.findall(r'\bid: "([\w-]+)"', "".join(SCRIPTS.values())))
    wanted = {name for text in SCRIPTS.values() for name in re.findall(r'find\("([\w-]+)"\)', text)}
    assert wanted <= ids | made | {"head", "overview"}  # the data
    assert len(wanted) > 15


def test_each_colour_that_is_used_is_in_the_palette() -> None:
    palette = set(themes()["light"])
    assert set(re.findall(r"var\(--([\w-]+)", STYLES)) <= palette
    used = re.findall(r"\b(?:ink|colours\(\))\.(\w+)", "".join(SCRIPTS.values()))
    assert {name.replace("_", "-") for name in used} <= palette
    words = SCRIPTS["shared/raft_words.js"]
    assert {name.replace("_", "-") for name in re.findall(r'colour: "(\w+)"', words)} <= palette


@pytest.mark.parametrize("theme", ["light", "dark", "chosen dark"])
def test_colours_have_contrast(theme: str) -> None:
    colours = themes()[theme]
    weak = [
        f"{name} on {ground}: {contrast(colours[name], colours[ground]):.2f}"
        for name, grounds in TEXTS.items()
        for ground in grounds
        if contrast(colours[name], colours[ground]) < 4.5
    ]
    weak += [
        f"text on term-{term}: {contrast(colours['text'], colours[f'term-{term}']):.2f}"
        for term in range(7)
        if contrast(colours["text"], colours[f"term-{term}"]) < 4.5
    ]
    weak += [
        f"mark {name}: {contrast(colours[name], colours['panel']):.2f}"
        for name in MARKS
        if contrast(colours[name], colours["panel"]) < 3
    ]
    assert not weak


def test_the_two_dark_themes_are_the_same_and_complete() -> None:
    found = themes()
    assert found["dark"] == found["chosen dark"]
    blocks = [body for _, body in re.findall(r"([^{}]*)\{([^{}]*)\}", PALETTE)]
    names = [tuple(re.findall(r"--([\w-]+):", body)) for body in blocks if "--page:" in body]
    assert all(a == b for a, b in pairwise(names))
