"""Services of a Compose file under the real `factory` command, with a stand-in for `docker`. `test_compose_engine` has a real one."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from factory_contract import health, proc

STANDIN = Path(__file__).with_name("compose_standin.py")
PACKAGES = Path(yaml.__file__).parent.parent  # it begins sooner without looking for more

pytestmark = pytest.mark.timeout(300)  # each is dozens of short processes

COMPOSE = """
services:
  db:
    image: here/db
    container_name: one-for-all
    restart: always
    command: exec python3 serve.py $$PORT_5432
    ports: ["5432:5432"]
    volumes: ["data:/data", "/anonymous"]
  web:
    build: .
    image: one-for-all:dev
    command: echo web $$GREETING; exec python3 serve.py $$PORT_80
    ports: ["${WEB_PORT:-8080}:80"]
    environment: {GREETING: hello}
    depends_on: {cache: {condition: service_started}, migrate: {condition: service_completed_successfully}}
  cache: {image: here/cache, command: exec sleep 60, healthcheck: {test: [CMD, test, -e, well], interval: 0.2s, retries: 2}}
  migrate: {image: here/db, command: echo migrated, profiles: [tools]}
  unused: {image: no/where, command: exit 9, ports: ["9999:9999"]}
volumes: {data: {name: one-for-all}}
"""
APP = """
name: shop
services:
  db: {type: docker-compose, healthcheck: {http: /}}
  web: {type: docker-compose, env: {GREETING: "from ${DB_PORT}"}, healthcheck: {http: /}, url: "http://localhost:${WEB_PORT}/"}
  api: {command: "echo $DATABASE; exec python3 serve.py $API_PORT", env: {DATABASE: "db:${DB_PORT}"}, depends_on: [db]}
tests: {t: "docker compose exec -T db printenv PORT_5432"}
"""
ONE = "name: a\nservices:\n  x: {type: docker-compose}\n"


class Docker:
    """The stand-in: what it has, and what it was asked."""

    def __init__(self, home: Path) -> None:
        self.home, self.bin = home, home / "bin"
        self.bin.mkdir(parents=True)
        for name in ("docker", "docker-compose"):
            program = self.bin / name
            program.write_text(f'#!/bin/sh\nPYTHONPATH={PACKAGES} exec {sys.executable} -S {STANDIN} {name} "$@"\n')
            program.chmod(0o755)
        self.env = {"STANDIN": str(home), "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def say(self, what: str) -> Path:
        path = self.home / what
        path.write_text("")
        return path

    def have(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(p.read_text()) for p in (self.home / kind).glob("*.json")]

    def with_pid(self) -> list[dict[str, Any]]:
        """The containers whose process is known: a moment after they are seen to run."""
        return [container for container in self.have("containers") if container["State"]["Pid"]]

    def names(self) -> list[str]:
        return sorted(
            f"{kind} {t['Name']}" for kind in ("containers", "networks", "volumes", "images") for t in self.have(kind)
        )

    def running(self) -> list[str]:
        return sorted(c["Name"].lstrip("/") for c in self.have("containers") if c["State"]["Running"])

    def calls(self, verb: str) -> list[list[str]]:
        lines = (self.home / "calls.jsonl").read_text().splitlines()
        return [call for call in map(json.loads, lines) if verb in call]


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Docker]:
    found = Docker(tmp_path / "engine")
    yield found
    for container in found.have("containers"):
        if container["State"]["Pid"]:
            os.killpg(container["State"]["Pid"], signal.SIGKILL)


@pytest.fixture
def shop(make_repo: Callable[..., Any], docker: Docker) -> Callable[..., Any]:
    def make(contract: str = APP, compose: str | None = COMPOSE, **kw: Any) -> Any:
        repo = make_repo(contract, **kw)
        repo.env |= docker.env
        repo.write("well", "")
        if compose is not None:
            repo.write("compose.yaml", compose)
        return repo

    return make


def rewritten(repo: Any) -> dict[str, Any]:
    (path,) = (repo.root / ".software-factory/compose").glob("*.json")
    return json.loads(path.read_text())


def test_a_whole_life(shop: Callable[..., Any], docker: Docker) -> None:
    """Ports are leased by name, what Compose's services need comes along, commands mean this project, clean leaves nothing."""
    repo = shop()
    told = repo.json("start")
    project = f"shop-{told['worktree']}"
    assert {s["name"]: s["state"] for s in told["services"]} == {
        "db": "ready", "web": "ready", "api": "ready", "cache": "ready", "migrate": "completed",
    }  # fmt: skip
    assert told["ports"].keys() == {"DB_PORT", "WEB_PORT", "API_PORT"}
    assert docker.running() == [f"{project}-cache-1", f"{project}-db-1", f"{project}-web-1"]
    lines = {line["text"] for line in repo.json("logs")["lines"]}
    assert {f"db:{told['ports']['DB_PORT']}", f"web from {told['ports']['DB_PORT']}", "migrated"} <= lines

    run = rewritten(repo)["services"]
    assert run["db"]["ports"] == [f"127.0.0.1:{told['ports']['DB_PORT']}:5432/tcp"]
    assert run["web"]["ports"] == [f"127.0.0.1:{told['ports']['WEB_PORT']}:80/tcp"]
    assert "ports" not in run["unused"]
    assert {service["restart"] for service in run.values()} == {"no"}
    (up,) = docker.calls("up")
    assert up[up.index("up") :] == ["up", "--no-start", "--no-deps", "--build", "cache", "db", "migrate", "web"]

    (suite,) = repo.json("test")["suites"]
    assert suite["tail"] == [str(told["ports"]["DB_PORT"])]
    assert repo.json("start")["already_running"]
    pids = {s["name"]: s["pid"] for s in told["services"]}
    after = {s["name"]: s["pid"] for s in repo.json("restart", "web")["services"]}
    assert after["web"] != pids["web"]
    assert after["db"] == pids["db"]

    assert sorted(repo.json("stop")["stopped"]) == ["api", "cache", "db", "web"]
    assert docker.names() == [f"images {project}-web", f"volumes {project}_/anonymous", f"volumes {project}_data"]
    assert repo.json("start")["ports"] == told["ports"]
    cleaned = repo.json("clean")
    assert sorted(cleaned["ports"]) == sorted(told["ports"].values())
    assert docker.names() == []


