"""Where an engine is started by hand: from which packages."""

import importlib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("engine")


def test_a_source_in_apts_own_form(engine: Any) -> None:
    """Signed by Debian's archive keys, whatever the machine trusts besides."""
    said = engine.stanza("http://deb.example/debian", ["trixie", "trixie-updates"], ["main"])
    assert said.splitlines() == [
        "Types: deb",
        "URIs: http://deb.example/debian",
        "Suites: trixie trixie-updates",
        "Components: main",
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
    ]
