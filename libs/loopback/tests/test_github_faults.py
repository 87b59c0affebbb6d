"""What goes wrong at the loopback GitHub on demand, as PyGithub and git meet it, and what was done behind it."""

import time

import pytest
import requests
from github import GithubException, RateLimitExceededException


def test_a_502_before_anything_was_done(site):
    """Once; the next request gets through."""
    site.server.fault("502", "POST", "/repos/*/*/issues")
    repo = site.repo()

    with pytest.raises(GithubException) as refusal:
        repo.create_issue("One")

    assert refusal.value.status == 502
    assert "Unicorn" in refusal.value.data["data"]
    assert list(repo.get_issues()) == []
    assert repo.create_issue("One").number == 1


@pytest.mark.parametrize("what", ["502-after", "drop-after"])
def test_what_was_done_and_its_answer_lost(site, what: str):
    """An unclear error: the thing is there."""
    site.server.fault(what, "POST", "/repos/acme/shop/issues")
    repo = site.repo()

    with pytest.raises((GithubException, requests.ConnectionError)):
        repo.create_issue("One")

    assert [issue.title for issue in repo.get_issues()] == ["One"]
    call = site.server.calls("POST", "issues/create")[0]
    assert (call.fault, call.status, call.login) == (what, 502 if what == "502-after" else 0, "factory")


def test_an_answer_that_never_comes(site):
    site.server.fault("timeout-after", "POST", "/repos/*/*/issues")
    client = site.client()
    repo = client.get_repo("acme/shop")
    client.requester._Requester__connection.timeout = 0.3

    with pytest.raises(requests.ReadTimeout):
        repo.create_issue("One")

    assert [issue.title for issue in site.repo().get_issues()] == ["One"]


def test_a_fault_after_success_waits_for_one(site):
    """What GitHub refuses is answered so, and the fault strikes the next."""
    site.server.fault("502-after", "POST", "/repos/*/*/labels")
    repo = site.repo()
    with pytest.raises(GithubException) as refusal:
        repo.create_label("x", "no colour")
    assert refusal.value.status == 422

    with pytest.raises(GithubException) as refusal:
        repo.create_label("x", "ffffff")

    assert (refusal.value.status, repo.get_label("x").color) == (502, "ffffff")


def test_the_secondary_limit(site):
    """403 with how long to wait, in the words that PyGithub knows it by."""
    site.server.fault("secondary", seconds=7)

    with pytest.raises(RateLimitExceededException) as refusal:
        site.repo()

    assert (refusal.value.status, refusal.value.headers["retry-after"]) == (403, "7")
    assert "secondary rate limit" in refusal.value.data["message"]


def test_the_primary_limit(site):
    site.server.fault("primary", times=2, seconds=9)

    for _ in range(2):
        with pytest.raises(RateLimitExceededException) as refusal:
            site.repo()
        assert refusal.value.headers["x-ratelimit-remaining"] == "0"
        assert 0 < int(refusal.value.headers["x-ratelimit-reset"]) - time.time() <= 10

    assert site.repo().full_name == "acme/shop"


def test_faults_of_git(site):
    """A push whose answer is lost has arrived."""
    clone = site.clone()
    clone.commit({"a.txt": "a\n"})
    site.server.fault("502-after", "POST", "/acme/shop.git/git-receive-pack")

    with pytest.raises(RuntimeError, match="502"):
        clone.git("push", "-q", "origin", "HEAD:feature")

    assert site.repo().get_branch("feature").commit.sha == clone.git("rev-parse", "HEAD")
    site.server.fault("502", path="/acme/shop.git/**")
    with pytest.raises(RuntimeError, match="502"):
        clone.git("fetch", "-q", "origin")
    clone.git("fetch", "-q", "origin")


def test_faults_of_graphql(site):
    site.branch()
    pull = site.repo().create_pull("main", "feature", title="T", draft=True)
    site.server.fault("502-after", "POST", "/graphql")

    with pytest.raises(GithubException):
        pull.mark_ready_for_review()

    assert site.repo().get_pull(1).draft is False


def test_which_requests_a_fault_meets(site):
    """A star is one part of an address, two are any; without an end it stays until it is cleared."""
    site.server.fault("502", "GET", "/repos/*/*", times=None)
    for _ in range(3):
        with pytest.raises(GithubException):
            site.repo()
    assert site.client().get_user().login == "factory"
    site.server.faults.waiting.clear()
    site.server.fault("502", path="/repos/**")
    with pytest.raises(GithubException):
        site.client().requester.requestJsonAndCheck("GET", "/repos/acme/shop/pulls/1")
    with pytest.raises(Exception, match="There is no fault 'rain'"):
        site.server.fault("rain")
