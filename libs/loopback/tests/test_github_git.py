"""git over HTTP at the loopback GitHub: who may, what is refused and in which words, what a push leaves behind."""

import base64
import contextlib
import os
import socket
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("reader-token", "Permission to acme/shop.git denied to reader"),
        ("wrong", "Authentication failed"),
        ("", "could not read Username|Authentication failed|Password"),
    ],
)
def test_who_may_not_push(site, token: str, words: str):
    clone = site.clone()
    sha = clone.commit({"a.txt": "a\n"})
    url = site.git_url(token) if token else f"{site.server.url}/acme/shop.git"

    with pytest.raises(RuntimeError, match=words):
        clone.git("push", "-q", url, f"{sha}:refs/heads/feature")

    assert [branch.name for branch in site.repo().get_branches()] == ["main"]


def test_a_reader_may_fetch(site):
    assert (site.clone("reader-token").path / "README.md").read_text() == "# Shop\n"


@pytest.mark.parametrize("repo", ["acme/none", "none/shop"])
def test_what_is_not_there(site, repo: str):
    clone = site.clone()

    with pytest.raises(RuntimeError, match="Repository not found"):
        clone.git("ls-remote", site.git_url().replace("acme/shop", repo))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (("HEAD:main",), "Changes must be made through a pull request"),
        (("--force", "HEAD~1:main"), "Cannot force-push to this branch"),
        ((":main",), "Cannot delete this branch"),
        (("HEAD:refs/pull/1/head",), "deny updating a hidden ref"),
    ],
)
def test_protected_branches(site, what: tuple[str, ...], words: str):
    """Refused ref by ref, as by GitHub: another branch in the same push gets through."""
    site.run(second_commit(site))
    clone = site.clone()
    clone.commit({"a.txt": "a\n"})
    clone.git("checkout", "-q", "-B", "work", "HEAD~1" if "--force" in what else "HEAD")

    with pytest.raises(RuntimeError) as refusal:
        clone.git("push", "origin", *what, "HEAD:refs/heads/feature")

    assert words in str(refusal.value)
    assert "remote rejected" in str(refusal.value)
    if "refs/pull" not in what[0]:
        assert "GH006: Protected branch update failed for refs/heads/main." in str(refusal.value)
    assert {branch.name for branch in site.repo().get_branches()} == {"main", "feature"}


async def second_commit(site) -> None:
    async with site.server.person("boss", permission="admin") as boss:
        await boss.push("main", {"second.txt": "2\n"})


def test_a_big_push(site):
    """More than git sends in one piece: it asks first, and sends in chunks."""
    clone = site.clone()
    clone.git("checkout", "-q", "-b", "feature")
    (clone.path / "big.bin").write_bytes(bytes((n * n) % 251 for n in range(3_000_000)))
    clone.git("config", "core.compression", "0")
    sha = clone.commit({"a.txt": "a\n"}, push=True)

    assert site.repo().get_branch("feature").commit.sha == sha
    posts = [call for call in site.server.calls("POST") if call.operation == "git-receive-pack"]
    assert len(posts) == 2


def test_old_commits_and_parts_are_fetched(site):
    """By sha (even when no branch holds it any more), shallow, and without blobs."""
    first = site.branch("feature")
    clone = site.clone(name="other")
    clone.git("checkout", "-q", "feature")
    site.repo().create_pull("main", "feature", title="T")
    clone.git("commit", "-q", "--amend", "-m", "Anew")
    clone.git("push", "-q", "--force", "origin", "feature")

    url = site.git_url()
    clone.git("clone", "-q", "--depth", "1", "--filter=blob:none", url, "shallow")
    clone.git("-C", "shallow", "fetch", "-q", "--depth", "1", "origin", first)

    assert clone.git("-C", "shallow", "rev-parse", "FETCH_HEAD") == first


def test_the_log_names_who_pushed(site):
    site.branch("feature")

    calls = [(c.method, c.path, c.login, c.status) for c in site.server.calls(operation="git-receive-pack")]

    assert calls[-1] == ("POST", "/acme/shop.git/git-receive-pack", "factory", 200)
    assert ("GET", "/acme/shop.git/info/refs", "", 401) in calls


def test_who_hangs_up_in_the_middle_leaves_nothing_behind(site):
    """A fetch that is broken off: its git ends, and the next one works."""
    clone = site.clone()
    clone.git("checkout", "-q", "-b", "feature")
    (clone.path / "big.bin").write_bytes(os.urandom(30_000_000))
    clone.commit({"a.txt": "a\n"}, push=True)
    [name, password] = site.git_url().split("//")[1].split("@")[0].split(":")
    fetch = (
        b"0011command=fetch0001000fno-progress0032want " + clone.git("rev-parse", "HEAD").encode() + b"\n0009done\n0000"
    )
    head = (
        "POST /acme/shop.git/git-upload-pack HTTP/1.1\r\nHost: x\r\nGit-Protocol: version=2\r\n"
        f"Authorization: Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}\r\n"
        f"Content-Type: application/x-git-upload-pack-request\r\nContent-Length: {len(fetch)}\r\n\r\n"
    )

    def served() -> list[str]:
        """Processes that work in the repository."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                found += [process.name] * ((process / "cwd").readlink() == site.bare)
        return found

    with socket.create_connection(("127.0.0.1", site.server.port)) as connection:
        connection.sendall(head.encode() + fetch)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert len(served()) > 0

    end = time.monotonic() + 30
    while served() and time.monotonic() < end:
        time.sleep(0.05)
    assert served() == []
    assert site.clone(name="again").git("log", "--oneline", "-1", "origin/feature")
