"""`factory validate`: the repo's scenarios in a real Chromium, else a look at every URL."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("factory_browser.record", reason="the extra [validate] is not installed")

from factory_browser import chromium

PAGE = """
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = "Ada" if "user=ada" in (self.headers.get("Cookie") or "") else "nobody"
        self.send_response(200); self.send_header("Content-Type", "text/html; charset=utf-8")
        if self.path == "/in": self.send_header("Set-Cookie", "user=ada")
        self.end_headers()
        self.wfile.write(f"<title>Home</title><link rel=icon href=data:,><h1>Hello {name}</h1>".encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""

APP = """
name: a
services: {web: {command: exec python3 page.py $WEB_PORT, url: "http://localhost:${WEB_PORT}/"}}
login: [{goto: /in}, {expect: {text: Hello}}]
"""

SCENARIOS = """
scenarios:
  - name: The visitor is greeted
    criteria: [c1]
    steps: [{goto: /}, {expect: {text: Hello Ada}}]
  - name: A stranger is greeted
    criteria: [c2]
    steps: [{goto: /}, {expect: {text: Hello Bob, timeout: 0.5}}]
"""


@pytest.fixture(autouse=True)
def browser() -> None:
    try:
        chromium.find()
    except chromium.NoChromium as e:
        pytest.skip(str(e))


@pytest.mark.timeout(150)
def test_smoke(make_repo: Callable[..., Any]) -> None:
    """Not running is said; without scenarios every URL is looked at, logged in, filmed; the verdict lies beside the pictures."""
    repo = make_repo(APP)
    repo.write("page.py", PAGE)
    assert repo.json("validate", code=3)["error"]["code"] == "not_running"
    repo.json("start")

    told = repo.json("validate")
    assert (told["mode"], told["login"], [p["status"] for p in told["pages"]]) == ("smoke", None, [200])
    assert told["pages"][0]["text"] == len("Hello Ada")
    directory = Path(told["directory"])
    assert {p.name for p in directory.iterdir()} == {
        *("login.png", "smoke-web.png", "video.mp4", "trace.zip", "verdict.json")
    }
    assert Path(told["video"]["path"]).stat().st_size > 1000
    assert json.loads((directory / "verdict.json").read_text())["pages"] == told["pages"]
    error = repo.json("validate", "--feature", "greeted", code=2)["error"]
    assert (error["code"], "There are no scenarios yet" in error["hint"]) == ("no_such_scenario", True)

    repo.contract(APP.replace("text: Hello", "text: Goodbye, timeout: 0.3"))
    told = repo.json("validate", "--no-video", code=1)
    assert (told["login"]["ok"], told["video"], told["pages"][0]["ok"]) == (False, None, True)
    assert told["error"]["message"].startswith("login: See “Goodbye”")
    verdict = json.loads((directory / "verdict.json").read_text())
    assert (verdict["ok"], verdict["reason"]) == (False, told["error"]["message"])
    repo.contract(APP)


@pytest.mark.timeout(150)
def test_scenarios(make_repo: Callable[..., Any]) -> None:
    """Each is judged, after the login; `--feature` takes those about it, and says what there is where none are."""
    repo = make_repo(APP)
    repo.write("page.py", PAGE)
    repo.json("start")
    repo.write(".software-factory/scenarios.yaml", SCENARIOS)
    told = repo.json("validate", "--no-video", code=1)
    assert [(r["name"], r["ok"]) for r in told["results"]] == [
        ("The visitor is greeted", True),
        ("A stranger is greeted", False),
    ]
    assert "A stranger is greeted" in told["error"]["message"]
    error = repo.json("validate", "--feature", "stranger leaves", code=2)["error"]
    assert error["hint"] == "There are: “A stranger is greeted”; “The visitor is greeted”."
    told = repo.json("validate", "--feature", "c1")
    assert (told["ok"], len(told["results"]), told["video"]["codec"]) == (True, 1, "h264")
    assert {p.name for p in Path(told["directory"]).iterdir()} == {
        *("login.png", "01-the-visitor-is-greeted.png", "video.mp4", "trace.zip", "verdict.json")
    }


def test_no_chromium_on_this_machine(make_repo: Callable[..., Any], tmp_path: Path) -> None:
    """It is said before anything else, with the commands that bring one; a path that leads nowhere is said too."""
    repo = make_repo(APP)
    repo.env |= {"PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "PATH": str(tmp_path)}
    error = repo.json("validate", code=4)["error"]
    assert (error["code"], "playwright install" in error["hint"]) == ("chromium_missing", True)
    repo.env["FACTORY_CHROMIUM"] = str(tmp_path / "chrome")
    assert "FACTORY_CHROMIUM" in repo.json("validate", code=4)["error"]["message"]


def test_scenarios_and_logins_that_cannot_be_read(make_repo: Callable[..., Any], tmp_path: Path) -> None:
    """`check` says so too: every problem with its place, those of the login in factory.yaml; no link is followed out."""
    repo = make_repo(APP + "validation: {scenarios: e2e.yaml}\n")
    assert repo.json("check", code=2)["errors"][0]["code"] == "unreadable"
    repo.write("e2e.yaml", SCENARIOS)
    assert repo.json("check")["scenarios"] == ["The visitor is greeted", "A stranger is greeted"]
    repo.write("e2e.yaml", "scenarios:\n  - name: x\n    steps: [{gotoo: /}]\n")
    for verb in ("check", "validate"):
        if verb == "validate":
            repo.write("page.py", PAGE)
            repo.json("start")
        told = repo.json(verb, code=2)
        assert told["error"]["code"] == "invalid_scenarios"
        assert (told["errors"][0]["file"], told["errors"][0]["line"]) == ("e2e.yaml", 3)
    (tmp_path / "secret.yaml").write_text(SCENARIOS)
    (repo.root / "e2e.yaml").unlink()
    (repo.root / "e2e.yaml").symlink_to(tmp_path / "secret.yaml")
    assert repo.json("check", code=2)["errors"][0]["code"] == "outside"
    repo.contract("name: a\nlogin:\n  - goto: /in\n  - clik: {text: In}\n  - fill: {label: Name}\n")
    told = repo.json("check", code=2)
    assert [(p["code"], p["file"], p["line"], p["key"]) for p in told["errors"]] == [
        ("scenario", "factory.yaml", 4, "login.1"),
        ("scenario", "factory.yaml", 5, "login.2"),
    ]
    repo.contract(APP)
