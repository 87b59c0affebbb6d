"""What GitHub answers becomes an error of ours, which says whose it is, what is missing, and how long to wait."""

import logging
from email.utils import formatdate
from typing import Any

import github
import pytest
import requests
from factory_forge.errors import (
    AppNotInstalled,
    ForgeAway,
    ForgeRefused,
    NotPermitted,
    NotThere,
    RateLimited,
    TokenRefused,
)
from factory_forge.forges import Forges
from factory_forge.github_client import READ_AGAIN, Client
from factory_forge.github_site import GitHubSite, Identity
from factory_jobs.errors import FactoryError, JobError, OutsideError, RepoError

CANARY = "ghp_canary0123456789"
NOW = 1_750_000_000
DATE = {"Date": formatdate(NOW, usegmt=True)}


@pytest.fixture
def client() -> Client:
    return Client(GitHubSite(), Identity("FACTORY_GITHUB_TOKEN", CANARY), "acme/app")


async def heard(client: Client, thrown: Exception) -> JobError:
    """What the caller hears where PyGithub throws this."""

    def throw(_: github.Github) -> None:
        raise thrown

    with pytest.raises(JobError) as caught:
        await client.call("open a pull request", "Pull requests: write", throw)
    assert caught.value is thrown or caught.value.__suppress_context__
    assert CANARY not in str(caught.value)
    return caught.value


def answered(status: int, message: str = "", errors: Any = None, **headers: str) -> github.GithubException:
    data: dict[str, Any] = {"message": message} | ({"errors": errors} if errors else {})
    return github.GithubException(status, data, {**DATE, **{k.replace("_", "-"): v for k, v in headers.items()}})


async def test_a_token_that_is_refused(client: Client) -> None:
    """It is the setup's: retrying does not help, and the variable is named."""
    error = await heard(client, answered(401, "Bad credentials"))
    assert isinstance(error, TokenRefused) and isinstance(error, RepoError)
    assert str(error) == "github.com does not accept FACTORY_GITHUB_TOKEN: Bad credentials"


async def test_a_permission_that_is_missing(client: Client) -> None:
    """By GitHub's own word for it where it gives one, else by ours; for the GraphQL mutation too."""
    refusal = "Resource not accessible by personal access token"
    error = await heard(client, answered(403, refusal))
    assert isinstance(error, NotPermitted) and isinstance(error, RepoError)
    assert "open a pull request on acme/app" in str(error) and "Pull requests: write" in str(error)
    error = await heard(client, answered(403, refusal, X_Accepted_GitHub_Permissions="pull_requests=write"))
    assert "permission pull_requests: write" in str(error)
    graph = [{"type": "FORBIDDEN", "message": "Resource not accessible by integration"}]
    error = await heard(client, github.GithubException(400, {"data": None, "errors": graph}, DATE))
    assert isinstance(error, NotPermitted) and "by integration" in str(error)


async def test_not_found_may_be_no_permission(client: Client) -> None:
    """GitHub says 404 for both; so do we, with the permission that would be needed."""
    error = await heard(client, github.UnknownObjectException(404, {"message": "Not Found"}, DATE))
    assert isinstance(error, NotThere) and isinstance(error, RepoError)
    assert "not found, or no permission" in str(error) and "Pull requests: write" in str(error)


@pytest.mark.parametrize(
    ("thrown", "seconds"),
    [
        (answered(403, "API rate limit exceeded for user ID 1.", X_RateLimit_Remaining="0", X_RateLimit_Reset=f"{NOW + 90}"), 90),
        (answered(429, "API rate limit exceeded", X_RateLimit_Remaining="0", X_RateLimit_Reset=f"{NOW + 90}"), 90),
        (answered(403, "You have exceeded a secondary rate limit. Please wait.", Retry_After="37"), 37),
        (answered(429, "", Retry_After="5"), 5),
        (answered(403, "You have exceeded a secondary rate limit."), 60),
        (answered(429, "Too many requests"), 60),
        (answered(403, "API rate limit exceeded", X_RateLimit_Remaining="0", X_RateLimit_Reset=f"{NOW - 5}"), 1),
        (answered(403, "API rate limit exceeded", X_RateLimit_Remaining="0", X_RateLimit_Reset="4102444800"), 3600),
        (answered(403, "You have exceeded a secondary rate limit.", Retry_After="soon"), 60),
        (github.GithubException(400, {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}, DATE), 60),
    ],
)  # fmt: skip
async def test_limits(client: Client, thrown: Exception, seconds: float) -> None:
    """The wait is the one that GitHub names, by its own clock; until then it is not called again."""
    error = await heard(client, thrown)
    assert isinstance(error, RateLimited) and isinstance(error, OutsideError)
    assert error.retry_after == seconds
    called = []
    with pytest.raises(RateLimited) as caught:
        await client.call("look", "", called.append)
    assert called == [] and 0 < caught.value.retry_after <= seconds


