"""What a person does with git: commits to a branch and pushes, past the protection of branches, as an admin may."""

from dataclasses import dataclass, field

from factory_loopback.errors import BadSetup

from .bare import git
from .hub import Hub
from .news import ZEROS

AUTHOR = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false")


@dataclass
class Push:
    """One commit on a branch: these files changed, or gone where their text is None.

    A branch that is not there begins at `start` (a branch or commit; the default branch where that is empty). With
    `force` the branch is made anew from `start`, and what it held is no more in it.
    """

    repo: str
    branch: str
    files: dict[str, str | None] = field(default_factory=dict)
    message: str = "A change by hand"
    start: str = ""
    force: bool = False


async def push(hub: Hub, login: str, wanted: Push) -> str:
    """Makes the commit, moves the branch and lets everybody hear of it; returns its sha."""
    repo = hub.repo(wanted.repo)
    if repo is None:
        raise BadSetup(f"There is no repository {wanted.repo}.")
    bare = hub.bare(repo)
    async with hub.lock(repo):
        tip = await bare.branch(wanted.branch)
        start = await bare.resolve(wanted.start or repo.default_branch) if wanted.force or tip is None else tip
        if start is None:
            raise BadSetup(f"There is no commit {wanted.start} in {repo.name}.")
        async with bare.worktree(start) as checkout:
            for path, text in wanted.files.items():
                file = checkout / path
                if text is None:
                    file.unlink()
                else:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(text, encoding="utf-8")
            who = hub.signature(login).environment()
            await git(checkout, "add", "--all")
            await git(checkout, *AUTHOR, "commit", "--quiet", "--allow-empty", "-m", wanted.message, more=who)
            sha = (await git(checkout, "rev-parse", "HEAD")).decode().strip()
        await bare.set_ref(f"refs/heads/{wanted.branch}", sha, tip or ZEROS)
        await hub.moved(repo, wanted.branch, tip, sha, login)
    return sha
