"""Services of a Compose file in a real container engine. Run them with

    TEST_COMPOSE=1 .venv/bin/python -m pytest libs/contract/tests/test_compose_engine.py

They are skipped, with the reason, where no engine answers. Images that are not there are pulled: TEST_COMPOSE_IMAGE (a system with
Perl, debian:bookworm-slim) and TEST_COMPOSE_POSTGRES (postgres:18-bookworm). docker-compose v1 is tried where it is on PATH, or in
the directory TEST_COMPOSE_V1.
"""

import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

IMAGE = os.environ.get("TEST_COMPOSE_IMAGE", "debian:bookworm-slim")
POSTGRES = os.environ.get("TEST_COMPOSE_POSTGRES", "postgres:18-bookworm")
LABEL = "com.docker.compose.project"

# answers with the text that it was given; waits before it listens
SERVE = """
use IO::Socket::INET; $| = 1; $SIG{PIPE} = "IGNORE"; $SIG{TERM} = sub { print "bye\\n"; exit 0 };
my ($port, $text, $wait) = @ARGV; sleep $wait if $wait;
my $s = IO::Socket::INET->new(LocalAddr => "0.0.0.0", LocalPort => $port, Listen => 20, ReuseAddr => 1) or die $!;
print "serving $text\\n";
while (1) { my $c = $s->accept or next; $c->recv(my $b, 4096);
  print $c "HTTP/1.1 200 OK\\r\\nContent-Length: " . length($text) . "\\r\\nConnection: close\\r\\n\\r\\n$text"; close $c }
"""
COMPOSE = f"""
services:
  web:
    image: one-for-all:dev
    build: .
    container_name: one-for-all-web
    command: sh -c 'cat /data/name 2>/dev/null; echo "$$TEXT" > /data/name; exec perl /serve.pl 80 "$$TEXT" 1'
    environment: {{TEXT: nothing}}
    ports: ["8080:80"]
    volumes: [data:/data]
    restart: always
    depends_on: {{migrate: {{condition: service_completed_successfully}}, cache: {{condition: service_healthy}}}}
  migrate: {{image: "{IMAGE}", command: echo migrated, profiles: [tools]}}
  cache:
    image: "{IMAGE}"
    container_name: one-for-all-cache
    command: sh -c 'sleep 1; touch /well; exec sleep 300'
    init: true
    healthcheck: {{test: test -e /well, interval: 60s}}
  other: {{image: "{IMAGE}", command: sleep 300, ports: ["5432:5432/udp"]}}
volumes: {{data: {{name: one-for-all}}}}
networks: {{default: {{ipam: {{config: [{{subnet: 10.213.47.0/24}}]}}}}}}
"""
DOCKERFILE = f"FROM {IMAGE}\nCOPY serve.pl /\n"
APP = """
name: shop
services:
  web: {type: docker-compose, env: {TEXT: "${FACTORY_WORKTREE} ${WEB_PORT}"}, url: "http://localhost:${WEB_PORT}/"}
"""
ONE = "name: a\nservices:\n  x: {type: docker-compose}\n"


pytestmark = pytest.mark.timeout(300)  # v1 alone takes seconds to begin


def docker(*argv: str) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def why_not() -> str:
    if not os.environ.get("TEST_COMPOSE"):
        return "they need a container engine: set TEST_COMPOSE=1 to run them"
    if not shutil.which("docker"):
        return "docker is not installed"
    for asked in (["docker", "version"], ["docker", "compose", "version"]):
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            return f"`{' '.join(asked)}` fails: {done.stderr.strip().splitlines()[-1:]}"
    return ""


def need(image: str) -> None:
    here = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    if here.returncode != 0:
        pulled = subprocess.run(
            ["docker", "pull", "--quiet", image], capture_output=True, text=True, timeout=300, check=False
        )
        if pulled.returncode != 0:
            pytest.skip(f"the image {image} is not here and cannot be pulled")


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    if reason := why_not():
        pytest.skip(reason)
    need(IMAGE)


def made(project: str) -> list[str]:
    """Everything in the engine that is of a project."""
    of = ("--filter", f"label={LABEL}={project}")
    return [
        *(f"container {line}" for line in docker("ps", "-a", "--format", "{{.Names}}", *of).split()),
        *(
            f"{kind} {line}"
            for kind in ("network", "volume")
            for line in docker(kind, "ls", "--format", "{{.Name}}", *of).split()
        ),
        *(f"image {line}" for line in docker("image", "ls", "--format", "{{.Repository}}", *of).split()),
    ]


