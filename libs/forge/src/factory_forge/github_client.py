"""How GitHub is called: PyGithub in a thread, one call at a time, no deed repeated by itself, every error one of ours.

PyGithub's own retries are off. They repeat a POST after a 5xx that may have come after the deed, and sleep through
rate limits with the job's lease in hand; here the caller hears it at once, looks what happened, and comes back later.
What only reads is tried a second time where the connection broke, as an idle one does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import github
import jwt
import requests
from factory_jobs.errors import JobError
from github import Auth
from github.Requester import Requester
from urllib3 import Retry

from .errors import AppNotInstalled, ForgeAway, ForgeRefused, NotPermitted, NotThere, RateLimited, TokenRefused
from .github_site import GIT_USER, GitHubSite, Identity
from .runner import Credentials

TIMEOUT_S = 20  # GitHub itself gives up after 10
WAIT_S, LONGEST_S = 60.0, 3600.0  # where a limit does not say how long; and what is believed of one that does
RENEW_S = 600.0  # an App's token is made anew when it has less than this to live: a push may take its time
METADATA = "Metadata: read"
READ_AGAIN = Retry(total=1, status=0, redirect=0, other=0, allowed_methods=frozenset({"GET"}), backoff_factor=0.2)

# What PyGithub lets through: its own, requests', and what it raises where an answer is not as it expects.
THROWN = (github.GithubException, github.BadAttributeException, requests.RequestException, RuntimeError, ValueError)
THROWN += (AssertionError,)

# At DEBUG it logs answers whole, the one with an App's new token among them.
logging.getLogger("github.Requester").setLevel(logging.INFO)

T = TypeVar("T")


@dataclass
class Limit:
    """A rate limit that is in force until then (monotonic): of an account, or of an App where it is installed."""

    until: float = 0.0


class Client:
    """Calls of one identity about one repository; `limit` is shared by all that an account's limit meets."""

    def __init__(self, site: GitHubSite, identity: Identity, name: str, limit: Limit | None = None) -> None:
        self.site, self.identity, self.name = site, identity, name
        self._limit = limit or Limit()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="github")
        self._github: github.Github | None = None
        self._installation: InstallationAuth | None = None
        self._login = ""

    async def call(self, does: str, needs: str, what: Callable[[github.Github], T]) -> T:
        """Runs `what` in the client's thread. `does` and `needs` (a permission) are for the errors' words.

        Raises RateLimited, ForgeAway (it may have happened), TokenRefused, AppNotInstalled, NotPermitted, NotThere,
        ForgeRefused; and what `what` raises of ours.
        """
        if (left := self._limit.until - time.monotonic()) > 0:  # who goes on calling is locked out for longer
            raise self._limited(left, "the limit was reached before")

        def run() -> T:
            try:
                return what(self._opened())
            except THROWN as error:
                raise self._translated(error, does, needs) from None  # the request, with its token, hangs on theirs

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def login(self) -> str:
        """The account's name; an App's is `<slug>[bot]`. Asked once."""
        if not self._login:
            self._login = await self.call("say who the factory is", METADATA, self._who)
        return self._login

    async def credentials(self) -> Credentials:
        """A user name and a password for git, good for the next ten minutes at least."""
        if known := self.identity.credentials():
            return known
        token = await self.call("make a token for git", "Contents: write", lambda _: self._app().token)
        return Credentials(GIT_USER, token)

    # ── in the thread ─────────────────────────────────────────────────────────

    def _opened(self) -> github.Github:
        if self._github is None:
            auth = self._app() if self.identity.app_id else Auth.Token(self.identity.secret)
            self._github = github.Github(**self._ways(), auth=auth, lazy=True)
        return self._github

    def _ways(self) -> dict[str, Any]:
        """How both kinds of PyGithub's clients are made."""
        return {
            "base_url": self.site.api,
            "timeout": TIMEOUT_S,
            "retry": READ_AGAIN,
            "per_page": 100,
            "user_agent": "software-factory",
            "seconds_between_requests": None,
            "seconds_between_writes": 1.0 if self.site.cloud else None,  # as GitHub asks; a company's server does not
        }

    def _app(self) -> InstallationAuth:
        if self._installation is None:
            app, variable = Auth.AppAuth(self.identity.app_id, self.identity.secret), self.identity.variable
            try:
                app.create_jwt()
            except (jwt.PyJWTError, ValueError, TypeError) as error:
                reason = f"it is no private key that can sign ({error})"
                raise TokenRefused(host=self.site.host, variable=variable, reason=reason) from None
            integration = github.GithubIntegration(**self._ways(), auth=app)
            self._installation = InstallationAuth(integration, variable, self.name)
        return self._installation

    def _who(self, gh: github.Github) -> str:
        if self.identity.app_id:
            return f"{self._app().integration.get_app().slug}[bot]"
        return gh.get_user().login

    # ── errors ────────────────────────────────────────────────────────────────

    def _translated(self, error: Exception, does: str, needs: str) -> JobError:
        if not isinstance(error, github.GithubException) or error.status >= 500:
            return self._away(error, does)
        headers, reason = _lower(error.headers), reason_of(error)
        if error.status == 400 and "something went wrong" in reason.lower():  # GraphQL's word for a 5xx
            return self._away(error, does)
        if (seconds := limit_of(error.status, headers, reason)) is not None:
            self._limit.until = time.monotonic() + seconds
            return self._limited(seconds, reason)
        where = {"host": self.site.host, "repo": self.name, "does": does}
        if error.status == 401 and self._installation and self._installation.forget():
            return ForgeAway(**where, reason=f"it refused a token it had just given: {reason}", retry_after=5.0)
        if error.status == 401:
            return TokenRefused(host=self.site.host, variable=self.identity.variable, reason=reason)
        who = {**where, "variable": self.identity.variable}
        if error.status == 403 or types_of(error) & {"FORBIDDEN", "INSUFFICIENT_SCOPES"}:
            accepted = headers.get("x-accepted-github-permissions", "").replace("=", ": ")
            return NotPermitted(**who, needs=accepted or needs, reason=reason)
        if error.status == 404:
            return NotThere(**who, needs=needs)
        return ForgeRefused(**where, reason=f"{error.status} {reason}")

    def _away(self, error: Exception, does: str) -> ForgeAway:
        retry_after = 0.0
        if isinstance(error, github.GithubException):
            retry_after = _seconds(_lower(error.headers).get("retry-after")) or 0.0
            reason = f"{error.status} {reason_of(error)}"
        elif isinstance(error, requests.Timeout):
            reason = f"no answer within {TIMEOUT_S} s"
        elif isinstance(error, requests.RequestException):
            reason = f"no connection ({_root(error)})"
        else:
            reason = f"an answer that is none of its API's ({type(error).__name__}: {str(error)[:200]})"
        return ForgeAway(host=self.site.host, repo=self.name, does=does, reason=reason, retry_after=retry_after)

    def _limited(self, seconds: float, reason: str) -> RateLimited:
        return RateLimited(
            host=self.site.host, variable=self.identity.variable, reason=reason, retry_after=round(seconds, 1)
        )


