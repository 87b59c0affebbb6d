"""Pull requests of the loopback GitHub, as PyGithub sees them: opened, listed, changed, merged, closed, opened again."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from github import GithubException


def opened(site, branch: str = "feature", **fields):
    site.branch(branch)
    return site.repo().create_pull("main", branch, **{"title": "Add it", "body": "Why", "draft": True, **fields})


def errors(refusal) -> list[dict]:
    return refusal.value.data["errors"]


def test_a_pull_request_is_opened_as_a_draft_and_made_ready(site):
    """Its numbers are git's; whether it can be merged is known at the second look."""
    pull = opened(site)

    assert (pull.number, pull.state, pull.draft, pull.user.login) == (1, "open", True, "factory")
    assert (pull.head.ref, pull.base.ref, pull.head.label) == ("feature", "main", "acme:feature")
    assert (pull.commits, pull.additions, pull.deletions, pull.changed_files) == (1, 1, 0, 1)
    assert pull.html_url == f"{site.server.url}/acme/shop/pull/1"
    assert pull.mergeable is None
    again = site.repo().get_pull(1)
    assert (again.mergeable, again.mergeable_state) == (True, "draft")

    pull.mark_ready_for_review()

    assert site.repo().get_pull(1).draft is False
    pull.convert_to_draft()
    assert site.repo().get_pull(1).draft is True


def test_files_and_commits(site):
    """A change, a rename, a removed and a binary file, with patches as GitHub cuts them."""
    clone = site.clone()
    clone.git("checkout", "-q", "-b", "feature")
    clone.git("mv", "README.md", "READ.md")
    (clone.path / "a.bin").write_bytes(bytes(range(256)))
    clone.commit({"src/app.py": "one\n2\nthree\nfour\nfive\n"}, push=True)
    (clone.path / "src/app.py").unlink()
    clone.commit({"b.txt": "no newline"}, push=True)
    pull = site.repo().create_pull("main", "feature", title="T")

    files = {file.filename: file for file in pull.get_files()}

    assert {name: file.status for name, file in files.items()} == {
        "READ.md": "renamed",
        "a.bin": "added",
        "b.txt": "added",
        "src/app.py": "removed",
    }
    assert (files["READ.md"].previous_filename, files["READ.md"].changes, files["READ.md"].patch) == (
        "README.md",
        0,
        None,
    )
    assert files["a.bin"].patch is None
    assert files["b.txt"].patch == "@@ -0,0 +1 @@\n+no newline\n\\ No newline at end of file"
    assert files["src/app.py"].deletions == 5
    assert [c.commit.message for c in pull.get_commits()] == ["Change src/app.py", "Change b.txt"]
    first, second = pull.get_commits()
    assert second.parents[0].sha == first.sha


@pytest.mark.parametrize(
    ("base", "head", "fields", "error"),
    [
        ("nowhere", "feature", {}, {"resource": "PullRequest", "field": "base", "code": "invalid"}),
        ("main", "nowhere", {}, {"resource": "PullRequest", "field": "head", "code": "invalid"}),
        ("main", "feature", {"title": " "}, {"resource": "PullRequest", "field": "title", "code": "missing_field"}),
        (
            "main",
            "feature",
            {"body": "x" * 65_537},
            {
                "resource": "PullRequest",
                "field": "body",
                "code": "custom",
                "message": "body is too long (maximum is 65536 characters)",
            },
        ),
        (
            "feature",
            "main",
            {},
            {"resource": "PullRequest", "code": "custom", "message": "No commits between feature and main"},
        ),
    ],
)
def test_what_cannot_be_opened(site, base: str, head: str, fields: dict, error: dict):
    """422, and which field is wrong."""
    site.branch("feature")

    with pytest.raises(GithubException) as refusal:
        site.repo().create_pull(base, head, **{"title": "T", **fields})

    assert (refusal.value.status, refusal.value.data["message"]) == (422, "Validation Failed")
    assert errors(refusal) == [error]


