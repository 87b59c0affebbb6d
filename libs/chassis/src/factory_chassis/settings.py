"""Settings of a service: FACTORY_* from the environment, a secret also as FACTORY_…_FILE; unknown names are errors."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from . import failpoints

PREFIX = "FACTORY_"
EX_CONFIG = 78  # sysexits.h: something is wrong with the configuration
# names that are read elsewhere: by the contract, by tests, by the browser
KNOWN = frozenset(
    {"FACTORY_INSIDE", "FACTORY_FAILPOINT", "FACTORY_CHROMIUM", "FACTORY_HOST", "FACTORY_ROOT", "FACTORY_WORKTREE"}
)

# settings that one service alone reads
OF_SERVICES = frozenset(
    {
        "console_host",
        "console_port",
        "poll_timeout",
        "agent_minutes",
        "port_range",
        "preview_range",
        "job_ports",
        "node_jobs",
        "edit_every",
        "forge_every",
        "intake_host",
        "intake_port",
    }
)

SettingsT = TypeVar("SettingsT", bound="Settings")


class BadSettings(Exception):
    """The configuration is broken; `problems` name each variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _url(*schemes: str) -> AfterValidator:
    """A URL with one of these schemes. The message never shows the value: it may hold a password."""

    def check(value: str | SecretStr) -> str | SecretStr:
        parts = urlsplit(value.get_secret_value() if isinstance(value, SecretStr) else value)
        parts.port  # noqa: B018 - raises ValueError where it is none
        if parts.scheme not in schemes or not (parts.netloc or parts.query):
            raise ValueError(f"not a URL such as {schemes[0]}://host:port")
        return value

    return AfterValidator(check)


def _token(value: SecretStr) -> SecretStr:
    """One that can stand in a header: what could not would be repeated in that error's words."""
    token = value.get_secret_value().strip()
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise ValueError("not a token: blanks or control characters are in it")
    return SecretStr(token)


