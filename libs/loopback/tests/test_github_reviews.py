"""Reviews of the loopback GitHub: verdicts, remarks on lines of the difference, and what GitHub refuses."""

import pytest
from github import GithubException, UnknownObjectException


@pytest.fixture
def pull(site):
    """`src/app.py`: line 2 changed, line 4 gone, `six` at the end."""
    site.branch("feature", {"src/app.py": "one\n2\nthree\nfive\nsix\n"})
    return site.repo().create_pull("main", "feature", title="T")


def by_reviewer(site):
    return site.repo("reviewer-token").get_pull(1)


@pytest.mark.parametrize(
    ("event", "state"), [("APPROVE", "APPROVED"), ("REQUEST_CHANGES", "CHANGES_REQUESTED"), ("COMMENT", "COMMENTED")]
)
def test_a_verdict_of_another_identity(site, pull, event: str, state: str):
    review = by_reviewer(site).create_review(body="Words", event=event)

    [found] = site.repo().get_pull(1).get_reviews()
    assert (found.id, found.state, found.user.login, found.body) == (review.id, state, "reviewer", "Words")
    assert (found.commit_id, found.submitted_at is not None) == (pull.head.sha, True)
    assert pull.get_review(review.id).state == state


def test_remarks_stand_on_lines_of_the_difference(site, pull):
    """On a new line, an unchanged one beside it, a removed one, and on several."""
    remarks = [
        {"path": "src/app.py", "line": 2, "side": "RIGHT", "body": "new"},
        {"path": "src/app.py", "line": 1, "side": "RIGHT", "body": "unchanged"},
        {"path": "src/app.py", "line": 4, "side": "LEFT", "body": "removed"},
        {"path": "src/app.py", "line": 5, "side": "RIGHT", "start_line": 3, "start_side": "RIGHT", "body": "several"},
    ]

    review = by_reviewer(site).create_review(body="See", event="REQUEST_CHANGES", comments=remarks)

    found = {comment.body: comment for comment in pull.get_review_comments()}
    assert [(c.line, c.side, c.position) for c in (found[r["body"]] for r in remarks)] == [
        (2, "RIGHT", 3),
        (1, "RIGHT", 1),
        (4, "LEFT", 5),
        (5, "RIGHT", 7),
    ]
    assert found["several"].start_line == 3
    assert found["new"].diff_hunk == "@@ -1,5 +1,5 @@\n one\n-two\n+2"
    assert {c.pull_request_review_id for c in found.values()} == {review.id}
    assert [c.body for c in pull.get_single_review_comments(review.id)] == [r["body"] for r in remarks]


@pytest.mark.parametrize(
    ("remark", "words"),
    [
        ({"path": "src/app.py", "line": 99}, "Line could not be resolved"),
        ({"path": "src/app.py", "line": 4, "side": "LEFT", "start_line": 9}, "Start line could not be resolved"),
        ({"path": "README.md", "line": 1}, "Path could not be resolved"),
        ({"path": "src/app.py", "position": 40}, "Line could not be resolved"),
        ({"path": "src/app.py"}, "Line could not be resolved"),
    ],
)
def test_a_line_that_the_difference_does_not_show(site, pull, remark: dict, words: str):
    """422, and nothing of the review is kept."""
    with pytest.raises(GithubException) as refusal:
        by_reviewer(site).create_review(body="See", event="COMMENT", comments=[{"body": "x", **remark}])

    assert (refusal.value.status, refusal.value.data["errors"]) == (422, [words])
    assert list(pull.get_reviews()) == []


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("APPROVE", "Can not approve your own pull request"),
        ("REQUEST_CHANGES", "Can not request changes on your own pull request"),
    ],
)
def test_nobody_judges_their_own_pull_request(site, pull, event: str, words: str):
    """But may comment on it."""
    with pytest.raises(GithubException) as refusal:
        pull.create_review(body="Fine", event=event)

    assert (refusal.value.status, refusal.value.data["errors"]) == (422, [words])
    assert pull.create_review(body="Note", event="COMMENT").state == "COMMENTED"


def test_a_verdict_needs_words_and_a_commit_of_the_pull_request(site, pull):
    for fields, words in (
        ({"event": "REQUEST_CHANGES"}, "can't be blank"),
        ({"event": "COMMENT"}, "Can not be blank"),
        ({"event": "APPROVE", "commit": site.repo().get_commit("main")}, "not part of the pull request"),
    ):
        with pytest.raises(GithubException) as refusal:
            by_reviewer(site).create_review(**{"body": "", **fields})
        assert words in refusal.value.data["errors"][0]


def test_a_pending_review_is_its_authors_alone(site, pull):
    """There is one at most; it can be written over and thrown away."""
    reviewer = by_reviewer(site)
    pending = reviewer.create_review(body="Half", comments=[{"path": "src/app.py", "line": 2, "body": "x"}])
    assert pending.state == "PENDING"
    assert [r.id for r in reviewer.get_reviews()] == [pending.id]
    assert list(pull.get_reviews()) == list(pull.get_review_comments()) == []
    with pytest.raises(UnknownObjectException):
        pull.get_review(pending.id)
    with pytest.raises(GithubException, match="one pending review"):
        reviewer.create_review(body="Other", event="COMMENT")

    pending.edit("Whole")
    assert reviewer.get_review(pending.id).body == "Whole"
    pending.delete()

    assert list(reviewer.get_reviews()) == []


def test_a_remark_by_itself_its_answer_its_change_its_end(site, pull):
    """A remark outside a review makes one; an answer stands in the same place."""
    first = by_reviewer(site).create_review_comment("Why?", pull.get_commits()[0], "src/app.py", line=2)
    reply = {"body": "Because.", "in_reply_to": first.id}
    _, told = site.client().requester.requestJsonAndCheck("POST", f"{pull.url}/comments", input=reply)
    answer = pull.get_review_comment(told["id"])

    assert (answer.in_reply_to_id, answer.line, answer.path) == (first.id, 2, "src/app.py")
    assert [r.state for r in pull.get_reviews()] == ["COMMENTED", "COMMENTED"]
    answer.edit("So.")
    assert pull.get_review_comment(answer.id).body == "So."
    with pytest.raises(UnknownObjectException):
        pull.get_review_comment(first.id).edit("Not mine")
    answer.delete()
    assert [c.body for c in pull.get_review_comments()] == ["Why?"]
    assert site.repo().get_pull(1).review_comments == 1
    with pytest.raises(GithubException) as refusal:
        pull.create_review_comment("x", pull.get_commits()[0], "src/app.py", line=77)
    assert refusal.value.data["errors"][0]["field"] == "pull_request_review_thread.line"
