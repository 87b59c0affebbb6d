"""What a forge promises, kept by the local one and by GitHub: the real PyGithub and git against the loopback GitHub."""

import asyncio
import logging
import subprocess
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from factory_forge import github_client
from factory_forge.errors import (
    AppNotInstalled,
    BadField,
    ForgeAway,
    LineNotInDiff,
    NoSuchBranch,
    NoSuchPull,
    NoSuchRef,
    NotFastForward,
    NothingToPull,
    NotPermitted,
    NotThere,
    ProtectedBranch,
    PullState,
    RateLimited,
    SameIdentity,
    SelfReview,
    TokenRefused,
)
from factory_forge.forge import Deployment, Forge, LineComment, PullRequest, Status
from factory_forge.forges import Forges
from factory_forge.git import Mirror
from factory_forge.github import ISSUES
from factory_forge.github_site import GitHubSite, Identity
from factory_loopback.github import GitHubServer, new_repo, records

BRANCH = "factory/jabcdefghi2-add-a-page"
AUTHOR = Identity("FACTORY_GITHUB_TOKEN", "factory-token")
REVIEWER = Identity("FACTORY_GITHUB_REVIEWER_TOKEN", "reviewer-token")


class Place:
    """A repository on a forge, a person's clone of it, the factory's mirror, and both identities."""

    def __init__(self, directory: Path, url: str, remote: str) -> None:
        self.url, self.remote, self.clone, self.node = url, remote, directory / "person", directory / "node"
        self.forge: Forge
        self.reviewer: Forge
        self.mirror: Mirror

    async def enter(self, forges: Forges) -> "Place":
        self.forge, self.reviewer = await forges.connect(self.url), await forges.connect(self.url, reviewer=True)
        self.mirror = await forges.mirror(self.node, self.url)
        await asyncio.to_thread(self.git, "clone", "-q", self.remote, str(self.clone), cwd=self.clone.parent)
        return self

    def git(self, *args: str, cwd: Path | None = None) -> str:
        """As a person runs it; in a thread where the remote is served by this process."""
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.node.parent), "GIT_TERMINAL_PROMPT": "0"}
        env |= {f"GIT_{r}_{k}": v for r in ("AUTHOR", "COMMITTER") for k, v in (("NAME", "Ada"), ("EMAIL", "ada@x"))}
        done = subprocess.run(
            ["git", *args], cwd=cwd or self.clone, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"git {args}: {done.stderr}"
        return done.stdout.strip()

    def commit(self, files: dict[str, str], branch: str = BRANCH) -> str:
        """A commit on top of `branch`, which begins at main."""
        known = self.git("branch", "--list", branch)
        self.git("checkout", "-q", *([branch] if known else ["-b", branch, "origin/main"]))
        for name, text in files.items():
            (self.clone / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "work")
        return self.git("rev-parse", "HEAD")

    async def person_pushes(self, files: dict[str, str], branch: str = BRANCH) -> str:
        sha = self.commit(files, branch)
        await asyncio.to_thread(self.git, "push", "-q", "origin", branch)
        return sha

    async def factory_has(self, sha: str) -> None:
        """The commit comes out of a sandbox."""
        await self.mirror.fetch()
        bundle, base = self.node.parent / "out.bundle", self.git("rev-parse", "origin/main")
        self.git("bundle", "create", "-q", str(bundle), BRANCH, f"^{base}")
        await self.mirror.import_bundle(bundle, ref="jabcdefghi2", expect=sha, base=base)

    async def opened(self, **changes: object) -> PullRequest:
        given = {"branch": BRANCH, "base": "main", "title": "Add a page", "body": "Body"}
        return await self.forge.open_pull(**given | changes)  # type: ignore[arg-type]


@pytest.fixture(params=["local", "github"])
async def place(request: pytest.FixtureRequest, tmp_path: Path, github_server: GitHubServer) -> Place:
    """The same tests for each forge."""
    if request.param == "github":
        return await on_github(tmp_path, github_server)
    bare = await new_repo(tmp_path / "shop.git", {"README.md": "# Shop\n"})
    return await Place(tmp_path, str(bare), str(bare)).enter(Forges("http://factory"))


async def on_github(directory: Path, server: GitHubServer) -> Place:
    forges = Forges("http://factory", GitHubSite(server.api, AUTHOR, REVIEWER))
    url = f"{server.url}/acme/shop"
    return await Place(directory, url, url.replace("://", "://x:factory-token@")).enter(forges)


async def test_push(place: Place) -> None:
    """The branch is made, moved forward, and a repetition does nothing; somebody else's commit is never lost."""
    first = place.commit({"page.html": "one\n"})
    await place.factory_has(first)
    assert await place.forge.tip(BRANCH) is None
    for _ in range(2):
        await place.forge.push(place.mirror, first, BRANCH)
        assert await place.forge.tip(BRANCH) == first
    await asyncio.to_thread(place.git, "fetch", "-q")
    theirs = await place.person_pushes({"theirs.txt": "x\n"})
    place.git("reset", "-q", "--hard", first)
    ours = place.commit({"page.html": "two\n"})
    await place.factory_has(ours)
    with pytest.raises(NotFastForward) as caught:
        await place.forge.push(place.mirror, ours, BRANCH)
    assert caught.value.theirs == theirs == await place.forge.tip(BRANCH)
    with pytest.raises(ProtectedBranch):
        await place.forge.push(place.mirror, ours, "main")


async def test_open(place: Place) -> None:
    """A draft with what it was given, found by branch; opened again it is the same one, unchanged."""
    head = await place.person_pushes({"page.html": "one\n"})
    assert await place.forge.find_pull(BRANCH) is None
    pull = await place.opened(labels=["factory-generated", "risk:low"])
    assert (pull.branch, pull.base, pull.head_sha) == (BRANCH, "main", head)
    assert (pull.title, pull.body, pull.draft, pull.state) == ("Add a page", "Body", True, "open")
    assert (sorted(pull.labels), pull.author) == (["factory-generated", "risk:low"], place.forge.author)
    assert await place.opened(title="Other", draft=False) == pull
    assert await place.forge.find_pull(BRANCH) == pull == await place.forge.pull(pull.number)
    assert await place.forge.pulls() == [pull]


async def test_what_cannot_be_opened(place: Place) -> None:
    """No such branch or base, nothing new on it, no title, too long a body: each by its name."""
    await place.person_pushes({"page.html": "one\n"})
    with pytest.raises(NoSuchBranch, match="factory/jabcdefghi2-none"):
        await place.opened(branch="factory/jabcdefghi2-none")
    with pytest.raises(NoSuchBranch, match="develop"):
        await place.opened(base="develop")
    await asyncio.to_thread(place.git, "push", "-q", "origin", "origin/main:refs/heads/factory/jabcdefghi2-same")
    with pytest.raises(NothingToPull):
        await place.opened(branch="factory/jabcdefghi2-same")
    for changes in ({"title": " "}, {"title": "x" * 257}, {"body": "x" * 65_537}, {"labels": [""]}):
        with pytest.raises(BadField):
            await place.opened(**changes)
    assert await place.forge.pulls() == []


async def test_changes(place: Place) -> None:
    """Title, body, draft and labels change one by one; each again is the same, and what is not there is named."""
    await place.person_pushes({"page.html": "one\n"})
    forge, number = place.forge, (await place.opened()).number
    assert (await forge.update_pull(number, title="New")).body == "Body"
    changed = await forge.update_pull(number, body="")
    assert (changed.title, changed.body) == ("New", "")
    for _ in range(2):
        assert (await forge.mark_ready(number)).draft is False
        assert set((await forge.set_labels(number, ["risk:low", "mine", "mine"])).labels) == {"risk:low", "mine"}
        assert (await forge.set_labels(number, [])).labels == []
        assert (await forge.close_pull(number)).state == "closed"
        assert (await forge.find_pull(BRANCH) or changed).state == "closed"
        assert (await forge.reopen_pull(number)).state == "open"
    for call in (forge.pull, forge.comments, forge.reviews, forge.mark_ready, forge.close_pull):
        with pytest.raises(NoSuchPull):
            await call(77)


async def test_a_second_one_after_the_first(place: Place) -> None:
    """A closed one makes room; it cannot come back while the other is open."""
    await place.person_pushes({"page.html": "one\n"})
    first = await place.opened()
    await place.forge.close_pull(first.number)
    second = await place.opened(title="Again")
    assert second.number > first.number and await place.forge.find_pull(BRANCH) == second
    with pytest.raises(PullState):
        await place.forge.reopen_pull(first.number)


async def test_merged(place: Place) -> None:
    """By whomever, it is over."""
    await place.person_pushes({"page.html": "one\n"})
    number = (await place.opened()).number
    place.git("checkout", "-q", "main")
    place.git("merge", "-q", "--no-ff", "-m", "merge", BRANCH)
    if place.url.startswith("http"):
        await asyncio.to_thread(place.git, "push", "-q", "origin", f"{BRANCH}:{BRANCH}")
        await merge(place, number)
    else:
        place.git("push", "-q", "origin", "main")
    assert (await place.forge.pull(number)).state == "merged"
    for call in (place.forge.close_pull, place.forge.reopen_pull, place.forge.mark_ready):
        with pytest.raises(PullState, match="merged"):
            await call(number)


async def merge(place: Place, number: int) -> None:
    """What a person's button does."""
    import github

    await place.forge.mark_ready(number)
    api = place.forge._client.site.api  # type: ignore[attr-defined]

    def press() -> None:
        gh = github.Github(base_url=api, auth=github.Auth.Token("factory-token"), seconds_between_writes=0)
        gh.get_repo("acme/shop").get_pull(number).merge()

    await asyncio.to_thread(press)


async def test_statuses(place: Place) -> None:
    """The newest of each context counts; a long description is cut; said twice it is said once."""
    head = await place.person_pushes({"page.html": "one\n"})
    url = "http://factory/jobs/j1"
    for state in ("pending", "success", "success"):
        await place.forge.set_status(Status(sha=head, context="factory/tests", state=state, description=state, url=url))  # type: ignore[arg-type]
    await place.forge.set_status(Status(sha=head, context="factory/browser", state="failure", description="x" * 200))
    browser, tests = await place.forge.statuses(head)
    assert tests == Status(sha=head, context="factory/tests", state="success", description="success", url=url)
    assert (browser.context, len(browser.description), browser.description[-1]) == ("factory/browser", 140, "…")
    with pytest.raises(NoSuchRef):
        await place.forge.set_status(Status(sha="0" * 40, context="factory/tests", state="success"))


async def test_reviews(place: Place) -> None:
    """By the second identity, with comments on lines; found again by its marker; one's own work is not approved."""
    head = await place.person_pushes({"page.html": "one\ntwo\n"})
    number = (await place.opened()).number
    remark = LineComment(path="page.html", line=2, body="Why two?")
    given = {"sha": head, "verdict": "request_changes", "body": "No.", "comments": [remark], "marker": "review:j1:1"}
    review = await place.reviewer.add_review(number, **given)  # type: ignore[arg-type]
    assert (review.sha, review.verdict, review.author) == (head, "request_changes", place.reviewer.author)
    assert review.body.startswith("No.") and review.comments == [remark]
    again = await place.reviewer.add_review(number, **given | {"verdict": "approve"})  # type: ignore[arg-type]
    assert again == review
    second = await place.reviewer.add_review(number, sha=head, verdict="approve", body="Yes.", marker="review:j1:2")
    assert await place.forge.reviews(number) == [review, second]
    with pytest.raises(SelfReview):
        await place.forge.add_review(number, sha=head, verdict="approve", body="Mine.", marker="x")
    mine = await place.forge.add_review(number, sha=head, verdict="comment", body="A note.", marker="x")
    assert mine.author == place.forge.author
    for wrong in (LineComment(path="page.html", line=9, body="x"), LineComment(path="README.md", line=1, body="x")):
        with pytest.raises(LineNotInDiff) as caught:
            both = [remark, wrong]
            await place.reviewer.add_review(number, sha=head, verdict="comment", body="b", comments=both, marker="y")
        assert (caught.value.path, caught.value.line) == (wrong.path, wrong.line)
    with pytest.raises(BadField):
        await place.reviewer.add_review(number, sha="0" * 40, verdict="comment", body="b", marker="z")


async def test_sticky_comment(place: Place) -> None:
    """One a marker and author, edited in place."""
    await place.person_pushes({"page.html": "one\n"})
    forge, number = place.forge, (await place.opened()).number
    first = await forge.sticky_comment(number, "proof:j1", "30 %")
    other = await forge.sticky_comment(number, "other", "x")
    edited = await forge.sticky_comment(number, "proof:j1", "100 %")
    assert edited.id == first.id != other.id and edited.body.startswith("100 %")
    theirs = await place.reviewer.sticky_comment(number, "proof:j1", "mine")
    assert [c.id for c in await forge.comments(number)] == [first.id, other.id, theirs.id]
    with pytest.raises(NoSuchPull):
        await forge.sticky_comment(77, "proof:j1", "x")


async def test_look(place: Place) -> None:
    """With the tag of the last look only news are told."""
    await place.person_pushes({"page.html": "one\n"})
    assert (await place.forge.look() or pytest.fail()).pulls == []
    pull = await place.opened()
    seen = await place.forge.look()
    assert seen and seen.pulls == [pull]
    assert await place.forge.look(seen.etag) is None
    head = await place.person_pushes({"page.html": "two\n"})
    news = await place.forge.look(seen.etag)
    assert news and news.pulls[0].head_sha == head and news.etag != seen.etag
    await place.forge.close_pull(pull.number)
    closed = await place.forge.look(news.etag)
    assert closed and closed.pulls[0].state == "closed"


async def test_deployments(place: Place) -> None:
    """One a commit and environment; an environment shows the newest, what comes before it is inactive."""
    first, url = await place.person_pushes({"page.html": "one\n"}), "http://factory:46200/"
    shown = Deployment(sha=first, environment="factory/j1", state="in_progress", description="d" * 200)
    await place.forge.deploy(shown)
    up = Deployment(sha=first, environment="factory/j1", state="success", url=url, description="up")
    for _ in range(2):
        await place.forge.deploy(up)
    assert await place.forge.deployments(first) == [up]
    second = await place.person_pushes({"page.html": "two\n"})
    await place.forge.deploy(Deployment(sha=second, environment="factory/j1", state="success", url=url))
    assert [d.state for d in await place.forge.deployments(first)] == ["inactive"]
    assert [d.state for d in await place.forge.deployments(second)] == ["success"]
    with pytest.raises(NoSuchRef):
        await place.forge.deploy(Deployment(sha="0" * 40, environment="factory/j1", state="success"))


# ── GitHub's own ways ─────────────────────────────────────────────────────────

CANARY = "ghp_canary0123456789abcdefghijklmnopqrstuv"
MAKING = {
    "pull request": ("/repos/acme/shop/pulls", "pulls", lambda p, n, s: p.opened()),
    "label": ("/repos/acme/shop/labels", "labels", lambda p, n, s: p.forge.set_labels(n, ["risk:low"])),
    "comment": ("/repos/acme/shop/issues/*/comments", "comments", lambda p, n, s: p.forge.sticky_comment(n, "m", "x")),
    "review": (
        "/repos/acme/shop/pulls/*/reviews",
        "reviews",
        lambda p, n, s: p.reviewer.add_review(n, sha=s, verdict="approve", body="Yes.", marker="m"),
    ),
    "status": (
        "/repos/acme/shop/statuses/*",
        "statuses",
        lambda p, n, s: p.forge.set_status(Status(sha=s, context="factory/tests", state="success")),
    ),
    "deployment": (
        "/repos/acme/shop/deployments",
        "deployments",
        lambda p, n, s: p.forge.deploy(Deployment(sha=s, environment="factory/j1", state="success")),
    ),
    "deployment's status": (
        "/repos/acme/shop/deployments/*/statuses",
        "",
        lambda p, n, s: p.forge.deploy(Deployment(sha=s, environment="factory/j1", state="failure")),
    ),
    "ready": ("/graphql", "", lambda p, n, s: p.forge.mark_ready(n)),
}


@pytest.fixture
async def hub(tmp_path: Path, github_server: GitHubServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(github_client, "TIMEOUT_S", 1)
    return await on_github(tmp_path, github_server)


@pytest.mark.parametrize("fault", ["502-after", "drop-after", "timeout-after", "502", "drop"])
async def test_nothing_twice(hub: Place, github_server: GitHubServer, fault: str) -> None:
    """A call that ended unclearly was sent once; made again, it finds what it did before, or does it now."""
    sha = await hub.person_pushes({"page.html": "one\n"})
    for made, (path, table, call) in MAKING.items():
        before = len(github_server.calls("POST"))
        github_server.fault(fault, "POST", path)
        with pytest.raises(ForgeAway):
            await call(hub, 1, sha)
        for _ in range(2):
            await call(hub, 1, sha)
        sent = [c for c in github_server.calls("POST")[before:] if fnmatch(c.path, path)]
        assert sent[0].fault == fault and len(sent) == (1 if fault.endswith("-after") else 2), made
        assert not table or len(github_server.dump()[table]) == 1, made
    assert (await hub.forge.pull(1)).draft is False


async def test_more_than_a_page(tmp_path: Path, github_server: GitHubServer) -> None:
    """Of everything that comes in pages all are read; of issues without a bound those that changed last."""
    hub = await on_github(tmp_path, github_server)  # with all the time it takes: these are long answers
    inside, store = github_server.hub, github_server.store
    repo = store.repos.get("acme/shop")
    assert repo
    sha = await hub.person_pushes({"page.html": "one\n"})
    first = await inside.open_pull(repo, "factory", title="x", body="", head=BRANCH, base="main", draft=True, app=None)
    issue = inside.issue(first)
    inside.close(issue, "factory")
    for n in range(2, 104):
        number = {"id": store.next_id(), "number": store.next_number(repo)}
        store.pulls.put(replace(first, **number))
        store.issues.put(replace(issue, **number, **({"state": "open", "closed_at": None} if n == 103 else {})))
        store.statuses.put(
            records.Status(store.next_id(), "acme/shop", sha, f"c{n % 3}", "success", f"{n}", None, "ada")
        )
    pulls = await hub.forge.pulls()
    assert [pull.number for pull in pulls] == list(range(1, 104))
    assert (await hub.forge.find_pull(BRANCH) or pulls[0]).number == 103
    assert [s.description for s in await hub.forge.statuses(sha)] == ["102", "103", "101"]
    last = store.issues.get("acme/shop#103")
    assert last
    for n in range(120):
        inside.comment(last, "ada", f"{n}", None)
    sticky = await hub.forge.sticky_comment(103, "proof:j1", "x")
    assert len(await hub.forge.comments(103)) == 121
    assert (await hub.forge.sticky_comment(103, "proof:j1", "y")).id == sticky.id
    for n in range(310):
        inside.open_issue(repo, "ada", f"Wish {n}", None, None)
    numbers = [issue.number for issue in await hub.forge.issues()]
    assert len(numbers) == ISSUES and numbers == sorted(numbers) and min(numbers) > 103


async def test_a_look_without_news_costs_nothing(hub: Place, github_server: GitHubServer) -> None:
    """304, which is not counted against the limit."""
    seen = await hub.forge.look()
    assert seen
    left = github_server.rates.window("factory").used
    for _ in range(3):
        assert await hub.forge.look(seen.etag) is None
    assert [c.status for c in github_server.calls(operation="pulls/list")] == [200, 304, 304, 304]
    assert github_server.rates.window("factory").used == left


async def test_protected_branches(hub: Place, github_server: GitHubServer) -> None:
    """Refused here, before anything is sent, also where somebody has protected the factory's own."""
    sha = hub.commit({"page.html": "one\n"})
    await hub.factory_has(sha)
    await hub.forge.push(hub.mirror, sha, BRANCH)
    repo = github_server.store.repos.get("acme/shop")
    assert repo
    repo.protected.append(BRANCH)
    newer = hub.commit({"page.html": "two\n"})
    await hub.factory_has(newer)
    before = len(github_server.calls(operation="git-receive-pack"))
    for branch in (BRANCH, "main"):
        with pytest.raises(ProtectedBranch):
            await hub.forge.push(hub.mirror, newer, branch)
    assert len(github_server.calls(operation="git-receive-pack")) == before


async def test_people_keep_their_issues_off(hub: Place, github_server: GitHubServer) -> None:
    """Pull requests are no issues, and closed ones are over."""
    repo = github_server.store.repos.get("acme/shop")
    assert repo
    await hub.person_pushes({"page.html": "one\n"})
    await hub.opened()
    github_server.hub.open_issue(repo, "ada", "A wish", "Please.", None)
    over = github_server.hub.open_issue(repo, "ada", "Done", None, None)
    github_server.hub.close(over, "ada")
    (issue,) = await hub.forge.issues()
    assert (issue.number, issue.title, issue.body, issue.author) == (2, "A wish", "Please.", "ada")
    assert issue.url == f"{github_server.url}/acme/shop/issues/2"


async def test_labels_have_colours(hub: Place, github_server: GitHubServer) -> None:
    """Those that are made on demand; those that are there stay as they are."""
    repo = github_server.store.repos.get("acme/shop")
    assert repo
    github_server.hub.label(repo, "Risk:Low")
    await hub.person_pushes({"page.html": "one\n"})
    await hub.opened(labels=["factory-generated", "project:shop", "risk:low", "team-a"])
    colours = {label["name"]: label["color"] for label in github_server.dump()["labels"]}
    assert colours == {
        "Risk:Low": "ededed",
        "factory-generated": "5319e7",
        "project:shop": "1d76db",
        "team-a": "ededed",
    }


@pytest.mark.parametrize("fault", ["secondary", "primary"])
async def test_limits(hub: Place, github_server: GitHubServer, fault: str) -> None:
    """Told with the time to wait, in which nothing more is asked; nothing sleeps here."""
    github_server.fault(fault, "GET", "/repos/acme/shop/pulls", seconds=40)
    with pytest.raises(RateLimited) as caught:
        await hub.forge.find_pull(BRANCH)
    assert 35 < caught.value.retry_after <= 41
    asked = len(github_server.calls())
    with pytest.raises(RateLimited):
        await hub.forge.issues()
    assert len(github_server.calls()) == asked


async def test_what_may_not_be_done_is_named(tmp_path: Path, hub: Place, github_server: GitHubServer) -> None:
    """A token that may only read, one that is none, a repository that nobody has; the token is in none of the errors."""
    await hub.person_pushes({"page.html": "one\n"})
    number = (await hub.opened()).number
    github_server.add_token(CANARY, "reader:read")

    def forge(token: str, name: str = "acme/shop") -> Coroutine[Any, Any, Forge]:
        site = GitHubSite(github_server.api, Identity("FACTORY_GITHUB_TOKEN", token))
        return Forges("http://factory", site).connect(f"{github_server.url}/{name}")

    reader, errors = await forge(CANARY), []
    for call, needs in (
        (lambda: reader.set_labels(number, ["risk:low"]), "Issues: write"),
        (lambda: reader.update_pull(number, body="x"), "Pull requests: write"),
    ):
        with pytest.raises((NotThere, NotPermitted), match=needs) as caught:
            await call()
        errors.append(caught.value)
    with pytest.raises(TokenRefused, match="FACTORY_GITHUB_TOKEN") as refused:
        await forge(f"{CANARY}-none")
    with pytest.raises(NotThere, match="acme/none") as missing:
        await forge(CANARY, "acme/none")
    for error in (*errors, refused.value, missing.value):
        assert CANARY not in f"{error!r} {error} {error.failure()}"
    github_server.problems.clear()


async def test_one_account_for_both(github_server: GitHubServer) -> None:
    """Two tokens of one account are one identity: refused by its name."""
    github_server.add_token("other-token", "factory")
    site = GitHubSite(github_server.api, AUTHOR, Identity("FACTORY_GITHUB_REVIEWER_TOKEN", "other-token"))
    forges, url = Forges("http://factory", site), f"{github_server.url}/acme/shop"
    await forges.connect(url)
    with pytest.raises(SameIdentity, match="factory"):
        await forges.connect(url, reviewer=True)


async def test_nothing_shows_a_token(
    tmp_path: Path, github_server: GitHubServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what is logged at DEBUG by whomever, nor a file of the mirror, nor a process while it runs."""
    caplog.set_level(logging.DEBUG)
    github_server.add_token(CANARY, "factory")
    site = GitHubSite(github_server.api, Identity("FACTORY_GITHUB_TOKEN", CANARY), REVIEWER)
    place = Place(
        tmp_path,
        f"{github_server.url}/acme/shop",
        f"{github_server.url}/acme/shop".replace("://", "://x:factory-token@"),
    )
    await place.enter(Forges("http://factory", site))
    sha = place.commit({"page.html": "one\n"})
    await place.factory_has(sha)
    await place.forge.push(place.mirror, sha, BRANCH)
    await place.opened()
    assert "POST" in caplog.text  # urllib3's, at least
    assert CANARY not in caplog.text
    found = await asyncio.to_thread(subprocess.run, ["grep", "-rl", CANARY, str(place.node)], capture_output=True)
    assert found.stdout == b""


# ── a GitHub App ──────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A private key, and the file of its public one."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    public = tmp_path_factory.mktemp("app") / "public.pem"
    public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return pem, public


@pytest.fixture
async def app(tmp_path: Path, key: tuple[str, Path]) -> AsyncIterator[tuple[GitHubServer, Place]]:
    """The factory is an App, the reviewer an account."""
    bare = await new_repo(tmp_path / "app-shop.git", {"README.md": "# Shop\n"})
    tokens = {"factory-token": "ada", "reviewer-token": "reviewer"}
    async with GitHubServer({"acme/shop": bare}, tokens, apps=[f"77={key[1]}:software-factory"]) as server:
        author = Identity("FACTORY_GITHUB_APP_KEY", key[0], "77")
        forges = Forges("http://factory", GitHubSite(server.api, author, REVIEWER))
        url = f"{server.url}/acme/shop"
        yield server, await Place(tmp_path, url, url.replace("://", "://x:factory-token@")).enter(forges)
        assert server.problems == []


def tokens_made(server: GitHubServer) -> int:
    return len(server.calls(operation="apps/create-installation-access-token"))


async def test_an_app(app: tuple[GitHubServer, Place]) -> None:
    """It fetches, pushes and opens under its own name, with one token for this one repository."""
    server, place = app
    assert place.forge.author == "software-factory[bot]"
    sha = place.commit({"page.html": "one\n"})
    await place.factory_has(sha)
    await place.forge.push(place.mirror, sha, BRANCH)
    pull = await place.opened(labels=["risk:low"])
    assert (pull.head_sha, pull.author) == (sha, "software-factory[bot]")
    await place.forge.sticky_comment(pull.number, "m", "one")
    await place.forge.sticky_comment(pull.number, "m", "two")
    assert len(await place.forge.comments(pull.number)) == 1
    assert (await place.forge.mark_ready(pull.number)).draft is False
    assert tokens_made(server) == 1
    (grant,) = server.store.grants
    assert grant.repos == ["acme/shop"]


async def test_an_apps_token_is_renewed(app: tuple[GitHubServer, Place], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it ends; and where GitHub refuses one early, the next call makes another."""
    server, place = app
    before = tokens_made(server)
    await place.forge.pulls()
    assert tokens_made(server) == before
    monkeypatch.setattr(github_client, "RENEW_S", 3601.0)
    await place.forge.pulls()
    assert tokens_made(server) == before + 1
    monkeypatch.undo()
    for grant in server.store.grants:
        grant.expires = 0
    with pytest.raises(ForgeAway, match="refused a token it had just given"):
        await place.forge.pulls()
    assert await place.forge.pulls() == []
    assert tokens_made(server) == before + 2


async def test_an_app_that_is_not_there(key: tuple[str, Path], github_server: GitHubServer) -> None:
    """Not known, or not installed on this repository: by name, and the key is not repeated."""
    site = GitHubSite(github_server.api, Identity("FACTORY_GITHUB_APP_KEY", key[0], "78"))
    with pytest.raises((NotThere, TokenRefused, AppNotInstalled), match="FACTORY_GITHUB_APP_KEY") as caught:
        await Forges("http://factory", site).connect(f"{github_server.url}/acme/shop")
    assert key[0][100:140] not in str(caught.value)
    github_server.problems.clear()
