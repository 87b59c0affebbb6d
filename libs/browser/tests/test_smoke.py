"""A smoke check tells an app that shows something from one that only answers."""

import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory_browser import scenarios
from factory_browser import smoke as smokes
from factory_browser.plan import Plan
from factory_browser.smoke import smoke

Serve = Callable[[dict[str, Callable[[Any], Any]]], Any]


def plan(urls: dict[str, str], out: Path, **more: Any) -> Plan:
    return Plan(urls=urls, primary=next(iter(urls)), scenarios=[], out=out, **{"film": False, "trace": False, **more})


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
        found = await smoke(plan(urls | {"dead": dead}, tmp_path))
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


async def test_what_breaks_behind_a_page_that_shows_something(serve: Serve, tmp_path: Path) -> None:
    """An uncaught error and a request that the server fails count; a 404, a 401 and the console are only told."""
    scripts = {
        "/uncaught": "setTimeout(() => boot())",
        "/broken": "fetch('/500')",
        "/old": "fetch('/404'); fetch('/401'); console.error('deprecated')",
    }
    pages = {path: lambda _, s=s: f"<!doctype html><h1>Hello</h1><script>{s}</script>" for path, s in scripts.items()}
    statuses = {f"/{code}": lambda _, code=code: (code, {}, "no") for code in (401, 404, 500)}
    site = serve({**pages, **statuses})
    found = await smoke(plan({path[1:]: site.url + path for path in pages}, tmp_path))
    assert {p.service: p.reasons for p in found.pages} == {
        "uncaught": [f"{site.url}/uncaught has an uncaught error: boot is not defined"],
        "broken": [f"{site.url}/broken makes a request that fails: GET {site.url}/500 500"],
        "old": [],
    }
    assert len(found.pages[2].requests) == 2 and len(found.pages[2].console) == 1


async def test_filmed_traced_and_past_the_login(serve: Serve, tmp_path: Path) -> None:
    """Who is logged in sees the inside, on film and in the trace; a login that fails is told, and the pages are looked at."""
    site = serve(
        {
            "/in": lambda _: (200, {"Set-Cookie": "user=ada; Path=/"}, "<!doctype html><h1>Welcome</h1>"),
            "/": lambda request: (
                f"<!doctype html><h1>{'Ada' if 'user=ada' in request.headers.get('cookie', '') else 'Stranger'}</h1>"
            ),
        }
    )
    login = scenarios.load_steps("[{goto: /in}, {expect: {text: Welcome}}]")
    urls = {"web": f"{site.url}/"}
    found = await smoke(plan(urls, tmp_path / "in", login=login, film=True, trace=True))
    assert found.ok and found.pages[0].text == len("Ada")
    assert found.video and found.video.seconds > 1 and [c.title for c in found.video.chapters] == ["web"]
    assert found.trace and any(name.endswith("trace.trace") for name in zipfile.ZipFile(found.trace).namelist())
    login = scenarios.load_steps("[{goto: /in}, {expect: {text: Nobody, timeout: 0.3}}]")
    found = await smoke(plan(urls, tmp_path / "out", login=login))
    assert not found.ok and found.reasons[0].startswith("login: See “Nobody”")
    assert found.pages[0].ok and found.pages[0].text == len("Stranger")
    assert found.login and found.login.screenshot and found.as_dict()["login"]
