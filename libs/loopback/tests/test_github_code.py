"""Branches, refs, commits, files, statuses, checks and deployments of the loopback GitHub, as PyGithub sees them."""

import base64

import pytest
from github import GithubException, UnknownObjectException


def test_branches(site):
    sha = site.branch("feature/one")
    repo = site.repo()

    assert {(b.name, b.protected) for b in repo.get_branches()} == {("feature/one", False), ("main", True)}
    assert repo.get_branch("feature/one").commit.sha == sha
    assert repo.get_branch("main").protected
    with pytest.raises(GithubException, match="Branch not found"):
        repo.get_branch("nowhere")


def test_refs(site):
    """Made, moved forward, moved by force, removed; never a protected one."""
    sha = site.branch("feature")
    repo = site.repo()
    main = repo.get_branch("main").commit.sha

    ref = repo.create_git_ref("refs/heads/other", main)
    assert (ref.object.sha, ref.object.type) == (main, "commit")
    ref.edit(sha)
    assert repo.get_git_ref("heads/other").object.sha == sha
    with pytest.raises(GithubException, match="not a fast forward"):
        ref.edit(main)
    ref.edit(main, force=True)
    assert {r.ref for r in repo.get_git_matching_refs("heads/")} == {
        f"refs/heads/{n}" for n in ("main", "feature", "other")
    }
    for name, where, words in (
        ("refs/heads/other", main, "already exists"),
        ("refs/heads/new", "0" * 40, "Object does not exist"),
        ("other", main, "must start with 'refs/'"),
    ):
        with pytest.raises(GithubException, match=words):
            repo.create_git_ref(name, where)
    ref.delete()
    with pytest.raises(UnknownObjectException):
        repo.get_git_ref("heads/other")
    with pytest.raises(GithubException, match="Cannot delete this protected branch"):
        repo.get_git_ref("heads/main").delete()
    with pytest.raises(GithubException, match="through a pull request"):
        repo.get_git_ref("heads/main").edit(sha, force=True)


def test_a_ref_that_moves_moves_pull_requests(site):
    """As a push does."""
    first = site.branch("feature")
    site.branch("more", {"more.txt": "m\n"})
    repo = site.repo()
    repo.create_pull("main", "feature", title="T")
    clone = site.clone(name="other")
    clone.git("checkout", "-q", "feature")
    clone.git("merge", "-q", "-m", "Both", "origin/more")
    clone.git("push", "-q", "origin", "HEAD:both")
    both = clone.git("rev-parse", "HEAD")

    repo.get_git_ref("heads/feature").edit(both)

    assert first != repo.get_pull(1).head.sha == both
    repo.get_git_ref("heads/feature").delete()
    assert repo.get_pull(1).state == "closed"


def test_commits(site):
    """One with its files, a list, and what lies between two."""
    sha = site.branch("feature", {"src/app.py": "one\n"})
    repo = site.repo()
    main = repo.get_branch("main").commit.sha

    commit = repo.get_commit("feature")

    assert (commit.sha, commit.commit.author.email, commit.stats.deletions) == (sha, "f@x.y", 4)
    assert [f.filename for f in commit.files] == ["src/app.py"]
    assert [f.filename for f in repo.get_commit(main).files] == ["README.md", "src/app.py"]
    assert [c.sha for c in repo.get_commits(sha="feature")] == [sha, main]
    assert [c.sha for c in repo.get_commits(sha="feature", path="README.md")] == [main]
    comparison = repo.compare("main", "feature")
    assert (comparison.status, comparison.ahead_by, comparison.behind_by) == ("ahead", 1, 0)
    assert ([c.sha for c in comparison.commits], [f.filename for f in comparison.files]) == ([sha], ["src/app.py"])
    assert comparison.merge_base_commit.sha == main
    assert repo.compare("feature", "main").status == "behind"
    assert repo.compare("main", main).status == "identical"
    with pytest.raises(GithubException, match="No commit found for SHA: 123"):
        repo.get_commit("123")
    with pytest.raises(UnknownObjectException):
        repo.compare("main", "nowhere")


def test_statuses(site):
    """The newest of a context counts; all must say success."""
    sha = site.branch("feature")
    commit = site.repo().get_commit(sha)
    assert commit.get_combined_status().state == "pending"
    commit.create_status("pending", context="factory/tests")
    commit.create_status("success", "https://example.org/1", "All green", "factory/tests")
    commit.create_status("failure", context="factory/proof")

    together = commit.get_combined_status()

    assert (together.state, together.total_count) == ("failure", 2)
    assert {(s.context, s.state) for s in together.statuses} == {
        ("factory/tests", "success"),
        ("factory/proof", "failure"),
    }
    assert [s.context for s in commit.get_statuses()] == ["factory/proof", "factory/tests", "factory/tests"]
    commit.create_status("success", context="factory/proof")
    assert site.repo().get_commit("feature").get_combined_status().state == "success"
    newest = commit.get_statuses()[1]
    assert (newest.creator.login, newest.description) == ("factory", None)
    for fields, words in (
        ({"state": "success", "description": "d" * 141}, "maximum is 140"),
        ({"state": "success", "sha": "0" * 40}, "No commit found"),
    ):
        where = fields.pop("sha", sha)
        with pytest.raises(GithubException, match=words):
            site.client().requester.requestJsonAndCheck("POST", f"/repos/acme/shop/statuses/{where}", input=fields)


