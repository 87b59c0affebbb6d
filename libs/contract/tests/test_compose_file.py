"""What is read of Compose files without Docker, and what is made of Compose's own rendering: pure."""

import copy
from pathlib import Path
from typing import Any

import pytest
from factory_contract import check
from factory_contract.compose import file, render
from factory_contract.compose.engine import reason
from factory_contract.compose.file import Published
from factory_contract.compose.members import Port
from factory_contract.compose.render import Binding, Wanted
from factory_contract.environment import Environment
from factory_contract.errors import (
    ComposeHostNetwork,
    ComposePorts,
    ContractError,
    InvalidContract,
    NeededUnseen,
    NoComposeService,
)

COMPOSE = """
x-base: &base {restart: always, ports: ["${SHARED_PORT:-1}:1"]}
services:
  db:
    <<: *base
    image: postgres
    ports: ["${PG_PORT:-5432}:5432", "9187:9187", "127.0.0.1:53:53/udp", "53:53/tcp", {target: 8080, published: "8080"}]
  web:
    image: web
    ports: ["80", "7000-7001:7000-7001"]
    depends_on: {cache: {condition: service_healthy}, migrate: {condition: service_completed_successfully}}
    links: ["queue:q"]
  cache: {image: c, network_mode: "service:side"}
  side: {image: s}
  queue: {extends: base}
  base: {image: q, ports: ["5672:5672"]}
  migrate: {image: m, profiles: [tools]}
  merged: {<<: *base, image: x}
"""
APP = """
name: app
services:
  db: {type: docker-compose}
  web: {type: docker-compose}
  api: {command: "x ${DB_9187_PORT}", depends_on: [cache]}
"""


def load(root: Path, contract: str = APP, compose: str | None = COMPOSE) -> check.Loaded:
    if compose is not None:
        (root / "compose.yaml").write_text(compose)
    return check.parse(contract.encode(), "factory.yaml", root)


def problems(root: Path, contract: str, compose: str) -> list[tuple[str, int, str]]:
    with pytest.raises(InvalidContract) as e:
        load(root, contract, compose)
    return [(p.kind, p.line, f"{p} {p.hint}") for p in e.value.problems]


def test_names_of_ports(tmp_path: Path) -> None:
    """`${X_PORT}` is its name, the first is the service's, others have the container's number; tcp and udp of one are one."""
    loaded = load(tmp_path)
    members = loaded.compose.members
    assert members["db"].ports == [
        Port("PG_PORT", "5432"), Port("DB_9187_PORT", "9187"), Port("DB_53_PORT", "53"), Port("DB_8080_PORT", "8080"),
    ]  # fmt: skip
    assert [p.name for p in members["web"].ports] == ["WEB_PORT", "WEB_7000_PORT", "WEB_7001_PORT"]
    assert loaded.ports[:2] == ["PG_PORT", "DB_9187_PORT"]
    environment = Environment(loaded.contract, tmp_path, "wt", {name: n for n, name in enumerate(loaded.ports, 1)}, {})
    assert environment.owners["DB_9187_PORT"] == "db", "the command of another service does not make it its own"
    assert environment.main_port("db") == 1


def test_what_is_needed_comes_along(tmp_path: Path) -> None:
    """Near and far, by depends_on, links and shared networks; who is waited for to its end is known."""
    loaded = load(tmp_path)
    services = loaded.contract.services
    assert services.keys() == {"db", "web", "api", "cache", "migrate", "queue", "side"}
    assert services["web"].depends_on == ["queue", "cache", "migrate"]
    assert services["cache"].depends_on == ["side"]
    assert {name for name, member in loaded.compose.members.items() if member.once} == {"migrate"}
    assert services["queue"].ports == {"QUEUE_PORT": None}, "from what it extends"
    assert loaded.compose.files["compose.yaml"].profiles == ["tools"]


