"""A life of an app under the real command: start, status, urls, logs, restart, stop, clean."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from factory_contract import cli, entry, lock

APP = """
name: app
services:
  db: {command: "exec python3 serve.py $DB_PORT"}
  migrate: {type: task, command: "echo migrated $DB_PORT", depends_on: [db]}
  api:
    command: exec python3 serve.py $API_PORT
    healthcheck: {http: /health}
    url: http://${FACTORY_HOST}:${API_PORT}/
    depends_on: [migrate]
  worker: {command: "echo working; exec sleep 60", depends_on: [db]}
seed: echo seeded $API_URL >> seeded.txt
"""


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def test_a_whole_life(make_repo: Callable[..., Any]) -> None:
    """start brings all up in order and seeds; status and urls tell it; logs show it; stop and clean leave nothing."""
    repo = make_repo(APP)
    assert repo.json("status", code=3)["state"] == "stopped"
    assert repo.json("urls", code=3)["error"]["code"] == "not_started"

    started = repo.json("start")
    assert (started["state"], started["already_running"]) == ("ready", False)
    assert {s["name"]: s["state"] for s in started["services"]} == {
        "db": "ready",
        "migrate": "completed",
        "api": "ready",
        "worker": "ready",
    }
    port = started["ports"]["API_PORT"]
    assert get(f"http://127.0.0.1:{port}/") == "ok"
    worktree = started["worktree"]
    assert (repo.root / "seeded.txt").read_text() == f"seeded http://api.{worktree}.localhost:{port}/\n"

    status = repo.json("status")
    api = next(s for s in status["services"] if s["name"] == "api")
    assert status["ok"]
    assert api.keys() >= {"type", "pid", "ports", "url", "exit_code", "restarts", "since", "health"}
    assert api["ports"] == {"API_PORT": port}
    assert api["health"]["ok"]
    urls = repo.json("urls")["urls"]
    assert urls == [
        {
            "service": "api",
            "url": f"http://api.{worktree}.localhost:{port}/",
            "internal_url": f"http://127.0.0.1:{port}",
            "port": port,
            "primary": True,
            "also": [],
        }
    ]

    again = repo.json("start")
    assert again["already_running"]
    assert again["supervisor"] == started["supervisor"]
    assert "running already" in repo.run("start").stderr

    lines = repo.json("logs", "--service", "migrate", "--service", "worker", "--grep", "^(migrated|working)")["lines"]
    assert sorted((line["service"], line["text"]) for line in lines) == [
        ("migrate", f"migrated {started['ports']['DB_PORT']}"),
        ("worker", "working"),
    ]
    assert repo.json("logs", "--service", "nope", code=2)["error"]["code"] == "no_such_service"

    stopped = repo.json("stop")
    assert sorted(stopped["stopped"]) == ["api", "db", "worker"]
    assert repo.processes() == []
    status = repo.json("status", code=3)
    assert (status["state"], {s["state"] for s in status["services"]}) == ("stopped", {"stopped", "completed"})
    assert repo.ports() == started["ports"], "leases stay until clean"
    assert repo.json("stop")["stopped"] == []

    cleaned = repo.json("clean")
    assert sorted(cleaned["ports"]) == sorted(started["ports"].values())
    assert not (repo.root / ".software-factory").exists()
    assert sorted(p.name for p in repo.root.iterdir()) == ["factory.yaml", "seeded.txt", "serve.py"]


def test_people_get_lines_and_no_colour_in_a_pipe(make_repo: Callable[..., Any]) -> None:
    """The live view is on stderr, the table on stdout, and nothing of it is an escape sequence."""
    repo = make_repo(APP)
    done = repo.run("start")
    assert "\x1b" not in done.stdout + done.stderr
    assert [line.split()[1:2] for line in done.stdout.splitlines()[1:]] == [
        ["ready"],
        ["completed"],
        ["ready"],
        ["ready"],
    ]
    shown = [line.split()[2:4] for line in done.stderr.splitlines() if " s " in line]
    assert ["db", "starting"] in shown
    assert shown.index(["db", "ready"]) < shown.index(["api", "starting"])


def test_two_checkouts_at_once(make_repo: Callable[..., Any]) -> None:
    """Started at the same moment they share no port, no name and no process; stopping one leaves the other."""
    one, two = make_repo(APP), make_repo(APP)
    starting = [repo.popen("start", "--json") for repo in (one, two)]
    told = [json.loads(p.communicate(timeout=40)[0]) for p in starting]
    assert [t["state"] for t in told] == ["ready", "ready"]
    assert not set(told[0]["ports"].values()) & set(told[1]["ports"].values())
    assert told[0]["worktree"] != told[1]["worktree"]
    assert told[0]["urls"][0]["url"] != told[1]["urls"][0]["url"]
    one.json("clean")
    assert two.json("status")["state"] == "ready"
    assert get(f"http://127.0.0.1:{told[1]['ports']['API_PORT']}") == "ok"


def test_ports_and_name_are_as_told(make_repo: Callable[..., Any]) -> None:
    """--port-range and --worktree-id are kept for later commands; a running app's ports cannot be moved."""
    repo = make_repo(
        "name: a\nservices:\n  web: {command: exec python3 serve.py $WEB_PORT, url: 'http://${FACTORY_HOST}/'}\n"
    )
    told = repo.json("start", "--port-range", "28100-28199", "--worktree-id", "job_123")
    assert 28100 <= told["ports"]["WEB_PORT"] <= 28199
    assert told["urls"][0]["url"] == "http://web.job-123.localhost/"
    assert repo.json("start", "--port-range", "28200", code=4)["error"]["code"] == "already_running"
    assert repo.json("start", "--port-range", "28100")["already_running"]
    repo.json("stop")
    assert repo.json("start")["worktree"] == "job-123"
    assert repo.json("start", "--port-range", "99999", code=2)["error"]["code"] == "bad_port_range"


