"""GitHub Apps at the loopback GitHub: PyGithub signs, the server checks; tokens that expire and open only so much."""

import time
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from github import Auth, GithubException, GithubIntegration, UnknownObjectException


def new_key() -> tuple[str, str]:
    """Private and public, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    return new_key()


@pytest.fixture
def site(open_site: Callable, key: tuple[str, str], tmp_path: Path):
    public = tmp_path / "app.pem"
    public.write_text(key[1])
    made = open_site(apps=[f"77={public}:line"])
    yield made
    assert made.server.problems == []


def integration(site, key: tuple[str, str]) -> GithubIntegration:
    kept = {"retry": None, "seconds_between_requests": 0, "seconds_between_writes": 0}
    made = GithubIntegration(auth=Auth.AppAuth(77, key[0]), base_url=site.server.api, **kept)
    site._clients.append(made)
    return made


def test_an_installation_works_as_the_bot(site, key: tuple[str, str]):
    """From the app's key to a pull request, its check run, and a push with the same token."""
    app = integration(site, key)
    installation = app.get_repo_installation("acme", "shop")
    assert (app.get_app().slug, [i.id for i in app.get_installations()]) == ("line", [installation.id])
    auth = Auth.AppAuth(77, key[0]).get_installation_auth(installation.id, requester=app.requester)
    assert auth.token.startswith("ghs_")
    clone = site.clone(auth.token)
    clone.git("checkout", "-q", "-b", "feature")
    sha = clone.commit({"a.txt": "a\n"}, push=True)
    repo = site.repo(auth)

    pull = repo.create_pull("main", "feature", title="T", draft=True)
    pull.mark_ready_for_review()
    pull.create_issue_comment("Hello")
    run = repo.create_check_run("proof", sha, status="in_progress", output={"title": "t", "summary": "s"})
    run.edit(conclusion="success", output={"title": "t", "summary": "done"})

    assert (pull.user.login, pull.user.type) == ("line[bot]", "Bot")
    assert repo.get_issue(1).raw_data["performed_via_github_app"]["slug"] == "line"
    [found] = repo.get_commit(sha).get_check_runs()
    assert (found.name, found.status, found.conclusion, found.app.slug) == ("proof", "completed", "success", "line")
    assert found.output.summary == "done"
    assert repo.get_check_run(run.id).completed_at is not None
    with pytest.raises(GithubException, match="not accessible by integration"):
        site.client(auth).get_user().login  # noqa: B018 - PyGithub asks when it is read


def test_check_runs_are_for_apps_only(site):
    sha = site.branch("feature")

    with pytest.raises(GithubException, match="You must authenticate via a GitHub App"):
        site.repo().create_check_run("proof", sha)


def test_a_token_opens_what_it_was_made_for(site, key: tuple[str, str]):
    """Fewer permissions: 403 as GitHub says it to apps; more than the app has: none at all."""
    app = integration(site, key)
    installation = app.get_repo_installation("acme", "shop").id
    token = app.get_access_token(installation, {"contents": "read", "issues": "write"}).token
    repo = site.repo(token)
    repo.create_issue("May")
    assert repo.get_contents("README.md").size == 7
    for forbidden in (lambda: list(repo.get_pulls()), lambda: repo.create_git_ref("refs/heads/x", "0" * 40)):
        with pytest.raises(GithubException, match="not accessible by integration") as refusal:
            forbidden()
        assert refusal.value.status == 403
    clone = site.clone(token)
    clone.commit({"a.txt": "a\n"})
    with pytest.raises(RuntimeError, match=r"denied to line\[bot\]"):
        clone.git("push", "-q", "origin", "HEAD:feature")
    with pytest.raises(GithubException, match="not granted"):
        app.get_access_token(installation, {"administration": "write"})
    with pytest.raises(UnknownObjectException):
        app.get_access_token(installation + 1)


def test_a_token_ends(site, key: tuple[str, str]):
    """After an hour; here somebody turns the clock."""
    app = integration(site, key)
    token = app.get_access_token(app.get_repo_installation("acme", "shop").id).token
    assert site.repo(token).full_name == "acme/shop"
    for grant in site.server.store.grants:
        assert 3590 < grant.expires - time.time() <= 3600
        grant.expires = time.time()

    with pytest.raises(GithubException) as refusal:
        site.repo(token)

    assert (refusal.value.status, refusal.value.data["message"]) == (401, "Bad credentials")


@pytest.mark.parametrize(
    ("claims", "other_key", "words"),
    [
        ({}, True, "could not be decoded"),
        ({"exp": -120}, False, "'exp'"),
        ({"exp": 3600}, False, "too far in the future"),
        ({"iss": "78"}, False, "Integration not found"),
    ],
)
def test_a_wrong_signature_or_time_is_refused(site, key: tuple[str, str], claims: dict, other_key: bool, words: str):
    now = int(time.time())
    facts = {"iss": "77", "iat": now - 60, **claims, "exp": now + claims.get("exp", 300)}
    token = jwt.encode(facts, new_key()[0] if other_key else key[0], algorithm="RS256")

    with pytest.raises(GithubException, match=words):
        site.client(token).requester.requestJsonAndCheck("GET", "/app")


def test_an_app_by_itself_may_nearly_nothing(site, key: tuple[str, str]):
    """Nor may a user what an app may."""
    signed = jwt.encode(
        {"iss": "77", "iat": int(time.time()), "exp": int(time.time()) + 300}, key[0], algorithm="RS256"
    )
    with pytest.raises(GithubException, match="not accessible by integration"):
        site.repo(signed)
    with pytest.raises(GithubException, match="JSON web token could not be decoded"):
        site.client().requester.requestJsonAndCheck("GET", "/app")
