"""What runs once: setup, tests, clean, with what they leave behind."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory_contract import proc

UNIT = """
import unittest
class T(unittest.TestCase):
    def test_good(self): pass
    def test_bad(self): self.assertEqual({expected}, 2)
"""


def test_setup(make_repo: Callable[..., Any]) -> None:
    """Each command with its time and exit code; the ports are known to it; stdout has the JSON only."""
    web = "services: {web: {command: 'sleep 9; : $WEB_PORT'}}"
    repo = make_repo(f"name: a\nsetup: [echo hello, 'echo $WEB_PORT > port']\n{web}\n")
    done = repo.run("setup", "--json")
    told = json.loads(done.stdout)
    assert [(s["command"], s["exit_code"]) for s in told["steps"]] == [("echo hello", 0), ("echo $WEB_PORT > port", 0)]
    assert "hello" in done.stderr
    assert int((repo.root / "port").read_text()) == repo.ports()["WEB_PORT"]
    assert "hello" in Path(told["steps"][0]["log"]).read_text()


def test_setup_that_fails(make_repo: Callable[..., Any]) -> None:
    """It ends there, with exit code 1 and the last lines of that command alone."""
    repo = make_repo("name: a\nsetup: [echo one, 'echo two >&2; exit 3', touch three]\n")
    told = repo.json("setup", code=1)
    assert [s["exit_code"] for s in told["steps"]] == [0, 3]
    assert (told["error"]["code"], told["error"]["log_tail"]) == ("setup_failed", ["two"])
    assert not (repo.root / "three").exists()


def test_what_a_step_leaves_running_is_ended(make_repo: Callable[..., Any], until: Callable[..., Any]) -> None:
    """Also when it holds the output open, and when the command is interrupted."""
    repo = make_repo("name: a\nsetup: ['sleep 60 & echo $! > pid', touch after]\n")
    repo.json("setup")
    assert proc.look(int((repo.root / "pid").read_text())) is None
    repo.contract("name: a\nsetup: 'sleep 60 & echo $! > pid2; wait'\n")
    running = repo.popen("setup", "--json")
    until(lambda: (repo.root / "pid2").exists() and (repo.root / "pid2").read_text())
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=20)
    assert (running.returncode, json.loads(out)["error"]["code"]) == (130, "interrupted")
    assert proc.look(int((repo.root / "pid2").read_text())) is None


@pytest.fixture
def linked(make_repo: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """A linked worktree of a repo with these files, all of them committed that are not ignored."""

    def make(contract: str, files: dict[str, str]) -> tuple[Any, Any]:
        repo = make_repo(contract)
        for name, text in files.items():
            repo.write(name, text)

        def git(*args: str) -> None:
            who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
            subprocess.run(["git", *who, *args], cwd=repo.root, check=True, capture_output=True)

        git("init")
        git("add", ".")
        git("commit", "-m", "x")
        git("worktree", "add", str(tmp_path / "linked"))
        return repo, make_repo(name="linked")

    return make


def test_ignored_files_come_from_the_main_worktree(linked: Callable[..., Any]) -> None:
    """A linked worktree gets what `copy` lists; what is nowhere is named; what is here stays."""
    _, here = linked(
        "name: a\ncopy: [.env, nowhere.txt, here.txt]\nenv_file: .env\nsetup: 'echo $COLOUR > colour'\n",
        {".env": "COLOUR=red\n", "here.txt": "main's", ".gitignore": ".env\nhere.txt\n.software-factory\n"},
    )
    here.write("here.txt", "mine")
    told = here.json("setup")
    assert (told["copied"], told["missing"]) == ([".env"], ["nowhere.txt"])
    assert (here.root / "colour").read_text() == "red\n"
    assert (here.root / "here.txt").read_text() == "mine"


def test_worktreeinclude(linked: Callable[..., Any], tmp_path: Path) -> None:
    """What matches its patterns and is ignored comes along: nothing tracked, nothing that is merely untracked, no state."""
    main, here = linked(
        "name: a\n",
        {
            ".worktreeinclude": "# secrets\n.env*\n!.env.ci\n/certs/\nnotes.txt\nserve.py\n.software-factory/\n",
            ".gitignore": ".env*\ncerts\n.software-factory\nnode_modules\nconf/local/\n",
        },
    )
    files = [
        ".env",
        ".env.ci",
        "packages/api/.env.local",
        "certs/dev.pem",
        "certs/deep/ca.pem",
        "node_modules/x/index.js",
    ]
    for name in [*files, "notes.txt", ".software-factory/state.json"]:
        main.write(name, name)
    told = here.json("setup")
    assert told["copied"] == [".env", "certs/deep/ca.pem", "certs/dev.pem", "packages/api/.env.local"]
    assert (here.root / "packages/api/.env.local").read_text() == "packages/api/.env.local"
    assert here.json("setup")["copied"] == []

    outside = tmp_path / "outside"
    outside.mkdir()
    main.write("conf/local/key", "k")
    (here.root / "conf").symlink_to(outside)
    here.write(".worktreeinclude", "conf/local/\n")
    assert (here.json("setup")["copied"], list(outside.iterdir())) == ([], [])
    here.env["PATH"] = str(tmp_path)
    assert ".worktreeinclude was not read" in here.run("setup").stderr


def test_the_package_manager_is_missed_by_name(make_repo: Callable[..., Any]) -> None:
    """A setup that fails where it is not installed says that first."""
    repo = make_repo("name: a\nruntime: {package_manager: sparrow, setup: sparrow install}\n")
    error = repo.json("setup", code=1)["error"]
    assert (error["exit_code_of_command"], error["hint"].split(",")[0]) == (127, "sparrow")
    repo.contract("name: a\nruntime: {package_manager: sh, setup: exit 5}\n")
    assert "whole log" in repo.json("setup", code=1)["error"]["hint"]


def test_artifacts(make_repo: Callable[..., Any], tmp_path: Path) -> None:
    """What the patterns find is listed and copied, at any depth; no link leads out, nothing hidden comes along unasked."""
    repo = make_repo("name: a\nartifacts: {collect: ['out/**', '*.log', '.software-factory/logs/**', none]}\n")
    for name in ("out/a.xml", "out/deep/er/b.png", "out/.env", "x.log", ".hidden.log", "src/x.py"):
        repo.write(name, "12345")
    (tmp_path / "secret").write_text("s")
    (repo.root / "out/link").symlink_to(tmp_path / "secret")
    repo.json("setup")
    told = repo.json("artifacts")
    assert [f["path"] for f in told["files"]] == [
        *(".software-factory/logs/factory/setup.log", "out/a.xml", "out/deep/er/b.png", "x.log")
    ]
    assert (told["files"][1]["bytes"], told["to"]) == (5, None)
    to = repo.root / "out" / "kept"
    for _ in range(2):  # what was copied into the checkout is not found again
        assert len(repo.json("artifacts", "--to", str(to))["files"]) == 4
    assert (to / "out/deep/er/b.png").read_text() == "12345"
    repo.contract("name: a\n")
    assert "the contract names none" in repo.run("artifacts").stderr


def test_a_missing_env_file(make_repo: Callable[..., Any]) -> None:
    """It is an error before anything runs."""
    repo = make_repo("name: a\nenv_file: .env.dev\nsetup: touch ran\n")
    assert repo.json("setup", code=2)["error"]["code"] == "env_file_missing"
    assert not (repo.root / "ran").exists()


def test_suites(make_repo: Callable[..., Any]) -> None:
    """Counts, names and messages from unittest, pytest and JUnit XML; exit code 1 when one is not good."""
    repo = make_repo(f"""
