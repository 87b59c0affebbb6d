"""Whatever stands in factory.yaml: it is read, or every mistake has its place; never a stack trace.

The inputs are made from whole contracts by what goes wrong in reality: values of other types, keys at other places, lines
lost or doubled, indentation moved, bytes of something else. `FUZZ=100000` takes more of them.
"""

import copy
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from factory_contract import check, schemas
from factory_contract.errors import ForeignContract, InvalidContract

ROUNDS = int(os.environ.get("FUZZ", "200"))
WHOLE = """\
name: shop
runtime: {package_manager: npm}
setup: [npm ci]
env_file: [.env, {path: .env.local, required: false}]
isolation: {strategy: clone, port_range_size: 50, docker_project_prefix: shop}
services:
  cache: {type: docker-compose, compose_file: docker/compose.yaml, ports: [CACHE_PORT], stop: {timeout: 3s}}
  db: {command: "db $DB_PORT", stop: {signal: INT, timeout: 5s}, healthcheck: {tcp: "${DB_PORT}", retries: 5}}
  migrate: {type: task, command: migrate, depends_on: [db], cwd: .}
  api:
    command: exec api
    env: {PORT: "${API_PORT}", LEVEL: 1.10}
    healthcheck: {http: /health, interval: 2s, timeout: 500ms, start_period: 1m30s}
    depends_on: [migrate, cache]
    restart: on-failure
  web:
    command: web ${WEB_PORT}
    url: http://${FACTORY_HOST}:${WEB_PORT}/
    also: http://${TAILNET}:${WEB_PORT}
    ports: {WEB_PORT: 3000, ADMIN_PORT: null}
    healthcheck: {log: 'listening on \\d+'}
    depends_on: api
env: {A: b}
seed: npm run seed
login: [{goto: /login}, {fill: {label: Email, value: x}}]
tests: {unit: npm test, types: [a, b]}
validation: {browser: {start_url: "http://localhost:${WEB_PORT}", record_video: false}, scenarios: e2e.yaml}
artifacts: {collect: [out/**]}
copy: [.env]
clean: rm -rf var
"""
PARSED = yaml.safe_load(WHOLE)
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
WRITTEN = {b"BIGINT": b"9" * 5000, b"BIGHEX": b"0x" + b"f" * 4500, b"SURROGATE": b'"\\ud800"'}
NASTY: list[Any] = [
    *(None, True, False, 0, -1, 65536, 10**30, "BIGINT", "BIGHEX", 1e308, float("inf"), float("nan")),
    *(
        "",
        " ",
        "\0",
        "SURROGATE",
        "é" * 300,
        "x" * 5000,
        "a/" * 3000,
        "../up",
        "/etc/passwd",
        "~/x",
        "${",
        "${X",
        "$X_PORT",
    ),
    *("${X_PORT:-", "${A}" * 50, "[", "(?P<", "5x", "1h" * 400, "9" * 400 + "s", "http://[", "%s {0} {x}", "{what}"),
    *([], {}, [[]], [None], [{}], {"": ""}, {"a": {"b": []}}, {"x": None}, list(range(40)), [["a"] * 5] * 5),
]
KEYS = ["name", "services", "ports", "url", "env", "", "é", "a.b", "X_PORT", "<<", "0", "null", "{x}", "x" * 300]
TEXTS = [
    "\t",
    "  ",
    ":",
    "- ",
    "&a ",
    "*a",
    "!!x ",
    "|",
    ">",
    "{",
    "}",
    "[",
    "]",
    "#",
    "'",
    '"',
    "\r",
    "\x07",
    "\ufeff",
    "---\n",
    "%",
]


def random_data(chance: random.Random) -> bytes:
    """A contract with a few values or keys that do not belong there."""
    data = copy.deepcopy(PARSED)
    for _ in range(chance.choice((1, 1, 2, 5))):
        holder = data
        while True:
            if isinstance(holder, dict) and holder:
                key: Any = chance.choice(list(holder))
            elif isinstance(holder, list) and holder:
                key = chance.randrange(len(holder))
            else:
                break
            if isinstance(holder[key], dict | list) and chance.random() < 0.7:
                holder = holder[key]
                continue
            if isinstance(holder, dict) and chance.random() < 0.3:
                holder[chance.choice(KEYS)] = holder.pop(key)
            else:
                holder[key] = chance.choice(NASTY)
            break
    flow = chance.choice((None, True, False))
    text = yaml.dump(data, Dumper=DUMPER, default_flow_style=flow, allow_unicode=True).encode()
    for name, written in WRITTEN.items():
        text = text.replace(name, written)
    return text


def random_text(chance: random.Random) -> bytes:
    """A contract with lines lost, doubled and moved, and characters where they do not belong."""
    lines = WHOLE.splitlines(keepends=True)
    for _ in range(chance.choice((1, 2, 4))):
        at = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(chance.randrange(len(lines)), lines[at])
            case 2:
                lines[at] = " " * chance.randrange(6) + lines[at].lstrip()
            case _:
                place = chance.randrange(len(lines[at]))
                lines[at] = lines[at][:place] + chance.choice(TEXTS) + lines[at][place:]
    data = bytearray("".join(lines).encode())
    if chance.random() < 0.1:
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.1 else data)


@pytest.mark.parametrize("make", [random_data, random_text])
def test_no_input_gives_a_stack_trace(make: Callable[[random.Random], bytes], tmp_path: Path) -> None:
    """It is valid, and then for an editor too; or each of its problems has a place in the file and says something."""
    editor = jsonschema.Draft202012Validator(schemas.contract())
    valid = 0
    for seed in range(ROUNDS):
        data = make(random.Random(seed))
        try:
            check.parse(data, "factory.yaml", tmp_path)
        except InvalidContract as e:
            lines = data.count(b"\n") + data.count(b"\r") + 2
            for problem in e.problems:
                assert str(problem) and 1 <= problem.line <= lines and problem.column >= 1, (seed, problem.as_dict())
                assert len(str(problem)) < 600, seed
        except ForeignContract:
            pass
        except Exception as e:
            raise AssertionError(f"seed {seed}: {e!r:.300}\n{data[:3000].decode(errors='replace')}") from e
        else:
            valid += 1
            told = list(editor.iter_errors(as_json(data)))
            assert not told, (seed, told[0].message, data)
    assert ROUNDS / 50 < valid < ROUNDS  # neither all nor none is what was meant


def as_json(data: bytes) -> Any:
    """What an editor validates: the values as YAML 1.2 reads them."""
    tree, _ = check.document.parse(data)
    assert tree is not None
    return tree.plain()


@pytest.mark.parametrize(
    "text", ["[" * 60_000, "{a: " * 15_000, "- " * 30_000, "a:\n" + " " * 60_000, "? " * 30_000, "&a " * 20_000]
)
def test_depth_is_bounded(text: str) -> None:
    """What nests deeper than any stack is refused as all else is."""
    with pytest.raises(InvalidContract):
        check.parse(text.encode(), "factory.yaml", Path("/nowhere"))
