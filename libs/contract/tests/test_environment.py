"""What children are told: variables, ports, owners, addresses, env files."""

from pathlib import Path

import pytest
from factory_contract import check, dotenv, graph, variables, words
from factory_contract.environment import Environment
from factory_contract.errors import EnvFileInvalid, EnvFileMissing, UndefinedVariable

APP = """
name: app
env_file: .env
env: {MODE: dev, DATABASE: "postgres://localhost:${DB_PORT}/x", SITE: "${WEB_URL}"}
services:
  db: {command: pg --port $DB_PORT}
  api:
    command: serve
    env: {PORT: "${API_PORT}", SECRET: "${TOKEN:-none}"}
    healthcheck: {http: /health}
    depends_on: [db]
  web:
    command: serve
    url: http://${FACTORY_HOST}:${WEB_PORT}/app
    env: {UPSTREAM: "http://localhost:${API_PORT}"}
validation: {browser: {start_url: "http://localhost:${WEB_PORT}/start"}}
"""
PORTS = {"DB_PORT": 5001, "API_PORT": 5002, "WEB_PORT": 5003}


def environment(tmp_path: Path, dotenv: str = "", text: str = APP, **shell: str) -> Environment:
    (tmp_path / ".env").write_text(dotenv)
    contract = check.parse(text.encode(), "factory.yaml", tmp_path).contract
    return Environment(contract, tmp_path, "wt-1", PORTS, shell)


def test_leased_ports_override_everything(tmp_path: Path) -> None:
    """A port in an env file or in the shell cannot make two checkouts collide."""
    env = environment(tmp_path, "API_PORT=3000\nMODE=file\n", DB_PORT="5432").of("api")
    assert (env["API_PORT"], env["DB_PORT"], env["PORT"]) == ("5002", "5001", "5002")
    assert env["MODE"] == "dev"  # the contract's env is stronger than the file
    assert env["DATABASE"] == "postgres://localhost:5001/x"


def test_whose_port_is_whose(tmp_path: Path) -> None:
    """By its name, its url, its command; the address of another service does not make a port one's own."""
    assert environment(tmp_path).owners == {"DB_PORT": "db", "API_PORT": "api", "WEB_PORT": "web"}
    text = "name: a\nservices:\n  web: {command: x, env: {API: 'http://localhost:${THE_PORT}'}}\n  z: {command: y $THE_PORT}\n"
    contract = check.parse(text.encode(), "f", tmp_path).contract
    assert Environment(contract, tmp_path, "w", {"THE_PORT": 1}, {}).owners == {"THE_PORT": "z"}
    contract = check.parse(text.replace("{command: y", "{ports: [], command: y").encode(), "f", tmp_path).contract
    assert Environment(contract, tmp_path, "w", {"THE_PORT": 1}, {}).owners == {}


def test_addresses_are_exported(tmp_path: Path) -> None:
    """X_URL is the url as written, X_INTERNAL_URL a loopback address; a guess gives way to what the repo says."""
    env = environment(tmp_path, "DB_URL=postgres://mine\nWEB_URL=http://stale\n").of("api")
    assert env["WEB_URL"] == env["SITE"] == "http://web.wt-1.localhost:5003/app"
    assert env["WEB_INTERNAL_URL"] == "http://127.0.0.1:5003"
    assert env["API_URL"] == "http://localhost:5002"
    assert env["DB_URL"] == "postgres://mine"
    assert env["FACTORY_HOST"] == "api.wt-1.localhost"
    assert environment(tmp_path).of()["FACTORY_HOST"] == "wt-1.localhost"


def test_secrets_of_the_factory_never_pass(tmp_path: Path) -> None:
    """Of FACTORY_* only the harmless ones reach a child; everything else of the shell does."""
    shell = {
        "FACTORY_GITHUB_TOKEN": "x",
        "FACTORY_INSIDE": "1",
        "FACTORY_HOST": "old",
        "FACTORY_CHROMIUM": "/c",
        "HOME": "/h",
    }
    env = environment(tmp_path, **shell).of("web", FACTORY_JUNIT="/j")
    assert {k: v for k, v in env.items() if k.startswith("FACTORY_")} == {
        "FACTORY_INSIDE": "1",
        "FACTORY_CHROMIUM": "/c",
        "FACTORY_JUNIT": "/j",
        "FACTORY_ROOT": str(tmp_path),
        "FACTORY_WORKTREE": "wt-1",
        "FACTORY_HOST": "web.wt-1.localhost",
    }
    assert env["HOME"] == "/h"