def test_two_checkouts_at_once(shop: Callable[..., Any], docker: Docker) -> None:
    """One Compose file, started twice at the same moment: no port, container, network, volume or image is shared."""
    one, two = shop(), shop()
    starting = [repo.popen("start", "--json") for repo in (one, two)]
    told = [json.loads(p.communicate(timeout=100)[0]) for p in starting]
    assert [t["state"] for t in told] == ["ready", "ready"]
    assert not set(told[0]["ports"].values()) & set(told[1]["ports"].values())
    names = docker.names()
    assert len(set(names)) == len(names) == 2 * 8
    assert not [name for name in names if "one-for-all" in name]
    one.json("clean")
    assert two.json("status")["state"] == "ready"
    assert docker.names() == [name for name in names if told[1]["worktree"] in name]


def test_a_killed_supervisor(shop: Callable[..., Any], docker: Docker, kill: Callable[..., Any]) -> None:
    """status names the containers that it has left; stop removes them and says so; their volumes stay until clean."""
    repo = shop()
    told = repo.json("start")
    names = [f"shop-{told['worktree']}-{name}-1" for name in ("cache", "db", "migrate", "web")]
    kill(told["supervisor"]["pid"])
    status = repo.json("status", code=3)
    assert (status["error"]["code"], status["error"]["containers"]) == ("supervisor_gone", names)
    assert f"the containers {', '.join(names)}" in status["error"]["message"]
    docker.say("silent")
    assert repo.json("stop", code=4)["error"]["code"] == "engine_silent"
    (docker.home / "silent").unlink()
    assert repo.json("stop")["containers"] == names
    assert {name.split()[0] for name in docker.names()} == {"images", "volumes"}
    assert repo.json("start")["state"] == "ready"
    kill(repo.look()["supervisor"]["pid"])
    assert repo.json("clean")["containers"] == names
    assert docker.names() == []