name: a
tests:
  unit: {sys.executable} -m unittest test_unit
  written: {sys.executable} -m pytest -q -p no:cacheprovider --junit-xml=$FACTORY_JUNIT test_py.py
  named: [echo first, {sys.executable} -m pytest -q -p no:cacheprovider --junitxml out.xml test_py.py]
  said: {sys.executable} -m pytest -q -p no:cacheprovider test_py.py
""")
    repo.write("test_unit.py", UNIT.format(expected=2))
    repo.write(
        "test_py.py",
        "import pytest\ndef test_a(): pass\n@pytest.mark.skip\ndef test_b(): pass\ndef test_c(): assert 0, 'why'\n",
    )
    told = repo.json("test", code=1)
    assert told["error"]["code"] == "tests_failed"
    found = {s["suite"]: s for s in told["suites"]}
    counts = {n: (s["ok"], s["runner"], s["passed"], s["failed"], s["skipped"]) for n, s in found.items()}
    assert counts == {
        "unit": (True, "unittest", 2, 0, 0),
        "written": (False, "junit", 1, 1, 1),
        "named": (False, "junit", 1, 1, 1),
        "said": (False, "pytest", 1, 1, 1),
    }
    assert found["written"]["failures"] == [
        {"name": "test_py.test_c", "message": found["written"]["failures"][0]["message"]}
    ]
    assert "why" in found["written"]["failures"][0]["message"]
    assert found["said"]["failures"][0]["name"] == "test_py.py::test_c"
    assert found["said"]["tail"][-1].startswith("1 failed")
    assert repo.json("test", "unit")["suites"][0]["commands"] == [f"{sys.executable} -m unittest test_unit"]
    assert repo.json("test", "unti", code=2)["error"]["hint"] == "Did you mean `unit`?"


def test_a_suite_that_ran_nothing_is_no_pass(make_repo: Callable[..., Any]) -> None:
    """`Ran 0 tests: OK` is not; a checker that is judged by its exit code says so."""
    repo = make_repo(
        "name: a\ntests: {none: \"printf 'Ran 0 tests in 0.0s\\\\n\\\\nOK\\\\n'\", types: echo all fine}\n"
    )
    told = repo.json("test", code=1)
    none, types = told["suites"]
    assert (none["ok"], none["exit_code"], none["note"]) == (False, 0, "it ran no test")
    assert (types["ok"], types["runner"], "exit code" in types["note"]) == (True, None, True)


def test_results_of_an_earlier_run_are_not_taken_for_this_one(make_repo: Callable[..., Any]) -> None:
    """A runner that writes no JUnit XML this time has none."""
    repo = make_repo(
        'name: a\ntests:\n  x: \'[ -e no ] || echo "<testsuite><testcase name=\\"a\\"/></testsuite>" > $FACTORY_JUNIT\'\n'
    )
    assert repo.json("test")["suites"][0]["passed"] == 1
    repo.write("no", "")
    assert repo.json("test")["suites"][0]["runner"] is None


def test_tests_beside_a_running_app(make_repo: Callable[..., Any]) -> None:
    """A suite has the app's ports, and a start or a stop beside it leaves it alone."""
    repo = make_repo("""
name: a
services: {web: {command: exec python3 serve.py $WEB_PORT}}
tests: {e2e: "python3 client.py $WEB_PORT"}
""")
    repo.write("client.py", "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))")
    repo.json("start")
    assert repo.json("test")["ok"]
    repo.json("stop")
    assert repo.json("test", code=1)["suites"][0]["exit_code"] == 1


def test_clean_runs_the_repos_own_commands_and_keeps_scenarios(make_repo: Callable[..., Any]) -> None:
    """A failing one is told after everything else was removed; what an agent wrote stays."""
    repo = make_repo("name: a\nsetup: touch made\nclean: [rm made, 'echo no; exit 2']\n")
    repo.json("setup")
    repo.write(".software-factory/scenarios.yaml", "scenarios: []\n")
    told = repo.json("clean", code=1)
    assert (told["error"]["code"], told["error"]["log_tail"]) == ("clean_failed", ["no"])
    assert not (repo.root / "made").exists()
    assert sorted(p.name for p in (repo.root / ".software-factory").iterdir()) == [".gitignore", "scenarios.yaml"]
