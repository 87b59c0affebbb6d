"""The local forge keeps pull requests as GitHub would, for every process that opens it."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from factory_forge import forges
from factory_forge.errors import (
    BadField,
    LineNotInDiff,
    MergeConflict,
    NoSuchBranch,
    NoSuchPull,
    NoSuchRef,
    NotABareRepository,
    NothingToPull,
    ProtectedBranch,
    PullState,
    RecordsBroken,
    SelfReview,
    UnknownForge,
)
from factory_forge.forge import Deployment, Forge, LineComment, PullRequest, Status
from factory_forge.git import Mirror
from factory_forge.local import LocalForge

URL = "http://127.0.0.1:8080"


@pytest.fixture
def forge(remote: Path) -> LocalForge:
    return LocalForge(remote, "factory", URL)


@pytest.fixture
def reviewer(remote: Path) -> LocalForge:
    return LocalForge(remote, "factory-reviewer", URL + "/")


@pytest.fixture
def head(git, person: Path) -> str:
    """A branch of the factory's with one commit, in the repository."""
    git(person, "checkout", "-q", "-b", git.BRANCH)
    sha = git.commit(person, "work", {"src/app.py": "def main():\n    return 3\n", "new.txt": "one\ntwo\n"})
    git(person, "push", "-q", "origin", git.BRANCH)
    return sha


async def opened(git, forge: LocalForge, **changes: object) -> PullRequest:
    args = {
        "branch": git.BRANCH,
        "base": "main",
        "title": "Add a page",
        "body": "Body",
        "labels": ["factory-generated"],
    }
    return await forge.open_pull(**{**args, **changes})  # pyright: ignore[reportArgumentType]


async def test_open(git, forge: Forge, head: str) -> None:
    """A pull request begins as a draft with number 1, under its page's URL, and is found by branch."""
    assert await forge.find_pull(git.BRANCH) is None
    pull = await opened(git, forge)  # pyright: ignore[reportArgumentType]
    assert pull == PullRequest(
        number=1,
        url=f"{URL}/pulls/origin/1",
        branch=git.BRANCH,
        base="main",
        head_sha=head,
        title="Add a page",
        body="Body",
        draft=True,
        state="open",
        labels=["factory-generated"],
        author="factory",
    )
    assert await forge.find_pull(git.BRANCH) == pull
    assert await forge.pull(1) == pull
    assert await forge.pulls() == [pull]


async def test_open_again(git, forge: LocalForge, reviewer: LocalForge, head: str) -> None:
    """A second open for the branch gives the one that is open, unchanged; after a close it makes another."""
    first = await opened(git, forge)
    assert await opened(git, reviewer, title="Other", body="Other", draft=False) == first
    await forge.close_pull(1)
    second = await opened(git, forge)
    assert second.number == 2
    assert await forge.find_pull(git.BRANCH) == second
    with pytest.raises(PullState, match="#2 is open"):
        await forge.reopen_pull(1)
    await forge.close_pull(2)
    assert (await forge.reopen_pull(1)).state == "open"
    found = await forge.find_pull(git.BRANCH)
    assert found
    assert found.number == 1


async def test_what_cannot_be_opened(git, forge: LocalForge, head: str) -> None:
    """No such branch or base, nothing new on it, no title, too long a body: named, and no number is used up."""
    with pytest.raises(NoSuchBranch) as caught:
        await opened(git, forge, branch="factory/jabcdefghi2-none")
    assert caught.value.branch == "factory/jabcdefghi2-none"
    with pytest.raises(NoSuchBranch):
        await opened(git, forge, base="develop")
    git(forge.path, "branch", "same", "main")
    with pytest.raises(NothingToPull):
        await opened(git, forge, branch="same")
    for changes in ({"title": " "}, {"title": "x" * 257}, {"body": "x" * 65_537}, {"labels": [""]}):
        with pytest.raises(BadField):
            await opened(git, forge, **changes)
    assert await forge.pulls() == []
    assert (await opened(git, forge)).number == 1


