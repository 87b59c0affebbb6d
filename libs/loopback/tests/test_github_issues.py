"""Issues, comments, labels, reactions and history of the loopback GitHub, as PyGithub sees them."""

import pytest
from github import GithubException, UnknownObjectException


def test_an_issue_is_opened_changed_closed_and_opened_again(site):
    repo = site.repo()
    issue = repo.create_issue("Dark mode", body="At night.", labels=["wish"], assignees=["factory"])
    assert (issue.number, issue.state, issue.user.login, issue.comments) == (1, "open", "factory", 0)
    assert [label.name for label in issue.labels] == ["wish"]
    assert [user.login for user in issue.assignees] == ["factory"]

    issue.edit(title="Darker", body="Always.", state="closed", state_reason="not_planned", labels=["no", "never"])

    found = repo.get_issue(1)
    assert (found.title, found.body, found.state, found.state_reason) == ("Darker", "Always.", "closed", "not_planned")
    assert (found.closed_by.login, {label.name for label in found.labels}) == ("factory", {"no", "never"})
    found.edit(state="open")
    assert (repo.get_issue(1).state, repo.get_issue(1).state_reason) == ("open", "reopened")
    with pytest.raises(UnknownObjectException):
        repo.get_issue(99)


def test_pull_requests_are_issues_too(site):
    """As on GitHub, in the list among the others, told apart by `pull_request`."""
    site.branch()
    repo = site.repo()
    repo.create_issue("One")
    repo.create_pull("main", "feature", title="Two")

    assert [(i.number, i.pull_request is not None) for i in repo.get_issues()] == [(2, True), (1, False)]
    assert repo.get_issue(2).as_pull_request().head.ref == "feature"


def test_lists_of_issues(site):
    """By state, labels (all of them), author, assignee and time of change."""
    repo = site.repo()
    repo.create_issue("One", labels=["a", "b"])
    repo.create_issue("Two", labels=["A"], assignees=["boss"])
    site.repo("boss-token").create_issue("Three")
    repo.get_issue(1).edit(state="closed")

    def numbers(**wanted) -> list[int]:
        return [issue.number for issue in repo.get_issues(**wanted)]

    assert numbers() == [3, 2]
    assert numbers(state="all", direction="asc") == [1, 2, 3]
    assert numbers(state="all", labels=["a"]) == [2, 1]
    assert numbers(state="all", labels=["a", "b"]) == [1]
    assert numbers(creator="boss") == [3]
    assert numbers(assignee="boss") == numbers(assignee="*") == [2]
    assert numbers(assignee="none") == [3]
    changed = site.server.store.issues.get("acme/shop#2")
    changed.updated_at = "2100-01-01T00:00:00Z"
    assert numbers(since=repo.get_issue(2).updated_at) == [2]
    assert numbers(sort="updated") == [2, 3]


def test_comments(site):
    """Made, read in parts, edited in place, removed; a reader comments too, but changes nobody's words."""
    repo = site.repo()
    issue = repo.create_issue("One")
    first = issue.create_comment("Hello")
    second = site.repo("reader-token").get_issue(1).create_comment("I only read")
    assert (first.user.login, first.issue_url) == ("factory", issue.url)
    assert first.html_url == f"{site.server.url}/acme/shop/issues/1#issuecomment-{first.id}"

    first.edit("Good bye")

    assert [c.body for c in issue.get_comments()] == ["Good bye", "I only read"]
    assert issue.get_comment(first.id).body == "Good bye"
    with pytest.raises(GithubException) as refusal:
        site.repo("reader-token").get_issue(1).get_comment(first.id).delete()
    assert refusal.value.status == 403
    second.delete()
    first.delete()
    with pytest.raises(UnknownObjectException):
        issue.get_comment(first.id)
    assert repo.get_issue(1).comments == 0


@pytest.mark.parametrize("body", ["", " \n", "x" * 65_537])
def test_a_comment_has_words_and_not_too_many(site, body: str):
    issue = site.repo().create_issue("One")

    with pytest.raises(GithubException) as refusal:
        issue.create_comment(body)

    assert refusal.value.status == 422