def test_there_is_one_open_pull_request_for_a_branch(site):
    """The second is refused by name; when the first is closed, there may be another."""
    pull = opened(site)

    with pytest.raises(GithubException) as refusal:
        site.repo().create_pull("main", "acme:feature", title="Again")

    assert errors(refusal)[0]["message"] == "A pull request already exists for acme:feature."
    pull.edit(state="closed")
    assert site.repo().create_pull("main", "feature", title="Again").number == 2


def test_of_many_at_once_one_is_opened(site):
    """However they come in."""
    site.branch()
    repos = [site.repo() for _ in range(6)]

    def create(repo) -> int:
        try:
            return repo.create_pull("main", "feature", title="T").number
        except GithubException as refusal:
            return refusal.status

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(create, repos)) == [1, *[422] * 5]
    assert site.repo().get_pulls(state="all").totalCount == 1


def test_a_plan_without_drafts(site):
    site.server.hub.repo("acme/shop").drafts = False

    with pytest.raises(GithubException, match="Draft pull requests are not supported"):
        opened(site)

    assert opened(site, "other", draft=False).number == 1


def test_lists(site):
    """By state, head (only with its owner), base; newest first unless told otherwise."""
    for name in ("one", "two", "three"):
        opened(site, name)
    repo = site.repo()
    repo.get_pull(1).edit(state="closed")
    site.branch("release", {"r.txt": "r\n"})
    site.branch("four", {"r4.txt": "4\n"})
    repo.create_pull("release", "four", title="T")

    def numbers(**wanted) -> list[int]:
        return [pull.number for pull in repo.get_pulls(**wanted)]

    assert numbers() == [4, 3, 2]
    assert numbers(state="all", direction="asc", sort="created") == [1, 2, 3, 4]
    assert numbers(state="closed") == [1]
    assert numbers(head="acme:two") == [2]
    assert numbers(head="two") == [4, 3, 2]
    assert numbers(base="release") == [4]
    assert numbers(state="all", sort="updated", direction="desc")[0] in (4, 1)


def test_title_body_and_base_are_changed(site):
    pull = opened(site)
    site.branch("release", {"r.txt": "r\n"})

    pull.edit(title="Other", body="Because", base="release")

    found = site.repo().get_pull(1)
    assert (found.title, found.body, found.base.ref) == ("Other", "Because", "release")
    found.edit(state="closed")
    with pytest.raises(GithubException, match="Cannot change the base branch of a closed pull request"):
        found.edit(base="main")
    assert site.repo().get_issue(1).title == "Other"


def test_the_head_follows_the_branch_while_open(site):
    """A push moves it; closed, it stays; reopened, it catches up."""
    pull = opened(site)
    clone = site.clone(name="other")
    clone.git("checkout", "-q", "feature")

    second = clone.commit({"new.txt": "2\n"}, push=True)
    assert site.repo().get_pull(1).head.sha == second
    pull.edit(state="closed")
    third = clone.commit({"new.txt": "3\n"}, push=True)
    assert site.repo().get_pull(1).head.sha == second
    pull.edit(state="open")

    assert site.repo().get_pull(1).head.sha == third
    clone.git("fetch", "-q", "origin", "pull/1/head")
    assert clone.git("rev-parse", "FETCH_HEAD") == third


@pytest.mark.parametrize("way", ["merge", "squash", "rebase"])
def test_it_is_merged_in_three_ways(site, way: str):
    """The base moves, the pull request is closed and says by whom."""
    pull = opened(site, draft=False)
    site.run(moved_base(site))

    done = pull.merge(merge_method=way, commit_message="More words" if way == "squash" else "")

    found = site.repo().get_pull(1)
    assert done.merged
    assert (found.merged, found.state, found.merged_by.login, found.merge_commit_sha) == (
        True,
        "closed",
        "factory",
        done.sha,
    )
    main = site.repo().get_branch("main").commit
    assert main.sha == done.sha
    assert {path.path for path in site.repo().get_contents("")} >= {"new.txt", "base.txt"}
    words = {
        "merge": "Merge pull request #1 from acme/feature",
        "squash": "Add it (#1)\n\nMore words",
        "rebase": "Change new.txt",
    }
    assert main.commit.message == words[way]
    assert len(main.parents) == (2 if way == "merge" else 1)
    assert pull.is_merged()


