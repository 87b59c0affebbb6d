"""What a grown-up `dev.sh` does, line by line, each with what takes its place in `factory.yaml`.

One repo of that kind, started once: Postgres and Electric by Compose (a stand-in for `docker`), the rest as small servers.
`examples/diffie-shaped` is the real thing; `tests/integration/test_diffie_shaped.py` runs it.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from factory_contract import check, proc
from factory_contract.compose import engine
from factory_contract.errors import EnvFileMissing, InvalidContract
from factory_contract.leasing import borrow

STANDIN = Path(__file__).with_name("compose_standin.py")
PACKAGES = Path(yaml.__file__).parent.parent  # it begins sooner without looking for more
EXAMPLE = Path(__file__).parents[3] / "examples" / "diffie-shaped"
LONG_LIVED = ("postgres", "electric", "restate", "test-service", "auth", "api", "realtime", "explore", "app", "website")

pytestmark = pytest.mark.timeout(120)

CONTRACT = """
name: diffie
runtime:
  package_manager: bun
  setup: [bun install]
  env_file: [.env.dev, {path: .env.worktree, required: false}]
isolation: {strategy: git-worktree, port_range_size: 100, docker_project_prefix: diffie_factory}
env:
  PATH: ${FACTORY_ROOT}/bin:${PATH}
  DATABASE_URL: postgres://postgres@127.0.0.1:${POSTGRES_PORT}/diffie
  ELECTRIC_URL: http://127.0.0.1:${ELECTRIC_PORT}
services:
  postgres:
    type: docker-compose
    compose_file: packages/common/docker-compose.yaml
    healthcheck: {command: docker compose exec -T postgres cat up}
  electric: {type: docker-compose, healthcheck: {http: /}}
  schema: {type: task, command: bun run dev:push, depends_on: [postgres]}
  restate:
    command: exec restate-server
    ports: [RESTATE_ADMIN_PORT, RESTATE_INGRESS_PORT, RESTATE_FABRIC_PORT]
    healthcheck: {http: "http://localhost:${RESTATE_ADMIN_PORT}/health"}
  build: {type: task, command: "echo 'print(1)' > test_service.py"}
  test-service: {command: exec python3 serve.py $TEST_SERVICE_PORT, depends_on: [build]}
  register:
    type: task
    command: sleep 30 & echo $! > helper.pid; bun register $RESTATE_ADMIN_PORT $TEST_SERVICE_PORT
    depends_on: [restate, test-service]
  auth: {command: exec python3 serve.py $AUTH_PORT, depends_on: [schema]}
  api: {command: exec python3 serve.py $API_PORT, url: "http://localhost:${API_PORT}", depends_on: [auth, register]}
  dev-vars:
    type: task
    command: "printf 'AUTH_URL=%s\\\\nDATABASE_URL=%s\\\\n' $AUTH_INTERNAL_URL $DATABASE_URL > .dev.vars"
  realtime:
    command: . ./.dev.vars; echo "auth at $AUTH_URL"; exec python3 serve.py $REALTIME_PORT
    url: http://localhost:${REALTIME_PORT}
    depends_on: [dev-vars]
  explore: {command: exec python3 serve.py $EXPLORE_PORT, url: "http://localhost:${EXPLORE_PORT}"}
  app:
    command: printenv > app.env; exec python3 serve.py $APP_PORT
    url: http://${FACTORY_HOST}:${APP_PORT}
    also: ["http://${TAILNET_HOST}:${APP_PORT}", "http://${NO_SUCH_HOST}:${APP_PORT}"]
    depends_on: [api]
  website: {command: exec python3 serve.py $WEBSITE_PORT, url: "http://localhost:${WEBSITE_PORT}"}
validation: {browser: {start_url: "http://localhost:${APP_PORT}"}}
"""
COMPOSE = """
services:
  postgres:
    image: here/postgres
    command: rm -f up; (sleep 0.4; date +%s.%N > up) & exec python3 serve.py $$PORT_5432
    ports: ["5432:5432"]
  electric: {image: here/electric, command: "exec python3 serve.py $$PORT_3000", ports: ["3000:3000"]}
