"""What looks for tokens finds one: planted in a container's description, in a layer, in a log, in an encoding."""

import base64
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

SECRET = "5000000003:canary/9f8e7d6c5b4a-token"


@pytest.fixture
def leaks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("leaks")


class Engine:
    """Says what it is told to, by the command's first word and whatever."""

    def __init__(self, **says: str) -> None:
        self.says = says

    def run(self, command: str, *_: str, both: bool = False) -> str:
        return self.says.get(command, "nothing")


def look(leaks: Any, **says: str) -> list[str]:
    stack = SimpleNamespace(containers=lambda all=True: ["c0ffee"])
    return leaks.found(Engine(**says), stack, ["image:1"], {"telegram_token": SECRET})


def test_nothing_is_found_where_nothing_is(leaks: Any) -> None:
    """A path of a secret's file is no secret."""
    assert look(leaks, inspect="FACTORY_TELEGRAM_TOKEN_FILE=/run/secrets/telegram_token") == []


@pytest.mark.parametrize("where", ["inspect", "logs", "top", "history"])
def test_it_is_found_wherever_one_looks(leaks: Any, where: str) -> None:
    """By each of the engine's commands."""
    found = look(leaks, **{where: f"before {SECRET} after"})
    assert found and all(line.endswith(": telegram_token") for line in found)
    assert any(line.startswith(f"docker {where} ") for line in found)


@pytest.mark.parametrize(
    "text",
    [
        quote(SECRET, safe=""),
        *(base64.b64encode((" " * n + SECRET + "@host").encode()).decode() for n in range(6)),
    ],
)
def test_it_is_found_encoded(leaks: Any, text: str) -> None:
    """In a URL, and in base64 of a longer text, wherever it begins there."""
    assert look(leaks, logs=text)


def test_the_loopback_may_be_told_what_to_expect(leaks: Any) -> None:
    """It plays Telegram; nobody else's command line may hold the token."""
    assert look(leaks, top=f"1 python -m factory_loopback.telegram --token {SECRET}") == []
    assert look(leaks, top=f"1 python -m factory_intake --token {SECRET}") == [
        "docker top c0ffee: telegram_token",
    ]