def test_clean_stale(
    shop: Callable[..., Any], make_repo: Callable[..., Any], docker: Docker, tmp_path: Path, kill: Callable[..., Any]
) -> None:
    """Containers of a killed supervisor go, its volumes stay; of a wiped checkout all goes, though only labels tell of it."""
    dead, wiped, well = shop(name="dead"), shop(name="wiped"), shop(name="well")
    told = {repo.root.name: repo.json("start") for repo in (dead, wiped, well)}
    for repo in (dead, wiped):
        kill(told[repo.root.name]["supervisor"]["pid"])
    shutil.rmtree(wiped.root)
    beside = make_repo(name="beside")
    beside.env |= docker.env
    found = {Path(e["checkout"]).name: e for e in beside.json("ps", "--under", str(tmp_path))["environments"]}
    names = {name: f"shop-{told[name]['worktree']}" for name in told}
    assert [c.rpartition("-")[0] for c in found["wiped"]["left"]["containers"]] == [
        f"{names['wiped']}-{service}" for service in ("cache", "db", "migrate", "web")
    ]
    assert found["wiped"]["left"]["projects"] == [names["wiped"]]
    assert len(found["dead"]["left"]["containers"]) == 4
    assert found["well"]["containers"]
    assert not any(found["well"]["left"].values())

    docker.say("silent")
    error = beside.json("clean", "--stale", "--under", str(tmp_path), code=4)["error"]
    assert error["code"] == "engine_silent"
    (docker.home / "silent").unlink()
    cleaned = beside.json("clean", "--stale", "--under", str(tmp_path))
    assert {Path(e["checkout"]).name for e in cleaned["environments"]} == {"dead", "wiped"}
    assert [name for name in docker.names() if names["wiped"] in name] == []
    kept = [name.split()[0] for name in docker.names() if names["dead"] in name]
    assert sorted(set(kept)) == ["images", "volumes"]
    assert well.json("status")["state"] == "ready"
    assert len([name for name in docker.running() if names["well"] in name]) == 3


def test_an_engine_that_goes_away(
    shop: Callable[..., Any], docker: Docker, until: Callable[..., Any], kill: Callable[..., Any]
) -> None:
    """The service that it is noticed by has failed with its name; stop says what it could not remove, and does so later."""
    repo = shop(ONE.replace("x:", "cache:"))
    repo.json("start")
    silent = docker.say("silent")
    kill(repo.service("cache")["pid"])  # as the attached command of a real one ends
    until(lambda: repo.service("cache")["state"] == "failed")
    assert repo.service("cache")["error"]["code"] == "engine_silent"
    assert repo.json("stop", code=4)["error"]["code"] == "engine_silent"
    assert repo.json("status", code=3)["error"]["code"] == "engine_silent"
    silent.unlink()
    assert len(repo.json("stop")["containers"]) == 1
    assert docker.running() == []


def test_a_silent_engine_keeps_clean_from_forgetting(shop: Callable[..., Any], docker: Docker) -> None:
    """What is needed to find the volumes is not removed before they are."""
    repo = shop(ONE.replace("x:", "db:"))
    repo.json("start")
    repo.json("stop")
    silent = docker.say("silent")
    assert repo.json("clean", code=4)["error"]["code"] == "engine_silent"
    silent.unlink()
    repo.json("clean")
    assert docker.names() == []


def test_an_attached_command_that_is_killed(
    shop: Callable[..., Any], docker: Docker, until: Callable[..., Any], kill: Callable[..., Any]
) -> None:
    """Its container is not left to itself: it is ended, and both begin again."""
    repo = shop(ONE.replace("x:", "cache:"))
    repo.json("start")
    (before,) = until(docker.with_pid)
    kill(repo.service("cache")["pid"])
    until(lambda: repo.service("cache")["restarts"] == 1 and repo.service("cache")["state"] == "ready")
    (after,) = until(docker.with_pid)
    assert (after["Id"], after["State"]["Pid"] != before["State"]["Pid"]) == (before["Id"], True)
    assert proc.look(before["State"]["Pid"]) is None


def test_health_over_time(shop: Callable[..., Any], docker: Docker, until: Callable[..., Any]) -> None:
    """The container's own healthcheck is asked, in the container, at its own rhythm."""
    repo = shop(ONE.replace("x:", "cache:"))
    repo.json("start")
    (repo.root / "well").unlink()
    until(lambda: repo.look()["state"] == "degraded")
    assert "`test -e well` ended with 1" in repo.service("cache")["health"]["detail"]
    repo.write("well", "")
    until(lambda: repo.look()["state"] == "ready")


