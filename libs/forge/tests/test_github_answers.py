"""Answers of GitHub that its stand-in does not give: what was renamed, what a plan lacks, what is not seen everywhere yet."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from factory_forge.errors import BadField, ForgeAway, ForgeRefused, NoSuchBranch, NotPermitted, RateLimited
from factory_forge.forge import PullRequest
from factory_forge.github import GitHubForge
from factory_forge.github_client import Client
from factory_forge.github_site import GitHubSite, Identity

BRANCH = "factory/jabcdefghi2-x"
Answer = tuple[int, Any] | Callable[[Any], tuple[int, Any]]


class GitHub(BaseHTTPRequestHandler):
    """Answers by a table of its own: (method, address below the API) → the answers, the last one again and again."""

    table: dict[tuple[str, str], list[Answer]]
    asked: list[tuple[str, str, Any]]

    def do_GET(self) -> None:
        path = re.sub(r"^/api/(v3)?|\?.*", "", self.path).removeprefix("/repos/acme/app")
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "null")
        self.asked.append((self.command, path, body))
        answers = self.table.get((self.command, path), [(404, {"message": "Not Found"})])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        status, data = answer(body) if callable(answer) else answer
        text = json.dumps(data).encode()
        self.send_response(status)
        if status in {301, 307}:
            self.send_header("Location", data["url"])
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PATCH = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[type[GitHub]]:
    GitHub.table, GitHub.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), GitHub)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    GitHub.url = f"http://127.0.0.1:{server.server_address[1]}/api/v3"  # type: ignore[attr-defined]
    yield GitHub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def forge(hub: type[GitHub]) -> GitHubForge:
    site = GitHubSite(hub.url)  # type: ignore[attr-defined]
    return GitHubForge(Client(site, Identity("FACTORY_GITHUB_TOKEN", "t"), "acme/app"), "acme/app", "factory", "main")


def pull(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A pull request as a list has it."""
    whole = {
        "url": f"{GitHub.url}/repos/acme/app/pulls/{number}",  # type: ignore[attr-defined]
        "number": number,
        "node_id": f"PR_{number}",
        "html_url": f"https://github.com/acme/app/pull/{number}",
        "head": {"ref": BRANCH, "sha": "a" * 40},
        "base": {"ref": "main", "sha": "b" * 40},
        "title": "x",
        "body": None,
        "draft": True,
        "state": "open",
        "merged_at": None,
        "updated_at": "2026-01-01T00:00:00Z",
        "labels": [],
        "user": {"login": "factory"},
    }
    return whole | changes


def opened(forge: GitHubForge) -> Any:
    return forge.open_pull(branch=BRANCH, base="main", title="x", body="y")


def invalid(*errors: Any) -> tuple[int, Any]:
    return 422, {"message": "Validation Failed", "errors": list(errors)}


async def test_a_plan_without_drafts(hub: type[GitHub], forge: GitHubForge) -> None:
    """A private repository of a free plan has none: the pull request is opened as it can be."""
    hub.table = {
        ("GET", "/pulls"): [(200, [])],
        ("POST", "/pulls"): [
            invalid({"message": "Draft pull requests are not supported in this repository."}),
            (201, pull(draft=False)),
        ],
    }
    assert (await opened(forge)).draft is False
    assert [body.get("draft") for method, _, body in hub.asked if method == "POST"] == [True, None]


async def test_a_branch_that_is_not_seen_everywhere(hub: type[GitHub], forge: GitHubForge) -> None:
    """Just after a push the branch may be unknown to who opens: come back; one that is not there is named."""
    hub.table = {
        ("GET", "/pulls"): [(200, [])],
        ("POST", "/pulls"): [invalid({"resource": "PullRequest", "field": "head", "code": "invalid"})],
        ("GET", "/branches/main"): [(200, branch("main"))],
    }
    with pytest.raises(NoSuchBranch, match=BRANCH):
        await opened(forge)
    hub.table["GET", f"/branches/{BRANCH}"] = [(200, branch(BRANCH))]
    with pytest.raises(ForgeAway, match="head invalid") as caught:
        await opened(forge)
    assert caught.value.retry_after > 0


def branch(name: str) -> dict[str, Any]:
    return {"name": name, "commit": {"sha": "a" * 40, "url": "x"}, "protected": False}


async def test_somebody_was_faster(hub: type[GitHub], forge: GitHubForge) -> None:
    """GitHub has one already and did not list it yet: it is the one that is given."""
    hub.table = {
        ("GET", "/pulls"): [(200, []), (200, [pull(7)])],
        ("POST", "/pulls"): [invalid({"message": f"A pull request already exists for acme:{BRANCH}."})],
    }
    assert (await opened(forge)).number == 7


