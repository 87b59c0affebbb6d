"""`factory-projects.yaml`: which chats and people may ask for changes in which repo, and how far."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Role = Literal["owner", "member"]  # an owner also answers gates and may cancel the jobs of others


class BadProjects(Exception):
    """The file cannot be used; each problem says where."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__("\n".join(f"{path}: {p}" for p in problems))
        self.problems = problems


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Agent(_Part):
    """An agent of one's own: a program that speaks ACP over stdio."""

    driver: Literal["acp"] = "acp"
    command: list[str] = Field(min_length=1)
    env: dict[str, str] = {}
    label: str = ""


class Budget(_Part):
    """What one request may cost. Unset: no bound."""

    minutes: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    usd: float | None = Field(default=None, gt=0)


class Limits(_Part):
    jobs: int = Field(default=4, ge=1)  # at once in this repo


class Project(_Part):
    """One entry; a job keeps a snapshot of it."""

    chats: list[int] = Field(min_length=1)
    users: dict[int, Role] = Field(min_length=1)
    repo: str  # a URL, or the path of a bare repository
    base: str | None = None  # unset: the repo's default branch
    agent: str | Agent = "claude"
    model: str | None = None
    rounds: int = Field(default=5, ge=1, le=20)
    budget: Budget = Budget()
    gates: list[Literal["plan", "risk"]] = []
    limits: Limits = Limits()
    preview_hours: float = Field(default=24, gt=0)
    labels: list[str] = []

    @field_validator("repo")
    @classmethod
    def _safe_repo(cls, value: str) -> str:
        if not value.strip() or value.startswith("-") or re.match(r"^\w+::", value):
            raise ValueError("not a repository's URL or path")
        return value


class Projects(_Part):
    """The whole file."""

    projects: dict[Name, Project] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_project_a_chat(self) -> Projects:
        seen: dict[int, str] = {}
        for name, project in self.projects.items():
            for chat in set(project.chats):
                if chat in seen:
                    raise ValueError(f"chat {chat} is in two projects: {seen[chat]} and {name}")
                seen[chat] = name
        return self

    def of_chat(self, chat: int) -> tuple[str, Project] | None:
        for name, project in self.projects.items():
            if chat in project.chats:
                return name, project
        return None


class _Loader(yaml.SafeLoader):
    """Plain data only; a key that stands twice is an error, where YAML would let the second win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Projects:
    """Raises BadProjects with every problem."""
    try:
        data: Any = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as e:
        raise BadProjects(path, [f"cannot be read: {e.strerror}"]) from None
    except UnicodeDecodeError:
        raise BadProjects(path, ["is no text in UTF-8"]) from None
    except yaml.YAMLError as e:
        raise BadProjects(path, [_no_yaml(e)]) from None
    if not isinstance(data, dict):
        raise BadProjects(path, ["holds no mapping; it begins with `projects:`"])
    try:
        return Projects.model_validate(data)
    except ValidationError as e:
        raise BadProjects(path, [_said(problem) for problem in e.errors()]) from None


def _no_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{getattr(error, 'problem', None) or error}"


def _said(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"])) or "projects"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def snapshot(name: str, project: Project) -> dict[str, Any]:
    """What the job keeps."""
    return {"name": name, **project.model_dump(mode="json")}


def of_snapshot(data: dict[str, Any]) -> Project:
    return Project.model_validate({k: v for k, v in data.items() if k in Project.model_fields})
