"""docs/telegram.md names every command, every message and every button there is."""

import ast
import inspect
import re
from pathlib import Path

from factory_chassis import asking
from factory_intake import app, desk
from factory_jobs import machine
from factory_telegram import words

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "telegram.md").read_text()
# Of words.py: what messages are made with, and no message by itself.
PIECES = {"esc", "plain", "units", "cut", "title", "link", "button", "answer_button", "answer_of", "wanted"}
NO_SENTENCES = {"HELP", "CLOSED"}  # the first is the table of commands; the second a mark


def test_every_command() -> None:
    """The menu's with the menu's words, and each one that the desk looks for."""
    for command, says in app.COMMANDS.items():
        assert re.search(rf"^\| `/{command}`.* \| {re.escape(says)}", PAGE, re.M), command
    [match] = [n for n in ast.walk(ast.parse(inspect.getsource(desk))) if isinstance(n, ast.Match) and _is_command(n)]
    heard = {c.value for case in match.cases for c in ast.walk(case.pattern) if isinstance(c, ast.Constant)} - {""}
    assert heard | {"help"} == set(app.COMMANDS) | {"fix"}
    assert all(f"| `/{command}`" in PAGE for command in heard)


def _is_command(node: ast.Match) -> bool:
    return isinstance(node.subject, ast.Attribute) and node.subject.attr == "command"


def test_every_function_that_makes_a_message() -> None:
    """By its name, `words.…`; a new one is either here or a piece of others."""
    made = {
        n for n, f in vars(words).items() if inspect.isfunction(f) and f.__module__ == words.__name__ and n[0] != "_"
    }
    assert made - PIECES == set(re.findall(r"`words\.(\w+)`", PAGE))
    assert made > PIECES


def test_every_sentence() -> None:
    """Word by word, as it is said."""
    said = {n: t for n, t in vars(words).items() if n.isupper() and isinstance(t, str) and n not in NO_SENTENCES}
    assert len(said) > 15
    assert [n for n, text in said.items() if f"| {text} |" not in PAGE] == []


def test_every_button() -> None:
    """Those that are written in the code of chat and desk, and the answers that the machine and the gates offer."""
    labels = {label for _, label in asking.APPROVE}
    for module in (words, desk):
        labels |= {
            node.args[0].value
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Button"
            and node.args and isinstance(node.args[0], ast.Constant)
        }  # fmt: skip
    labels |= set(re.findall(r'\["\w+", "([^"]+)"\]', inspect.getsource(machine)))
    assert len(labels) > 6
    assert [label for label in sorted(labels) if f"`{label}`" not in PAGE] == []


def test_every_kind_of_message() -> None:
    """As the table `messages` names them."""
    kinds = set(re.findall(r'kind=f?"(\w+)[:"]', inspect.getsource(words))) | {"ask", "final", "video"}
    assert kinds == set(re.findall(r"`(\w+)(?::…)?`", "".join(re.findall(r"^\| (`\w+.*?) \|", _kinds(), re.M))))


def _kinds() -> str:
    return PAGE.partition("| kind |")[2].partition("\n\n")[0]