def test_names_that_the_contract_gives(tmp_path: Path) -> None:
    """A list names the published ports in their order, a mapping can fix one, an empty list publishes none."""
    contract = "name: a\nservices:\n  queue: {type: docker-compose, ports: {Q_PORT: 5000}}\n  web: {type: docker-compose, ports: []}\n"
    loaded = load(tmp_path, contract)
    assert loaded.compose.members["queue"].ports == [Port("Q_PORT", "5672")]
    assert loaded.contract.services["queue"].ports == {"Q_PORT": 5000}
    assert (loaded.compose.members["web"].shut, loaded.compose.members["web"].ports) == (True, [])


@pytest.mark.parametrize(
    ("contract", "compose", "kind", "line", "words"),
    [
        ("  wev: {type: docker-compose}", COMPOSE, "unknown_service", 3, "has no service `wev` Did you mean `web`?"),
        ("  web: {type: docker-compose, ports: [A_PORT]}", COMPOSE, "compose_ports", 3, "publishes 3 ports, 1 named"),
        ("  x: {type: docker-compose}", "services: {x: {network_mode: host}}", "host_network", 3, "two checkouts"),
        ("  x: {type: docker-compose}", "services: {x: ]", "compose_file", 3, "compose.yaml:1:15 is no YAML"),
        ("  x: {type: docker-compose}", "- x", "compose_file", 3, "expected a mapping"),
        ("  x: {type: docker-compose}", "services: {x: {ports: ['1:1', '2:2', '3:2']}}", "compose_ports", 3, "A_PORT, B_PORT"),
        ("  x: {type: docker-compose}", "services: {x: {ports: ['1-200:1-200']}}", "compose_ports", 3, "port_range_size is 100"),
        ("  x: {type: docker-compose, stop: {signal: INT}}", "services: {x: {}}", "wrong_value", 3, "stop_signal"),
        ("  x: {type: docker-compose}\n  y: {command: z, depends_on: w}", "services: {x: {}, w: {}}", "unknown_service", 4, "Add `w:"),
        ("  x: {type: docker-compose}\n  y: {command: z, ports: [X_PORT]}", "services: {x: {ports: [1]}}", "port_twice", 4, "belongs to x"),
        ("  x: {type: docker-compose}\n  y: {type: docker-compose, depends_on: x}", "services: {x: {depends_on: [y]}, y: {}}",
         "cycle", 3, "x → y → x"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, contract: str, compose: str, kind: str, line: int, words: str) -> None:
    """Each is named at its place in factory.yaml, with the next step."""
    found = problems(tmp_path, f"name: a\nservices:\n{contract}\n", compose)
    assert [(k, n) for k, n, _ in found] == [(kind, line)]
    assert words in found[0][2]


def test_which_file(tmp_path: Path) -> None:
    """The service's own, that of the others where they agree, else the one that Compose would take."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/c.yaml").write_text("services: {a: {}, b: {ports: ['1:1']}}")
    contract = (
        "name: a\nservices:\n  a: {type: docker-compose, compose_file: sub/c.yaml}\n  b: {type: docker-compose}\n"
    )
    loaded = load(tmp_path, contract)
    assert {member.file for member in loaded.compose.members.values()} == {"sub/c.yaml"}
    assert load(tmp_path, contract.replace("sub/c.yaml", "sub/d.yaml")).compose.missing == ["sub/d.yaml"]
    (tmp_path / "compose.yaml").rename(tmp_path / "docker-compose.yml")
    assert load(tmp_path, APP, None).compose.members["db"].file == "docker-compose.yml"


def test_two_files_that_need_one_name(tmp_path: Path) -> None:
    """A service of the contract has one name, so it can be of one file only."""
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("services: {a: {depends_on: [db]}, b: {depends_on: [db]}, db: {}}")
    services = "{a: {type: docker-compose, compose_file: one.yaml}, b: {type: docker-compose, compose_file: two.yaml}}"
    contract = f"name: a\nservices: {services}\n"
    assert [p[0] for p in problems(tmp_path, contract, "services: {}")] == ["two_files"]


def test_an_override_beside_the_file_counts(tmp_path: Path) -> None:
    """As it does for `docker compose up`; its tags are understood."""
    contract = "name: a\nservices:\n  x: {type: docker-compose}\n"
    (tmp_path / "compose.override.yaml").write_text("services: {x: {ports: ['2:2']}}")
    base = "services: {x: {ports: ['1:1']}}"
    assert [p.name for p in load(tmp_path, contract, base).compose.members["x"].ports] == ["X_PORT", "X_2_PORT"]
    (tmp_path / "compose.override.yaml").write_text("services: {x: {ports: !override ['2:2']}}")
    assert load(tmp_path, contract, base).compose.members["x"].ports == [Port("X_PORT", "2")]


def test_what_stands_in_other_files_is_left_to_compose(tmp_path: Path) -> None:
    """`include` and `extends` from another file make no mistake of what is not seen."""
    contract = "name: a\nservices:\n  x: {type: docker-compose, ports: [A_PORT]}\n  far: {type: docker-compose}\n"
    loaded = load(tmp_path, contract, "include: [more.yaml]\nservices: {x: {extends: {file: o.yaml, service: x}}}\n")
    assert loaded.compose.members["x"].ports == [Port("A_PORT", "")]
    assert loaded.contract.services["far"].ports == {}


def test_bombs_and_circles_come_to_an_end(tmp_path: Path) -> None:
    """Merges of merges, merges and extensions of themselves."""
    lines = ["a: &a {k: v}"]
    lines += [f"{n}: &{n} {{<<: [{','.join([f'*{o}'] * 9)}]}}" for o, n in zip("abcdefghij", "bcdefghijk", strict=True)]
    lines += ["services: {x: {<<: *k, extends: x}, y: &y {<<: *y}}"]
    assert load(tmp_path, "name: a\nservices:\n  x: {type: docker-compose}\n", "\n".join(lines)).compose.members


@pytest.mark.parametrize(
    ("entry", "ports"),
    [
        ("3000", [("", "3000", "tcp")]),
        ("8000:80", [("8000", "80", "tcp")]),
        ("127.0.0.1:8000:80/udp", [("8000", "80", "udp")]),
        ("[::1]:8000:80", [("8000", "80", "tcp")]),
        ("127.0.0.1::80", [("", "80", "tcp")]),
        ("${IP:-0.0.0.0}:${P:-80}:${P:-80}", [("${P:-80}", "${P:-80}", "tcp")]),
        ("${A:-${B:-1}}:2", [("${A:-${B:-1}}", "2", "tcp")]),
        ("3000-3001", [("", "3000", "tcp"), ("", "3001", "tcp")]),
        ("1-2:3-4", [("1", "3", "tcp"), ("2", "4", "tcp")]),
        ("9000-9999:80", [("9000-9999", "80", "tcp")]),
        ({"target": 80, "published": 8000, "protocol": "udp"}, [("8000", "80", "udp")]),
        ({"target": 80}, [("", "80", "tcp")]),
    ],
)
def test_the_syntaxes_of_a_port(entry: Any, ports: list[tuple[str, str, str]]) -> None:
    """Short and long, with addresses, ranges and variables."""
    assert file.published(entry) == [Published(*port) for port in ports]


# --- rendering --------------------------------------------------------------------------------------------------------

CONFIG: dict[str, Any] = {
    "name": "p",
    "services": {
        "db": {
            "image": "postgres",
            "container_name": "the-db",
            "restart": "always",
            "networks": {"default": None, "back": {"ipv4_address": "10.0.0.2"}},
            "ports": [
                {"mode": "ingress", "target": 53, "published": "53", "protocol": "udp"},
                {"mode": "ingress", "target": 53, "published": "53", "protocol": "tcp"},
                {"mode": "ingress", "target": 5432, "published": "46001", "protocol": "tcp"},
            ],
            "deploy": {"replicas": 3, "resources": {}},
        },
        "web": {"build": {"context": "/c", "tags": ["x"]}, "image": "one:dev", "scale": 2, "profiles": ["p"], "ports": ["8080:80"]},
        "worker": {"image": "one:dev", "ports": ["1:1"], "profiles": ["p"]},
    },
    "volumes": {"data": {"name": "fixed"}, "out": {"name": "out", "external": True}, "plain": None},
    "networks": {
        "default": {"name": "p_default", "ipam": {"config": [{"subnet": "10.1.0.0/16"}]}},
        "back": {"name": "b", "ipam": {"config": [{"subnet": "10.0.0.0/16"}]}},
    },
}  # fmt: skip


def rewrite(members: dict[str, Wanted], config: dict[str, Any] = CONFIG) -> tuple[dict[str, Any], list[str]]:
    return render.rewrite(copy.deepcopy(config), project="shop-1", file="c.yaml", members=members, known=members.keys())


def test_what_two_checkouts_would_share_goes() -> None:
    """Names, ports, images that are built, subnets without fixed addresses; what stays shared is said."""
    db = Wanted([Binding(46001, "5432"), Binding(46002, "53")], {"A": "$x"})
    made, notes = rewrite({"db": db, "web": Wanted([Binding(46003, "80")], {})})
    services = made["services"]
    assert services["db"]["ports"] == ["127.0.0.1:46002:53/udp", "127.0.0.1:46002:53/tcp", "127.0.0.1:46001:5432/tcp"]
    assert services["db"]["environment"] == {"A": "$$x"}
    assert "container_name" not in services["db"]
    assert services["db"]["networks"]["default"] == {"aliases": ["the-db"]}, "who reaches it by that name still does"
    assert (services["db"]["restart"], services["db"]["deploy"]) == ("no", {"resources": {}})
    assert services["web"]["image"] == services["worker"]["image"] == "shop-1-web"
    assert services["web"]["build"] == {"context": "/c", "labels": {"com.docker.compose.project": "shop-1"}}
    assert not services["web"].keys() & {"scale", "profiles"}
    assert services["worker"].keys() == {"image", "profiles", "restart"}
    assert made["volumes"] == {"data": {}, "out": {"name": "out", "external": True}, "plain": None}
    assert made["networks"]["default"] == {}
    assert "ipam" in made["networks"]["back"]
    assert [note.split(":")[0] for note in notes] == [
        "the volume out is external",
        "the network back has fixed addresses",
    ]


@pytest.mark.parametrize(
    ("service", "wanted", "error"),
    [
        ({"ports": ["1:1", "2:2"]}, Wanted([Binding(5, "1")], {}), ComposePorts),
        ({"network_mode": "host"}, Wanted([], {}), ComposeHostNetwork),
        ({"depends_on": {"y": {}}}, Wanted([], {}), NeededUnseen),
        (None, Wanted([], {}), NoComposeService),
    ],
)
def test_what_cannot_be_run(service: Any, wanted: Wanted, error: type[ContractError]) -> None:
    """What only Compose's own reading shows is named too."""
    with pytest.raises(error) as e:
        rewrite({"x": wanted}, {"services": {"x": service} if service else {}})
    assert "c.yaml" in f"{e.value}"
    assert e.value.hint


def test_ports_that_are_shut() -> None:
    """`ports: []` publishes none, whatever Compose reads."""
    made, _ = rewrite({"x": Wanted([], {}, shut=True)}, {"services": {"x": {"ports": ["1:1"]}}})
    assert "ports" not in made["services"]["x"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (" Container x  Creating\nError response from daemon: no such thing\n", "no such thing"),
        ("ERROR: for web  Cannot create\nEncountered errors while bringing up the project.", "for web  Cannot create"),
        ("ERROR: The file is invalid because:\nservices.x: bad\n", "The file is invalid because: services.x: bad"),
        ("", "it said nothing"),
    ],
)
def test_the_line_that_says_why(said: str, why: str) -> None:
    """Of all that Docker and both Composes write."""
    assert reason(said) == why
