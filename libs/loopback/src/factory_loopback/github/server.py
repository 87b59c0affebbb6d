"""The loopback GitHub as a server: its repositories, who may enter, the people in them, and the faults that a test asks for."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from factory_loopback.errors import BadSetup
from factory_loopback.journal import Journal

from . import operations as _operations  # registers what REST can do
from .control import Control
from .door import Call, Door
from .faults import Fault, Faults
from .git_http import GitHttp
from .graphql import GraphQl
from .hub import Hub
from .identities import Identities
from .page import Pages
from .person import Person
from .rates import Rates
from .records import LEVELS, App, Delivery, Hook, Repo
from .rest import Rest
from .spec import described
from .store import Store

READ_LIMIT = 100 * 1024 * 1024  # bytes of a request that is no push
APP_MAY = {
    "metadata": "read",
    **dict.fromkeys(("contents", "pull_requests", "issues", "statuses", "checks", "deployments"), "write"),
}

assert _operations


class GitHubServer:
    """A GitHub on this machine.

    async with GitHubServer(repos={"acme/shop": bare}, tokens={"t0ken": "factory"}) as github:
        Github(base_url=github.api, auth=Auth.Token("t0ken")).get_repo("acme/shop")
        git clone http://x-access-token:t0ken@127.0.0.1:PORT/acme/shop.git

    repos: `owner/name` to a bare repository, served in place; tokens: token to `login` or `login:permission`, the
    permission on every repository here (read, write (the default), admin …); users: people without a token, likewise
    `login` or `login:permission`; apps: `ID=PUBLIC_KEY_FILE:LOGIN`. With `data` everything is found again at
    the next start.
    """

    def __init__(
        self,
        repos: Mapping[str, Path],
        tokens: Mapping[str, str],
        *,
        users: Iterable[str] = (),
        apps: Iterable[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        data: Path | None = None,
        spec: Path | None = None,
    ) -> None:
        self.host, self.port = host, port
        self._scratch = None if data else tempfile.TemporaryDirectory(prefix="loopback-github-")
        directory = data or Path(self._scratch.name if self._scratch else "")
        self.store = Store(Journal(directory / "github.jsonl" if data else None))
        self.hub = Hub(self.store)
        for name, path in repos.items():
            self.add_repo(name, path)
        self.identities = Identities(self.store, {})
        for token, text in tokens.items():
            self.add_token(token, text)
        for text in users:
            login, _, level = text.partition(":")
            self.add_user(login, level or "write")
        for text in apps:
            self._add_app(text)
        self.faults, self.rates = Faults(), Rates()
        self.door = Door(self.faults)
        self.rest = Rest(self.hub, self.identities, self.rates, self.door, described(spec))
        self._graphql = GraphQl(self.hub, self.identities, self.rates, self.door)
        self._git = GitHttp(self.hub, self.identities, self.door, directory.resolve() / "hooks")
        self._control = Control(self.hub, self.rest, self.door, self.faults, self.rates)
        self._runner: web.AppRunner | None = None

    # Life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; with port 0, `port` and `url` say where afterwards."""
        app = web.Application(client_max_size=READ_LIMIT)
        for door in (self._control, self.rest, self._graphql, self._git, Pages(self.hub)):
            app.add_routes(door.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()
        self.port = self._runner.addresses[0][1]
        self.hub.site.url = self.url
        await self.hub.settle()

    async def stop(self) -> None:
        """Lets go of who waits; what is in a `data` directory stays."""
        self.door.close()
        if self._runner:
            await self._runner.cleanup()
        await self.hub.webhooks.stop()
        self.store.close()
        if self._scratch:
            self._scratch.cleanup()

    @property
    def url(self) -> str:
        """Where pages and git are: `url/owner/name.git`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def api(self) -> str:
        """What PyGithub takes as `base_url`."""
        return f"{self.url}/api/v3"

    # Who and where

    def add_repo(self, name: str, path: Path) -> Repo:
        """Its default branch is protected. Raises BadSetup for what is no bare repository."""
        head = path / "HEAD"
        if name.count("/") != 1 or not head.is_file() or not (path / "objects").is_dir():
            raise BadSetup(f"{name}={path} is not OWNER/NAME=DIRECTORY of a bare git repository.")
        branch = head.read_text().strip().removeprefix("ref: refs/heads/")
        known = self.store.repos.get(name) or Repo(self.store.next_id(), name, "", branch, protected=[branch])
        known.path = str(path.resolve())
        self.store.user(known.owner)
        return self.store.repos.put(known)

    def add_token(self, token: str, text: str) -> None:
        """A token of `login` or `login:permission`."""
        login, _, level = text.partition(":")
        self.add_user(login, level or "write")
        self.identities.add(token, login)

    def add_user(self, login: str, permission: str = "write") -> None:
        """Who is known here, with a permission on every repository."""
        if permission not in LEVELS or not login:
            raise BadSetup(f"{login}:{permission} is not LOGIN:PERMISSION (permissions: {', '.join(LEVELS)}).")
        self.store.user(login)
        for repo in self.store.repos:
            repo.collaborators[login] = permission
            self.store.repos.put(repo)

    def _add_app(self, text: str) -> None:
        """ID=PUBLIC_KEY_FILE:LOGIN; the app is installed on every repository here."""
        app_id, _, rest = text.partition("=")
        path, _, slug = rest.rpartition(":")
        if not app_id.isdecimal() or not slug or not Path(path).is_file():
            raise BadSetup(f"{text} is not ID=PUBLIC_KEY_FILE:LOGIN.")
        known = self.store.apps.get(app_id)
        installation = known.installation if known else self.store.next_id()
        app = App(int(app_id), slug.removesuffix("[bot]"), Path(path).read_text(), installation, APP_MAY)
        self.store.apps.put(app)

    def add_hook(self, url: str, secret: str, events: Iterable[str] = ("*",)) -> None:
        """A webhook of every repository here; one with this address is replaced."""
        for repo in self.store.repos:
            known = next(iter(self.store.hooks.of(repo.name, url=url)), None)
            hook_id = known.id if known else self.store.next_id()
            self.store.hooks.put(Hook(hook_id, repo.name, url, secret, list(events)))

    # A test's hands

    def person(self, login: str, repo: str = "", permission: str = "write") -> Person:
        """Someone with this permission, in this repository (or the first); see `Person`."""
        name = repo or next(iter(self.store.repos)).name
        if self.store.users.get(login) is None:
            self.add_user(login, permission)
        return Person(self.url, login, name)

    def redeliver(self, delivery_id: int) -> Delivery:
        """Sends a webhook's message again; `store.deliveries` has them."""
        return self.hub.webhooks.redeliver(delivery_id)

    def fault(
        self, what: str, method: str = "*", path: str = "**", *, times: int | None = 1, seconds: int = 1
    ) -> Fault:
        """Lets the next `times` requests that fit fail; see `Fault`."""
        return self.faults.add(Fault(what, method, path, times, seconds))

    def calls(self, method: str | None = None, operation: str | None = None) -> list[Call]:
        """The log of all requests, oldest first."""
        return [call for call in self.door.log if method in (None, call.method) and operation in (None, call.operation)]

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        """Everything that it keeps."""
        return self.store.tables()

    @property
    def problems(self) -> list[str]:
        """What no client may do and what we may not answer: not there, not built, not as described."""
        return self.door.problems