def test_restart(make_repo: Callable[..., Any]) -> None:
    """Named services get new processes and the others keep theirs; without names the contract is read anew."""
    repo = make_repo(APP)
    repo.json("start")
    before = {s["name"]: s["pid"] for s in repo.json("status")["services"]}
    after = {s["name"]: s["pid"] for s in repo.json("restart", "api")["services"]}
    assert after["api"] not in (None, before["api"])
    assert (after["db"], after["worker"]) == (before["db"], before["worker"])
    assert repo.json("restart", "nope", code=2)["error"]["hint"].startswith("Known here")

    supervisor = repo.json("status")["supervisor"]["pid"]
    worker = 'worker: {ports: [], env: {NEW: yes}, command: "echo working $NEW $MORE_PORT; exec sleep 60"}'
    repo.contract("\n".join(worker.rjust(len(worker) + 2) if "worker:" in line else line for line in APP.splitlines()))
    told = repo.json("restart")
    assert told["supervisor"]["pid"] == supervisor
    assert "MORE_PORT" in told["ports"]
    texts = [line["text"] for line in repo.json("logs", "--service", "worker")["lines"]]
    assert texts == ["working", f"working yes {told['ports']['MORE_PORT']}"]
    assert (repo.root / "seeded.txt").read_text().count("seeded") == 2


def test_a_restart_that_fails_leaves_a_supervisor_that_can_be_told_more(make_repo: Callable[..., Any]) -> None:
    """A broken change is feedback: the error names service and log; an invalid contract ends nothing; a mended one is ready."""
    repo = make_repo(APP)
    pids = {s["name"]: s["pid"] for s in repo.json("start")["services"]}
    repo.contract(APP.replace("url:", "ulr:"))
    error = repo.json("restart", code=2)
    assert error["errors"][0]["code"] == "unknown_key"
    assert {s["name"]: s["pid"] for s in repo.json("status")["services"]} == pids

    repo.contract(APP.replace("exec python3 serve.py $API_PORT", "echo broken; exit 7\n    restart: no"))
    error = repo.json("restart", code=1)["error"]
    assert (error["code"], error["service"], error["log_tail"]) == ("service_exited", "api", ["broken"])
    status = repo.json("status", code=3)
    assert (status["state"], status["error"]["code"]) == ("failed", "service_exited")
    assert next(s for s in status["services"] if s["name"] == "db")["state"] == "ready"

    repo.contract(APP)
    assert repo.json("restart")["state"] == "ready"


