"""The contract as a typed value, and the source of its JSON Schema. Short forms are widened here, meaning is checked in `check`."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from factory_contract import words


def _wrong(what: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_value", "{what}", {"what": what})


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


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
ServiceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
SuiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
PortName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*_PORT$")]
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


class Runtime(Model):
    """What the repo is run with. `setup`, `env_file` and `implementation` may also stand at the top, not in both places."""

    package_manager: str | None = None
    setup: Commands | None = None
    env_file: RepoPaths | None = None
    implementation: RepoPath | None = None


class Isolation(Model):
    """How two checkouts of this repo are kept apart."""

    strategy: Literal["git-worktree", "clone"] = "git-worktree"
    port_range_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    docker_project_prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] | None = None


class Healthcheck(Model):
    """When a service counts as ready and healthy: one of http, tcp, command, log."""

    http: str | None = Field(None, description="A URL, or a path on the service's own port; 2xx and 3xx are healthy")
    tcp: Annotated[str, BeforeValidator(_tcp, json_schema_input_type=str | int)] | None = None
    command: Command | None = None
    log: Annotated[str, AfterValidator(_regex)] | None = Field(None, description="A regular expression for a line")
    interval: Duration = Field(5.0, description="Between two looks at a service that is ready")
    timeout: Duration = 5.0
    retries: Annotated[int, Field(ge=1, le=1000)] = Field(3, description="Failures in a row that make it unhealthy")
    start_period: Duration = Field(60.0, description="Time that a service has to get ready")

    @property
    def kind(self) -> str:
        return next(k for k in ("http", "tcp", "command", "log") if getattr(self, k) is not None)


class Stop(Model):
    """How a service is asked to end: a command, else a signal; killed after `timeout`."""

    command: Command | None = None
    signal: Annotated[str, BeforeValidator(_signal, json_schema_input_type=str)] = "SIGTERM"
    timeout: Duration = 10.0


class Service(Model):
    """One part of the app. A `process` stays, a `task` runs once, `docker-compose` is a service of a Compose file."""

    type: Literal["process", "task", "docker-compose"] = "process"
    command: Command | None = None
    depends_on: Annotated[list[str], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])] = []
    env: Env = {}
    healthcheck: (
        Annotated[Healthcheck, BeforeValidator(_healthcheck, json_schema_input_type=str | Healthcheck)] | None
    ) = None
    url: str | None = None
    ports: Ports | None = Field(
        None,
        description="The ports that it listens on, where names do not tell; of a Compose service those that it publishes",
    )
    stop: Annotated[Stop, BeforeValidator(_stop, json_schema_input_type=str | Stop)] = Stop()
    cwd: RepoPath = "."
    restart: Literal["no", "on-failure", "always"] = "on-failure"
    compose_file: RepoPath | None = Field(
        None,
        description="The Compose file with the service of this name; else the others', else compose.yaml at the top",
    )


class Browser(Model):
    """What `factory validate` opens."""

    start_url: str | None = None
    record_video: bool = True


class Validation(Model):
    """How a feature is shown to work in a browser."""

    browser: Browser = Browser()
    scenarios: RepoPath | None = None


class Artifacts(Model):
    """What of the checkout is kept as evidence."""

    collect: RepoPaths = []


class Contract(Model):
    """factory.yaml: how this repo is set up, started, checked, tested, validated, stopped and cleaned."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    runtime: Runtime = Runtime()
    setup: Commands | None = None
    env_file: RepoPaths | None = None
    implementation: RepoPath | None = None
    isolation: Isolation = Isolation()
    services: dict[ServiceName, Service] = {}
    env: Env = {}
    seed: Commands = []
    login: list[dict[str, Any]] | None = Field(None, description="Browser steps that leave a browser signed in")
    tests: dict[SuiteName, Commands] = {}
    validation: Validation = Validation()
    artifacts: Artifacts = Artifacts()
    copy_: RepoPaths = Field([], alias="copy", description="Untracked files that a new checkout needs")
    clean: Commands = []

    @property
    def setup_commands(self) -> list[str]:
        return self.setup or self.runtime.setup or []

    @property
    def env_files(self) -> list[str]:
        return self.env_file or self.runtime.env_file or []

    @property
    def script(self) -> str | None:
        return self.implementation or self.runtime.implementation
