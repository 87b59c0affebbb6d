"""A smoke check tells an app that shows something from one that only answers."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory_browser import smoke as smokes
from factory_browser.smoke import smoke

Serve = Callable[[dict[str, Callable[[Any], Any]]], Any]


async def test_what_is_up_what_is_empty_and_what_is_down(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 200 without anything to see is not ok; an app that draws itself late is; so is an API that has nothing at its root."""
    monkeypatch.setattr(smokes, "BLANK_S", 2.0)
    late = "setTimeout(() => document.body.innerHTML = '<h1>Up</h1>', 600)"
    site = serve(
        {
            "/": lambda _: (
                f"<!doctype html><title>Desk</title><script>console.error('old'); fetch('/x');{late}</script>"
            ),
            "/empty": lambda _: "<!doctype html><title>Blank</title><div id=root></div><script>boot()</script>",
            "/canvas": lambda _: "<!doctype html><canvas width=50 height=50></canvas>",
            "/api": lambda _: (404, {"content-type": "application/json"}, '{"detail": "Not Found"}'),
            "/page": lambda _: (404, {}, "<h1>Not found</h1>"),
            "/error": lambda _: (500, {}, "oops"),
        }
    )
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        dead = f"http://localhost:{held.getsockname()[1]}/"
        paths = {"web": "/", "empty": "/empty", "canvas": "/canvas", "api": "/api", "page": "/page", "error": "/error"}
        urls = {name: site.url + path for name, path in paths.items()}
        found = await smoke(urls | {"dead": dead}, tmp_path)
    assert {p.service: p.reasons for p in found.pages} == {
        "web": [],
        "empty": [f"{site.url}/empty answers 200 with an empty page (boot is not defined)"],
        "canvas": [],
        "api": [],
        "page": [f"{site.url}/page answers 404"],
        "error": [f"{site.url}/error answers 500"],
        "dead": [f"nothing answers at {dead}"],
    }
    web, empty = found.pages[0], found.pages[1]
    assert (web.status, web.title, web.text, web.blank) == (200, "Desk", 2, False)
    assert (empty.status, empty.text, empty.blank, empty.ok) == (200, 0, True, False)
    assert [s.text for s in web.console] == ["old"] and [s.text for s in web.requests] == [f"GET {site.url}/x 404"]
    assert found.pages[-1].status is None and found.pages[-1].screenshot is None
    assert all(p.screenshot and p.screenshot.stat().st_size > 500 for p in found.pages[:-1])
    assert not found.ok and found.reasons[0].startswith("empty: ")
    assert found.known().console == {"old"} and "boot is not defined" in found.known().page_errors
    assert found.as_dict()["known"] == found.known().as_dict()
