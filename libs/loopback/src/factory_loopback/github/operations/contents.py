"""Files and folders of a commit, and small changes of one file; trees and blobs as git has them."""

import base64
import binascii
import textwrap
from typing import Any
from urllib.parse import quote

from .. import refusals
from ..bare import Entry, Signature
from ..operation import Answer, Ask, operation
from ..refusals import Refusal
from ..shapes import Wire
from ..site import node_id_of

CONTENTS = "/repos/{owner}/{repo}/contents/{path}"
GIT = "/repos/{owner}/{repo}/git"
SHOWN_MAX = 1024 * 1024  # bytes of a file that its answer holds
KINDS = {"blob": "file", "tree": "dir", "commit": "submodule"}


@operation("repos/get-content", f"GET {CONTENTS}", "contents:read")
async def get(ask: Ask) -> Answer:
    ref, path = ask.query.get("ref") or ask.repo.default_branch, ask.path["path"].strip("/")
    sha = await ask.bare.resolve(ref)
    if sha is None:
        raise Refusal(404, f"No commit found for the ref {ref}")
    entry = await ask.bare.entry(sha, path) if path else Entry("040000", "tree", sha, "", None)
    if entry is None:
        raise refusals.not_found()
    if entry.kind == "tree":
        return Answer([_shape(ask, each, ref) for each in await ask.bare.tree(sha, path=path)])
    shape = _shape(ask, entry, ref)
    if shape["type"] == "symlink":
        return Answer(shape | {"target": (await ask.bare.blob(entry.sha)).decode(errors="replace")})
    if shape["type"] == "submodule":
        raise Refusal(501, "Submodules are not built in the loopback GitHub.")
    data = await ask.bare.blob(entry.sha)
    held = {"content": _base64(data), "encoding": "base64"}
    return Answer(shape | (held if len(data) <= SHOWN_MAX else {"content": "", "encoding": "none"}))


@operation("repos/create-or-update-file-contents", f"PUT {CONTENTS}", "contents:write")
async def put(ask: Ask) -> Answer:
    try:
        data = base64.b64decode(ask.required("Content", "content"))
    except binascii.Error as error:
        raise Refusal(422, "content is not valid Base64.") from error
    path = ask.path["path"]
    branch, tip, old = await _found(ask)
    if old is None and ask.field("sha"):
        raise refusals.not_found()
    if old and not ask.field("sha"):
        raise Refusal(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    commit = await _committed(ask, branch, tip, old, data)
    entry = await ask.bare.entry(commit, path)
    assert entry  # it was just written
    return Answer(await _file_commit(ask, commit, _shape(ask, entry, branch)), 200 if old else 201)


@operation("repos/delete-file", f"DELETE {CONTENTS}", "contents:write")
async def delete(ask: Ask) -> Answer:
    branch, tip, old = await _found(ask)
    if old is None:
        raise refusals.not_found()
    return Answer(await _file_commit(ask, await _committed(ask, branch, tip, old, None), None))


async def _found(ask: Ask) -> tuple[str, str, Entry | None]:
    """Branch, its tip and what lies at the path. Raises Refusal (404) for no such branch."""
    branch = ask.field("branch", ask.repo.default_branch)
    tip = await ask.bare.branch(branch)
    if tip is None:
        raise Refusal(404, f"Branch {branch} not found")
    return branch, tip, await ask.bare.entry(tip, ask.path["path"])


async def _committed(ask: Ask, branch: str, tip: str, old: Entry | None, data: bytes | None) -> str:
    """The file with these data (or gone) as a commit on the branch. Raises Refusal (409)."""
    path = ask.path["path"]
    if old and old.sha != ask.field("sha"):
        raise Refusal(409, f"{path} does not match {ask.field('sha')}")
    if branch in ask.repo.protected:
        doing = "delete" if data is None else "update" if old else "create"
        raise Refusal(409, f"Could not {doing} file: Changes must be made through a pull request.")
    tree = await ask.bare.with_file(tip, path, data)
    who = _who(ask.field("author") or ask.field("committer"), ask.hub.signature(ask.login))
    commit = await ask.bare.commit_tree(tree, [tip], ask.required("Content", "message") + "\n", who)
    await ask.bare.set_ref(f"refs/heads/{branch}", commit, tip)
    await ask.hub.moved(ask.repo, branch, tip, commit, ask.login)
    return commit


def _who(given: dict[str, Any] | None, default: Signature) -> Signature:
    if given is None:
        return default
    return Signature(given["name"], given["email"], given.get("date", default.date))


async def _file_commit(ask: Ask, sha: str, content: Wire | None) -> Wire:
    whole = ask.git_shapes.commit(await ask.bare.commit(sha))
    inner = {name: value for name, value in whole["commit"].items() if name != "comment_count"}
    outer = {name: whole[name] for name in ("sha", "node_id", "html_url", "parents")}
    return {"content": content, "commit": inner | outer}


def _shape(ask: Ask, entry: Entry, ref: str) -> Wire:
    url, page, path = ask.hub.site.repo(ask.repo.name), ask.hub.site.page(ask.repo.name), quote(entry.path)
    kind = "symlink" if entry.mode == "120000" else KINDS[entry.kind]
    links = {
        "self": f"{url}/contents/{path}?ref={quote(ref)}",
        "git": f"{url}/git/{'trees' if kind == 'dir' else 'blobs'}/{entry.sha}",
        "html": f"{page}/{'tree' if kind == 'dir' else 'blob'}/{ref}/{path}",
    }
    return {
        "type": kind,
        "size": entry.size or 0,
        "name": entry.path.rpartition("/")[2],
        "path": entry.path,
        "sha": entry.sha,
        "url": links["self"],
        "git_url": links["git"],
        "html_url": links["html"],
        "download_url": None if kind == "dir" else f"{page}/raw/{ref}/{path}",
        "_links": links,
    }


@operation("git/get-tree", f"GET {GIT}/trees/{{tree_sha}}", "contents:read")
async def get_tree(ask: Ask) -> Answer:
    """The sha of a commit or a branch's name do as well."""
    asked = ask.path["tree_sha"]
    sha = await ask.bare.resolve(asked)
    tree = (await ask.bare.commit(sha)).tree if sha else asked
    if await ask.bare.kind(tree) != "tree":
        raise refusals.not_found()
    url = f"{ask.hub.site.repo(ask.repo.name)}/git"
    found = [
        {
            "path": entry.path,
            "mode": entry.mode,
            "type": entry.kind,
            "sha": entry.sha,
            "url": f"{url}/{entry.kind}s/{entry.sha}",
            **({"size": entry.size} if entry.size is not None else {}),
        }
        for entry in await ask.bare.tree(tree, recursive="recursive" in ask.query)
    ]
    return Answer({"sha": tree, "url": f"{url}/trees/{tree}", "tree": found, "truncated": False})


@operation("git/get-blob", f"GET {GIT}/blobs/{{file_sha}}", "contents:read")
async def get_blob(ask: Ask) -> Answer:
    sha = ask.path["file_sha"]
    if await ask.bare.kind(sha) != "blob":
        raise refusals.not_found()
    data = await ask.bare.blob(sha)
    return Answer(
        {
            "content": _base64(data),
            "encoding": "base64",
            "url": f"{ask.hub.site.repo(ask.repo.name)}/git/blobs/{sha}",
            "sha": sha,
            "size": len(data),
            "node_id": node_id_of("B", sha),
        }
    )


def _base64(data: bytes) -> str:
    """In lines, as GitHub writes it."""
    return "".join(f"{line}\n" for line in textwrap.wrap(base64.b64encode(data).decode(), 60))
