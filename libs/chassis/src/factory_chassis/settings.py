"""Settings of a service: FACTORY_* from the environment, a secret also as FACTORY_…_FILE; unknown names are errors."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

PREFIX = "FACTORY_"
EX_CONFIG = 78  # sysexits.h: something is wrong with the configuration
# names that are read elsewhere: by the contract, by tests, by the browser
KNOWN = frozenset({"FACTORY_INSIDE", "FACTORY_FAILPOINT", "FACTORY_CHROMIUM", "FACTORY_HOST", "FACTORY_WORKTREE"})

# settings that one service alone reads
OF_SERVICES = frozenset({"console_port", "poll_timeout", "agent_minutes", "port_range", "node_jobs", "edit_every"})

SettingsT = TypeVar("SettingsT", bound="Settings")


class BadSettings(Exception):
    """The configuration is broken; `problems` name each variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseModel):
    """What every service knows. The defaults work on a laptop where `factoryctl up` runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/factory")
    nats_url: str = "nats://127.0.0.1:4222"
    s3_endpoint: str = "http://127.0.0.1:9000"
    s3_bucket: str = "factory"
    s3_access_key: str = "factory"
    s3_secret_key: SecretStr = SecretStr("")
    telegram_token: SecretStr | None = None
    telegram_api: str | None = None  # another Bot API server than api.telegram.org
    github_token: SecretStr | None = None
    github_reviewer_token: SecretStr | None = None
    github_api: str | None = None
    node_dir: Path = Path("var/node")
    public_url: str = "http://127.0.0.1:8080"
    projects: Path = Path("factory-projects.yaml")
    health_port: int = Field(default=0, ge=0, le=65535)  # 0: any free port, told in the log
    capacity: int = Field(default=2, ge=1, le=64)  # jobs that one process works on at once
    lease_seconds: float = Field(default=30, gt=0.5)
    sweep_after: float = Field(default=30, ge=0)  # seconds of unbroken connection before leases of others are judged
    log_format: str = Field(default="json", pattern="^(json|console)$")
    stop_grace: float = Field(default=20, ge=0)  # seconds a handler has to save its work on SIGTERM

    def secrets(self) -> list[str]:
        """Every secret in clear, for the redactor."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [v.get_secret_value() for v in values if isinstance(v, SecretStr) and v.get_secret_value()]


def read(kind: type[SettingsT], environ: Mapping[str, str] | None = None) -> SettingsT:
    """The settings from the environment. Raises BadSettings naming every variable that is wrong."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    problems: list[str] = []
    fields = all_fields(kind)
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in KNOWN:
            continue
        field = name.removeprefix(PREFIX).lower()
        if field in fields:
            if field in kind.model_fields:
                values[field] = value
        elif field.endswith("_file") and field.removesuffix("_file") in fields:
            field = field.removesuffix("_file")
            if field not in kind.model_fields:
                continue
            try:
                values[field] = Path(value).read_text().strip()
            except OSError as e:
                problems.append(f"{name}: cannot read {value}: {e.strerror}")
        else:
            problems.append(f"{name}: no such setting{_nearest(field, fields)}")
    try:
        settings = kind(**values)
    except ValidationError as e:
        for error in e.errors():
            where = "_".join(str(p) for p in error["loc"]).upper()
            problems.append(f"{PREFIX}{where}: {error['msg']}")
        raise BadSettings(problems) from None
    if problems:
        raise BadSettings(problems)
    return settings


def all_fields(kind: type[Settings]) -> set[str]:
    """Names that some service knows: one environment may serve all of them."""
    return set(kind.model_fields) | set(Settings.model_fields) | OF_SERVICES


def _nearest(name: str, known: set[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {PREFIX}{close[0].upper()}?)" if close else ""


def refuse(problems: list[str]) -> NoReturn:
    """Ends the process with a line for each wrong variable."""
    for problem in problems:
        sys.stderr.write(f"configuration: {problem}\n")
    sys.exit(EX_CONFIG)


def node_name(node_dir: Path) -> str:
    """The node's name, written once into its directory: containers come and go, the directory stays."""
    kept = node_dir / "node"
    if kept.exists():
        return kept.read_text().strip()
    node_dir.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")[:32] or "node"
    fresh = node_dir / f".node.{os.getpid()}"
    fresh.write_text(name)
    try:
        os.link(fresh, kept)  # whoever is first names it
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return kept.read_text().strip()