def _pem(value: SecretStr) -> SecretStr:
    """A private key; where it came in one line, with `\\n` for its line ends, with true ones."""
    key = value.get_secret_value().replace("\\n", "\n").strip()
    if not re.fullmatch(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n.+\n-----END [A-Z ]*PRIVATE KEY-----", key, re.S):
        raise ValueError("not a private key in PEM, as the App's page gives it")
    return SecretStr(key + "\n")


def _safe(value: str) -> str:
    """Tokens go there: in clear to this machine alone."""
    parts = urlsplit(value)
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise ValueError("a token is not sent over http; use https")
    return value


class Settings(BaseModel):
    """What every service knows. The defaults work on a laptop where `factoryctl up` runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: Annotated[SecretStr, _url("postgresql", "postgres")] = SecretStr(
        "postgresql://postgres@127.0.0.1:5432/factory"
    )
    nats_url: Annotated[str, _url("nats", "tls", "ws", "wss")] = "nats://127.0.0.1:4222"
    s3_endpoint: Annotated[str, _url("http", "https")] = "http://127.0.0.1:9000"
    s3_bucket: str = "factory"
    s3_access_key: str = "minioadmin"
    s3_secret_key: SecretStr = SecretStr("minioadmin")
    telegram_token: SecretStr | None = None
    telegram_api: Annotated[str, _url("http", "https")] | None = None  # another Bot API server than api.telegram.org
    # Who the factory is on GitHub, and who reviews: each by a token, or by an App's id and private key.
    github_token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    github_app_id: str | None = None
    github_app_key: Annotated[SecretStr, AfterValidator(_pem)] | None = None
    github_reviewer_token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    github_reviewer_app_id: str | None = None
    github_reviewer_app_key: Annotated[SecretStr, AfterValidator(_pem)] | None = None
    github_api: Annotated[str, _url("https", "http"), AfterValidator(_safe)] | None = (
        None  # another than api.github.com
    )
    # What opens intake's door. All know it: on one machine they have one environment, and none may repeat a secret in it.
    api_token: SecretStr | None = None
    github_webhook_secret: SecretStr | None = None
    node_dir: Path = Path("var/node")
    public_url: Annotated[str, _url("http", "https")] = "http://127.0.0.1:8080"
    projects: Path = Path("factory-projects.yaml")
    health_host: str = "127.0.0.1"  # 0.0.0.0 where whoever asks for /health or /metrics is another machine
    health_port: int = Field(default=0, ge=0, le=65535)  # 0: any free port, told in the log
    capacity: int = Field(default=2, ge=1, le=64)  # jobs that one process works on at once
    lease_seconds: float = Field(default=30, gt=0.5)
    sweep_after: float = Field(default=30, ge=0)  # seconds of unbroken connection before leases of others are judged
    log_format: str = Field(default="json", pattern="^(json|console)$")
    replay: bool = False  # it works on replays alone (`--replay`), and nothing of it is done outside
    stop_grace: float = Field(default=20, ge=0)  # seconds a handler has to save its work on SIGTERM

    @model_validator(mode="after")
    def _who_on_github(self) -> Self:
        problems = [p for prefix in ("github", "github_reviewer") for p in self._identity(prefix)]
        if self.github_token and self.github_token == self.github_reviewer_token:
            problems.append(
                f"{PREFIX}GITHUB_REVIEWER_TOKEN: the reviewer needs an identity of its own, not the factory's"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _identity(self, prefix: str) -> list[str]:
        """What is wrong with one of them."""
        token, app_id, key = (f"{prefix}_{part}" for part in ("token", "app_id", "app_key"))
        given = {name for name in (token, app_id, key) if getattr(self, name)}
        named = PREFIX + token.upper(), PREFIX + app_id.upper(), PREFIX + key.upper()
        if token in given and len(given) > 1:
            return [f"{named[0]}: an App ({named[1]}) is given as well; one of them has to go"]
        if given in ({app_id}, {key}):
            return [f"{named[1]} and {named[2]} are given together, or neither"]
        return []

    def secrets(self) -> list[str]:
        """Every secret in clear, for the redactor; of a URL its password too."""
        values = (getattr(self, name) for name in type(self).model_fields)
        found = [v.get_secret_value() for v in values if isinstance(v, SecretStr) and v.get_secret_value()]
        return found + [unquote(password) for v in found if "://" in v and (password := urlsplit(v).password)]


def read(kind: type[SettingsT], environ: Mapping[str, str] | None = None) -> SettingsT:
    """The settings from the environment. Raises BadSettings naming every variable that is wrong."""
    environ = os.environ if environ is None else environ
    values: dict[str, str] = {}
    given: dict[str, str] = {}  # field → the variable that gave it
    problems: list[str] = []
    fields = all_fields(kind)
    for name in sorted(n for n in environ if n.startswith(PREFIX) and n not in KNOWN):
        field = name.removeprefix(PREFIX).lower()
        from_file = field not in fields and field.endswith("_file")
        field = field.removesuffix("_file") if from_file else field
        if field not in fields:
            problems.append(f"{name}: no such setting{_nearest(name.removeprefix(PREFIX).lower(), fields)}")
        elif field in given:
            problems.append(f"{name}: {given[field]} is set as well; one of them has to go")
        elif field in kind.model_fields:
            given[field] = name
            try:
                value = Path(environ[name]).read_text().strip() if from_file else environ[name]
                if value or not (from_file and kind.model_fields[field].default is None):
                    values[field] = value  # an empty file is a secret that is not there, where there need be none
            except (OSError, UnicodeDecodeError) as e:
                problems.append(f"{name}: cannot read {environ[name]}: {getattr(e, 'strerror', '') or 'it is no text'}")
    try:
        failpoints.parse(environ.get(failpoints.NAME, ""))
    except ValueError as e:
        problems.append(f"{failpoints.NAME}: {e}")
    try:
        settings = kind.model_validate(values)
    except ValidationError as e:
        for error in e.errors(include_input=False):
            field = str(error["loc"][0]) if error["loc"] else ""
            name = given.get(field, f"{PREFIX}{field.upper()}")
            said = error["msg"].removeprefix("Value error, ")
            problems.append(f"{name}: {said}" if field else said)
        raise BadSettings(problems) from None
    if problems:
        raise BadSettings(problems)
    return settings


def all_fields(kind: type[Settings]) -> set[str]:
    """Names that some service knows: one environment may serve all of them."""
    return set(kind.model_fields) | set(Settings.model_fields) | OF_SERVICES


def _nearest(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {PREFIX}{close[0].upper()}?)" if close else ""


def refuse(problems: list[str]) -> NoReturn:
    """Ends the process with a line for each wrong variable."""
    for problem in problems:
        sys.stderr.write(f"configuration: {problem}\n")
    sys.exit(EX_CONFIG)


def node_name(node_dir: Path) -> str:
    """The node's name, written once into its directory: containers come and go, the directory stays.

    Raises BadSettings where the directory cannot be used, or holds a name that is none.
    """
    kept = node_dir / "node"
    try:
        if not kept.exists():
            _name_node(node_dir, kept)
        name = kept.read_text().strip()
    except OSError as e:
        raise BadSettings([f"FACTORY_NODE_DIR: cannot use {node_dir}: {e.strerror}"]) from None
    if not re.fullmatch(r"[a-z0-9-]{1,40}", name):
        raise BadSettings([f"FACTORY_NODE_DIR: {kept} holds {name[:60]!r}; a node's name is of a-z, 0-9 and -"])
    return name


def _name_node(node_dir: Path, kept: Path) -> None:
    node_dir.mkdir(parents=True, exist_ok=True)
    host = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower())[:32].strip("-") or "node"
    name = f"{host}-{secrets.token_hex(2)}"  # a machine may hold several nodes
    with tempfile.NamedTemporaryFile("w", dir=node_dir, prefix=".node.") as fresh:
        fresh.write(name)
        fresh.flush()
        Path(fresh.name).chmod(0o644)
        with contextlib.suppress(FileExistsError):
            os.link(fresh.name, kept)  # whoever is first names it