"""
BUN = """#!/bin/sh
echo "$@ $DATABASE_URL" >> bun.calls
[ "$1" = run ] && date +%s.%N > pushed
[ "$1" = register ] && python3 -c "import sys, socket; [socket.create_connection(('127.0.0.1', int(p))) for p in sys.argv[1:]]" $2 $3
true
"""
RESTATE = """#!/bin/sh
python3 serve.py $RESTATE_INGRESS_PORT & python3 serve.py $RESTATE_FABRIC_PORT & exec python3 serve.py $RESTATE_ADMIN_PORT
"""


def fill(repo: Any, engine_home: Path) -> Any:
    """A checkout with its tools, and an engine that is a stand-in."""
    tools = engine_home / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    docker = tools / "docker"
    docker.write_text(f'#!/bin/sh\nPYTHONPATH={PACKAGES} exec {sys.executable} -S {STANDIN} docker "$@"\n')
    docker.chmod(0o755)
    repo.env |= {"STANDIN": str(engine_home), "PATH": f"{tools}:{os.environ['PATH']}", "SHELL_ONLY": "1"}
    repo.write("bin/bun", BUN, 0o755)
    repo.write("bin/restate-server", RESTATE, 0o755)
    repo.write("packages/common/docker-compose.yaml", COMPOSE.replace("serve.py", "../../serve.py"))
    repo.write(".env.dev", "MODE=dev\nGREETING=hello\nAPI_PORT=3000\nTAILNET_HOST=\n")
    return repo


class Started:
    """A checkout that runs, and what `start` has told of it."""

    def __init__(self, repo: Any, told: dict[str, Any]) -> None:
        self.repo, self.told = repo, told
        self.ports: dict[str, int] = told["ports"]
        self.services: dict[str, dict[str, Any]] = {s["name"]: s for s in told["services"]}

    def read(self, name: str) -> str:
        return (self.repo.root / name).read_text()

    def env(self) -> dict[str, str]:
        """What the app was told."""
        return dict(line.partition("=")[::2] for line in self.read("app.env").splitlines())

    def said(self, service: str) -> list[str]:
        return [line["text"] for line in self.repo.json("logs", "--service", service)["lines"]]


@pytest.fixture(scope="module")
def both(make_lasting_repo: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Started]]:
    """Two checkouts that are set up and then started at the same moment; the first has overrides."""
    engine_home = tmp_path_factory.mktemp("engine")
    repos = [fill(make_lasting_repo(CONTRACT), engine_home) for _ in range(2)]
    repos[0].write(".env.worktree", "GREETING=moin\nTAILNET_HOST=box.example.ts.net\n")
    repos[0].json("setup")
    running = [repo.popen("start", "--port-range", "44200", "--json") for repo in repos]
    answers = [process.communicate(timeout=100)[0] for process in running]
    yield [Started(repo, json.loads(answer)) for repo, answer in zip(repos, answers, strict=True)]
    for repo in repos:
        repo.json("clean")
    assert not list((engine_home / "containers").glob("*.json"))


@pytest.fixture
def one(both: list[Started]) -> Started:
    return both[0]


@pytest.fixture
def other(both: list[Started]) -> Started:
    return both[1]


def test_loads_env_dev(one: Started) -> None:
    """What .env.dev says, every service knows; a port that it says is not believed, or two checkouts would collide."""
    assert one.env()["MODE"] == "dev"
    assert one.env()["API_PORT"] == str(one.ports["API_PORT"]) != "3000"


def test_applies_worktree_overrides(one: Started, other: Started) -> None:
    """The second env file wins; a checkout without one is none the worse."""
    assert (one.env()["GREETING"], other.env()["GREETING"]) == ("moin", "hello")


def test_a_file_that_is_required_has_to_be_there(make_repo: Callable[..., Any]) -> None:
    """One file may be a mapping without a list; what is wrong with it is told with its place."""
    repo = make_repo("name: a\nenv_file: {path: .env}\n")
    with pytest.raises(EnvFileMissing):
        borrow(repo.here)
    repo.contract("name: a\nenv_file: {path: .env, required: false}\n")
    borrow(repo.here)
    repo.contract("name: a\nenv_file:\n  - {path: ../.env, need: 1}\n")
    with pytest.raises(InvalidContract) as e:
        check.load(repo.here)
    assert [(p.kind, p.line) for p in e.value.problems] == [("wrong_value", 3), ("unknown_key", 3)]


def test_database_url_has_the_worktrees_postgres_port(one: Started, other: Started) -> None:
    """Also in what one command tells to another by hand."""
    for started in (one, other):
        url = f"postgres://postgres@127.0.0.1:{started.ports['POSTGRES_PORT']}/diffie"
        assert started.env()["DATABASE_URL"] == url
        assert f"run dev:push {url}" in started.read("bun.calls")
    assert one.ports["POSTGRES_PORT"] != other.ports["POSTGRES_PORT"]


def test_electric_url_has_the_worktrees_electric_port(one: Started) -> None:
    """And the container's port is published there."""
    assert one.env()["ELECTRIC_URL"] == f"http://127.0.0.1:{one.ports['ELECTRIC_PORT']}"
    with urlopen(one.env()["ELECTRIC_URL"], timeout=5) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("why", "host", "platform", "systemd", "command"),
    [
        ("Cannot connect", "", "darwin", False, "`open -a Docker`"),
        ("Cannot connect", "", "linux", True, "`sudo systemctl start docker`"),
        ("Cannot connect", "", "linux", False, "`sudo service docker start`"),
        ("permission denied while trying to connect", "", "linux", True, "usermod -aG docker"),
        ("Cannot connect", "tcp://build:2375", "linux", True, "DOCKER_HOST is tcp://build:2375"),
    ],
)
def test_docker_desktop_on_macos_and_systemd_on_linux(
    why: str, host: str, platform: str, systemd: bool, command: str
) -> None:
    """An engine is not started behind somebody's back: the command that starts it here is named."""
    assert command in engine.how_to_wake(why, host, platform, systemd=systemd)