async def test_head_follows_the_branch(git, forge: LocalForge, person: Path, head: str) -> None:
    """While it is open, the head is the branch's; deleted or closed, it stays what it was."""
    await opened(git, forge)
    newer = git.commit(person, "more", {"more.txt": "x"})
    git(person, "push", "-q", "origin", git.BRANCH)
    assert (await forge.pull(1)).head_sha == newer
    await forge.close_pull(1)
    newest = git.commit(person, "even more", {"more.txt": "y"})
    git(person, "push", "-q", "origin", git.BRANCH)
    assert (await forge.pull(1)).head_sha == newer
    assert (await forge.reopen_pull(1)).head_sha == newest
    git(forge.path, "update-ref", "-d", f"refs/heads/{git.BRANCH}")
    pull = await forge.pull(1)
    assert (pull.head_sha, pull.state) == (newest, "open")


async def test_changes(git, forge: LocalForge, head: str) -> None:
    """Title, body, draft and labels change one by one; each again is the same."""
    await opened(git, forge)
    assert (await forge.update_pull(1, title="New")).body == "Body"
    changed = await forge.update_pull(1, body="")
    assert (changed.title, changed.body) == ("New", "")
    for _ in range(2):
        assert (await forge.mark_ready(1)).draft is False
        assert (await forge.set_labels(1, ["risk: low", "mine", "mine"])).labels == ["risk: low", "mine"]
        assert (await forge.set_labels(1, [])).labels == []
        assert (await forge.close_pull(1)).state == "closed"
        assert (await forge.reopen_pull(1)).state == "open"
    with pytest.raises(BadField):
        await forge.update_pull(1, title="")
    for call in (
        forge.pull(7),
        forge.update_pull(7, title="x"),
        forge.mark_ready(7),
        forge.comments(7),
        forge.reviews(7),
    ):
        with pytest.raises(NoSuchPull) as caught:
            await call
        assert caught.value.number == 7


async def test_merge(git, forge: LocalForge, person: Path, head: str) -> None:
    """A person's merge puts a merge commit on the base; a merged pull request is over."""
    await opened(git, forge)
    with pytest.raises(PullState, match="draft"):
        await forge.merge_pull(1)
    await forge.mark_ready(1)
    merged = await forge.merge_pull(1)
    assert (merged.state, merged.head_sha) == ("merged", head)
    assert git(forge.path, "log", "-1", "--format=%P %an %s", "main").endswith(
        f"{head} factory Merge pull request #1 from {git.BRANCH}"
    )
    assert git(forge.path, "show", "main:new.txt") == "one\ntwo"
    for call in (forge.merge_pull(1), forge.close_pull(1), forge.reopen_pull(1), forge.mark_ready(1)):
        with pytest.raises(PullState):
            await call
    with pytest.raises(NothingToPull):
        await opened(git, forge)


async def test_merged_by_git(git, forge: LocalForge, person: Path, head: str) -> None:
    """Whoever brings the head into the base has merged it; a base that moves elsewhere has not."""
    await opened(git, forge)
    git(person, "checkout", "-q", "main")
    git.commit(person, "elsewhere", {"other.txt": "x"})
    git(person, "push", "-q", "origin", "main")
    assert (await forge.pull(1)).state == "open"
    git(person, "merge", "-q", "-m", "by hand", head)
    git(person, "push", "-q", "origin", "main")
    assert (await forge.pull(1)).state == "merged"
    git(forge.path, "update-ref", "-d", f"refs/heads/{git.BRANCH}")
    pull = await forge.pull(1)
    assert (pull.state, pull.head_sha) == ("merged", head)


async def test_a_branch_set_back_is_not_merged(git, forge: LocalForge, person: Path, head: str) -> None:
    """A branch that a person set back to an old commit of the base brings nothing, and is not taken for merged."""
    await opened(git, forge)
    old = git(forge.path, "rev-parse", "main")
    git(person, "checkout", "-q", "main")
    git.commit(person, "elsewhere", {"other.txt": "x"})
    git(person, "push", "-q", "-f", "origin", "main", f"{old}:refs/heads/{git.BRANCH}")
    assert (await forge.pull(1)).state == "open"