def test_urls_have_a_primary_one(tmp_path: Path) -> None:
    """The service that start_url leads to, else the first with a url."""
    (url,) = environment(tmp_path).urls()
    assert (url.service, url.primary, url.port) == ("web", True, 5003)
    assert environment(tmp_path).start_url() == "http://localhost:5003/start"
    two = APP.replace("healthcheck: {http: /health}", "url: http://localhost:${API_PORT}")
    assert [(u.service, u.primary) for u in environment(tmp_path, text=two).urls()] == [("web", True), ("api", False)]


def test_a_variable_that_is_nowhere_is_named(tmp_path: Path) -> None:
    """With the key that uses it."""
    text = APP.replace("MODE: dev", "MODE: '${NOPE}'")
    with pytest.raises(UndefinedVariable, match=r"env\.MODE uses \$\{NOPE\}"):
        environment(tmp_path, text=text).of()


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A}", "1"),
        ("${NO:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""),
        ("$A", "$A"),
        ("$${A}", "${A}"),
        ("${A}${A}", "11"),
    ],
)
def test_filling_in(text: str, filled: str) -> None:
    """`${X}` and `${X:-default}`; `$X` is the shell's; `$${` is an escape."""
    assert variables.fill(text, {"A": "1", "EMPTY": ""}.get, KeyError) == filled


def test_ports_are_found_as_a_shell_would() -> None:
    """With and without braces, each once; a name that only begins like one is another."""
    texts = ["$A_PORT ${B_PORT:-1}", "${A_PORT} $X_PORTS ${C_PORT_X} $PORT ${PORT}", "my_PORT"]
    assert variables.ports_in(texts) == ["A_PORT", "B_PORT"]


def test_env_files() -> None:
    """Quotes, comments, export, continuation in quotes, variables that are known."""
    text = """
# comment
export A=1
B = 'lit ${A} # no comment'
C="two\\nlines ${A}" # comment
D=plain value # comment
E=a#b
F=
G="over
lines"
H=${NOPE}-${K}
"""
    assert dotenv.parse(text, ".env", {"K": "k"}) == {
        "A": "1", "B": "lit ${A} # no comment", "C": "two\nlines 1", "D": "plain value", "E": "a#b", "F": "",
        "G": "over\nlines", "H": "${NOPE}-k",
    }  # fmt: skip


@pytest.mark.parametrize(("text", "line"), [("A=1\nnonsense\n", 2), ('A="open\n', 1), ("=x", 1)])
def test_a_broken_env_file_is_named_with_its_line(text: str, line: int) -> None:
    """What is no assignment is an error, never skipped."""
    with pytest.raises(EnvFileInvalid) as e:
        dotenv.parse(text, ".env", {})
    assert e.value.data["line"] == line


def test_a_missing_env_file_is_named(tmp_path: Path) -> None:
    """Ignored files are the first reason why new checkouts do not start."""
    with pytest.raises(EnvFileMissing, match=r"\.env\.dev"):
        dotenv.read(tmp_path / ".env.dev", ".env.dev", {})


def test_the_graph() -> None:
    """Circles, who leans on whom, and all that a service needs."""
    needs = {"a": ["b", "c"], "b": ["c"], "c": [], "d": []}
    assert graph.cycle(needs) is None
    assert graph.cycle({"a": ["b"], "b": ["a"]}) == ["a", "b", "a"]
    assert graph.cycle({"a": ["a"]}) == ["a", "a"]
    assert graph.dependents(needs) == {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": set()}
    assert graph.with_needs(["a"], needs) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("5s", 5), ("1m30s", 90), ("2h", 7200), (3, 3), ("0.5s", 0.5)]
)
def test_durations(text: str | float, seconds: float) -> None:
    """As Compose writes them, or a number of seconds."""
    assert words.seconds(text) == seconds


@pytest.mark.parametrize("text", ["5", "s", "5 s", "-1s", "1d", ""])
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="no duration"):
        words.seconds(text)
