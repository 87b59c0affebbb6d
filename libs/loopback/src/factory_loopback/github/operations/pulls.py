"""Pull requests: list, open, look at, change, merge."""

from collections.abc import Callable
from typing import Any

from .. import refusals
from ..operation import Answer, Ask, Page, operation
from ..records import Pull
from ..refusals import Refusal
from .issues import check_may_edit

PULLS = "/repos/{owner}/{repo}/pulls"
PULL = f"{PULLS}/{{pull_number}}"


@operation("pulls/list", f"GET {PULLS}", "pull_requests:read")
async def list_pulls(ask: Ask) -> Page:
    state, head, base = (ask.query.get(name, "") for name in ("state", "head", "base"))
    owner = ask.repo.owner
    found = [
        pull
        for pull in ask.store.pulls.of(ask.repo.name)
        if state == "all" or ask.hub.issue(pull).state == (state or "open")
        if not head or ":" not in head or head == f"{owner}:{pull.head}"  # GitHub ignores a head without its owner
        if not base or base == pull.base
    ]
    falling = ask.query.get("direction", "asc" if "sort" in ask.query and ask.query["sort"] != "created" else "desc")
    return Page(sorted(found, key=_order(ask), reverse=falling == "desc"), ask.shapes.pull)


def _order(ask: Ask) -> Callable[[Pull], Any]:
    if ask.query.get("sort") == "updated":
        return lambda pull: (ask.hub.issue(pull).updated_at, pull.number)
    return lambda pull: pull.number


@operation("pulls/create", f"POST {PULLS}", "pull_requests:write")
async def create(ask: Ask) -> Answer:
    pull = await ask.hub.open_pull(
        ask.repo,
        ask.login,
        title=str(ask.required("PullRequest", "title")),
        body=ask.field("body"),
        head=ask.required("PullRequest", "head"),
        base=ask.required("PullRequest", "base"),
        draft=ask.field("draft", False),
        app=ask.app,
    )
    return await shown(ask, pull, 201)


@operation("pulls/get", f"GET {PULL}", "pull_requests:read")
async def get(ask: Ask) -> Answer:
    return await shown(ask, ask.pull())


@operation("pulls/update", f"PATCH {PULL}", "pull_requests:write", people="read")
async def update(ask: Ask) -> Answer:
    pull = ask.pull()
    check_may_edit(ask, ask.hub.issue(pull))
    await ask.hub.edit_pull(
        ask.repo,
        pull,
        ask.login,
        title=ask.field("title"),
        body=ask.field("body"),
        state=ask.field("state"),
        base=ask.field("base"),
    )
    return await shown(ask, pull)


@operation("pulls/list-commits", f"GET {PULL}/commits", "pull_requests:read")
async def commits(ask: Ask) -> Page:
    pull = ask.pull()
    return Page(await ask.bare.between(pull.base_sha, pull.head_sha), ask.git_shapes.commit)


@operation("pulls/list-files", f"GET {PULL}/files", "pull_requests:read")
async def files(ask: Ask) -> Page:
    pull = ask.pull()
    return Page(await ask.hub.files(ask.repo, pull), lambda change: ask.git_shapes.file(change, pull.head_sha))


@operation("pulls/check-if-merged", f"GET {PULL}/merge", "pull_requests:read")
async def is_merged(ask: Ask) -> Answer:
    if not ask.pull().merged_at:
        raise refusals.not_found()
    return Answer(None, 204)


@operation("pulls/merge", f"PUT {PULL}/merge", "contents:write")
async def merge(ask: Ask) -> Answer:
    pull = ask.pull()
    if ask.field("sha", pull.head_sha) != pull.head_sha:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")
    title, message = ask.field("commit_title", ""), ask.field("commit_message", "")
    way = ask.field("merge_method", "merge")
    sha = await ask.hub.merge(ask.repo, pull, ask.login, way=way, title=title, message=message)
    return Answer({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})


async def shown(ask: Ask, pull: Pull, status: int = 200) -> Answer:
    return Answer(ask.shapes.full_pull(pull, await ask.hub.stats(ask.repo, pull)), status)
