"""Which forge a repository lives on, and with whose credentials it is reached: one `Forges` a service."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import NoIdentity, SameIdentity, UnknownForge
from .forge import Forge
from .git import Mirror, mirror_of
from .github_site import GitHubSite, Identity
from .local import LocalForge
from .runner import Credentials

if TYPE_CHECKING:
    from .github_client import Client, Limit

FRESH_S = 300.0  # a repository's name and default branch are asked for again after this
AUTHOR, REVIEWER = "software-factory", "software-factory-reviewer"


class Forges:
    """Forges by repository, under the factory's or the reviewer's identity; and the mirrors, which fetch as the factory."""

    def __init__(self, public_url: str, github: GitHubSite | None = None) -> None:
        """`public_url` is console's: the pages of the local forge lie there."""
        self.public_url, self.github = public_url, github or GitHubSite()
        self._clients: dict[tuple[str, str], Client] = {}
        self._limits: dict[str, Limit] = {}  # by the variable of a token
        self._opened: dict[Client, tuple[Forge, float]] = {}  # with when, monotonic

    @classmethod
    def of(cls, settings: Any) -> Forges:
        """By a service's settings (`factory_chassis.settings.Settings`, which this member does not import)."""
        if settings.replay:
            from .recording import RecordingForges

            return RecordingForges(
                settings.public_url, settings.database_url.get_secret_value(), GitHubSite.of(settings)
            )
        return cls(settings.public_url, GitHubSite.of(settings))

    async def connect(self, repo: str, *, reviewer: bool = False) -> Forge:
        """Raises UnknownForge, NotABareRepository; on GitHub NoIdentity, SameIdentity and what `Client.call` does."""
        if path := local_path(repo):
            return LocalForge(path, REVIEWER if reviewer else AUTHOR, self.public_url)
        if name := self.github.name_of(repo):
            return await self._on_github(name, reviewer=reviewer)
        reason = f"a path or file:// is served, and what lies on {self.github.host} (FACTORY_GITHUB_API names another)"
        raise UnknownForge(url=repo, reason=reason)

    async def mirror(self, node_dir: Path, repo: str) -> Mirror:
        """The node's trusted mirror of `repo`. Raises BadRepoUrl, OtherUrl.

        What lies on GitHub is fetched over https with the factory's token, where there is one, whatever URL is given.
        """
        name, author = self.github.name_of(repo), self.github.author
        if name is None or author is None:
            return await mirror_of(node_dir / "mirrors", repo)

        async def access() -> Credentials:
            return author.credentials() or await self._client(author, name).credentials()

        return await mirror_of(node_dir / "mirrors", self.github.url_of(name), access)

    async def _on_github(self, name: str, *, reviewer: bool) -> Forge:
        author = self._client(self._identity(self.github.author, name, "account", "FACTORY_GITHUB"), name)
        if not reviewer:
            return await self._open(author)
        prefix = "FACTORY_GITHUB_REVIEWER"
        second = self._client(self._identity(self.github.reviewer, name, "reviewer", prefix), name)
        if (login := await second.login()) == await author.login():
            raise SameIdentity(login=login)
        return await self._open(second)

    async def _open(self, client: Client) -> Forge:
        from .github import GitHubForge  # PyGithub costs a second and 27 MB, which only those pay who have GitHub

        forge, since = self._opened.get(client, (None, 0.0))
        if forge is None or time.monotonic() - since > FRESH_S:
            forge = await GitHubForge.open(client)
            self._opened[client] = forge, time.monotonic()
        return forge

    def _identity(self, given: Identity | None, name: str, role: str, prefix: str) -> Identity:
        if given is None:
            missing = f"{prefix}_TOKEN, or {prefix}_APP_ID with {prefix}_APP_KEY,"
            raise NoIdentity(repo=name, host=self.github.host, role=role, missing=missing)
        return given

    def _client(self, identity: Identity, name: str) -> Client:
        from .github_client import Client, Limit

        key = (identity.variable, name)
        if key not in self._clients:
            account = None if identity.app_id else self._limits.setdefault(identity.variable, Limit())
            self._clients[key] = Client(self.github, identity, name, account)
        return self._clients[key]


def local_path(repo: str) -> Path | None:
    if repo.startswith("file://"):
        return Path(repo.removeprefix("file://"))
    if repo.startswith("/") or not re.match(r"^[\w.+-]+(@|://|:)", repo):
        return Path(repo)
    return None