def test_ctrl_c_while_an_image_is_pulled(shop: Callable[..., Any], docker: Docker, until: Callable[..., Any]) -> None:
    """Nothing is left, and it was said what is waited for; the next start pulls and runs."""
    docker.say("slow")
    repo = shop(ONE, "services: {x: {image: far/away, command: exec sleep 60}}\n")
    starting = repo.popen("start")
    until(lambda: (docker.home / "calls.jsonl").exists() and docker.calls("pull"))
    starting.send_signal(signal.SIGINT)
    _, err = starting.communicate(timeout=100)
    assert starting.returncode == 130
    assert "pulling far/away" in err
    assert docker.names() == []
    assert repo.processes() == []
    (docker.home / "slow").unlink()
    assert repo.json("start")["state"] == "ready"


def test_a_deleted_and_a_moved_checkout(
    shop: Callable[..., Any], docker: Docker, until: Callable[..., Any], tmp_path: Path
) -> None:
    """Nobody can clean a deleted one, so its supervisor does; a moved one knows its old project still."""
    gone, moved = shop(), shop()
    pid = gone.json("start")["supervisor"]["pid"]
    shutil.rmtree(gone.root)
    until(lambda: proc.look(pid) is None)
    assert docker.names() == []

    old = moved.json("start")["worktree"]
    moved.json("stop")
    moved.root = moved.root.rename(tmp_path / "moved")
    new = moved.json("start")["worktree"]
    assert {w for w in (old, new) if any(w in name for name in docker.names())} == {old, new}
    moved.json("clean")
    assert docker.names() == []


def test_what_is_asked_of_whom(shop: Callable[..., Any], docker: Docker) -> None:
    """Two files are two projects; each service's own commands mean its own; a port in a list names the file's in order."""
    repo = shop(
        """
name: two
services:
  x:
    {type: docker-compose, compose_file: one.yaml, ports: [A_PORT, B_PORT], healthcheck: echo $COMPOSE_PROJECT_NAME > x}
  y: {type: docker-compose, compose_file: sub/two.yaml, ports: [], healthcheck: echo $COMPOSE_PROJECT_NAME > y}
""",
        None,
    )
    service = "{image: here/x, command: exec sleep 60, ports: ['1:1', '2:2']}"
    repo.write("one.yaml", f"services: {{x: {service}}}\n")
    repo.write("sub/two.yaml", f"services: {{y: {service}}}\n")
    told = repo.json("start")
    assert told["ports"].keys() == {"A_PORT", "B_PORT"}
    names = [(repo.root / name).read_text().strip() for name in "xy"]
    assert names == [f"two-{told['worktree']}-one-yaml", f"two-{told['worktree']}-sub-two-yaml"]
    assert {c["Name"].rpartition("-")[0].lstrip("/"): len(c["Ports"]) for c in docker.have("containers")} == {
        f"{names[0]}-x": 2,
        f"{names[1]}-y": 0,
    }
    repo.json("clean")
    assert docker.names() == []


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compose", "code", "exit_code", "words"),
    [
        ("services: {x: {image: no/where, command: 'true'}}", "image_unavailable", 4, "no/where of x cannot be pulled: pull access"),
        ("services: {x: {image: here/x, command: 'true'}}\nbogus: {}", "compose_invalid", 2, "property bogus is not allowed"),
        ("services: {x: {image: here/x, command: 'echo boom; exit 7'}}", "service_exited", 1, "x ended with exit code 7"),
        ("services: {x: {image: here/x, command: 'exit 0', ports: ['1:1']}}", "service_left", 1, "x ended with exit code 0"),
        ("services: {x: {image: here/x, command: sleep 60, depends_on: {y: {condition: service_completed_successfully}}}, "
         "y: {image: here/x, command: 'exit 3'}}", "task_failed", 1, "The task y ended with exit code 3"),
        ("include: [more.yaml]\nservices: {other: {image: here/x}}", "no_compose_service", 2, "has no service x"),
    ],
)  # fmt: skip
def test_failed_starts(
    shop: Callable[..., Any], docker: Docker, compose: str, code: str, exit_code: int, words: str
) -> None:
    """Each has its own code and words that help, and leaves nothing that runs."""
    repo = shop(ONE, compose)
    error = repo.json("start", code=exit_code)["error"]
    assert (error["code"], words in error["message"]) == (code, True), error
    assert error["hint"]
    assert docker.running() == []
    assert docker.have("networks") == []
    assert repo.processes() == []