def test_following_logs(make_repo: Callable[..., Any]) -> None:
    """What was said in time and what is said from now on, of one service, as far as it matches; until Ctrl-C."""
    repo = make_repo("""
name: a
services:
  x: {command: "n=0; while :; do echo tick $n; echo noise; n=$((n+1)); sleep 0.1; done"}
  y: {command: "while :; do echo tick of y; sleep 0.1; done"}
""")
    repo.json("start")
    following = repo.popen("logs", "--follow", "--service", "x", "--since", "5m", "--grep", "^tick")
    numbers = []
    while len(numbers) < 8:
        at, tick, number = following.stdout.readline().split()
        assert (len(at), tick) == (12, "tick")
        numbers.append(int(number))
    assert numbers == list(range(8))
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=10)
    assert following.returncode == 130


def test_stop_goes_against_the_graph_and_by_the_services_own_command(make_repo: Callable[..., Any]) -> None:
    """Who leans on others ends first; a `stop` command is asked before any signal."""
    said = "trap 'echo {0} >> ../order; exit' TERM; while :; do sleep 0.05; done"
    repo = make_repo(f"""
name: a
services:
  low: {{command: "{said.format("low")}", cwd: sub}}
  mid: {{command: "while [ ! -e done ]; do sleep 0.05; done; echo mid >> ../order", cwd: sub, stop: touch done, depends_on: low}}
  top: {{command: "{said.format("top")}", cwd: sub, depends_on: [mid, low]}}
""")
    repo.write("sub/x", "")
    repo.json("start")
    repo.json("stop")
    assert (repo.root / "order").read_text().split() == ["top", "mid", "low"]


def test_supervise_in_the_foreground(make_repo: Callable[..., Any], until: Callable[..., Any]) -> None:
    """As in a sandbox: `supervise` stays, `start` beside it only waits for it, SIGTERM ends everything in order."""
    repo = make_repo(APP)
    supervisor = repo.popen("supervise", "--json")
    until(lambda: lock.is_held(repo.here))
    waiting = repo.popen("start", "--json")
    told = json.loads(waiting.communicate(timeout=40)[0])
    assert (told["state"], told["supervisor"]["pid"]) == ("ready", supervisor.pid)
    second = repo.json("supervise", code=4)
    assert second["error"]["code"] == "already_running"
    assert repo.json("status")["state"] == "ready"
    supervisor.send_signal(signal.SIGTERM)
    out, _ = supervisor.communicate(timeout=30)
    assert (supervisor.returncode, json.loads(out)["state"]) == (0, "stopped")
    assert repo.processes() == []


def test_attached(make_repo: Callable[..., Any]) -> None:
    """`start --attach` waits for a supervisor that is yet to come."""
    repo = make_repo(APP)
    waiting = repo.popen("start", "--attach", "--json")
    time.sleep(0.3)
    supervisor = repo.popen("supervise")
    told = json.loads(waiting.communicate(timeout=40)[0])
    assert (told["state"], told["supervisor"]["pid"]) == ("ready", supervisor.pid)
    repo.json("stop")
    supervisor.communicate(timeout=20)
    assert supervisor.returncode == 0


def test_attached_to_a_supervisor_that_fails(make_repo: Callable[..., Any]) -> None:
    """Both tell the same error; without any supervisor to come the wait has an end."""
    repo = make_repo("name: a\nservices:\n  x: {command: 'echo boom; exit 3', restart: no}\n")
    waiting = repo.popen("start", "--attach", "--json")
    time.sleep(0.5)
    supervise = repo.json("supervise", code=1)
    told = json.loads(waiting.communicate(timeout=40)[0])
    assert told["error"] == supervise["error"]
    assert (waiting.returncode, told["error"]["log_tail"]) == (1, ["boom"])


def test_a_small_repo_needs_no_services(make_repo: Callable[..., Any]) -> None:
    """A library has only tests; starting it is no error."""
    repo = make_repo("name: lib\ntests: {unit: python3 -m unittest}\n")
    assert repo.json("start")["state"] == "ready"
    assert repo.json("urls")["urls"] == []