async def test_conflict(git, forge: LocalForge, person: Path, head: str) -> None:
    """A merge that a person has to decide is refused with the files, and nothing moves."""
    await opened(git, forge, draft=False)
    git(person, "checkout", "-q", "main")
    git.commit(person, "conflict", {"src/app.py": "other\n"})
    git(person, "push", "-q", "origin", "main")
    before = git(forge.path, "rev-parse", "main")
    with pytest.raises(MergeConflict, match=r"src/app\.py"):
        await forge.merge_pull(1)
    assert git(forge.path, "rev-parse", "main") == before
    assert (await forge.pull(1)).state == "open"


async def test_statuses(git, forge: LocalForge, head: str) -> None:
    """The newest status of a context counts; a long description is cut; an unknown commit has none."""
    await forge.set_status(Status(sha=head, context="factory/tests", state="pending"))
    await forge.set_status(Status(sha=head, context="factory/review", state="success", url="http://x"))
    await forge.set_status(Status(sha=head, context="factory/tests", state="failure", description="x" * 200))
    review, tests = await forge.statuses(head)
    assert (review.context, review.state, review.url) == ("factory/review", "success", "http://x")
    assert (tests.state, len(tests.description)) == ("failure", 140)
    with pytest.raises(NoSuchRef):
        await forge.set_status(Status(sha="1" * 40, context="x", state="success"))
    assert await forge.statuses("1" * 40) == []


async def test_review(git, forge: LocalForge, reviewer: LocalForge, head: str) -> None:
    """A review under another identity, with comments on lines; the same marker again gives the first one back."""
    await opened(git, forge)
    line = LineComment(path="src/app.py", line=2, body="Why 3?")
    first = await reviewer.add_review(
        1, sha=head, verdict="request_changes", body="No tests.", comments=[line], marker=f"review:{head}"
    )
    assert (first.sha, first.verdict, first.comments, first.author) == (
        head,
        "request_changes",
        [line],
        "factory-reviewer",
    )
    assert first.body == f"No tests.\n\n<!-- factory:review:{head} -->"
    again = await reviewer.add_review(1, sha=head, verdict="approve", body="Other", marker=f"review:{head}")
    assert again == first
    second = await reviewer.add_review(1, sha=head, verdict="approve", body="Good", marker="review:2")
    assert await forge.reviews(1) == [first, second]


async def test_nobody_reviews_their_own(git, forge: LocalForge, head: str) -> None:
    """The author may comment, not approve or request changes."""
    await opened(git, forge)
    for verdict in ("approve", "request_changes"):
        with pytest.raises(SelfReview):
            await forge.add_review(1, sha=head, verdict=verdict, body="x", marker="m")
    assert (await forge.add_review(1, sha=head, verdict="comment", body="x", marker="m")).author == "factory"


@pytest.mark.parametrize(("path", "line"), [("src/app.py", 9), ("docs/guide.md", 1), ("new.txt", 0), ("none", 1)])
async def test_lines_that_are_not_shown(
    git, forge: LocalForge, reviewer: LocalForge, head: str, path: str, line: int
) -> None:
    """As on GitHub, a comment has to be on a line that the diff shows; otherwise the review is not made at all."""
    await opened(git, forge)
    comments = [LineComment(path="new.txt", line=2, body="ok"), LineComment(path=path, line=line, body="x")]
    with pytest.raises(LineNotInDiff):
        await reviewer.add_review(1, sha=head, verdict="comment", body="x", comments=comments, marker="m")
    assert await reviewer.reviews(1) == []