def test_labels_of_the_repository(site):
    """Found in any case, made once, renamed where they are worn."""
    repo = site.repo()
    issue = repo.create_issue("One")
    label = repo.create_label("needs review", "ff0000", "Someone looks")
    issue.add_to_labels("Needs Review")
    assert repo.get_label("NEEDS REVIEW").color == "ff0000"
    with pytest.raises(UnknownObjectException):
        repo.get_label("other")
    with pytest.raises(GithubException) as refusal:
        repo.create_label("Needs review", "00ff00")
    assert refusal.value.data["errors"] == [{"resource": "Label", "field": "name", "code": "already_exists"}]
    for name, color, description in (("x", "red", ""), ("y" * 51, "ff0000", ""), ("z", "ff0000", "d" * 101)):
        with pytest.raises(GithubException) as refusal:
            repo.create_label(name, color, description)
        assert refusal.value.status == 422

    label.edit("reviewed", "00ff00")

    assert [each.name for each in repo.get_issue(1).labels] == ["reviewed"]
    repo.get_label("reviewed").delete()
    assert (list(repo.get_labels()), repo.get_issue(1).labels) == ([], [])


def test_labels_of_an_issue(site):
    """Added, set, removed; a label that the repository lacks is made."""
    issue = site.repo().create_issue("One")

    def worn() -> list[str]:
        return [label.name for label in issue.get_labels()]

    issue.add_to_labels("a", "b")
    issue.add_to_labels("b", "c/d")
    assert worn() == ["a", "b", "c/d"]
    issue.remove_from_labels("c/d")
    issue.set_labels("x", "a")
    assert worn() == ["x", "a"]
    with pytest.raises(GithubException, match="Label does not exist"):
        issue.remove_from_labels("b")
    issue.delete_labels()
    assert worn() == []
    assert [label.name for label in site.repo().get_labels()] == ["a", "b", "c/d", "x"]


def test_reactions(site):
    """Nobody gives the same sign twice."""
    issue = site.repo().create_issue("One")
    comment = issue.create_comment("Hello")

    given = [issue.create_reaction("+1"), issue.create_reaction("+1"), comment.create_reaction("eyes")]

    assert given[0].id == given[1].id
    assert [r.content for r in issue.get_reactions()] == ["+1"]
    assert [r.user.login for r in comment.get_reactions()] == ["factory"]
    assert issue.get_comment(comment.id).raw_data["reactions"]["eyes"] == 1


def test_history(site):
    """Events of an issue, and the timeline with commits, comments and reviews among them."""
    site.branch()
    pull = site.repo().create_pull("main", "feature", title="T", draft=True)
    pull.add_to_labels("a")
    pull.mark_ready_for_review()
    pull.create_issue_comment("Hello")
    site.repo("reviewer-token").get_pull(1).create_review(body="Fine", event="APPROVE")
    pull.edit(state="closed")
    issue = site.repo().get_issue(1)

    assert [event.event for event in issue.get_events()] == ["labeled", "ready_for_review", "closed"]
    timeline = [event.event for event in issue.get_timeline()]
    assert timeline == ["committed", "labeled", "ready_for_review", "commented", "reviewed", "closed"]


def test_what_a_reader_may(site):
    """Open an issue and change it, without labels; nobody else's; what GitHub does not let them do, it hides."""
    site.repo().create_issue("Of others")
    reader = site.repo("reader-token")
    issue = reader.create_issue("Wish", labels=["urgent"])
    issue.edit(title="Wishes", state="closed", labels=["urgent"])
    found = reader.get_issue(2)
    assert (found.title, found.state, found.labels) == ("Wishes", "closed", [])
    with pytest.raises(GithubException) as refusal:
        reader.get_issue(1).edit(state="closed")
    assert refusal.value.status == 403
    for forbidden in (lambda: issue.add_to_labels("urgent"), lambda: reader.create_label("x", "ff0000")):
        with pytest.raises(UnknownObjectException):
            forbidden()


def test_a_merge_closes_the_issues_that_it_names(site):
    """In the default branch only."""
    for title in ("One", "Two", "Three"):
        site.repo().create_issue(title)
    site.branch("release", {"r.txt": "r\n"})
    site.branch("feature")
    site.branch("other", {"other.txt": "o\n"})
    site.repo().create_pull("release", "other", title="T", body="Fixes #3").merge()
    site.repo().create_pull("main", "feature", title="T", body="Closes #1, resolved: #99; see #2").merge()

    assert [site.repo().get_issue(n).state for n in (1, 2, 3)] == ["closed", "open", "open"]
    assert site.repo().get_issue(1).closed_by.login == "factory"