def test_deployments(site):
    """With their statuses; a success retires what ran in the same environment before, unless it goes away by itself."""
    sha = site.branch("feature")
    repo = site.repo()
    kept = {"required_contexts": [], "auto_merge": False, "environment": "preview"}
    first = repo.create_deployment(sha, description="Preview", payload={"job": 1}, **kept)
    fleeting = repo.create_deployment(sha, transient_environment=True, **kept)
    for each in (first, fleeting):
        each.create_status("success", environment_url="https://example.org/1", target_url="https://example.org/log")

    second = repo.create_deployment(sha, **kept)
    second.create_status("success", description="Up")

    assert [d.id for d in repo.get_deployments(environment="preview")] == [second.id, fleeting.id, first.id]
    assert [d.id for d in repo.get_deployments(sha="0" * 40)] == []
    assert [s.state for s in first.get_statuses()] == ["inactive", "success"]
    assert [s.state for s in fleeting.get_statuses()] == ["success"]
    status = first.get_statuses()[1]
    assert (status.environment_url, status.target_url) == ("https://example.org/1", "https://example.org/log")
    found = repo.get_deployment(first.id)
    assert (found.payload, found.sha, found.creator.login) == ({"job": 1}, sha, "factory")


def test_a_deployment_is_guarded_and_merges_unless_told_not_to(site):
    """Statuses must be green, and GitHub first merges the default branch into the deployed one: a trap."""
    sha = site.branch("feature")
    repo = site.repo()
    repo.get_commit(sha).create_status("pending", context="tests")
    with pytest.raises(GithubException) as refusal:
        repo.create_deployment("feature")
    assert (refusal.value.status, "checks failed for feature" in refusal.value.data["message"]) == (409, True)
    repo.get_commit(sha).create_status("success", context="tests")
    assert repo.create_deployment("feature", auto_merge=False).ref == "feature"
    site.run(moved(site))

    asked = {"ref": "feature", "required_contexts": []}
    _, told = site.client().requester.requestJsonAndCheck("POST", "/repos/acme/shop/deployments", input=asked)

    assert told == {"message": "Auto-merged main into feature on deployment."}
    assert [p.sha for p in repo.get_branch("feature").commit.parents][0] == sha  # noqa: RUF015 - a list of PyGithub


async def moved(site) -> None:
    async with site.server.person("boss", permission="admin") as boss:
        await boss.push("main", {"base.txt": "moved\n"})


def test_files(site):
    """Read, with folders; made, changed and removed on a branch, never on a protected one."""
    repo = site.repo()
    readme = repo.get_contents("README.md")
    assert (readme.decoded_content, readme.encoding, readme.size) == (b"# Shop\n", "base64", 7)
    assert {(c.path, c.type) for c in repo.get_contents("")} == {("README.md", "file"), ("src", "dir")}
    assert [c.path for c in repo.get_contents("src")] == ["src/app.py"]
    with pytest.raises(UnknownObjectException):
        repo.get_contents("nothing.md")
    with pytest.raises(GithubException, match="No commit found for the ref nowhere"):
        repo.get_contents("README.md", ref="nowhere")

    site.branch("feature")
    made = repo.create_file("docs/a b.md", "Make it", "one\n", branch="feature")["content"]
    assert (made.path, made.name) == ("docs/a b.md", "a b.md")
    changed = repo.update_file("docs/a b.md", "Change it", "two\n", made.sha, branch="feature")
    assert repo.get_contents("docs/a b.md", ref="feature").decoded_content == b"two\n"
    assert repo.get_branch("feature").commit.sha == changed["commit"].sha
    with pytest.raises(GithubException) as refusal:
        repo.update_file("docs/a b.md", "Lost", "three\n", made.sha, branch="feature")
    assert refusal.value.status == 409
    with pytest.raises(GithubException, match="wasn't supplied"):
        repo.create_file("docs/a b.md", "Again", "x", branch="feature")
    repo.delete_file("docs/a b.md", "Drop it", changed["content"].sha, branch="feature")
    with pytest.raises(UnknownObjectException):
        repo.get_contents("docs/a b.md", ref="feature")
    with pytest.raises(GithubException, match="through a pull request"):
        repo.create_file("x.md", "x", "x")


def test_trees_and_blobs(site):
    repo = site.repo()
    tree = repo.get_git_tree("main", recursive=True)

    paths = {entry.path: entry for entry in tree.tree}

    assert set(paths) == {"README.md", "src", "src/app.py"}
    assert [entry.path for entry in repo.get_git_tree(tree.sha).tree] == ["README.md", "src"]
    assert base64.b64decode(repo.get_git_blob(paths["README.md"].sha).content) == b"# Shop\n"
    with pytest.raises(UnknownObjectException):
        repo.get_git_blob("0" * 40)


def test_collaborators(site):
    """Who may what; only an admin changes it."""
    repo, boss = site.repo(), site.repo("boss-token")
    assert repo.get_collaborator_permission("reader") == "read"
    assert repo.has_in_collaborators("factory")
    assert not repo.has_in_collaborators("stranger")
    with pytest.raises(UnknownObjectException):
        repo.add_to_collaborators("stranger", "push")
    boss.add_to_collaborators("stranger", "push")
    assert repo.get_collaborator_permission("stranger") == "write"
    boss.remove_from_collaborators("stranger")
    assert repo.get_collaborator_permission("stranger") == "none"
