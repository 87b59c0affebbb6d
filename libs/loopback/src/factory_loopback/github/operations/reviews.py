"""Reviews of pull requests: a verdict with remarks on lines, seen by others once it is submitted."""

from dataclasses import replace
from typing import Any

from .. import refusals
from ..diff import Shown, find_line, find_position
from ..operation import Answer, Ask, Page, operation
from ..records import LineComment, Pull, Review, now

PULL = "/repos/{owner}/{repo}/pulls/{pull_number}"
REVIEWS = f"{PULL}/reviews"
REVIEW = f"{REVIEWS}/{{review_id}}"
STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED", "": "PENDING"}
OF_OTHERS_ONLY = {"APPROVE": "approve", "REQUEST_CHANGES": "request changes on"}


@operation("pulls/list-reviews", f"GET {REVIEWS}", "pull_requests:read")
async def list_reviews(ask: Ask) -> Page:
    found = ask.store.reviews.of(ask.repo.name, number=ask.pull().number)
    return Page([review for review in found if _visible(ask, review)], ask.shapes.review)


@operation("pulls/create-review", f"POST {REVIEWS}", "pull_requests:write", people="read")
async def create(ask: Ask) -> Answer:
    pull, event = ask.pull(), ask.field("event", "")
    body, given, commit = ask.field("body", ""), ask.field("comments", []), ask.field("commit_id", pull.head_sha)
    _check(ask, pull, event, body, given)
    if commit not in {each.sha for each in await ask.bare.between(pull.base_sha, pull.head_sha)}:
        raise refusals.unprocessable("The commit is not part of the pull request")
    review = Review(ask.store.next_id(), ask.repo.name, pull.number, ask.login, body, STATES[event], commit)
    remarks = [await _remark(ask, pull, review, each) for each in given]
    if event:
        review.submitted_at = now()
    ask.store.reviews.put(review)
    for remark in remarks:
        ask.store.line_comments.put(remark)
    if event:
        _submitted(ask, pull, review)
    return Answer(ask.shapes.review(review))


@operation("pulls/get-review", f"GET {REVIEW}", "pull_requests:read")
async def get(ask: Ask) -> Answer:
    return Answer(ask.shapes.review(_review(ask)))


@operation("pulls/update-review", f"PUT {REVIEW}", "pull_requests:write", people="read")
async def update(ask: Ask) -> Answer:
    review = _own(ask)
    review.body = ask.required("PullRequestReview", "body")
    return Answer(ask.shapes.review(ask.store.reviews.put(review)))


@operation("pulls/delete-pending-review", f"DELETE {REVIEW}", "pull_requests:write", people="read")
async def delete(ask: Ask) -> Answer:
    review = _own(ask)
    if review.state != "PENDING":
        raise refusals.unprocessable("Can not delete a non-pending pull request review")
    ask.store.reviews.drop(review)
    for remark in ask.store.line_comments.of(ask.repo.name, review=review.id):
        ask.store.line_comments.drop(remark)
    return Answer(ask.shapes.review(review))


@operation("pulls/list-comments-for-review", f"GET {REVIEW}/comments", "pull_requests:read")
async def remarks_of(ask: Ask) -> Page:
    return Page(ask.store.line_comments.of(ask.repo.name, review=_review(ask).id), _without_lines(ask))


@operation("pulls/list-review-comments", f"GET {PULL}/comments", "pull_requests:read")
async def list_remarks(ask: Ask) -> Page:
    reviews = {r.id: r for r in ask.store.reviews.of(ask.repo.name, number=ask.pull().number)}
    since = ask.query.get("since", "")
    found = [
        remark
        for remark in ask.store.line_comments.of(ask.repo.name, number=ask.pull().number)
        if remark.updated_at >= since and reviews[remark.review].state != "PENDING"
    ]
    if ask.query.get("direction") == "desc":
        found.reverse()
    return Page(found, ask.shapes.line_comment)


