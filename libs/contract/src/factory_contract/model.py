"""The contract as a typed value, and the source of its JSON Schema. Short forms are widened here, meaning is checked in `check`."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from factory_contract import words

SERVICE_NAME = r"^[a-z0-9][a-z0-9_-]{0,39}$"
SUITE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"
VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
PORT_NAME = r"^[A-Z][A-Z0-9_]*_PORT$"


def _wrong(what: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_value", "{what}", {"what": what})


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _env_file(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _env_files(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


def _duration(value: Any) -> float:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise _wrong("expected a duration: 500ms, 5s, 1m30s or a number of seconds")
    try:
        found = words.seconds(value)
    except ValueError as e:
        raise _wrong(str(e)) from e
    if not 0 <= found <= 24 * 3600:
        raise _wrong("a duration is between 0 and 24h")
    return found


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or path.startswith("~") or ".." in pure.parts or "\0" in path:
        raise _wrong(f"{path!r} leaves the repo: expected a path below the directory of this file, without `..`")
    return path


def _not_blank(text: str) -> str:
    if not text.strip():
        raise _wrong("expected a command, got blank text")
    return text


def _by_name(value: Any) -> Any:
    """`ports: [A_PORT]` is `ports: {A_PORT: null}`: leased."""
    return dict.fromkeys(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


def _env(value: Any) -> Any:
    """Values arrive as they are written; an empty one is the empty text."""
    return {k: "" if v is None else v for k, v in value.items()} if isinstance(value, dict) else value


def _healthcheck(value: Any) -> Any:
    return {"command": value} if isinstance(value, str) else value


def _stop(value: Any) -> Any:
    return {"command": value} if isinstance(value, str) else value


def _signal(value: Any) -> Any:
    name = f"SIG{str(value).upper().removeprefix('SIG')}"
    if name not in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"):
        raise _wrong(
            f"{value!r} is no signal that ends a process: SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGKILL"
        )
    return name


def _tcp(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as e:
        raise _wrong(f"{text!r} is no regular expression: {e}") from e
    return text


Command = Annotated[str, AfterValidator(_not_blank)]
Commands = Annotated[list[Command], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])]
RepoPath = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
RepoPaths = Annotated[list[RepoPath], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])]
Duration = Annotated[float, BeforeValidator(_duration, json_schema_input_type=float | str)]
ServiceName = Annotated[str, Field(pattern=SERVICE_NAME)]
SuiteName = Annotated[str, Field(pattern=SUITE_NAME)]
VariableName = Annotated[str, Field(pattern=VARIABLE_NAME)]
PortName = Annotated[str, Field(pattern=PORT_NAME)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]
Env = Annotated[
    dict[VariableName, str], BeforeValidator(_env, json_schema_input_type=dict[str, str | float | bool | None])
]
Ports = Annotated[
    dict[PortName, PortNumber | None],
    BeforeValidator(_by_name, json_schema_input_type=list[str] | dict[str, PortNumber | None]),
]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class EnvFile(Model):
    """A file of `NAME=value` lines. One that is not `required` may be missing: overrides that a checkout has or has not."""

    path: RepoPath = Field(description="Where it is", examples=[".env.dev"])
    required: bool = Field(default=True, description="Whether its absence is an error", examples=[False])


EnvFiles = Annotated[
    list[Annotated[EnvFile, BeforeValidator(_env_file, json_schema_input_type=str | EnvFile)]],
    BeforeValidator(_env_files, json_schema_input_type=str | EnvFile | list[str | EnvFile]),
]


class Runtime(Model):
    """What the repo is run with. `setup`, `env_file` and `implementation` may also stand at the top, not in both places."""

    package_manager: str | None = Field(
        default=None,
        description="The program that setup needs; where setup fails and it is not installed, that is said",
        examples=["bun"],
    )
    setup: Commands | None = Field(default=None, description="As `setup` at the top", examples=[["bun install"]])
    env_file: EnvFiles | None = Field(default=None, description="As `env_file` at the top", examples=[".env.dev"])
    implementation: RepoPath | None = Field(
        default=None, description="As `implementation` at the top", examples=["./factory.sh"]
    )


class Isolation(Model):
    """How two checkouts of this repo are kept apart."""

    strategy: Literal["git-worktree", "clone"] = Field(
        default="git-worktree",
        description="How checkouts are made, for people to know: nothing depends on it",
        examples=["git-worktree"],
    )
    port_range_size: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="How many ports `--port-range LO` means, from LO on", examples=[100]
    )
    docker_project_prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] | None = Field(
        default=None,
        description="The begin of the Compose project's name, before the worktree id; else the app's `name`",
        examples=["shop_factory"],
    )


class Healthcheck(Model):
    """When a service counts as ready and healthy: one of http, tcp, command, log."""

    http: str | None = Field(
        default=None,
        description="A URL, or a path on the service's own port; 2xx and 3xx are healthy",
        examples=["/health", "http://localhost:${ADMIN_PORT}/health"],
    )
    tcp: Annotated[str, BeforeValidator(_tcp, json_schema_input_type=str | int)] | None = Field(
        default=None, description="A port, or HOST:PORT, that takes connections", examples=["${DB_PORT}"]
    )
    command: Command | None = Field(
        default=None, description="A command that ends with exit code 0", examples=["pg_isready -p $DB_PORT"]
    )
    log: Annotated[str, AfterValidator(_regex)] | None = Field(
        default=None, description="A regular expression for a line of its output", examples=["listening on port \\d+"]
    )
    interval: Duration = Field(
        default=5.0, description="Between two looks at a service that is ready", examples=["10s"]
    )
    timeout: Duration = Field(default=5.0, description="How long one look may take", examples=["2s"])
    retries: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=3, description="Failures in a row that make a ready service unhealthy", examples=[5]
    )
    start_period: Duration = Field(default=60.0, description="Time that a service has to get ready", examples=["2m"])

    @property
    def kind(self) -> str:
        return next(k for k in ("http", "tcp", "command", "log") if getattr(self, k) is not None)


class Stop(Model):
    """How a service is asked to end: a command, else a signal; killed after `timeout`."""

    command: Command | None = Field(
        default=None, description="A command that ends it, in place of the signal", examples=["bin/server stop"]
    )
    signal: Annotated[str, BeforeValidator(_signal, json_schema_input_type=str)] = Field(
        default="SIGTERM", description="The signal that it is sent: with or without SIG", examples=["INT"]
    )
    timeout: Duration = Field(default=10.0, description="After this it is killed", examples=["30s"])


class Service(Model):
    """One part of the app. A `process` stays, a `task` runs once, `docker-compose` is a service of a Compose file."""

    type: Literal["process", "task", "docker-compose"] = Field(
        default="process",
        description="`process` stays, `task` runs to its end, `docker-compose` is the service of this name in a Compose file",
        examples=["task"],
    )
    command: Command | None = Field(
        default=None,
        description="What is run, by `sh -c`; everything but a docker-compose service has one",
        examples=["exec npm run dev -- --port ${WEB_PORT}"],
    )
    depends_on: Annotated[list[str], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])] = Field(
        default=[],
        description="Services that have to be ready, and tasks that have to be done, before it starts",
        examples=[["db", "migrate"]],
    )
    env: Env = Field(
        default={},
        description="Variables for it alone; `${X}` and `${X:-default}` are filled in",
        examples=[{"PORT": "${API_PORT}"}],
    )
    healthcheck: (
        Annotated[Healthcheck, BeforeValidator(_healthcheck, json_schema_input_type=str | Healthcheck)] | None
    ) = Field(
        default=None,
        description="When it is ready and healthy: a command, or one of http, tcp, command, log; else that its port is listened on",
        examples=["curl -sf http://localhost:${API_PORT}/health", {"http": "/health", "start_period": "90s"}],
    )
    url: str | None = Field(
        default=None,
        description="Where people and browsers find it; `${FACTORY_HOST}` gives it a host name of this checkout's own",
        examples=["http://localhost:${WEB_PORT}", "http://${FACTORY_HOST}:${WEB_PORT}/"],
    )
    also: Annotated[list[str], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])] = Field(
        default=[],
        description="More addresses of it for people, such as its name in a tailnet; one with a variable that is not set is left out",
        examples=[["http://${TAILNET_HOST}:${WEB_PORT}"]],
    )
    ports: Ports | None = Field(
        default=None,
        description=(
            "The ports that it listens on, where names do not tell: a list of names, or name: number for a fixed one "
            "(null: leased); of a Compose service those that it publishes"
        ),
        examples=[["API_PORT", "METRICS_PORT"], {"API_PORT": 3000}, []],
    )
    stop: Annotated[Stop, BeforeValidator(_stop, json_schema_input_type=str | Stop)] = Field(
        default_factory=Stop,
        description="How it is asked to end: a command, or signal and timeout; killed after that",
        examples=[{"signal": "INT", "timeout": "5s"}],
    )
    cwd: RepoPath = Field(default=".", description="The directory that it runs in", examples=["packages/api"])
    restart: Literal["no", "on-failure", "always"] = Field(
        default="on-failure", description="Whether it is started again when it ends by itself", examples=["no"]
    )
    compose_file: RepoPath | None = Field(
        default=None,
        description="The Compose file with the service of this name; else the others', else compose.yaml at the top",
        examples=["docker/compose.yaml"],
    )


class Browser(Model):
    """What `factory validate` opens."""

    start_url: str | None = Field(
        default=None,
        description="What is opened first; the service whose port it names is the primary one. Else the first `url`",
        examples=["http://localhost:${WEB_PORT}/"],
    )
    record_video: bool = Field(default=True, description="Whether it is filmed", examples=[False])


class Validation(Model):
    """How a feature is shown to work in a browser."""

    browser: Browser = Field(
        default_factory=Browser,
        description="What is opened, and whether it is filmed",
        examples=[{"start_url": "http://localhost:${WEB_PORT}/"}],
    )
    scenarios: RepoPath | None = Field(
        default=None,
        description="The file of scenarios; else .software-factory/scenarios.yaml, which an agent leaves",
        examples=["e2e/scenarios.yaml"],
    )


class Artifacts(Model):
    """What of the checkout is kept as evidence."""

    collect: RepoPaths = Field(
        default=[], description="Patterns for `factory artifacts`; `**` is any depth", examples=[["test-results/**"]]
    )


class Contract(Model):
    """factory.yaml: how this repo is set up, started, checked, tested, validated, stopped and cleaned."""

    name: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        description="What the app is called", examples=["shop"]
    )
    runtime: Runtime = Field(
        default_factory=Runtime,
        description="`setup`, `env_file` and `implementation` in one place, where they are not at the top",
        examples=[{"package_manager": "bun", "setup": ["bun install"], "env_file": ".env.dev"}],
    )
    setup: Commands | None = Field(
        default=None, description="Commands that make a fresh checkout runnable", examples=[["npm ci", "npm run build"]]
    )
    env_file: EnvFiles | None = Field(
        default=None,
        description="Files of NAME=value lines, the later ones win; leased ports are stronger",
        examples=[".env.dev", [".env", {"path": ".env.local", "required": False}]],
    )
    implementation: RepoPath | None = Field(
        default=None,
        description="A program of the repo that answers every verb in place of this command",
        examples=["./factory.sh"],
    )
    isolation: Isolation = Field(
        default_factory=Isolation,
        description="How two checkouts of this repo are kept apart",
        examples=[{"port_range_size": 100, "docker_project_prefix": "shop_factory"}],
    )
    services: dict[ServiceName, Service] = Field(
        default={},
        description="The parts of the app by name, started in the order of `depends_on`",
        examples=[{"web": {"command": "npm run dev -- --port ${WEB_PORT}", "url": "http://localhost:${WEB_PORT}"}}],
    )
    env: Env = Field(
        default={},
        description="Variables for every command and service",
        examples=[{"LOG_LEVEL": "debug", "DATABASE_URL": "postgres://localhost:${DB_PORT}/shop"}],
    )
    seed: Commands = Field(
        default=[],
        description="Commands that fill the database, once all is ready, at every start: they have to bear repetition",
        examples=["npm run seed"],
    )
    login: list[dict[str, Any]] | None = Field(
        default=None,
        description="Browser steps, as in scenarios, that leave a browser signed in; every scenario starts with what they leave",
        examples=[
            [
                {"goto": "/login"},
                {"fill": {"label": "Email", "value": "demo@example.com"}},
                {"click": {"role": "button", "name": "Sign in"}},
            ]
        ],
    )
    tests: dict[SuiteName, Commands] = Field(
        default={}, description="Test suites by name", examples=[{"unit": "npm test", "types": ["npm run typecheck"]}]
    )
    validation: Validation = Field(
        default_factory=Validation,
        description="How a feature is shown to work in a browser",
        examples=[{"scenarios": "e2e/scenarios.yaml", "browser": {"record_video": True}}],
    )
    artifacts: Artifacts = Field(
        default_factory=Artifacts,
        description="What of the checkout is kept as evidence",
        examples=[{"collect": ["test-results/**", "screenshots/**"]}],
    )
    copy_: RepoPaths = Field(
        default=[],
        alias="copy",
        description="Ignored files that a new checkout needs: `setup` copies them from the main worktree",
        examples=[[".env", "certs/dev.pem"]],
    )
    clean: Commands = Field(
        default=[],
        description="Commands that `factory clean` runs, to remove what the repo itself makes",
        examples=["rm -rf var"],
    )

    @property
    def setup_commands(self) -> list[str]:
        return self.setup or self.runtime.setup or []

    @property
    def env_files(self) -> list[EnvFile]:
        return self.env_file or self.runtime.env_file or []

    @property
    def script(self) -> str | None:
        return self.implementation or self.runtime.implementation
