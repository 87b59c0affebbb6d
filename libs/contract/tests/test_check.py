"""factory.yaml: what is read, what is refused, and where every error is said to be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from factory_contract import check, checkout, document, schemas
from factory_contract.errors import ForeignContract, InvalidContract, NoContract, Problem

DIFFIE = """\
name: diffie
runtime:
  package_manager: bun
  setup:
    - bun install
  env_file: .env.dev
isolation:
  strategy: git-worktree
  port_range_size: 100
  docker_project_prefix: diffie_factory
services:
  postgres:
    type: docker-compose
    compose_file: packages/common/docker-compose.yaml
    healthcheck: docker compose exec -T postgres pg_isready -U postgres
  electric:
    type: docker-compose
  restate:
    command: restate-server
    healthcheck: curl -sf http://localhost:${RESTATE_ADMIN_PORT}/health
  api:
    command: cd packages/api && bun run dev
    healthcheck: curl -sf http://localhost:${API_PORT}/health
  app:
    command: cd packages/app && bun run dev
    url: http://localhost:${APP_PORT}
  website:
    command: cd packages/website && bun run dev -- --hostname 0.0.0.0 --port ${WEBSITE_PORT}
    url: http://localhost:${WEBSITE_PORT}
tests:
  unit:
    - bun test
  typecheck:
    - bun run typecheck
validation:
  browser:
    start_url: http://localhost:${APP_PORT}
    record_video: true