@operation("pulls/create-review-comment", f"POST {PULL}/comments", "pull_requests:write", people="read")
async def create_remark(ask: Ask) -> Answer:
    """A remark by itself comes with a review of its own."""
    pull, body = ask.pull(), ask.required("PullRequestReviewComment", "body")
    review_id = ask.store.next_id()
    review = Review(review_id, ask.repo.name, pull.number, ask.login, "", "COMMENTED", pull.head_sha, now())
    if answered := ask.field("in_reply_to"):
        first = ask.store.line_comments.get(answered)
        if first is None or first.number != pull.number:
            raise refusals.invalid("PullRequestReviewComment", "in_reply_to")
        fresh = {"id": ask.store.next_id(), "author": ask.login, "body": body, "created_at": now(), "updated_at": now()}
        remark = replace(first, review=review.id, in_reply_to=first.in_reply_to or first.id, **fresh)
    else:
        review.commit_id = ask.required("PullRequestReviewComment", "commit_id")
        try:
            remark = await _remark(ask, pull, review, ask.body)
        except refusals.Refusal as error:
            field = "pull_request_review_thread.line" if ask.field("line") else "pull_request_review_thread.path"
            raise refusals.invalid("PullRequestReviewComment", field, "custom", "could not be resolved") from error
    ask.store.reviews.put(review)
    ask.store.line_comments.put(remark)
    _submitted(ask, pull, review)
    return Answer(ask.shapes.line_comment(remark), 201)


REMARK = "/repos/{owner}/{repo}/pulls/comments/{comment_id}"


@operation("pulls/get-review-comment", f"GET {REMARK}", "pull_requests:read")
async def get_remark(ask: Ask) -> Answer:
    return Answer(ask.shapes.line_comment(_existing_remark(ask)))


@operation("pulls/update-review-comment", f"PATCH {REMARK}", "pull_requests:write", people="read")
async def update_remark(ask: Ask) -> Answer:
    remark = _own_remark(ask)
    remark.body, remark.updated_at = ask.required("PullRequestReviewComment", "body"), now()
    return Answer(ask.shapes.line_comment(ask.store.line_comments.put(remark)))


@operation("pulls/delete-review-comment", f"DELETE {REMARK}", "pull_requests:write", people="read")
async def delete_remark(ask: Ask) -> Answer:
    ask.store.line_comments.drop(_own_remark(ask))
    return Answer(None, 204)


@operation("pulls/list-requested-reviewers", f"GET {PULL}/requested_reviewers", "pull_requests:read")
async def requested(ask: Ask) -> Answer:
    return Answer({"users": [ask.shapes.user(login) for login in ask.pull().reviewers], "teams": []})


@operation("pulls/request-reviewers", f"POST {PULL}/requested_reviewers", "pull_requests:write", people="triage")
async def request(ask: Ask) -> Answer:
    pull = ask.pull()
    for login in ask.field("reviewers", []):
        if login == ask.hub.issue(pull).author:
            raise refusals.Refusal(422, "Review cannot be requested from pull request author.")
        if login not in ask.repo.collaborators:
            words = "Reviews may only be requested from collaborators. One or more of the users or teams you specified"
            raise refusals.Refusal(422, f"{words} is not a collaborator of the {ask.repo.name} repository.")
    pull.reviewers = list(dict.fromkeys([*pull.reviewers, *ask.field("reviewers", [])]))
    ask.store.pulls.put(pull)
    ask.hub.touch(ask.hub.issue(pull))
    return Answer(ask.shapes.pull(pull), 201)


@operation(
    "pulls/remove-requested-reviewers", f"DELETE {PULL}/requested_reviewers", "pull_requests:write", people="triage"
)
async def unrequest(ask: Ask) -> Answer:
    pull = ask.pull()
    pull.reviewers = [login for login in pull.reviewers if login not in ask.field("reviewers", [])]
    ask.store.pulls.put(pull)
    return Answer(ask.shapes.pull(pull))


