"""The runners of JavaScript, run for real: installed once per machine into `var/`, from the lock file in `recorded/js`."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parent / "recorded" / "js"
VAR = Path(__file__).parents[3] / "var"
NODE = 20  # the oldest that these versions run on
PACKAGES = ("bun", "docs", "jest", "mocha", "node", "node-spec", "vitest")
# npm's words for a registry that is not there, or has no such thing: E404, ENOTFOUND, ECONNREFUSED, …
NO_REGISTRY = re.compile(
    r"npm error (?:code |errno )?(E\d{3}|ENOTFOUND|EAI_AGAIN|ECONN\w+|E\w*TIMEDOUT|E\w+UNREACH|ERR_SOCKET_TIMEOUT)"
)

pytestmark = pytest.mark.timeout(400)  # an install on a busy machine


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The runners. Skips where there is no node, or no registry."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no node and npm on this machine")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE:
        pytest.skip(f"node {version} is older than {NODE}")
    lock = (SOURCES / "package-lock.json").read_bytes()
    cache = VAR / f"runners-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not cache.exists():
        _install(npm, cache)
    return cache / "node_modules"


def _install(npm: str, cache: Path) -> None:
    """Whole or not at all, whoever else installs at the same time."""
    made = cache.with_name(f"{cache.name}.{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCES / name, made)
    argv = [npm, "ci", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1", "--fetch-timeout=20000"]
    done = subprocess.run(argv, cwd=made, capture_output=True, text=True)
    if done.returncode == 0 and not cache.exists():
        made.rename(cache)
    shutil.rmtree(made, ignore_errors=True)
    if done.returncode != 0 and (why := NO_REGISTRY.search(done.stderr)):
        pytest.skip(f"npm has no answer of the registry: {why[1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def project(make_repo: Callable[..., Any], node_modules: Path) -> Any:
    """A workspace of one package a runner, each with tests that pass, fail, are skipped; one package has none."""
    repo = make_repo()
    for name in PACKAGES:
        shutil.copytree(SOURCES / name, repo.root / name)
    names = ", ".join(f'"{name}"' for name in PACKAGES)
    repo.write("package.json", f'{{"name": "all", "private": true, "workspaces": [{names}]}}')
    (repo.root / "node_modules").symlink_to(node_modules)
    repo.env["PATH"] = f"{node_modules / '.bin'}{os.pathsep}{repo.env['PATH']}"
    for name in ("CI", "NODE_OPTIONS", "NODE_TEST_CONTEXT"):
        repo.env.pop(name, None)
    return repo


def ran(project: Any) -> list[dict[str, Any]]:
    """The suites, some of which fail."""
    done = project.run("test", "--json", timeout=240)
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout)["suites"]


def test_all_runners_of_a_workspace(project: Any) -> None:
    """`npm test --workspaces`: counts by package and runner, added up; every failed test with its name and message."""
    project.contract("name: a\ntests: {all: npm test --workspaces}\n")
    (suite,) = ran(project)
    runs = {run["where"]: (run["runner"], run["passed"], run["failed"], run["skipped"]) for run in suite["runs"]}
    assert runs == {
        "bun": ("bun", 3, 3, 2),
        "docs": ("vitest", 0, 0, 0),
        "jest": ("jest", 3, 3, 2),
        "mocha": ("mocha", 3, 3, 2),
        "node": ("node", 3, 3, 2),
        "node-spec": ("node", 3, 3, 2),
        "vitest": ("vitest", 3, 3, 2),
    }
    assert (suite["passed"], suite["failed"], suite["skipped"]) == (18, 18, 12)
    assert suite["runner"] == "bun, vitest, jest, mocha, node"
    said = {failure["name"]: failure["message"] for failure in suite["failures"]}
    divides = "math > of big numbers > divides"
    expected = {
        f"bun: math.test.js > {divides}": "expect(received).toBe(expected) Expected: 2 Received: 1",
        f"jest: math.test.js > {divides}": "expect(received).toBe(expected) // Object.is equality Expected: 2 Received: 1",
        f"mocha: {divides}": "AssertionError [ERR_ASSERTION]: 1 == 2",
        f"node: node/math.test.js > {divides}": "1 == 2",
        "node-spec: math.test.js > divides": "AssertionError [ERR_ASSERTION]: 1 == 2",
        f"vitest: math.test.mjs > {divides}": "AssertionError: expected 1 to be 2 // Object.is equality",
        "jest: broken.test.js": "Cannot find module './nowhere.js' from 'broken.test.js'",
    }
    assert {name: said.get(name) for name in expected} == expected
    assert len(said) == 18


def test_reports_and_runs_that_do_not_end(project: Any) -> None:
    """JUnit XML by $FACTORY_JUNIT; vitest's default runs once; a watch mode is ended; green behind a red exit code."""
    project.contract("""
name: a
tests:
  node: cd node && node --test --test-reporter=junit --test-reporter-destination=$FACTORY_JUNIT math.test.js
  bun: cd bun && bun test --reporter=junit --reporter-outfile=$FACTORY_JUNIT
  vitest: cd vitest && vitest --reporter=default --reporter=junit --outputFile.junit=$FACTORY_JUNIT
  watching: cd mocha && mocha --watch '*.test.js'
  none: cd docs && vitest --passWithNoTests
  hidden: cd jest && jest math || true
  threshold: cd jest && jest text -t joins; exit 9
""")
    found = {suite["suite"]: suite for suite in ran(project)}
    counts = {name: (s["runner"], s["passed"], s["failed"], s["skipped"]) for name, s in found.items()}
    assert counts == {
        "node": ("junit", 2, 1, 2),
        "bun": ("bun", 3, 3, 2),  # its report has no word of the file that does not load
        "vitest": ("junit", 3, 3, 2),
        "watching": ("mocha", 3, 3, 2),
        "none": ("vitest", 0, 0, 0),
        "hidden": ("jest", 2, 1, 2),
        "threshold": ("jest", 1, 0, 1),
    }
    assert not any(suite["ok"] for suite in found.values())
    notes = {name: suite["note"] for name, suite in found.items() if suite["note"]}
    assert notes.pop("watching").startswith("it watches for changes instead of ending")
    assert notes == {
        "none": "it ran no test",
        "hidden": "1 failed, though it ended with exit code 0",
        "threshold": "every test that ran has passed, but it ended with exit code 9",
    }