async def moved_base(site) -> None:
    async with site.server.person("boss", permission="admin") as boss:
        await boss.push("main", {"base.txt": "moved\n"})


def test_what_cannot_be_merged(site):
    """A draft, another head than the one that was looked at, a conflict, one that is merged."""
    draft = opened(site)
    with pytest.raises(GithubException, match="still a draft") as refusal:
        draft.merge()
    assert refusal.value.status == 405
    draft.mark_ready_for_review()
    with pytest.raises(GithubException, match="Head branch was modified") as refusal:
        draft.merge(sha="0" * 40)
    assert refusal.value.status == 409
    draft.merge()
    with pytest.raises(GithubException, match="not mergeable"):
        draft.merge()

    site.branch("conflict", {"README.md": "# Ours\n"})
    pull = site.repo().create_pull("main", "conflict", title="T")
    site.run(conflicting_base(site))
    with pytest.raises(GithubException, match="not mergeable"):
        pull.merge()
    site.repo().get_pull(pull.number)
    found = site.repo().get_pull(pull.number)
    assert (found.mergeable, found.mergeable_state) == (False, "dirty")


async def conflicting_base(site) -> None:
    async with site.server.person("boss", permission="admin") as boss:
        await boss.push("main", {"README.md": "# Theirs\n"})


def test_a_base_that_contains_the_head_has_merged_it(site):
    """However it got there: by a push to the base, for instance."""
    opened(site)
    site.branch("release", {"r.txt": "r\n"})
    pull = site.repo().create_pull("release", "feature", title="To the release")
    clone = site.clone(name="other")
    clone.git("checkout", "-q", "release")
    clone.git("merge", "-q", "origin/feature")
    clone.git("push", "-q", "origin", "release")

    found = site.repo().get_pull(pull.number)

    assert (found.merged, found.state, found.merge_commit_sha) == (True, "closed", found.head.sha)
    assert site.repo().get_pull(1).merged is False


def test_a_deleted_branch_closes_it_for_good(site):
    """Until the branch is back, with the same commits; one that was written anew does not count."""
    pull = opened(site)
    clone = site.clone(name="other")
    clone.git("checkout", "-q", "feature")
    clone.git("push", "-q", "origin", ":feature")
    assert site.repo().get_pull(1).state == "closed"
    with pytest.raises(GithubException, match="branch has been deleted"):
        pull.edit(state="open")

    clone.git("push", "-q", "origin", "feature")
    pull.edit(state="open")
    pull.edit(state="closed")
    clone.git("commit", "-q", "--amend", "-m", "Anew")
    clone.git("push", "-q", "--force", "origin", "feature")

    with pytest.raises(GithubException, match="force-pushed or recreated"):
        pull.edit(state="open")


def test_a_merged_one_or_a_double_is_not_reopened(site):
    pull = opened(site, draft=False)
    pull.edit(state="closed")
    other = site.repo().create_pull("main", "feature", title="Again")
    with pytest.raises(GithubException, match="already an open pull request"):
        pull.edit(state="open")

    other.merge()

    with pytest.raises(GithubException, match="is merged"):
        other.edit(state="open")


def test_reviewers_are_asked(site):
    """Collaborators only, never the author; who reviewed is asked no more."""
    pull = opened(site)
    site.server.person("ada")
    pull.create_review_request(["reviewer", "ada"])
    assert [user.login for user in site.repo().get_pull(1).requested_reviewers] == ["reviewer", "ada"]
    pull.delete_review_request(["ada"])
    assert [user.login for user in pull.get_review_requests()[0]] == ["reviewer"]
    for login, words in (("factory", "from pull request author"), ("stranger", "not a collaborator")):
        with pytest.raises(GithubException, match=words):
            pull.create_review_request([login])

    site.repo("reviewer-token").get_pull(1).create_review(body="Fine", event="COMMENT")

    assert site.repo().get_pull(1).requested_reviewers == []
