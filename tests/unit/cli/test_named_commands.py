"""Whatever command a message, a help text or a document names exists, and takes what it is shown with."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

from tidegate.cli.main import root
from tidegate.cli.rollouts import StartByDefault

ROOT = Path(__file__).parents[3]
IN_QUOTES = re.compile(r"'(tidegate [^'\n]+)'")
IN_MARKDOWN = re.compile(r"`(tidegate [^`\n]+)`|^(?:\$ )?(tidegate [^\n]+)$", re.MULTILINE)
MODULES = ("platform/**/*.py",)
TEXTS = ("README.md", "docs/**/*.md", "charts/**/*.md", "charts/**/NOTES.txt", "monitoring/**/*.md", "infra/**/*.md")


def in_python(source: str) -> Iterator[str]:
    """Commands that strings of a module name; what is filled in is `1`."""
    if "tidegate " not in source:
        return
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        else:
            continue
        if re.match(r"tidegate [a-z]+\b(?!\.)", text) and "\n" not in text:
            yield text
        else:
            yield from IN_QUOTES.findall(text)


def named(patterns: Sequence[str]) -> set[tuple[str, str]]:
    """Files of the patterns and the commands that they name."""
    found = set()
    for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
        text = path.read_text()
        markdown = (a or b for a, b in IN_MARKDOWN.findall(text.replace("\\\n", " ")))
        commands = in_python(text) if path.suffix == ".py" else markdown
        found |= {(path.relative_to(ROOT).as_posix(), command) for command in commands}
    return found


def refusal(text: str) -> str:
    """Why the real command line would not take it; empty when it would. A command named alone is a name."""
    alone = re.sub(r"(;|\s+(#|\||>|&&)).*$", "", text.strip())
    words = shlex.split(re.sub(r"(?<!\.)[.,:]$", "", alone))[1:]
    while words[:1] in (["-C"], ["--project"]):
        words = words[2:]
    command: click.Command = root
    while isinstance(command, click.Group) and words:
        context = click.Context(command)
        child = command.get_command(context, words[0])
        if child is None and isinstance(command, StartByDefault):
            command = command.commands["start"]
            break
        if child is None:
            return "" if words[0] in ("--help", "-h", "--version") else f"there is no command '{words[0]}'"
        command, words = child, words[1:]
    if not words:
        return ""
    if isinstance(command, click.Group):
        return f"it takes a command, not {words}"
    types = [(parameter, parameter.type) for parameter in command.params]
    for parameter, kind in types:
        if isinstance(kind, click.Path):  # whether the file is there is not the matter
            parameter.type = click.STRING
    try:
        command.make_context("tidegate", words)
    except click.exceptions.Exit:  # --help
        return ""
    except click.ClickException as error:
        return error.format_message()
    finally:
        for parameter, kind in types:
            parameter.type = kind
    return ""


@pytest.mark.parametrize("patterns", [MODULES, TEXTS], ids=["modules", "texts"])
def test_a_command_that_is_named_exists_and_takes_what_it_is_shown_with(patterns: Sequence[str]) -> None:
    found = named(patterns)
    assert len(found) > 100
    assert {f"{where} names: {text}": why for where, text in found if (why := refusal(text))} == {}


def test_what_does_not_exist_is_found() -> None:
    assert "No such option" in refusal("tidegate freeze demand --off --reason x")
    assert refusal("tidegate unfreeze demand") == "Missing option '--reason'."
    assert refusal("tidegate registri list") == "there is no command 'registri'"
    assert refusal("tidegate rollout demand --abort")
    assert refusal("tidegate rollback") == "", "named, not shown"
