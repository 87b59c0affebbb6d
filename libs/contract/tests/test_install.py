"""The contract alone: its wheel in an environment with what it declares and nothing else, and the command works there."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

MEMBER = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).with_name("uv")
IMPORT = """
import importlib, pkgutil, factory_contract
for module in pkgutil.walk_packages(factory_contract.__path__, "factory_contract."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
APP = """
name: a
setup: echo ready
services: {web: {command: exec python3 serve.py $WEB_PORT, url: "http://localhost:${WEB_PORT}/"}}
tests: {unit: "echo '1 passed in 0.1s'"}
"""


def call(*command: str | Path, **more: Any) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, **more)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def declared(name: str) -> Iterator[metadata.Distribution]:
    """What a distribution needs without its extras, near and far."""
    for requirement in metadata.requires(name) or []:
        if "extra ==" not in requirement:
            found = metadata.distribution(re.split(r"[\[<>=!~; ]", requirement)[0])
            yield found
            yield from declared(found.name)


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """The `bin` of an environment made from the wheel. No network: what it declares is copied from here."""
    if not UV.exists():
        pytest.skip("uv, which installs the wheel, is not in this environment")
    call(
        UV, "build", "--offline", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", tmp_path, MEMBER
    )
    (wheel,) = tmp_path.glob("*.whl")
    venv = tmp_path / "venv"
    call(UV, "venv", "--offline", "--python", sys.executable, venv)
    call(UV, "pip", "install", "--offline", "--no-deps", "--python", venv / "bin/python", wheel)
    (packages,) = venv.glob("lib/python*/site-packages")
    for distribution in declared("software-factory-contract"):
        for file in distribution.files or []:
            if ".." not in file.parts and file.suffix != ".pyc":
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file.locate(), packages / file)
    return venv / "bin"


def test_the_wheel_alone(alone: Path, make_repo: Callable[..., Any]) -> None:
    """Every module can be imported; check, setup, start, status, test, stop and clean work; validate says what it lacks."""
    call(alone / "python", "-c", IMPORT)
    assert not (alone / "playwright").exists()
    repo = make_repo(APP)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("FACTORY_", "PYTHON", "VIRTUAL"))}

    def factory(*args: str, code: int = 0) -> dict[str, Any]:
        command = [str(alone / "factory"), *args, "--json"]
        done = subprocess.run(command, cwd=repo.root, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, f"{args}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    assert factory("check")["name"] == "a"
    assert factory("setup")["steps"][0]["exit_code"] == 0
    assert factory("start")["state"] == "ready"
    assert factory("status")["services"][0]["state"] == "ready"
    assert factory("test")["ok"]
    error = factory("validate", code=4)["error"]
    assert (error["code"], str(alone / "python") in error["hint"]) == ("browser_missing", True)
    assert factory("stop")["stopped"] == ["web"]
    factory("clean")