artifacts:
  collect:
    - logs/**
    - test-results/**
    - screenshots/**
    - videos/**
"""


def load(text: str | bytes, root: Path = Path("/nowhere")) -> check.Loaded:
    return check.parse(text if isinstance(text, bytes) else text.encode(), "factory.yaml", root)


def problems(text: str | bytes, root: Path = Path("/nowhere")) -> list[Problem]:
    with pytest.raises(InvalidContract) as e:
        load(text, root)
    return e.value.problems


def test_the_example_of_the_vision_loads_as_written() -> None:
    """Diffie's file is valid, and its four ports are found; its Compose file is missed only where it is needed."""
    loaded = load(DIFFIE)
    assert loaded.ports == ["RESTATE_ADMIN_PORT", "API_PORT", "APP_PORT", "WEBSITE_PORT"]
    assert loaded.compose.missing == ["packages/common/docker-compose.yaml"]
    assert loaded.contract.setup_commands == ["bun install"]
    assert [file.path for file in loaded.contract.env_files] == [".env.dev"]
    assert loaded.contract.services["electric"].compose_file == "packages/common/docker-compose.yaml"
    assert loaded.contract.services["api"].healthcheck.kind == "command"  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize(
    ("text", "kind", "line", "column", "words"),
    [
        ("name: a: b", "yaml_syntax", 1, 8, "no YAML"),
        ("name: a\nname: b\n", "duplicate_key", 2, 1, "first in line 1"),
        ("name: a\nservces: {}\n", "unknown_key", 2, 1, "Did you mean `services`?"),
        ("name: a\nrecord_video: true\n", "unknown_key", 2, 1, "It belongs under `validation.browser`."),
        ("name: a\nservices:\n  api: {comand: x}\n", "unknown_key", 3, 9, "Did you mean `command`?"),
        ("setup: x\n", "missing_key", 1, 1, "`name` is missing"),
        ("name: 5\n", "wrong_type", 1, 1, "expected text, got a whole number (5)"),
        ("name: a\nsetup: [ok, {no: 1}]\n", "wrong_type", 2, 13, "expected text, got a mapping"),
        ("name: a\nservices: [api]\n", "wrong_type", 2, 1, "expected a mapping of names"),
        ("name: a\nisolation: {port_range_size: many}\n", "wrong_type", 2, 13, "expected a whole number"),
        ("name: a\nisolation: {port_range_size: 0}\n", "wrong_value", 2, 13, "greater than or equal to 1"),
        ("name: a\nservices:\n  API: {command: x}\n", "wrong_name", 3, 3, "`API` is no valid name"),
        ("name: a\nservices:\n  api: {url: x}\n", "missing_key", 3, 3, "`command` is missing"),
        (
            "name: a\nservices:\n  api: {command: x, restart: sometimes}\n",
            "wrong_value",
            3,
            21,
            "expected one of no, on-failure",
        ),
        ("name: a\nservices:\n  api: {command: x, type: taks}\n", "wrong_value", 3, 21, "Did you mean `task`?"),
        ("name: a\ntests: {unit: }\n", "wrong_type", 2, 9, "expected text or a list, got nothing"),
        ("name: a\nlogin: x\n", "wrong_type", 2, 1, "expected a list, got text"),
        ("name: a\nenv: {A-B: 1}\n", "wrong_name", 2, 7, "expected letters, digits and _"),
        ("name: a\nservices:\n  api: {command: x, stop: {signal: SIGWINCH}}\n", "wrong_value", 3, 28, "SIGTERM"),
        ("name: a\nservices:\n  api: {command: x, depends_on: [ap]}\n", "unknown_service", 3, 34, "no service `ap`"),
        ("name: a\nservices:\n  api: {command: x, ports: {API: 1}}\n", "wrong_name", 3, 29, "_PORT"),
        ("name: a\nservices:\n  api: {command: x, ports: {A_PORT: 70000}}\n", "wrong_value", 3, 29, "65535"),
        ("name: a\nservices:\n  api: {command: x, cwd: ../b}\n", "wrong_value", 3, 21, "leaves the repo"),
        ("name: a\nenv_file: /etc/passwd\n", "wrong_value", 2, 1, "leaves the repo"),
        ("name: a\nenv: {API_PORT: 3000}\n", "port_in_env", 2, 7, "two checkouts would collide"),
        ("name: a\nenv: {FACTORY_HOST: x}\n", "reserved", 2, 7, "the factory's"),
        ("name: a\nsetup: x\nruntime:\n  setup: y\n", "said_twice", 4, 3, "keep one"),
        (
            "name: a\nservices:\n  api: {command: x, healthcheck: {interval: 5x, tcp: 1}}\n",
            "wrong_value",
            3,
            35,
            "no duration",
        ),
        (
            "name: a\nservices:\n  api: {command: x, healthcheck: {tcp: 1, log: y}}\n",
            "wrong_value",
            3,
            21,
            "tcp and log",
        ),
        (
            "name: a\nservices:\n  api: {command: x, healthcheck: {log: '['}}\n",
            "wrong_value",
            3,
            35,
            "no regular expression",
        ),
        (
            "name: a\nservices:\n  t: {type: task, command: x, healthcheck: y}\n",
            "wrong_value",
            3,
            31,
            "has no healthcheck",
        ),
        ("name: a\nx: !!python/object:os.system ls\n", "tag", 2, 4, "tag"),
        ("name: a\n---\nname: b\n", "documents", 2, 1, "a second"),
        ("name: a\nenv: &e {A: b}\nservices: {x: {<<: *e, command: y}}\n", "merge_key", 3, 16, "merge keys"),
        ("", "empty", 1, 1, "empty"),
        (b"name: \xff", "not_utf8", 1, 1, "not UTF-8"),
        (b"name: a\x00b", "yaml_syntax", 1, 1, "no YAML"),
        ("name: " + "a" * 70_000, "too_big", 1, 1, "65536"),
    ],
)
def test_each_mistake_is_named_with_its_place(text: str | bytes, kind: str, line: int, column: int, words: str) -> None:
    """One mistake gives one problem: its code, its line and column, and words that help."""
    found = problems(text)
    assert [(p.kind, p.line, p.column) for p in found] == [(kind, line, column)]
    assert words in f"{found[0]} {found[0].hint}"


def test_all_mistakes_are_told_at_once() -> None:
    """Wrong types, unknown keys, duplicates and wrong meaning come together, in the order of the file."""
    text = (
        "name: a\nsetup: [1]\nservices:\n"
        "  api: {command: x, depends_on: [web]}\n  web: {command: [y], depends_on: [api, nope]}\nbogus: 1\nname: b\n"
    )
    kinds = [(p.kind, p.line) for p in problems(text)]
    assert kinds == [
        ("wrong_type", 2), ("cycle", 4), ("wrong_type", 5), ("unknown_service", 5), ("unknown_key", 6), ("duplicate_key", 7),
    ]  # fmt: skip


def test_what_was_taken_out_for_one_error_makes_no_second_one() -> None:
    """A command of the wrong type is not also a missing command."""
    assert [p.kind for p in problems("name: a\nservices:\n  api: {command: [x]}\n")] == ["wrong_type"]


def test_circles_and_shared_fixed_ports_are_found() -> None:
    """`depends_on` that goes round is shown as it goes; two services cannot have one number, or one name."""
    text = "name: a\nservices:\n  a: {command: x, depends_on: b}\n  b: {command: x, depends_on: [c]}\n  c: {command: x, depends_on: [a]}\n"
    assert "a → b → c → a" in str(problems(text)[0])
    text = "name: a\nservices:\n  a: {command: x, ports: {A_PORT: 80}}\n  b: {command: x, ports: {B_PORT: 80}}\n"
    assert [(p.kind, p.line) for p in problems(text)] == [("port_twice", 4)]
    text = "name: a\nservices:\n  a: {command: x, ports: [A_PORT]}\n  b: {command: x, ports: [A_PORT]}\n"
    assert [p.kind for p in problems(text)] == ["port_twice"]


def test_bombs_are_refused_before_they_grow() -> None:
    """Aliases of aliases are bounded in number and in what they expand to, and may not hold themselves."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{n}: &{n} [{','.join([f'*{o}'] * 9)}]" for o, n in zip("abcdefg", "bcdefgh", strict=True)]
    assert problems("\n".join(lines))[0].kind == "too_many_aliases"
    few = ["a: &a [x,x,x,x,x,x,x,x,x,x,x,x,x]"]
    few += [
        f"{n}: &{n} [{','.join([f'*{o}'] * 4)}, {','.join('x' * 400)}]" for o, n in zip("abcde", "bcdef", strict=True)
    ]
    assert problems("\n".join(few))[0].kind == "too_much"
    assert problems("a: &a [*a]")[0].kind in ("too_much", "yaml_syntax")


def test_an_alias_or_two_are_fine() -> None:
    """What people use anchors for works."""
    loaded = load("name: a\nservices:\n  a: {command: x, env: &e {K: v}}\n  b: {command: y, env: *e}\n")
    assert loaded.contract.services["b"].env == {"K": "v"}


def test_links_that_lead_out_of_the_repo_are_refused(tmp_path: Path) -> None:
    """A path that stays inside by name but not by its links is an error, and so is a missing `cwd`."""
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "out").symlink_to(tmp_path)
    text = "name: a\nservices:\n  a: {command: x, cwd: out}\n  b: {command: x, cwd: nope}\n"
    assert [(p.kind, p.line) for p in problems(text, repo)] == [("outside", 3), ("no_directory", 4)]


def test_scalars_are_what_they_look_like() -> None:
    """`restart: no` is the word, and values below `env` stay as they are written."""
    loaded = load("name: a\nenv: {V: 1.10, N: 0123, Y: yes, T: true, E: }\nservices: {a: {command: x, restart: no}}\n")
    assert loaded.contract.env == {"V": "1.10", "N": "0123", "Y": "yes", "T": "true", "E": ""}
    assert loaded.contract.services["a"].restart == "no"


def test_short_forms() -> None:
    """One command stands for a list of one, a string for a healthcheck, a list of ports for leased ones."""
    loaded = load(
        "name: a\nsetup: one\nseed: two\nenv_file: .env\nservices:\n"
        "  a: {command: x, healthcheck: y, stop: z, ports: [A_PORT], depends_on: b}\n"
        "  b: {command: x, healthcheck: {tcp: 80, timeout: 1m30s, start_period: 500ms}}\n"
    )
    a, b = loaded.contract.services["a"], loaded.contract.services["b"]
    assert (loaded.contract.setup_commands, loaded.contract.seed) == (["one"], ["two"])
    assert [file.path for file in loaded.contract.env_files] == [".env"]
    assert (a.stop.command, a.ports, a.depends_on) == ("z", {"A_PORT": None}, ["b"])
    assert b.healthcheck is not None
    assert (b.healthcheck.timeout, b.healthcheck.start_period, b.healthcheck.tcp) == (90, 0.5, "80")


WARP = """\
schemaVersion: v1alpha1
name: x
repositories:
  - owner: acme
    name: api
agentDefaults: {model: auto}
"""


@pytest.mark.parametrize(
    "text", [WARP, "name: x\nmcpServers: {}\nsecrets: []\n", "repositories: []\ncloudProviders: {}\n"]
)
def test_another_products_file_is_named(text: str, tmp_path: Path) -> None:
    """A Warp Factories definition is recognised, software-factory.yaml wins where both exist, and says where to write ours."""
    with pytest.raises(ForeignContract, match="Warp Factories") as e:
        load(text)
    assert "software-factory.yaml" in e.value.hint
    (tmp_path / "factory.yaml").write_text(text)
    (tmp_path / "software-factory.yaml").write_text("name: ours\n")
    assert check.load(checkout.find(tmp_path)).contract.name == "ours"


def test_a_key_of_theirs_in_a_file_of_ours_is_a_mistake_in_ours() -> None:
    """One foreign key does not make the file foreign."""
    assert [p.kind for p in problems("name: a\nschemaVersion: 1\nservices: {}\n")] == ["unknown_key"]


def test_a_repos_script_answers_beside_another_products_file(make_repo: Callable[..., Any]) -> None:
    """Their factory.yaml is not ours, so factory.sh is the contract."""
    repo = make_repo(WARP)
    assert repo.json("start", code=2)["error"]["code"] == "foreign_contract"
    repo.write("factory.sh", '#!/bin/sh\necho "did $1"\n', 0o755)
    assert repo.run("status").stdout == "did status\n"
    (repo.root / "factory.sh").unlink()
    (repo.root / "factory.yaml").unlink()


def test_a_file_that_cannot_be_read(make_repo: Callable[..., Any], tmp_path: Path) -> None:
    """A link out of the repo is refused; so is what is too big, without reading it all; a broken file keeps nobody from `stop`."""
    repo = make_repo()
    (tmp_path / "theirs.yaml").write_text("name: secret\n")
    (repo.root / "factory.yaml").symlink_to(tmp_path / "theirs.yaml")
    told = repo.json("check", code=2)
    assert (told["errors"][0]["code"], "secret" in json.dumps(told)) == ("outside", False)
    (repo.root / "factory.yaml").unlink()
    with (repo.root / "factory.yaml").open("wb") as f:
        f.truncate(2**40)
    assert repo.json("check", code=2)["errors"][0]["code"] == "too_big"
    repo.contract("name: a\nimplementation: [x\n")
    assert repo.json("check", code=2)["errors"][0]["code"] == "yaml_syntax"
    assert repo.json("stop")["state"] == "stopped"
    repo.contract("name: a\n")


def test_where_a_contract_is_looked_for(tmp_path: Path) -> None:
    """From below it is found, not beyond the top of the repo; a near miss is named."""
    (tmp_path / "factory.yaml").write_text("name: above\n")
    inner = tmp_path / "repo" / "src"
    inner.mkdir(parents=True)
    assert checkout.find(inner).root == tmp_path
    (tmp_path / "repo" / ".git").mkdir()
    with pytest.raises(NoContract):
        checkout.find(inner)
    (inner / "factory.yml").write_text("")
    with pytest.raises(NoContract) as e:
        checkout.find(inner)
    assert "Rename factory.yml" in e.value.hint


def test_the_schema_helps_an_editor() -> None:
    """Every key has a description and an example that is valid; the example of the vision is, and its mistakes are not."""
    schema = schemas.contract()
    editor = jsonschema.Draft202012Validator(schema)
    for name, part in {"": schema, **schema["$defs"]}.items():
        for key, told in part["properties"].items():
            assert told.get("description") and told.get("examples"), f"{name}.{key}"
            one = jsonschema.Draft202012Validator({**told, "$defs": schema["$defs"]})
            for example in told["examples"]:
                one.validate(example)
    assert not list(editor.iter_errors(document.parse(DIFFIE.encode())[0].plain()))  # pyright: ignore[reportOptionalMemberAccess]
    for wrong in (
        {"setup": "x"},
        {"name": "a", "servces": {}},
        {"name": "a", "services": {"API": {}}},
        {"name": "a", "services": {"api": {"restart": "sometimes"}}},
        {"name": "a", "tests": {"unit": 5}},
    ):
        assert list(editor.iter_errors(wrong)), wrong


def test_positions_of_nested_keys() -> None:
    """A path that is not wholly written leads to the nearest thing above it."""
    tree, _ = document.parse(b"a:\n  - b: 1\n    c: 2\n")
    assert tree is not None
    assert tree.at(("a", 0, "c")) == (3, 5)
    assert tree.at(("a", 0, "zzz")) == (2, 5)