def test_no_docker_no_compose_no_engine(shop: Callable[..., Any], docker: Docker, tmp_path: Path) -> None:
    """Told apart, each with its next step; check needs none of them."""
    repo = shop()
    docker.say("silent")
    assert repo.json("start", code=4)["error"]["code"] == "engine_silent"
    (docker.home / "silent").unlink()
    docker.say("nothing")
    (docker.bin / "docker-compose").unlink()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "python3", "sleep"):
        (tools / name).symlink_to(shutil.which(name) or "")
    repo.env["PATH"] = f"{docker.bin}:{tools}"
    assert repo.json("start", code=4)["error"]["code"] == "compose_missing"
    repo.env["PATH"] = str(tools)
    assert repo.json("start", code=4)["error"]["code"] == "docker_missing"
    assert repo.json("check")["ports"] == ["DB_PORT", "WEB_PORT", "API_PORT"]


def test_the_first_generation(shop: Callable[..., Any], docker: Docker) -> None:
    """docker-compose v1 renders otherwise and is run as well."""
    docker.say("v1")
    repo = shop()
    told = repo.json("start")
    assert told["ports"].keys() == {"DB_PORT", "WEB_PORT", "API_PORT"}
    assert docker.calls("up")[0][:3] == ["docker-compose", "-p", f"shop-{told['worktree']}"]
    assert rewritten(repo)["services"]["web"]["ports"] == [f"127.0.0.1:{told['ports']['WEB_PORT']}:80/tcp"]
    repo.json("clean")
    assert docker.names() == []


def test_v1_is_refused_with_the_reason(shop: Callable[..., Any], docker: Docker) -> None:
    """What it does not know it says, and the hint says what does."""
    docker.say("v1")
    repo = shop(ONE, "include: [more.yaml]\nservices: {x: {image: here/x, command: sleep 60}}\n")
    error = repo.json("start", code=2)["error"]
    assert (error["code"], "include" in error["message"]) == ("compose_invalid", True)
    assert "install Docker Compose v2" in error["hint"]


def test_a_port_that_is_stolen(shop: Callable[..., Any], docker: Docker, until: Callable[..., Any]) -> None:
    """Between lease and start: the engine cannot publish it, the thief is named."""
    gate = "  gate: {type: task, command: 'while [ ! -e open ]; do sleep 0.05; done'}\n"
    compose = "services: {x: {image: here/x, command: sleep 60, ports: ['1:1']}}\n"
    repo = shop(ONE.replace("compose}", "compose, depends_on: gate}") + gate, compose)
    starting = repo.popen("start", "--json")
    with socket.create_server(("127.0.0.1", until(lambda: repo.processes() and repo.ports()["X_PORT"]))):
        repo.write("open", "")
        out, _ = starting.communicate(timeout=100)
    error = json.loads(out)["error"]
    assert (error["code"], f"pid {os.getpid()}" in error["message"]) == ("foreign_listener", True)
    assert docker.have("containers") == []


def test_a_project_that_is_somebody_elses(shop: Callable[..., Any], docker: Docker) -> None:
    """One --worktree-id in two checkouts: the second is refused, and the first goes on."""
    one, two = shop(), shop()
    one.json("start", "--worktree-id", "same")
    error = two.json("start", "--worktree-id", "same", code=4)["error"]
    assert error["code"] == "compose_project_taken"
    assert str(one.root) in error["message"]
    assert one.json("status")["state"] == "ready"
    two.json("clean")
    assert one.json("status")["state"] == "ready"


async def test_a_proxy_that_accepts_for_nobody() -> None:
    """The engine's proxy takes a connection and hangs up when nothing listens in the container: that is not ready."""

    async def hang_up(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for answer, ok in ((hang_up, False), (wait, True)):
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            begun = time.monotonic()
            assert (await health.tcp("127.0.0.1", port, held=0.2)).ok is ok
            assert time.monotonic() - begun < 5
