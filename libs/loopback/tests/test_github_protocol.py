"""How the loopback GitHub speaks: pages, ETags, limits, refusals in GitHub's shape, and what is not as described."""

import json
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import pytest
from factory_loopback.github import spec
from factory_loopback.github.operation import OPERATIONS
from github import GithubException, RateLimitExceededException

needs_description = pytest.mark.skipif(
    not spec.description(), reason="no copy of GitHub's OpenAPI document beside the repository"
)


@dataclass
class Told:
    status: int
    headers: Any
    body: Any = None
    text: str = field(default="", repr=False)


def ask(site, path: str, method: str = "GET", body: Any = None, token: str = "factory-token", **headers: str) -> Told:
    """A request by hand; `If_None_Match="…"` for a header."""
    given = {"User-Agent": "test", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if token:
        given["Authorization"] = f"Bearer {token}"
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    address = site.server.url + path if path.startswith("/api/graphql") else site.server.api + path
    request = urllib.request.Request(address, data, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
            return Told(answer.status, answer.headers, json.loads(text) if text else None, text)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        error.close()
        told = json.loads(text) if text.startswith("{") else None
        return Told(error.code, error.headers, told, text)


def mutation(name: str, number: str) -> dict:
    query = f"mutation M($input: {name[0].upper()}{name[1:]}Input!) {{ {name}(input: $input) {{ pullRequest {{ isDraft }} }} }}"
    return {"query": query, "variables": {"input": {"pullRequestId": number}}}


# Pages


def test_long_lists_come_in_pages(site):
    """Thirty at a time, a hundred at most, with links to the others; PyGithub follows them."""
    for number in range(35):
        site.server.hub.open_issue(site.server.hub.repo("acme/shop"), "boss", f"Issue {number}", None, None)

    first = ask(site, "/repos/acme/shop/issues?state=all")
    third = ask(site, "/repos/acme/shop/issues?per_page=10&page=3")

    assert len(first.body) == 30
    base = f"{site.server.api}/repos/acme/shop/issues"
    assert first.headers["Link"] == f'<{base}?state=all&page=2>; rel="next", <{base}?state=all&page=2>; rel="last"'
    links = dict(reversed(part.split("; rel=")) for part in third.headers["Link"].split(", "))
    assert {name.strip('"'): link[-9:-1] for name, link in links.items()} == {
        "prev": "0&page=2",
        "next": "0&page=4",
        "last": "0&page=4",
        "first": "0&page=1",
    }
    assert [issue["number"] for issue in third.body] == list(range(15, 5, -1))
    assert ask(site, "/repos/acme/shop/issues?page=9").body == []
    assert len(ask(site, "/repos/acme/shop/issues?per_page=500").body) == 35
    assert "Link" not in ask(site, "/repos/acme/shop/issues?per_page=100").headers
    assert [issue.number for issue in site.repo().get_issues()] == list(range(35, 0, -1))


# ETags


def test_what_has_not_changed_costs_nothing(site):
    """304 without a body, and without a bite out of the rate limit; after a change, 200 with another ETag."""
    issue = site.repo().create_issue("One")
    path = "/repos/acme/shop/issues?state=all"
    first = ask(site, path)
    assert first.headers["ETag"].startswith('W/"')

    again = ask(site, path, If_None_Match=first.headers["ETag"])

    assert (again.status, again.text, again.headers["ETag"]) == (304, "", first.headers["ETag"])
    assert again.headers["X-RateLimit-Remaining"] == first.headers["X-RateLimit-Remaining"]
    issue.edit(body="Changed")
    changed = ask(site, path, If_None_Match=first.headers["ETag"])
    assert (changed.status, changed.headers["ETag"] != first.headers["ETag"]) == (200, True)
    assert ask(site, "/repos/acme/shop/issues", "POST", {"title": "Two"}).headers.get("ETag") is None


# Limits


def test_the_rate_limit_is_told_and_kept(site):
    """Each answer says what is left; with nothing left comes 403, until the reset; asking for it is free."""
    client = site.client()
    client.get_user().login  # noqa: B018 - PyGithub asks when it is read
    assert client.rate_limiting == (4999, 5000)
    assert client.get_rate_limit().resources.core.remaining == 4999
    site.server.rates.set("factory", remaining=1, seconds=60)
    ask(site, "/user")

    with pytest.raises(RateLimitExceededException) as refusal:
        site.repo()

    assert refusal.value.status == 403
    assert refusal.value.data["message"].startswith("API rate limit exceeded for")
    headers = refusal.value.headers
    assert headers["x-ratelimit-remaining"] == "0"
    assert 0 < int(headers["x-ratelimit-reset"]) - time.time() <= 61
    assert site.repo("reviewer-token").full_name == "acme/shop"
    site.server.rates.set("factory", remaining=0, seconds=-1)
    assert site.repo().full_name == "acme/shop"


def test_graphql_has_a_limit_of_its_own(site):
    site.server.rates.set("factory", remaining=0, seconds=60, resource="graphql")

    told = ask(site, "/api/graphql", "POST", mutation("markPullRequestReadyForReview", "x"))

    assert (told.status, told.headers["X-RateLimit-Resource"]) == (403, "graphql")
    assert site.repo().full_name == "acme/shop"


# Refusals


def test_refusals_have_githubs_shape(site):
    """Who nobody knows: 401; what one may not see: 404, as if it were not there; each with an id of the request."""
    wrong = ask(site, "/user", token="wrong")
    assert (wrong.status, wrong.body["message"], wrong.body["status"]) == (401, "Bad credentials", "401")
    assert wrong.body["documentation_url"].startswith("https://docs.github.com/rest")
    assert wrong.headers["X-GitHub-Request-Id"]
    assert ask(site, "/user", token="").body["message"] == "Requires authentication"
    assert ask(site, "/repos/acme/shop", token="").status == 404
    assert ask(site, "/repos/acme/other").status == 404
    assert ask(site, "/repos/acme/shop/labels", "POST", {"name": "x"}, token="reader-token").status == 404
    assert ask(site, "/repos/acme/shop/hooks").status == 404
    assert ask(site, "/repos/acme/shop/issues", "POST", b"{").body["message"] == "Problems parsing JSON"
    assert "User-Agent" in ask(site, "/user", User_Agent="").body["message"]
    assert ask(site, "/user", X_GitHub_Api_Version="1999-01-01").status == 400
    good = ask(site, "/user", X_GitHub_Api_Version="2022-11-28")
    assert good.headers["X-GitHub-Media-Type"] == "github.v3; format=json"
    assert good.headers["X-OAuth-Scopes"] == "repo"


def test_basic_credentials_do_as_well(site):
    import base64

    text = base64.b64encode(b"anyone:factory-token").decode()

    assert ask(site, "/user", token="", Authorization=f"Basic {text}").body["login"] == "factory"
    assert ask(site, "/user", token="", Authorization="Basic ???").status == 401


def test_repositories_are_found_in_any_case(site):
    assert ask(site, "/repos/Acme/SHOP").body["full_name"] == "acme/shop"


# GraphQL


def test_graphql_refuses_with_status_200(site):
    """What is not there, what is closed, who may not: errors in the answer, as GraphQL has it."""
    site.branch()
    pull = site.repo().create_pull("main", "feature", title="T", draft=True)
    ready = "markPullRequestReadyForReview"

    def kind(number: str, token: str = "factory-token") -> str:
        return ask(site, "/api/graphql", "POST", mutation(ready, number), token).body["errors"][0]["type"]

    assert kind("PR_none") == kind(pull.node_id, "reader-token") == "NOT_FOUND"
    assert ask(site, "/api/graphql", "POST", mutation(ready, pull.node_id), "").status == 401
    assert ask(site, "/api/graphql", "POST", b"x").status == 400
    pull.edit(state="closed")
    assert kind(pull.node_id) == "UNPROCESSABLE"


def test_any_other_query_is_a_problem(open_site):
    site = open_site()

    told = ask(site, "/api/graphql", "POST", {"query": "query { viewer { login } }"})

    assert told.body["errors"][0]["type"] == "NOT_BUILT"
    assert "viewer" in site.server.problems[0]


# The description


def test_what_does_not_exist_is_a_problem(open_site):
    site = open_site()

    assert ask(site, "/repos/acme/shop/unheard-of").status == 404

    assert site.server.problems == ["GET /repos/acme/shop/unheard-of does not exist in the REST API"]


@needs_description
def test_what_is_described_and_not_built_is_a_problem(open_site):
    site = open_site()

    with pytest.raises(GithubException) as refusal:
        site.repo().delete()

    assert refusal.value.status == 501
    assert "DELETE /repos/{owner}/{repo} (repos/delete)" in site.server.problems[0]


@needs_description
@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/pulls", {"title": "T", "head": "x", "base": 1}, "body.base: 1 is not of type 'string'"),
        ("/pulls", {"title": "T", "head": "x"}, "'base' is a required property"),
        ("/pulls", {"title": "T", "head": "x", "base": "main", "mood": "good"}, "'mood' was unexpected"),
        ("/pulls", None, "the body is missing"),
        ("/pulls?mood=good", None, "the body is missing"),
        ("/issues/1/comments", {"body": None}, "None is not of type 'string'"),
        ("/check-runs", {"name": "x", "head_sha": "y", "output": {"title": "t"}}, "'summary' is a required property"),
    ],
)
def test_a_request_that_is_not_as_described_is_a_problem(open_site, path: str, body: Any, words: str):
    """422, in words that GitHub uses for it."""
    site = open_site()

    told = ask(site, f"/repos/acme/shop{path}", "POST", body)

    assert (told.status, told.body["message"].startswith("Invalid request.")) == (422, True)
    assert len(site.server.problems) == 1
    assert words in site.server.problems[0]