async def test_review_of_another_commit(git, forge: LocalForge, reviewer: LocalForge, person: Path, head: str) -> None:
    """An older commit of the pull request can be reviewed, one that it does not hold cannot; markers have a form."""
    await opened(git, forge)
    git.commit(person, "more", {"more.txt": "x"})
    git(person, "push", "-q", "origin", git.BRANCH)
    line = [LineComment(path="new.txt", line=1, body="x")]
    assert await reviewer.add_review(1, sha=head, verdict="comment", body="x", comments=line, marker="m")
    git(person, "checkout", "-q", "main")
    foreign = git.commit(person, "elsewhere", {"e": "e"})
    git(person, "push", "-q", "origin", "main:elsewhere")
    for sha in (foreign, "1" * 40, "main"):
        with pytest.raises(BadField):
            await reviewer.add_review(1, sha=sha, verdict="comment", body="x", marker="n")
    with pytest.raises(BadField):
        await reviewer.add_review(1, sha=head, verdict="comment", body="x", marker="a --> b")


async def test_sticky_comment(git, forge: LocalForge, reviewer: LocalForge, head: str) -> None:
    """One comment for each author and marker, edited in place; it keeps its id and its place."""
    await opened(git, forge)
    first = await forge.sticky_comment(1, "progress", "30 %")
    await forge.sticky_comment(1, "other", "x")
    edited = await forge.sticky_comment(1, "progress", "100 %")
    assert edited.id == first.id
    assert edited.body == "100 %\n\n<!-- factory:progress -->"
    theirs = await reviewer.sticky_comment(1, "progress", "mine")
    assert [comment.id for comment in await forge.comments(1)] == [first.id, first.id + 1, theirs.id]
    with pytest.raises(NoSuchPull):
        await forge.sticky_comment(2, "progress", "x")


async def test_issues_share_numbers(git, forge: LocalForge, head: str) -> None:
    """Issues and pull requests are numbered together."""
    assert await forge.open_issue("Dark mode", "please", ["idea"]) == 1
    assert (await opened(git, forge)).number == 2
    [issue] = await forge.issues()
    assert (issue.number, issue.title, issue.labels, issue.author) == (1, "Dark mode", ["idea"], "factory")
    with pytest.raises(NoSuchPull):
        await forge.pull(1)


async def test_push(git, forge: LocalForge, mirror: Mirror, clone: Path, base: str) -> None:
    """The forge's push is the mirror's: forward only, and never onto its default branch."""
    sha = git.commit(clone, "work", {"x": "x"})
    await mirror.import_bundle(git.bundle(clone, base), ref="j", expect=sha, base=base)
    await forge.push(mirror, sha, git.BRANCH)
    assert (await opened(git, forge)).head_sha == sha
    git(forge.path, "symbolic-ref", "HEAD", "refs/heads/trunk")
    for branch in ("main", "trunk"):  # what the mirror last saw, and what it is now
        with pytest.raises(ProtectedBranch):
            await forge.push(mirror, sha, branch)


async def test_another_object_sees_it(git, remote: Path, forge: LocalForge, head: str) -> None:
    """What one wrote another reads, under whatever path to the same repository."""
    await opened(git, forge)
    assert (await LocalForge(remote.parent / "." / "origin.git", "x", URL).pull(1)).title == "Add a page"


CHILD = """
import asyncio, sys
from pathlib import Path
from factory_forge.local import LocalForge
async def main(repo, who, branch, sha):
    forge = LocalForge(Path(repo), who, "")
    pull = await forge.open_pull(branch=branch, base="main", title=who, body="")
    for n in range(10):
        await forge.sticky_comment(pull.number, "count", str(n))
        await forge.add_review(pull.number, sha=sha, verdict="comment", body="x", marker="once")
    print(pull.number)
asyncio.run(main(*sys.argv[1:]))
"""