class InstallationAuth(Auth.Auth):
    """An App where it is installed: tokens for this one repository, made anew before they end.

    https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
    """

    def __init__(self, integration: github.GithubIntegration, variable: str, name: str) -> None:
        self.integration, self.variable, self.name = integration, variable, name
        self._token, self._until = "", 0.0  # monotonic

    @property
    def token_type(self) -> str:
        return "token"

    @property
    def token(self) -> str:
        if self._until - time.monotonic() < RENEW_S:
            self._renew()
        return self._token

    def forget(self) -> bool:
        """Whether there was one; the next call makes another. A fresh one is not known everywhere at once."""
        had, self._token, self._until = bool(self._token), "", 0.0
        return had

    def _renew(self) -> None:
        """Raises AppNotInstalled, and what PyGithub raises."""
        owner, _, repo = self.name.partition("/")
        try:
            installation = self.integration.get_repo_installation(owner, repo)
            url = f"/app/installations/{installation.id}/access_tokens"
            requester: Requester = self.integration.requester
            headers, made = requester.requestJsonAndCheck("POST", url, input={"repositories": [repo]})
        except github.UnknownObjectException:
            raise AppNotInstalled(variable=self.variable, repo=self.name) from None
        lifetime = (datetime.fromisoformat(made["expires_at"]) - _now(headers)).total_seconds()
        self._token, self._until = made["token"], time.monotonic() + lifetime


# ── what an answer says ───────────────────────────────────────────────────────


def reason_of(error: github.GithubException) -> str:
    """GitHub's message, and of each of its errors the words or the field that is wrong."""
    data = error.data if isinstance(error.data, dict) else {}
    said = [str(data.get("message") or error.message or "no reason given")]
    for one in data.get("errors") or []:
        if isinstance(one, dict):
            said.append(
                str(one.get("message") or " ".join(str(one.get(k) or "") for k in ("resource", "field", "code")))
            )
        else:
            said.append(str(one))
    return "; ".join(" ".join(s.split()) for s in said)[:400]


def types_of(error: github.GithubException) -> set[str]:
    """Of GraphQL's errors, which come with status 200 and to which PyGithub gives 400."""
    errors = error.data.get("errors") if isinstance(error.data, dict) else None
    return {str(e.get("type")) for e in errors or [] if isinstance(e, dict)}


def limit_of(status: int, headers: Mapping[str, str], reason: str) -> float | None:
    """The seconds until a rate limit ends; None where this is none.

    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
    """
    said = Requester.isRateLimitError(reason) or "rate limit" in reason.lower()
    if status not in {403, 429} and not (said and status == 400):  # 400: GraphQL's
        return None
    used_up = headers.get("x-ratelimit-remaining") == "0"
    if (wait := _seconds(headers.get("retry-after"))) is None:
        if not (used_up or said or status == 429):
            return None
        reset = _seconds(headers.get("x-ratelimit-reset")) if used_up else None
        wait = WAIT_S if reset is None else reset - _now(headers).timestamp()
    return min(max(wait, 1.0), LONGEST_S)


def _now(headers: Mapping[str, Any]) -> datetime:
    """By GitHub's clock: ours may be off."""
    try:
        return parsedate_to_datetime(str(headers["date"]))
    except (KeyError, ValueError):
        return datetime.now(UTC)


def _seconds(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None


def _lower(headers: Mapping[str, Any] | None) -> dict[str, str]:
    return {name.lower(): str(value) for name, value in (headers or {}).items()}


def _root(error: BaseException) -> str:
    """The innermost cause in short: urllib3 wraps a refused connection three times."""
    while isinstance(inner := error.args[0] if error.args else None, BaseException) or (inner := error.__cause__):
        error = inner
    return str(error.args[-1] if error.args else error)[:200] or type(error).__name__