async def test_what_nobody_knows(hub: type[GitHub], forge: GitHubForge) -> None:
    """Another reason is told as it is."""
    hub.table = {
        ("GET", "/pulls"): [(200, [])],
        ("POST", "/pulls"): [invalid({"message": "The moon is full"})],
        ("GET", "/branches/main"): [(200, branch("main"))],
        ("GET", f"/branches/{BRANCH}"): [(200, branch(BRANCH))],
    }
    with pytest.raises(ForgeRefused, match="The moon is full"):
        await opened(forge)


async def test_a_renamed_repository(hub: type[GitHub], forge: GitHubForge) -> None:
    """A POST that is redirected did nothing, and its answer is not taken for a pull request."""
    moved = {"message": "Moved Permanently", "url": f"{hub.url}/repositories/1/pulls"}  # type: ignore[attr-defined]
    hub.table = {("GET", "/pulls"): [(200, [])], ("POST", "/pulls"): [(307, moved)]}
    with pytest.raises(ForgeAway):
        await opened(forge)


async def test_open_follows_a_rename(hub: type[GitHub]) -> None:
    """From then on the present name is used."""
    hub.table = {
        ("GET", "/user"): [(200, {"login": "factory", "url": "x"})],
        ("GET", ""): [(301, {"message": "Moved Permanently", "url": f"{hub.url}/repositories/1"})],  # type: ignore[attr-defined]
        ("GET", "/repositories/1"): [(200, {"full_name": "acme/new", "default_branch": "trunk", "url": "x"})],
    }
    site = GitHubSite(hub.url)  # type: ignore[attr-defined]
    forge = await GitHubForge.open(Client(site, Identity("FACTORY_GITHUB_TOKEN", "t"), "acme/app"))
    assert (forge.name, forge.author, forge.default_branch) == ("acme/new", "factory", "trunk")
    assert forge.push_url().endswith("/acme/new.git")


async def test_a_list_is_one_call(hub: type[GitHub], forge: GitHubForge) -> None:
    """PyGithub would ask again for each thing that a list leaves out."""
    listed = [pull(n, state="closed", merged_at="2026-01-01T00:00:00Z") for n in range(5)]
    hub.table = {("GET", "/pulls"): [(200, [p for p in listed if p["number"]])], ("GET", "/issues"): [(200, issues())]}
    found = await forge.pulls()
    assert [p.state for p in found] == ["merged"] * 4
    assert [i.number for i in await forge.issues()] == [1, 2]
    assert len(hub.asked) == 2


def issues() -> list[dict[str, Any]]:
    base = {"title": "x", "body": None, "labels": [], "user": None, "state": "open"}
    kinds = ((1, "issues"), (2, "issues"), (3, "pull"))
    return [{**base, "number": n, "html_url": f"https://github.com/acme/app/{kind}/{n}"} for n, kind in kinds]


async def test_a_repository_without_issues(hub: type[GitHub], forge: GitHubForge) -> None:
    hub.table = {("GET", "/issues"): [(410, {"message": "Issues has been disabled in this repository."})]}
    assert await forge.issues() == []


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([{"type": "FORBIDDEN", "message": "Resource not accessible by integration"}], NotPermitted),
        ([{"type": "RATE_LIMITED", "message": "API rate limit exceeded for user ID 1."}], RateLimited),
        ([{"message": "Something went wrong while executing your query."}], ForgeAway),
        ([{"type": "UNPROCESSABLE", "message": "Could not do that."}], ForgeRefused),
    ],
)
async def test_graphql_says_no_with_200(
    hub: type[GitHub], forge: GitHubForge, errors: list[dict[str, str]], kind: type[Exception]
) -> None:
    """Its errors are told apart all the same; the pull request that is no draft is not asked for."""
    hub.table = {("GET", "/pulls/1"): [(200, pull())], ("POST", "graphql"): [(200, {"data": None, "errors": errors})]}
    with pytest.raises(kind):
        await forge.mark_ready(1)
    hub.table["GET", "/pulls/1"] = [(200, pull(draft=False))]
    before = len(hub.asked)
    if kind is not RateLimited:
        assert (await forge.mark_ready(1)).draft is False
        assert len(hub.asked) == before + 1


async def test_a_deleted_account(hub: type[GitHub], forge: GitHubForge) -> None:
    """What it made stays, under GitHub's name for nobody."""
    hub.table = {("GET", "/pulls/1"): [(200, pull(user=None))]}
    found = await forge.pull(1)
    assert isinstance(found, PullRequest) and found.author == "ghost"


async def test_fields_are_checked_before_anything_is_sent(hub: type[GitHub], forge: GitHubForge) -> None:
    for call in (
        lambda: forge.open_pull(branch=BRANCH, base="main", title=" ", body=""),
        lambda: forge.update_pull(1, body="x" * 65_537),
        lambda: forge.set_labels(1, ["x" * 51]),
        lambda: forge.sticky_comment(1, "no marker", "x"),
    ):
        with pytest.raises(BadField):
            await call()
    assert hub.asked == []
