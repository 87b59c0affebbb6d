"""Branches, and refs in general."""

from .. import refusals
from ..news import ZEROS
from ..operation import Answer, Ask, Page, operation
from ..refusals import Refusal
from ..shapes import Wire
from ..site import node_id_of

BRANCHES = "/repos/{owner}/{repo}/branches"
GIT = "/repos/{owner}/{repo}/git"


@operation("repos/list-branches", f"GET {BRANCHES}", "contents:read")
async def list_branches(ask: Ask) -> Page:
    wanted = ask.query.get("protected")
    found = [
        (name, sha)
        for name, sha in (await ask.bare.branches()).items()
        if wanted is None or (name in ask.repo.protected) == (wanted == "true")
    ]
    return Page(found, lambda branch: _short(ask, *branch))


@operation("repos/get-branch", f"GET {BRANCHES}/{{branch}}", "contents:read")
async def get(ask: Ask) -> Answer:
    name = ask.path["branch"]
    sha = await ask.bare.branch(name)
    if sha is None:
        raise Refusal(404, "Branch not found")
    links = {"self": f"{ask.hub.site.repo(ask.repo.name)}/branches/{name}"}
    links["html"] = f"{ask.hub.site.page(ask.repo.name)}/tree/{name}"
    commit = ask.git_shapes.commit(await ask.bare.commit(sha))
    return Answer({**_short(ask, name, sha), "commit": commit, "_links": links})


def _short(ask: Ask, name: str, sha: str) -> Wire:
    url = ask.hub.site.repo(ask.repo.name)
    protected = name in ask.repo.protected
    return {
        "name": name,
        "commit": {"sha": sha, "url": f"{url}/commits/{sha}"},
        "protected": protected,
        "protection": {
            "enabled": protected,
            "required_status_checks": {"enforcement_level": "off", "contexts": [], "checks": []},
        },
        "protection_url": f"{url}/branches/{name}/protection",
    }


@operation("git/get-ref", f"GET {GIT}/ref/{{ref}}", "contents:read")
async def get_ref(ask: Ask) -> Answer:
    name = f"refs/{ask.path['ref']}"
    sha = await ask.bare.ref(name)
    if sha is None:
        raise refusals.not_found()
    return Answer(await _ref(ask, name, sha))


@operation("git/list-matching-refs", f"GET {GIT}/matching-refs/{{ref}}", "contents:read")
async def matching(ask: Ask) -> Page:
    start = f"refs/{ask.path['ref']}"
    found = [await _ref(ask, name, sha) for name, sha in (await ask.bare.refs()).items() if name.startswith(start)]
    return Page(found, lambda ref: ref)


@operation("git/create-ref", f"POST {GIT}/refs", "contents:write")
async def create_ref(ask: Ask) -> Answer:
    name, sha = ask.required("Reference", "ref"), ask.required("Reference", "sha")
    if not name.startswith("refs/") or name.count("/") < 2:
        raise Refusal(422, "Reference name must start with 'refs/' and contain at least one additional slash.")
    if await ask.bare.ref(name):
        raise Refusal(422, "Reference already exists")
    if await ask.bare.kind(sha) is None:
        raise Refusal(422, "Object does not exist")
    await _move(ask, name, None, sha)
    return Answer(await _ref(ask, name, sha), 201)


@operation("git/update-ref", f"PATCH {GIT}/refs/{{ref}}", "contents:write")
async def update_ref(ask: Ask) -> Answer:
    name, sha = f"refs/{ask.path['ref']}", ask.required("Reference", "sha")
    old = await _existing(ask, name)
    if await ask.bare.kind(sha) is None:
        raise Refusal(422, "Object does not exist")
    if not ask.field("force", False) and not await ask.bare.contains(sha, old):
        raise Refusal(422, "Update is not a fast forward")
    await _move(ask, name, old, sha)
    return Answer(await _ref(ask, name, sha))


@operation("git/delete-ref", f"DELETE {GIT}/refs/{{ref}}", "contents:write")
async def delete_ref(ask: Ask) -> Answer:
    name = f"refs/{ask.path['ref']}"
    await _move(ask, name, await _existing(ask, name), None)
    return Answer(None, 204)


async def _existing(ask: Ask, name: str) -> str:
    old = await ask.bare.ref(name)
    if old is None:
        raise Refusal(422, "Reference does not exist")
    return old


async def _move(ask: Ask, name: str, old: str | None, new: str | None) -> None:
    """Raises Refusal (422) for a protected branch and for GitHub's own refs."""
    branch = name.removeprefix("refs/heads/")
    if name.startswith("refs/pull/"):
        raise Refusal(422, "Reference cannot be updated")
    if branch in ask.repo.protected:
        doing = "Changes must be made through a pull request." if new else "Cannot delete this protected branch"
        raise Refusal(422, doing)
    if new is None:
        await ask.bare.drop_ref(name)
    else:
        await ask.bare.set_ref(name, new, old or ZEROS)
    if branch != name:
        await ask.hub.moved(ask.repo, branch, old, new, ask.login)


async def _ref(ask: Ask, name: str, sha: str) -> Wire:
    url, kind = f"{ask.hub.site.repo(ask.repo.name)}/git", await ask.bare.kind(sha) or "commit"
    return {
        "ref": name,
        "node_id": node_id_of("REF", f"{ask.repo.name}:{name}"),
        "url": f"{url}/{name}",
        "object": {"sha": sha, "type": kind, "url": f"{url}/{kind}s/{sha}"},
    }