@pytest.fixture
def shop(make_repo: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Checkouts with a Compose file; at the end nothing of them may be in the engine."""
    repos = []

    def make(contract: str = APP, compose: str = COMPOSE) -> Any:
        repo = make_repo(contract)
        repo.write("compose.yaml", compose)
        repo.write("serve.pl", SERVE)
        repo.write("Dockerfile", DOCKERFILE)
        repos.append(repo)
        return repo

    yield make
    for repo in repos:
        name, worktree = repo.root.joinpath("factory.yaml").read_text().split()[1], repo.root.name
        if repo.here.state_dir.exists():
            worktree = json.loads(repo.run("clean", "--json").stdout) and worktree
        left = [line for line in docker("ps", "-a", "--format", "{{.Names}}").split() if f"{name}-{worktree}" in line]
        left += [line for line in docker("volume", "ls", "-q").split() if f"{name}-{worktree}" in line]
        assert left == []


def get(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return answer.read().decode()


def two_at_once(one: Any, two: Any) -> None:
    starting = [repo.popen("start", "--json") for repo in (one, two)]
    told = [json.loads(p.communicate(timeout=90)[0]) for p in starting]
    assert [t["state"] for t in told] == ["ready", "ready"], told
    ports = [t["ports"]["WEB_PORT"] for t in told]
    assert [get(port) for port in ports] == [f"{t['worktree']} {t['ports']['WEB_PORT']}" for t in told]
    projects = [f"shop-{t['worktree']}" for t in told]
    things = [set(made(project)) for project in projects]
    assert [sorted({thing.split()[0] for thing in each}) for each in things] == [
        ["container", "image", "network", "volume"]
    ] * 2
    assert not things[0] & things[1]
    assert not [thing for thing in things[0] | things[1] if "one-for-all" in thing]

    one.json("stop")
    assert {thing.split()[0] for thing in made(projects[0])} == {"image", "volume"}
    assert get(ports[1]).endswith(str(ports[1]))
    assert one.json("start")["ports"]["WEB_PORT"] == ports[0]
    lines = [line["text"] for line in one.json("logs", "--service", "web")["lines"]]
    assert f"{told[0]['worktree']} {ports[0]}" in lines, "the volume has outlived stop"
    one.json("clean")
    assert made(projects[0]) == []
    assert two.json("status")["state"] == "ready"
    two.json("clean")
    assert made(projects[1]) == []


def test_two_checkouts_at_once(shop: Callable[..., Any]) -> None:
    """One Compose file, two checkouts: ports, project, containers, network, volume, image are each one's own; clean leaves none."""
    two_at_once(shop(), shop())


def test_the_first_generation(shop: Callable[..., Any], tmp_path: Path) -> None:
    """The same by docker-compose v1."""
    where = os.environ.get("TEST_COMPOSE_V1", "")
    found = shutil.which("docker-compose", path=f"{where}:{os.environ['PATH']}")
    asked = [found or "", "version", "--short"]
    version = subprocess.run(asked, capture_output=True, text=True, check=False).stdout if found else ""
    if not version.startswith("1."):
        pytest.skip("docker-compose v1 is not installed")
    one, two = shop(), shop()
    for repo in (one, two):
        repo.env |= {"PATH": f"{Path(found or '').parent}:{repo.env['PATH']}", "DOCKER_CONFIG": str(tmp_path / "none")}
    if subprocess.run(["docker", "compose", "version"], env=one.env, capture_output=True, check=False).returncode == 0:
        pytest.skip("Compose v2 is installed for all, v1 would not be taken")
    two_at_once(one, two)


def test_ready_is_what_answers_within(shop: Callable[..., Any]) -> None:
    """The engine's proxy accepts from the first moment; the container has to listen. Its own check is not waited a minute for."""
    repo = shop(ONE.replace("x:", "web:") + "  other: {type: docker-compose}\n")
    told = repo.json("start")
    assert repo.service("other")["ports"] == {"OTHER_PORT": told["ports"]["OTHER_PORT"]}, (
        "one of UDP: it is ready when it runs"
    )
    assert told["seconds"] < 50, "the healthcheck of `cache` has an interval of a minute"
    assert get(told["ports"]["WEB_PORT"]) == "nothing"
    assert repo.service("cache")["health"]["ok"]
    texts = [line["text"] for line in repo.json("logs", "--service", "web")["lines"]]
    assert "serving nothing" in texts
    repo.json("stop")
    assert "bye" in [line["text"] for line in repo.json("logs", "--service", "web")["lines"]]


def test_a_killed_supervisor_and_a_killed_container(
    shop: Callable[..., Any], kill: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """A container that dies is started again; what a supervisor leaves is named, and removed by clean."""
    repo = shop(ONE.replace("x:", "cache:"))
    told = repo.json("start")
    name = f"a-{told['worktree']}-cache-1"
    docker("kill", name)
    until(lambda: repo.service("cache")["restarts"] == 1 and repo.service("cache")["state"] == "ready", seconds=40)
    kill(told["supervisor"]["pid"])
    status = repo.json("status", code=3)
    assert (status["error"]["code"], status["error"]["containers"]) == ("supervisor_gone", [name])
    assert repo.json("clean")["containers"] == [name]
    assert made(f"a-{told['worktree']}") == []


def test_a_port_that_is_stolen(shop: Callable[..., Any], until: Callable[..., Any]) -> None:
    """The engine cannot publish it, and the thief is named."""
    gate = "  gate: {type: task, command: 'while [ ! -e open ]; do sleep 0.05; done'}\n"
    compose = f"services: {{x: {{image: '{IMAGE}', command: sleep 60, ports: ['1:1']}}}}\n"
    repo = shop(ONE.replace("compose}", "compose, depends_on: gate}") + gate, compose)
    starting = repo.popen("start", "--json")
    with socket.create_server(("127.0.0.1", until(lambda: repo.processes() and repo.ports()["X_PORT"]))):
        repo.write("open", "")
        out, _ = starting.communicate(timeout=60)
    error = json.loads(out)["error"]
    assert (error["code"], f"pid {os.getpid()}" in error["message"]) == ("foreign_listener", True)


@pytest.mark.parametrize(
    ("compose", "code", "words"),
    [
        ("services: {x: {image: 'localhost:1/no/where'}}", "image_unavailable", "localhost:1/no/where of x cannot be pulled"),
        (f"services: {{x: {{image: '{IMAGE}', bogus: 1}}}}", "compose_invalid", "bogus"),
        (f"services: {{x: {{image: '{IMAGE}', command: [no-such-program]}}}}", "container_failed", "no-such-program"),
        (f"services: {{x: {{image: '{IMAGE}', command: sh -c 'echo boom; exit 7'}}}}", "service_exited", "exit code 7"),
        (f"services: {{x: {{image: '{IMAGE}', command: sleep 60, volumes: ['a:/a']}}}}\nvolumes: {{a: {{external: true, name: no-such}}}}",
         "containers_failed", "volume"),
        ("services: {x: {build: {context: nowhere}}}", "containers_failed", "nowhere"),
    ],
)  # fmt: skip
def test_failed_starts(shop: Callable[..., Any], compose: str, code: str, words: str) -> None:
    """Each has its name, in words of what has failed, and leaves nothing."""
    repo = shop(ONE, compose)
    error = repo.json("start", code=None)["error"]
    assert (error["code"], words in error["message"]) == (code, True), error
    assert error["hint"]
    assert made(f"a-{repo.json('status', code=3)['worktree']}") == []


def test_a_real_database(shop: Callable[..., Any]) -> None:
    """As the vision writes it: `docker compose exec -T db pg_isready` means this checkout's, in tests too; psql by DB_PORT."""
    need(POSTGRES)
    compose = f"""
services:
  db:
    image: {POSTGRES}
    environment: {{POSTGRES_USER: me, POSTGRES_DB: app, POSTGRES_PASSWORD_FILE: /run/secret}}
    ports: ["${{DB_PORT:-5432}}:5432"]
    volumes: [data:/var/lib/postgresql, ./secret:/run/secret:ro]
volumes: {{data: }}
"""
    contract = """
name: shop
services:
  db: {type: docker-compose, healthcheck: docker compose exec -T db pg_isready -h localhost -U me}
tests: {t: "docker compose exec -T -e PGPASSWORD=pw db psql -h localhost -U me -Atc 'select 40 + 2' app"}
"""
    one, two = shop(contract, compose), shop(contract, compose)
    for repo in (one, two):
        repo.write("secret", "pw")
    starting = [repo.popen("start", "--json") for repo in (one, two)]
    assert [json.loads(p.communicate(timeout=90)[0])["state"] for p in starting] == ["ready", "ready"]
    (suite,) = two.json("test")["suites"]
    assert suite["tail"][-1] == "42"


def test_what_a_command_of_the_repo_makes(shop: Callable[..., Any]) -> None:
    """`docker compose run` in a command is in this project: it is not taken for the service, and goes with it."""
    compose = (
        f"services: {{x: {{image: '{IMAGE}', command: sleep 300, init: true, healthcheck: {{test: [CMD, 'true']}}}}}}\n"
    )
    repo = shop(ONE + "seed: docker compose run --detach x\n", compose)
    project = f"a-{repo.json('start')['worktree']}"
    assert len([thing for thing in made(project) if thing.startswith("container")]) == 2
    assert repo.json("restart", "x")["state"] == "ready"
    repo.json("stop")
    assert made(project) == []
