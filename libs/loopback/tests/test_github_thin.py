"""The first way through the loopback GitHub with the real PyGithub and the real git."""

import asyncio
import subprocess
from pathlib import Path

from factory_loopback.github import GitHubServer
from github import Auth, Github

FACTORY = {
    "GIT_AUTHOR_NAME": "F",
    "GIT_AUTHOR_EMAIL": "f@x.y",
    "GIT_COMMITTER_NAME": "F",
    "GIT_COMMITTER_EMAIL": "f@x.y",
}


def git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], cwd=directory, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **FACTORY}
    )


async def test_from_a_push_to_a_ready_pull_request(github_server: GitHubServer, tmp_path: Path):
    """Clone, push, open a draft, mark it ready."""
    url = github_server.url.replace("://", "://x-access-token:factory-token@") + "/acme/shop.git"

    def work() -> None:
        assert git(tmp_path, "clone", "-q", url, "shop").returncode == 0
        shop = tmp_path / "shop"
        git(shop, "checkout", "-q", "-b", "feature")
        (shop / "a.txt").write_text("one\n")
        git(shop, "add", "a.txt")
        git(shop, "commit", "-q", "-m", "One")
        assert git(shop, "push", "-q", "origin", "feature").returncode == 0
        refused = git(shop, "push", "origin", "HEAD:main")
        assert "GH006: Protected branch update failed for refs/heads/main" in refused.stderr
        auth = Auth.Token("factory-token")
        with Github(base_url=github_server.api, auth=auth, seconds_between_requests=0, seconds_between_writes=0) as hub:
            pull = hub.get_repo("acme/shop").create_pull("main", "feature", title="One", body="x", draft=True)
            assert pull.draft
            pull.mark_ready_for_review()
            assert not hub.get_repo("acme/shop").get_pull(pull.number).draft

    await asyncio.to_thread(work)
