"""Commits, and what lies between two of them."""

from ..operation import Answer, Ask, Page, operation
from ..refusals import Refusal, not_found
from ..shapes import Wire

COMMITS = "/repos/{owner}/{repo}/commits"
FILES_MAX = 300  # GitHub shows no more of a comparison


@operation("repos/list-commits", f"GET {COMMITS}", "contents:read")
async def list_commits(ask: Ask) -> Page:
    start = await ask.bare.resolve(ask.query.get("sha") or ask.repo.default_branch)
    if start is None:
        raise not_found()
    found = await ask.bare.log(start, path=ask.query.get("path", ""))
    author, since, until = (ask.query.get(name) for name in ("author", "since", "until"))
    wanted = [
        commit
        for commit in found
        if author is None or author in (commit.author.name, commit.author.email)
        if since is None or commit.committer.date >= since
        if until is None or commit.committer.date <= until
    ]
    return Page(wanted, ask.git_shapes.commit)


@operation("repos/get-commit", f"GET {COMMITS}/{{ref}}", "contents:read")
async def get(ask: Ask) -> Answer:
    commit = await ask.bare.commit(await ask.commit())
    before = commit.parents[0] if commit.parents else await ask.bare.empty_tree()
    return Answer(ask.git_shapes.commit(commit, await ask.bare.diff(before, commit.sha)))


@operation("repos/compare-commits-with-basehead", "GET /repos/{owner}/{repo}/compare/{basehead}", "contents:read")
async def compare(ask: Ask) -> Page:
    """Commits are in pages; the files come with the first."""
    base, dots, head = ask.path["basehead"].partition("...")
    ends = [await ask.bare.resolve(name.removeprefix(f"{ask.repo.owner}:")) for name in (base, head)]
    start, end = ends
    if not dots or start is None or end is None:
        raise not_found()
    fork = await ask.bare.merge_base(start, end)
    if fork is None:
        raise Refusal(404, f"No common ancestor between {base} and {head}.")
    ahead, behind = await ask.bare.between(start, end), await ask.bare.between(end, start)
    files = await ask.bare.diff(fork, end) if ask.query.get("page", "1") == "1" else []
    first, meeting = await ask.bare.commit(start), await ask.bare.commit(fork)
    page = f"{ask.hub.site.page(ask.repo.name)}/compare/{ask.path['basehead']}"
    states = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind", (False, False): "identical"}

    def whole(commits: list[Wire]) -> Wire:
        return {
            "url": f"{ask.hub.site.repo(ask.repo.name)}/compare/{ask.path['basehead']}",
            "html_url": page,
            "permalink_url": f"{ask.hub.site.page(ask.repo.name)}/compare/{start}...{end}",
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "base_commit": ask.git_shapes.commit(first),
            "merge_base_commit": ask.git_shapes.commit(meeting),
            "status": states[bool(ahead), bool(behind)],
            "ahead_by": len(ahead),
            "behind_by": len(behind),
            "total_commits": len(ahead),
            "commits": commits,
            "files": [ask.git_shapes.file(file, end) for file in files[:FILES_MAX]],
        }

    return Page(ahead, ask.git_shapes.commit, whole)
