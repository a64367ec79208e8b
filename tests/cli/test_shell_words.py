"""The words of the shell's lines: quotes, comments, and lines that are still being written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.cli.clients.connection_options import credentials
from qcore.cli.clients.shared_clients import SharedClients
from qcore.cli.shell.line_runner import expanded, run_line
from qcore.cli.shell.prompt import LineHistory, warn_without_answer
from qcore.cli.shell.shell_words import (
    PartialLine,
    is_whole,
    redirection_in,
    split_line,
    split_partial,
)
from qcore.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("get Root", True),
        ("get 'Root", False),
        ('get "a\\"', False),
        ("perform {", False),
        ("perform '{'", True),
        ("perform {[}", False),
        ("perform {[]}", True),
        ("get Root \\", False),
        ("get Root \\\n Name", True),
        ("get ]", True),
    ],
)
def test_an_open_quote_or_bracket_continues_the_line(text: str, whole: bool) -> None:
    assert is_whole(text) is whole


def test_a_line_is_split_like_in_a_shell_without_expansion() -> None:
    assert split_line("get 'Root/a b' User$7 * # x") == ["get", "Root/a b", "User$7", "*", "#", "x"]
    assert split_line("get a \\\n  b") == ["get", "a", "b"]
    assert split_line("  # a comment") == []
    with pytest.raises(ConfigError, match="close the quote"):
        split_line("get 'a")


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4), st.text("abc/é'\" ")
)
def test_the_last_word_is_found_among_quoted_words(words: list[str], last: str) -> None:
    front = "".join(f"{shlex.quote(word)} " for word in words)
    line = split_partial(front + (shlex.quote(last) if last else ""))
    assert line == PartialLine(words, last, len(front))


def test_short_forms_are_commands_of_entities() -> None:
    assert expanded(["get", "Root"]) == ["entity", "get", "Root"]
    assert expanded(["qcore", "find", "User"]) == ["entity", "find", "User"]
    assert expanded(["schema", "get", "User"]) == ["schema", "get", "User"]


@pytest.mark.parametrize(
    ("line", "sign"),
    [
        ("get Root | head", "|"),
        ("tree > file", ">"),
        ("watch Root Name &", "&"),
        ("find User --filter 'A > 3'", None),
        ('find User --filter "A \\" > 3"', None),
        ("create User \\|", None),
        ("get Parent->Name", None),
    ],
)
def test_redirections_are_found_outside_quotes(line: str, sign: str | None) -> None:
    assert redirection_in(line) == sign


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tree | head", "error: the shell has no pipes"),
        ("tre", "error: there is no command 'tre': did you mean tree?"),
        ("xyzzy", "error: there is no command 'xyzzy': `help` lists the commands"),
    ],
)
def test_wrong_lines_have_one_line_of_advice(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_line(line) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(message)


def test_usage_in_the_shell_names_no_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_line("get") == 2
    error = capsys.readouterr().err
    assert "Missing argument" in error
    assert "see `entity get --help`" in error
    assert "qcore" not in error


def test_the_history_leaves_out_exit_and_repeated_lines(tmp_path: Path) -> None:
    history = LineHistory(str(tmp_path / "history"))
    for line in ("tree", "tree", "pwd", "exit", "pwd", "tree"):
        history.append_string(line)
    assert history.get_strings() == ["tree", "pwd", "tree"]
    assert list(history.load_history_strings()) == ["tree", "pwd", "tree"]


def test_the_start_says_that_no_node_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QCORE_ENDPOINTS", "127.0.0.1:1")
    with SharedClients() as clients:
        warn_without_answer(clients)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: no answer within 1 s: ")
    assert "qcore node start" in warning


def test_the_options_of_a_line_are_not_those_of_the_shell(tmp_path: Path) -> None:
    assert run_line(f"cluster status --token-file {tmp_path / 'none'}") == 2
    assert credentials() is None
