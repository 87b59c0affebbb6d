"""Where GitHub is, and who the factory is there; by settings, without PyGithub, which takes a second to load."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .runner import Credentials

PUBLIC_API = "https://api.github.com"
GIT_USER = "x-access-token"  # the user name with which GitHub takes a token of any kind for a password
_SCP = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w.-]+):(?P<path>(?!/).+)")
_NAME = re.compile(r"(?P<owner>[A-Za-z0-9][A-Za-z0-9_-]*)/(?P<repo>[A-Za-z0-9_.-]+)")


@dataclass(frozen=True)
class Identity:
    """An account: by a token, or by an App's id and private key (PEM)."""

    variable: str  # where the secret was given, for people to read
    secret: str = field(repr=False)
    app_id: str = ""

    def credentials(self) -> Credentials | None:
        """What git needs; None for an App, whose tokens are made an hour at a time."""
        return None if self.app_id else Credentials(GIT_USER, self.secret)


@dataclass(frozen=True)
class GitHubSite:
    """github.com, or the GitHub Enterprise Server whose API is at `api`."""

    api: str = PUBLIC_API
    author: Identity | None = None
    reviewer: Identity | None = None

    @classmethod
    def of(cls, settings: Any) -> GitHubSite:
        """By a service's settings (`factory_chassis.settings.Settings`, which this member does not import)."""
        return cls(
            api=(settings.github_api or PUBLIC_API).rstrip("/"),
            author=_identity(settings, "github"),
            reviewer=_identity(settings, "github_reviewer"),
        )

    @property
    def web(self) -> str:
        """Where its pages and repositories lie: https://github.com for https://api.github.com, https://<host> for
        https://<host>/api/v3 (https://docs.github.com/en/enterprise-server/rest/quickstart)."""
        parts = urlsplit(self.api)
        return f"{parts.scheme}://{parts.netloc.removeprefix('api.') if self.cloud else parts.netloc}"

    @property
    def host(self) -> str:
        """As people and errors name it."""
        return urlsplit(self.web).netloc

    @property
    def cloud(self) -> bool:
        """GitHub's own service (github.com, or a company's <name>.ghe.com), as against a company's own server."""
        parts = urlsplit(self.api)
        return parts.netloc.startswith("api.") and parts.path in {"", "/"}

    def name_of(self, url: str) -> str | None:
        """`owner/repo` where `url` is a repository here, by https or ssh; else None."""
        host, path = _parts(url)
        here = urlsplit(self.web)
        theirs = host.removeprefix("www.").removeprefix("ssh.") if self.cloud else host
        if theirs not in {here.netloc, here.hostname}:
            return None
        name = _NAME.fullmatch(path.strip("/").removesuffix(".git"))
        return name[0] if name else None

    def url_of(self, name: str) -> str:
        """Where git finds a repository: over https, whatever form the project gave."""
        return f"{self.web}/{name}.git"


def _parts(url: str) -> tuple[str, str]:
    """(host, with the port where one matters; path)."""
    if "://" not in url:
        short = _SCP.fullmatch(url)
        return (short["host"].lower(), short["path"]) if short else ("", "")
    parts = urlsplit(url)
    return (parts.netloc if parts.scheme in {"http", "https"} else parts.hostname or "").lower(), parts.path


def _identity(settings: Any, prefix: str) -> Identity | None:
    if token := getattr(settings, f"{prefix}_token"):
        return Identity(f"FACTORY_{prefix.upper()}_TOKEN", token.get_secret_value())
    if app_id := getattr(settings, f"{prefix}_app_id"):
        key = getattr(settings, f"{prefix}_app_key").get_secret_value()
        return Identity(f"FACTORY_{prefix.upper()}_APP_KEY", key, app_id)
    return None