def test_an_engine_that_does_not_run_is_named_with_the_command_that_starts_it(
    make_repo: Callable[..., Any], tmp_path: Path
) -> None:
    """In `start`, which leaves nothing."""
    repo = fill(make_repo(CONTRACT), tmp_path / "engine")
    (tmp_path / "engine" / "silent").touch()
    error = repo.json("start", code=4)["error"]
    assert error["code"] == "engine_silent"
    assert any(command in error["hint"] for command in ("systemctl start", "service docker", "open -a"))
    assert repo.processes() == []


def test_postgres_and_electric_come_by_compose(one: Started) -> None:
    """From the repo's own file, without a fixed port of the host."""
    (rendered,) = (one.repo.root / ".software-factory" / "compose").glob("*.json")
    published = {name: service["ports"] for name, service in json.loads(rendered.read_text())["services"].items()}
    assert published == {
        "postgres": [f"127.0.0.1:{one.ports['POSTGRES_PORT']}:5432/tcp"],
        "electric": [f"127.0.0.1:{one.ports['ELECTRIC_PORT']}:3000/tcp"],
    }


def test_compose_projects_are_the_worktrees_own(one: Started, other: Started) -> None:
    """With the prefix that the contract says; every command knows it."""
    names = [started.env()["COMPOSE_PROJECT_NAME"] for started in (one, other)]
    assert names == [f"diffie_factory-{started.told['worktree']}" for started in (one, other)]
    assert names[0] != names[1]


def test_waits_for_postgres(one: Started) -> None:
    """What needs the database begins when it answers, and its container was up some time before."""
    assert float(one.read("packages/common/up")) < float(one.read("pushed"))


def test_installs_dependencies(one: Started) -> None:
    """`factory setup` runs `bun install`, and says how long it took."""
    assert one.read("bun.calls").startswith("install ")


def test_pushes_the_schema(one: Started) -> None:
    """Once, before anything that leans on it."""
    assert one.services["schema"]["state"] == "completed"
    assert one.services["auth"]["since"] > one.services["schema"]["since"]


def test_ports_come_from_a_range_that_is_configured(one: Started, other: Started) -> None:
    """--port-range begins it, `port_range_size` ends it; two checkouts that start at once share none."""
    ports = [*one.ports.values(), *other.ports.values()]
    assert len(set(ports)) == len(ports) == 24
    assert all(44200 <= port < 44300 for port in ports)


def test_writes_dev_vars(one: Started) -> None:
    """A task writes the file that a child reads, with addresses that were not known before."""
    auth = f"http://127.0.0.1:{one.ports['AUTH_PORT']}"
    assert f"AUTH_URL={auth}\n" in one.read(".dev.vars")
    assert f"auth at {auth}" in one.said("realtime")


def test_derives_restates_ports(one: Started) -> None:
    """Fabric, admin and ingress are three leases of one service."""
    assert one.services["restate"]["ports"] == {
        name: one.ports[name] for name in ("RESTATE_ADMIN_PORT", "RESTATE_INGRESS_PORT", "RESTATE_FABRIC_PORT")
    }


def test_starts_restate_and_waits_for_its_health(one: Started) -> None:
    """By HTTP on the port that the healthcheck names."""
    health = one.services["restate"]["health"]
    assert (health["ok"], health["detail"].endswith("/health: 200")) == (True, True)