@needs_description
@pytest.mark.parametrize(
    ("query", "words"),
    [("mood=good", "no parameter mood"), ("state=merged", "state is none of"), ("per_page=x", "per_page is no number")],
)
def test_a_query_that_is_not_as_described_is_a_problem(open_site, query: str, words: str):
    site = open_site()

    assert ask(site, f"/repos/acme/shop/pulls?{query}").status == 422

    assert words in site.server.problems[0]


@needs_description
@pytest.mark.parametrize(
    ("changes", "words"),
    [({"number": "1"}, "number"), ({"mood": "good"}, "'mood' was unexpected"), ({"title": None}, "title")],
)
def test_a_broken_promise_is_loud(open_site, monkeypatch: pytest.MonkeyPatch, changes: dict, words: str):
    """A defect of the loopback server is a 500 and a problem, not a strange answer."""
    site = open_site()
    site.server.hub.open_issue(site.server.hub.repo("acme/shop"), "boss", "One", None, None)
    right = site.server.hub.shapes.issue
    monkeypatch.setattr(site.server.hub.shapes, "issue", lambda issue, **how: right(issue, **how) | changes)

    told = ask(site, "/repos/acme/shop/issues/1")

    assert (told.status, "is not as described" in told.body["message"]) == (500, True)
    assert len(site.server.problems) == 1
    assert words in site.server.problems[0]


@needs_description
def test_every_built_operation_is_described():
    """At the same address and under the same name; one old address is PyGithub's own."""
    described = spec.Description(spec.description()).operations
    built = {(operation.method, operation.path): operation.name for operation in OPERATIONS}

    others = {where: name for where, name in built.items() if described.get(where) != name}

    assert others == {("GET", "/repos/{owner}/{repo}/statuses/{ref}"): "repos/list-commit-statuses-for-ref"}
    assert {name for where, name in described.items() if where not in built} == {
        "users/update-authenticated",
        "repos/update",
        "repos/delete",
    }


def test_without_a_description_it_works_all_the_same(open_site, tmp_path):
    """Nothing is checked then, and what is not built does not exist."""
    site = open_site(spec=tmp_path / "none.json")
    assert site.repo().create_issue("One").number == 1

    told = ask(site, "/repos/acme/shop", "DELETE")

    assert told.status == 404
