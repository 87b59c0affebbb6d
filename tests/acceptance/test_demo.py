"""The demo as a command: its result is whole, and whatever is changed in it shows everywhere."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from whole import FACTORYCTL, ROOT

pytestmark = pytest.mark.timeout(600)
SCRIPT = ROOT / "libs" / "ctl" / "src" / "factory_ctl" / "demo_script"


def renamed(directory: Path) -> Path:
    """The pilot with another name, other services, other ports and other seed."""
    app = directory / "counter"
    shutil.copytree(ROOT / "examples" / "pilot", app, ignore=shutil.ignore_patterns("__pycache__", ".software-factory"))
    contract = app / "factory.yaml"
    text = contract.read_text()
    for old, new in (("WEB_", "PAGES_"), ("API_", "BACK_"), ("Deskline", "Counter"), ("deskline\n", "counter\n")):
        text = text.replace(old, new)
    text = re.sub(r"\bweb\b(?=:)", "pages", text)
    contract.write_text(text)
    seed = app / "seed.json"
    seed.write_text(seed.read_text().replace("Please add Mira to the orders mailbox", "The printer eats paper"))
    return app


def test_another_app_and_another_wish_show_everywhere(tmp_path: Path) -> None:
    """Request, names, ports and seed are changed: result, pull request and chat follow; three rounds, whole."""
    request = (SCRIPT / "request.txt").read_text().strip().replace("get lost", "be overlooked")
    argv = [
        str(FACTORYCTL),
        "demo",
        "--json",
        "--dir",
        str(tmp_path / "demo"),
        "--repo",
        str(renamed(tmp_path)),
        "--request",
        request,
    ]
    env = os.environ | {"FACTORY_PORT_RANGE": "47800-47999"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "demo" / "result.json").read_text())
    assert json.loads(done.stdout) == result
    assert result["state"] == "ready_for_human_review" and result["rounds"] == 3
    assert result["preview_status"] == 200
    assert "be overlooked" in result["chat"][0] and "be overlooked" in result["chat"][1]
    body = Path(result["pr"]["body_file"]).read_text()
    assert "be overlooked" in body and "project:counter" in result["pr"]["labels"]
    assert "/pulls/counter/" in result["pr"]["url"]
    assert "scripted agent" in body.lower()
    assert [t["suite"] for t in result["tests"]] == ["unit", "api"] and all(t["failed"] == 0 for t in result["tests"])
    assert result["video"]["seconds"] > 3 and result["video"]["chapters"] and Path(result["video"]["path"]).exists()
    fell_back = [s["state"] for s in result["states"]].count("implementation_in_progress")
    assert fell_back == 3