@pytest.mark.parametrize("app_id", ["", "12"])
async def test_an_accounts_limit_holds_for_all_its_repositories(app_id: str) -> None:
    """An App's does not: each installation has its own."""
    forges = Forges("http://factory", GitHubSite())
    one, other = (forges._client(Identity("V", CANARY, app_id), name) for name in ("acme/app", "acme/shop"))
    one._opened = other._opened = github.Github  # an App would have to sign first
    await heard(one, answered(429, "", Retry_After="5"))
    if app_id:
        assert await other.call("look", "", lambda _: 1) == 1
        return
    with pytest.raises(RateLimited):
        await other.call("look", "", lambda _: 1)


async def test_used_up_is_not_over(client: Client) -> None:
    """The last call that the limit allows may be refused for another reason."""
    error = await heard(client, answered(404, "Not Found", X_RateLimit_Remaining="0", X_RateLimit_Reset=f"{NOW + 90}"))
    assert isinstance(error, NotThere)
    assert await client.call("look", "", lambda _: 1) == 1


@pytest.mark.parametrize(
    ("thrown", "says"),
    [
        (answered(502, "Server Error"), "502 Server Error"),
        (github.GithubException(503, {"data": "<html>down</html>"}, None), "503 no reason given"),
        (requests.ReadTimeout(f"HTTPSConnectionPool: {CANARY}"), "no answer within 20 s"),
        (requests.ConnectionError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (github.BadAttributeException(1, (str, str), None), "none of its API's"),
        (RuntimeError("Github server redirected"), "Github server redirected"),
        (ValueError("Expecting value: line 1"), "Expecting value"),
    ],
)  # fmt: skip
async def test_away(client: Client, thrown: Exception, says: str) -> None:
    """Whatever it was, it may have happened: the caller looks, or comes back."""
    error = await heard(client, thrown)
    assert isinstance(error, ForgeAway) and isinstance(error, OutsideError)
    assert says in str(error)


async def test_away_says_how_long(client: Client) -> None:
    error = await heard(client, answered(503, "Maintenance", Retry_After="120"))
    assert error.retry_after == 120


async def test_refused(client: Client) -> None:
    """Each of GitHub's reasons is told, the plain ones and those by field."""
    errors = [{"resource": "PullRequest", "field": "head", "code": "invalid"}, "Line could not be resolved"]
    errors.append({"resource": "PullRequest", "code": "custom", "message": "No commits\nbetween main and x"})
    error = await heard(client, answered(422, "Validation Failed", errors))
    assert isinstance(error, ForgeRefused) and isinstance(error, FactoryError)
    assert "422 Validation Failed; PullRequest head invalid; Line could not be resolved; No commits between" in str(
        error
    )


async def test_ours_go_through(client: Client) -> None:
    """What a call raises of ours stays as it is."""
    ours = AppNotInstalled(variable="X", repo="acme/app")
    assert await heard(client, ours) is ours


async def test_a_key_that_cannot_sign() -> None:
    """Named as such, before anything is asked; the key is not repeated."""
    key = "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0IGNhbmFyeSBrZXk=\n-----END RSA PRIVATE KEY-----\n"
    client = Client(GitHubSite(), Identity("FACTORY_GITHUB_APP_KEY", key, "12"), "acme/app")
    with pytest.raises(TokenRefused, match="FACTORY_GITHUB_APP_KEY: it is no private key that can sign") as caught:
        await client.credentials()
    assert "c2VjcmV0" not in str(caught.value)


def test_nothing_that_acts_is_sent_twice() -> None:
    """Only what reads, and only where the connection broke; no status is a reason, no limit is slept through."""
    assert not READ_AGAIN.is_retry("POST", 502) and not READ_AGAIN.is_retry("GET", 502, has_retry_after=True)
    assert READ_AGAIN.allowed_methods == frozenset({"GET"})


def test_pygithub_does_not_log_answers() -> None:
    """At DEBUG it would, with an App's new token in one of them."""
    assert not logging.getLogger("github.Requester").isEnabledFor(logging.DEBUG)