def test_builds_and_starts_the_test_service(one: Started) -> None:
    """The build first."""
    assert one.services["build"]["state"] == "completed"
    assert one.services["test-service"]["state"] == "ready"
    assert one.services["test-service"]["since"] >= one.services["build"]["since"]


def test_registers_the_test_service(one: Started) -> None:
    """When both are there, and before whoever needs it."""
    admin, service = one.ports["RESTATE_ADMIN_PORT"], one.ports["TEST_SERVICE_PORT"]
    assert f"register {admin} {service} " in one.read("bun.calls")
    assert one.services["register"]["state"] == "completed"
    assert one.services["api"]["since"] > one.services["register"]["since"]


def test_stops_what_only_the_registration_needed(one: Started) -> None:
    """A helper that it has left in the background goes with it."""
    assert proc.look(int(one.read("helper.pid"))) is None


def test_keeps_the_long_lived_together(one: Started, both: list[Started]) -> None:
    """One supervisor, one stream of their words with names; all are there, the one-shot ones are not."""
    assert {n for n, s in one.services.items() if s["state"] == "ready"} == set(LONG_LIVED)
    assert all(one.services[name]["pid"] for name in LONG_LIVED)
    lines = one.repo.json("logs")["lines"]
    assert {line["service"] for line in lines if line["text"].startswith("serving on")} >= set(LONG_LIVED) - {"restate"}
    assert len({started.told["supervisor"]["pid"] for started in both}) == 2


def test_exports_everything_to_children(one: Started) -> None:
    """Env files, `env`, ports, addresses, the shell; tools of the checkout are on PATH."""
    env = one.env()
    for name, port in one.ports.items():
        assert env[name] == str(port)
        assert env[name.replace("_PORT", "_INTERNAL_URL")] == f"http://127.0.0.1:{port}"
    assert {"MODE", "DATABASE_URL", "ELECTRIC_URL", "SHELL_ONLY", "FACTORY_WORKTREE"} <= env.keys()
    assert env["PATH"].split(":")[0] == f"{one.repo.root}/bin"


def test_prints_every_url(one: Started) -> None:
    """At the end of `start` and with `urls`: services with a url by it, the others by their port."""
    printed = one.repo.run("start").stdout
    for name in ("api", "app", "explore", "realtime", "website"):
        assert one.services[name]["url"] in printed
    for name in ("ELECTRIC_PORT", "RESTATE_ADMIN_PORT", "POSTGRES_PORT"):
        assert f"{name}={one.ports[name]}" in printed
    assert one.repo.json("urls")["urls"][0]["service"] == "app"


def test_prints_the_tailnets_url(one: Started, other: Started) -> None:
    """Where the name is known; one with a variable that is nowhere, or empty, is left out."""
    address = f"http://box.example.ts.net:{one.ports['APP_PORT']}"
    assert address in one.repo.run("urls").stdout
    assert f"also {address}" in one.repo.run("status").stdout
    assert [u["also"] for u in (*one.told["urls"], *other.told["urls"])] == [[address], *[[]] * 9]


def test_another_address_needs_a_first_one(make_repo: Callable[..., Any]) -> None:
    """`also` alone is refused with its line."""
    repo = make_repo("name: a\nservices:\n  web: {command: x, also: http://b}\n")
    with pytest.raises(InvalidContract, match="`also` adds to a `url`"):
        check.load(repo.here)


def test_the_examples_database_can_come_by_compose(make_repo: Callable[..., Any]) -> None:
    """What the README of examples/diffie-shaped says to change gives the same variables."""
    repo = make_repo()
    shutil.copytree(EXAMPLE / "packages" / "common", repo.root / "packages" / "common", dirs_exist_ok=True)
    contract = yaml.safe_load((EXAMPLE / "factory.yaml").read_text())
    for name in ("e2e/scenarios.yaml", ".env.dev"):
        repo.write(name, (EXAMPLE / name).read_text())
    before = check.parse(yaml.safe_dump(contract).encode(), "factory.yaml", repo.root)
    contract["services"]["postgres"] = {
        "type": "docker-compose",
        "compose_file": "packages/common/docker-compose.yaml",
        "healthcheck": "docker compose exec -T postgres pg_isready -U postgres",
    }
    after = check.parse(yaml.safe_dump(contract).encode(), "factory.yaml", repo.root)
    assert sorted(after.ports) == sorted(before.ports)
    assert after.contract.services["postgres"].ports == {"POSTGRES_PORT": None}