def _check(ask: Ask, pull: Pull, event: str, body: str, given: list[Any]) -> None:
    """Raises Refusal (422)."""
    if event in OF_OTHERS_ONLY and ask.hub.issue(pull).author == ask.login:
        raise refusals.unprocessable(f"Can not {OF_OTHERS_ONLY[event]} your own pull request")
    if event == "REQUEST_CHANGES" and not body.strip():
        raise refusals.unprocessable("Body can't be blank")
    if event == "COMMENT" and not body.strip() and not given:
        raise refusals.unprocessable("Review Can not be blank")
    mine = ask.store.reviews.of(ask.repo.name, number=pull.number, author=ask.login, state="PENDING")
    if mine:
        raise refusals.unprocessable("User can only have one pending review per pull request")


async def _remark(ask: Ask, pull: Pull, review: Review, given: dict[str, Any]) -> LineComment:
    """Raises Refusal (422) for what the difference does not show."""
    base = await ask.bare.merge_base(pull.base_sha, review.commit_id) or pull.base_sha
    files = {change.path: change for change in await ask.bare.diff(base, review.commit_id)}
    if given["path"] not in files:
        raise refusals.unprocessable("Path could not be resolved")
    patch, side = files[given["path"]].patch, given.get("side") or "RIGHT"
    shown = _shown(given, patch, side)
    start_side = given.get("start_side") or side
    start = given.get("start_line")
    if start and (find_line(patch, start, start_side) is None or (start_side == side and start >= given["line"])):
        raise refusals.unprocessable("Start line could not be resolved")
    return LineComment(
        ask.store.next_id(),
        ask.repo.name,
        pull.number,
        review.id,
        ask.login,
        given["body"],
        given["path"],
        review.commit_id,
        shown.hunk if shown else "",
        shown.position if shown else None,
        shown.number(side) or shown.number("LEFT") if shown else None,
        side if shown is None or shown.number(side) else "LEFT",
        start,
        start_side if start else None,
    )


def _shown(given: dict[str, Any], patch: str, side: str) -> Shown | None:
    """The line that is meant; None for a remark on the whole file."""
    if given.get("subject_type") == "file":
        return None
    line, position = given.get("line"), given.get("position", 0)
    shown = find_position(patch, position) if line is None else find_line(patch, line, side)
    if shown is None:
        raise refusals.unprocessable("Line could not be resolved")
    return shown


def _without_lines(ask: Ask) -> Any:
    """The list of one review's remarks shows them as older versions of the API did."""
    left_out = ("start_line", "original_start_line", "start_side", "line", "original_line", "side", "subject_type")
    return lambda remark: {k: v for k, v in ask.shapes.line_comment(remark).items() if k not in left_out}


def _submitted(ask: Ask, pull: Pull, review: Review) -> None:
    if ask.login in pull.reviewers:
        pull.reviewers.remove(ask.login)
        ask.store.pulls.put(pull)
    ask.hub.touch(ask.hub.issue(pull))
    ask.hub.news.review(pull, review)


def _visible(ask: Ask, review: Review) -> bool:
    """A pending review is its author's alone."""
    return review.state != "PENDING" or review.author == ask.login


def _review(ask: Ask) -> Review:
    review = ask.store.reviews.get(ask.path["review_id"])
    if (
        review is None
        or review.repo != ask.repo.name
        or review.number != ask.pull().number
        or not _visible(ask, review)
    ):
        raise refusals.not_found()
    return review


def _own(ask: Ask) -> Review:
    review = _review(ask)
    if review.author != ask.login:
        raise refusals.not_found()
    return review


def _existing_remark(ask: Ask) -> LineComment:
    remark = ask.store.line_comments.get(ask.path["comment_id"])
    if remark is None or remark.repo != ask.repo.name:
        raise refusals.not_found()
    return remark


def _own_remark(ask: Ask) -> LineComment:
    remark = _existing_remark(ask)
    if remark.author != ask.login:
        raise refusals.not_found()
    return remark