async def test_several_processes(git, remote: Path, forge: LocalForge, head: str) -> None:
    """Processes that begin together, on a repository without records, make one pull request and lose nothing."""
    args = [(sys.executable, "-c", CHILD, str(remote), f"p{n}", git.BRANCH, head) for n in range(4)]
    started = [await asyncio.create_subprocess_exec(*each, stdout=asyncio.subprocess.PIPE) for each in args]
    printed = [(await process.communicate())[0] for process in started]
    assert printed == [b"1\n"] * 4
    assert len(await forge.pulls()) == 1
    assert sorted(comment.author for comment in await forge.comments(1)) == ["p0", "p1", "p2", "p3"]
    assert {comment.body.split("\n")[0] for comment in await forge.comments(1)} == {"9"}
    assert len(await forge.reviews(1)) == 4


async def test_records_that_cannot_be_used(git, forge: LocalForge, remote: Path, head: str) -> None:
    """Records of a later version, or a file that holds none, are named with their path and left as they are."""
    records = remote.with_name("origin.git.forge.sqlite")
    await opened(git, forge)
    with sqlite3.connect(records) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(RecordsBroken, match="version 9"):
        await forge.pulls()
    for file in remote.parent.glob("origin.git.forge.sqlite*"):
        file.unlink()
    records.write_bytes(b"not a database, " * 100)
    with pytest.raises(RecordsBroken) as caught:
        await forge.pulls()
    assert str(records) in str(caught.value)
    assert records.read_bytes() == b"not a database, " * 100


async def test_connect(tmp_path: Path, remote: Path, person: Path) -> None:
    """A path or file:// URL is a local forge under one of two identities; not bare, or elsewhere: refused."""
    for repo in (str(remote), f"file://{remote}"):
        author = await forges.Forges(URL).connect(repo)
        reviewer = await forges.Forges(URL).connect(repo, reviewer=True)
        assert author.push_url() == reviewer.push_url() == str(remote)
        assert author.author != reviewer.author
    for path in (person, tmp_path / "missing"):
        with pytest.raises(NotABareRepository):
            await forges.Forges(URL).connect(str(path))
    for url in ("https://gitlab.com/o/r", "git@gitlab.com:o/r.git"):
        with pytest.raises(UnknownForge):
            await forges.Forges(URL).connect(url)


async def test_mirror_of(tmp_path: Path, remote: Path) -> None:
    """Each repository has its own mirror in a node's directory, the same one every time."""
    from factory_forge.git import mirror_of

    other = tmp_path / "elsewhere/origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(remote), str(other)], check=True)
    one, again, two = [await mirror_of(tmp_path / "mirrors", str(url)) for url in (remote, remote, other)]
    assert one.path == again.path != two.path
    assert one.path.name.startswith("origin-")
    for url in ("git@github.com:o/r.git", "https://example.com/", "file:///srv/a b/.git"):
        assert (await mirror_of(tmp_path / "mirrors", url)).url == url


async def test_a_look_gives_news_alone(git, forge: LocalForge, head: str) -> None:
    first = await forge.look()
    assert first is not None and first.pulls == []
    assert await forge.look(first.etag) is None
    pull = await opened(git, forge)
    news = await forge.look(first.etag)
    assert news is not None and news.pulls == [pull]
    assert await forge.look(news.etag) is None


async def test_a_deployment_shows_what_was_said_last(git, forge: LocalForge, head: str) -> None:
    assert await forge.tip(git.BRANCH) == head and await forge.tip("factory/jaaaaaaaaaa-none") is None
    begun = Deployment(sha=head, environment="factory/j", state="in_progress", url="http://x")
    up = Deployment(sha=head, environment="factory/j", state="success", url="http://x")
    await forge.deploy(begun)
    await forge.deploy(up)
    assert await forge.deployments(head) == [up]


async def test_records_of_the_version_before_are_brought_up_to_date(git, forge: LocalForge, head: str) -> None:
    await opened(git, forge)
    with sqlite3.connect(forge.path.with_name(forge.path.name + ".forge.sqlite")) as db:
        db.execute("DROP TABLE deployments")
        db.execute("PRAGMA user_version = 1")
    assert await forge.deployments(head) == [] and len(await forge.pulls()) == 1
