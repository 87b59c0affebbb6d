"""Every verb, in success and in failure: its exit code, and that it prints what docs/contract.md says (see `Repo.json`)."""

import ast
import json
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory_contract import answers, cli, entry, errors

APP = """
name: a
setup: echo ready
services:
  web: {command: exec python3 serve.py $WEB_PORT, url: "http://localhost:${WEB_PORT}/"}
  once: {type: task, command: echo done, depends_on: [web]}
tests: {good: "echo '1 passed in 0.1s'", bad: "echo '1 failed in 0.1s'; exit 1"}
artifacts: {collect: [serve.py]}
"""


def test_every_verb_that_succeeds(make_repo: Callable[..., Any]) -> None:
    """In the order of a day; the vision's options among them."""
    repo = make_repo(APP)
    assert repo.json("check")["services"] == ["web", "once"]
    assert [s["exit_code"] for s in repo.json("setup")["steps"]] == [0]
    told = repo.json("start", "--port-range", "46200", "--worktree-id", f"job_{repo.root.name}")
    assert (told["worktree"], told["already_running"]) == (f"job-{repo.root.name}", False)
    assert all(46200 <= port < 46300 for port in told["ports"].values())
    assert repo.json("start")["already_running"]
    assert {s["name"]: s["state"] for s in repo.json("status")["services"]} == {"web": "ready", "once": "completed"}
    assert [u["primary"] for u in repo.json("urls")["urls"]] == [True]
    assert any("serving on" in line["text"] for line in repo.json("logs", "--service", "web", "--tail", "9")["lines"])
    assert [s["ok"] for s in repo.json("test", "good")["suites"]] == [True]
    assert repo.json("artifacts")["files"][0]["path"] == "serve.py"
    assert repo.json("restart", "web")["state"] == "ready"
    assert [e["checkout"] for e in repo.json("ps", "--under", str(repo.root))["environments"]] == [str(repo.root)]
    assert "web" in repo.json("stop")["stopped"]
    assert len(repo.json("clean")["ports"]) == 1
    assert repo.json("clean", "--stale", "--under", str(repo.root))["environments"] == []
    assert "properties" in repo.json("schema")["schema"]
    assert repo.json("completion", "fish")["shell"] == "fish"
    running = repo.popen("supervise", "--json")
    for line in running.stderr:
        if "once" in line and "completed" in line:
            break
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=20)
    assert (running.returncode, json.loads(out)["state"]) == (0, "stopped")


@pytest.mark.parametrize(
    ("contract", "args", "code", "error"),
    [
        ("name: a\nbogus: 1\n", ["check"], 2, "invalid_contract"),
        ("name: a\nsetup: exit 3\n", ["setup"], 1, "setup_failed"),
        ("name: a\nservices: {web: {command: exit 3}}\n", ["start"], 1, "service_exited"),
        ("name: a\nservices: {web: {command: exit 3}}\n", ["supervise"], 1, "service_exited"),
        (APP, ["status", "extra"], 2, "usage"),
        (APP, ["urls"], 3, "not_started"),
        (APP, ["logs", "--service", "wbe"], 2, "no_such_service"),
        (APP, ["logs", "--grep", "["], 2, "bad_pattern"),
        (APP, ["logs", "--tail", "-5"], 2, "usage"),
        (APP, ["logs", "--since", "5x"], 2, "usage"),
        (APP, ["start", "--worktree-id", "///"], 2, "usage"),
        (APP, ["test"], 1, "tests_failed"),
        (APP, ["test", "goood"], 2, "no_such_suite"),
        (APP, ["validate"], 3, "not_running"),
        ("name: [", ["artifacts"], 2, "invalid_contract"),
        (APP, ["restart"], 3, "not_running"),
        (APP, ["stop", "--now"], 2, "usage"),
        ("name: a\nclean: exit 3\n", ["clean"], 1, "clean_failed"),
        (APP, ["completion", "tcsh"], 2, "usage"),
        (APP, ["ps", "--over"], 2, "usage"),
        (APP, ["schema", "x"], 2, "usage"),
        (APP, ["strat"], 2, "usage"),
        (APP, ["start", "--port-range", "abc"], 2, "bad_port_range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_every_verb_that_fails(
    make_repo: Callable[..., Any], contract: str, args: list[str], code: int, error: str
) -> None:
    """Its own exit code and error; each says what to do next."""
    repo = make_repo(contract)
    told = repo.json(*args, code=code)
    assert (told["ok"], told["error"]["code"]) == (False, error)
    assert told["error"]["hint"] or told["errors"]


def test_a_status_that_is_not_ready(make_repo: Callable[..., Any], kill: Callable[..., Any]) -> None:
    """Stopped is no error and exit code 3; a supervisor that was killed is one."""
    repo = make_repo(APP)
    assert repo.json("status", code=3)["state"] == "stopped"
    kill(repo.json("start")["supervisor"]["pid"])
    told = repo.json("status", code=3)
    assert (told["state"], told["error"]["code"]) == ("failed", "supervisor_gone")


def test_verbs_answers_and_errors_are_complete() -> None:
    """Every verb has an answer and examples; every error says what to do next; every kind of mistake has a meaning."""
    assert list(cli.VERBS) == list(dict.fromkeys(cli.VERBS)) and cli.VERBS.keys() == answers.ANSWERS.keys()
    assert all(verb.examples and verb.about for verb in cli.VERBS.values())
    bases = {
        "ContractError",
        "InvalidFile",
        "InvalidContract",
        "InvalidScenarios",
        "Problem",
        "Reported",
        "Interrupted",
    }
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.ContractError) and name not in bases:
            assert error.hint, f"{name} does not say what to do next"
    source = Path(errors.__file__).parent
    kinds = {
        node.args[0].value
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem"
        if isinstance(node.args[0], ast.Constant)
    }
    assert kinds == errors.PROBLEMS.keys()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_has_examples_that_can_be_parsed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of every verb shows examples, and each of them is a command line that exists."""
    with pytest.raises(SystemExit) as e:
        entry.main([verb, "--help"])
    shown = capsys.readouterr().out
    assert e.value.code == 0 and "examples:" in shown
    for example, _ in cli.VERBS[verb].examples:
        words = shlex.split(re.sub(r"^eval \"\$\((.*)\)\"$", r"\1", example))
        stop = next((i for i, word in enumerate(words) if word in (">", "|")), len(words))
        assert cli.parser().parse_args(words[1:stop]).command == verb


def test_factory_alone_teaches(make_repo: Callable[..., Any]) -> None:
    """Without a contract it shows one, which is valid; with one it says what is so and what to do next."""
    repo = make_repo()
    shown = repo.run().stdout
    assert "There is no factory.yaml here yet." in shown and "factory check" in shown
    smallest = shown[shown.index("  name:") : shown.index("  factory check")]
    repo.contract("\n".join(line[2:] for line in smallest.splitlines()))
    assert repo.json("check")["ports"] == ["WEB_PORT"]
    shown = repo.run().stdout
    assert "is stopped" in shown and "Next: `factory setup`" in shown
    repo.contract(APP)
    repo.json("start")
    shown = repo.run().stdout
    assert "is ready" in shown and "Next: `factory urls`" in shown
    assert re.fullmatch(r"factory \d+\.\d+\.\d+\n", repo.run("--version").stdout)