def test_only_the_second_loopback_address(make_repo: Callable[..., Any]) -> None:
    """node's listen('localhost') can bind [::1] alone: health checks find it there."""
    repo = make_repo(
        "name: a\nservices:\n  web: {command: exec python3 serve.py $WEB_PORT --v6, healthcheck: {http: /}}\n"
    )
    assert repo.json("start")["state"] == "ready"


@pytest.mark.parametrize("args", [["status"], ["urls"], ["--help"]])
def test_quick_verbs_import_the_standard_library_only(make_repo: Callable[..., Any], args: list[str]) -> None:
    """status, urls and --help load no YAML, no pydantic, no asyncio."""
    repo = make_repo("name: a\n")
    repo.env["PYTHONPROFILEIMPORTTIME"] = "1"
    done = repo.run(*args)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    ours = {name for name in loaded if name.startswith("factory_contract")}
    assert "factory_contract.entry" in ours
    site = {"_virtualenv", "_distutils_hack", "sitecustomize", "usercustomize"}
    others = {n.partition(".")[0] for n in loaded - ours} - set(__import__("sys").stdlib_module_names) - site
    assert {n for n in others if not n.startswith(("__editable", "_sysconfigdata"))} <= {"imported package"}
    assert not loaded & {"asyncio", "subprocess", "ssl", "yaml", "pydantic"}


@pytest.mark.parametrize("verb", entry.USUAL)
def test_what_needs_no_parser_is_what_the_parser_says(verb: str) -> None:
    """A verb called in the usual way has the same arguments, whoever reads them; with an option more it is the parser's."""
    for argv in ([verb], [verb, "--json"]):
        assert vars(entry.usual(argv)) == vars(cli.parser(verb).parse_args(argv))
    assert entry.usual([verb, "--help"]) is None
    assert entry.usual(["-C", "x", verb]) is None


def test_a_repos_own_implementation(make_repo: Callable[..., Any]) -> None:
    """factory.sh answers where the yaml says so or is not there, and may call `factory` itself without going round."""
    repo = make_repo("name: a\nimplementation: ./factory.sh\n")
    error = repo.json("status", code=2)["error"]
    assert (error["code"], error["hint"][:8]) == ("implementation_missing", "chmod +x")
    repo.write(
        "factory.sh", f'#!/bin/sh\necho "mine: $*" >&2\nexec {os.sys.executable} -m factory_contract "$@"\n', 0o755
    )
    done = repo.run("status", "--json")
    assert done.stderr.startswith("mine: status --json")
    assert json.loads(done.stdout)["state"] == "stopped"
    (repo.root / "factory.yaml").unlink()
    repo.write("factory.sh", '#!/bin/sh\necho "{\\"did\\": \\"$1\\"}"\nexit 3\n', 0o755)
    done = repo.run("urls", "--json")
    assert (json.loads(done.stdout), done.returncode) == ({"did": "urls"}, 3)
    (repo.root / "factory.sh").unlink()
    repo.contract("name: a\n")


def test_usage(make_repo: Callable[..., Any]) -> None:
    """Mistakes on the command line are errors as all others are, with exit code 2."""
    repo = make_repo("name: a\n")
    assert json.loads(repo.run("strat", "--json").stdout)["error"]["code"] == "usage"
    assert repo.run("logs", "--tail", "x").returncode == 2
    assert repo.json("logs", "--follow", code=2)["error"]["code"] == "usage"
    assert "examples:" in repo.run("--help").stdout
    (repo.root / "factory.yaml").unlink()
    assert repo.json("status", code=2)["error"]["code"] == "no_contract"
    repo.contract("name: a\nbogus: 1\n")
    told = repo.json("check", code=2)
    assert (told["error"]["file"], told["error"]["line"], told["errors"][0]["column"]) == ("factory.yaml", 2, 1)
    assert "factory.yaml:2:1" in repo.run("check").stderr
    repo.contract("name: a\n")
    assert repo.json("check")["contract"]["name"] == "a"
    assert json.loads(repo.run("schema").stdout)["title"] == "factory.yaml"
    assert repo.json("schema")["schema"]["title"] == "factory.yaml"
