"""A push moves the factory's own branch forward, or says why not; never with force, never onto what is protected."""

import asyncio
import base64
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from factory_forge.errors import (
    BadBranchName,
    BadRepoUrl,
    CannotClone,
    NoSuchRef,
    NotFastForward,
    ProtectedBranch,
    PushRefused,
    RemoteUnreachable,
)
from factory_forge.git import Mirror
from factory_forge.runner import Credentials, credential_config


@pytest.fixture
async def work(git, mirror: Mirror, clone: Path, base: str) -> str:
    """A commit of a job, in the mirror."""
    sha = git.commit(clone, "work", {"x": "x"})
    await mirror.import_bundle(git.bundle(clone, base), ref="j1/1", expect=sha, base=base)
    return sha


async def test_push(git, mirror: Mirror, work: str) -> None:
    """The branch is made, moved forward, and a repetition does nothing."""
    remote = Path(mirror.url)
    for _ in range(2):
        await mirror.push(mirror.url, work, git.BRANCH)
        assert git(remote, "rev-parse", git.BRANCH) == work
    assert git(remote, "for-each-ref", "--format=%(refname)").split() == [f"refs/heads/{git.BRANCH}", "refs/heads/main"]


async def test_protected(git, mirror: Mirror, work: str) -> None:
    """The default branch, those named, and every name that is not the factory's are never pushed to."""
    before = git(Path(mirror.url), "for-each-ref")
    with pytest.raises(ProtectedBranch):
        await mirror.push(mirror.url, work, "main")
    with pytest.raises(ProtectedBranch):
        await mirror.push(mirror.url, work, "release", protected=["release"])
    for branch in (
        "develop",
        "refs/heads/main",
        "+factory/jabcdefghi2-x",
        "factory/jabcdefghi2-x:main",
        "--mirror",
        "",
    ):
        with pytest.raises(BadBranchName):
            await mirror.push(mirror.url, work, branch)
    with pytest.raises(NoSuchRef):
        await mirror.push(mirror.url, "1" * 40, git.BRANCH)
    assert git(Path(mirror.url), "for-each-ref") == before


async def test_a_person_pushed(git, mirror: Mirror, clone: Path, person: Path, base: str, work: str) -> None:
    """A commit of a person's on the branch is never lost: refused with their hash, known to the mirror or not."""
    await mirror.push(mirror.url, work, git.BRANCH)
    git(person, "fetch", "-q", "origin", git.BRANCH)
    git(person, "checkout", "-q", "-b", git.BRANCH, "FETCH_HEAD")
    theirs = git.commit(person, "a person's", {"y": "y"})
    git(person, "push", "-q", "origin", git.BRANCH)
    ours = git.commit(clone, "more", {"z": "z"})
    await mirror.import_bundle(git.bundle(clone, base), ref="j1/2", expect=ours, base=base)
    for _ in range(2):
        with pytest.raises(NotFastForward) as caught:
            await mirror.push(mirror.url, ours, git.BRANCH)
        assert (caught.value.theirs, caught.value.ours) == (theirs, ours)
        assert git(Path(mirror.url), "rev-parse", git.BRANCH) == theirs
        await mirror.fetch()  # the second time it is known
    git(clone, "fetch", "-q", mirror.url, git.BRANCH)
    git(clone, "merge", "-q", "-m", "mine on top", theirs)
    merged = git(clone, "rev-parse", "HEAD")
    await mirror.import_bundle(git.bundle(clone, base), ref="j1/3", expect=merged, base=base)
    await mirror.push(mirror.url, merged, git.BRANCH)
    assert git(Path(mirror.url), "rev-parse", git.BRANCH) == merged


async def test_a_person_pushed_in_between(git, mirror: Mirror, person: Path, base: str, work: str, monkeypatch) -> None:
    """Also a push between the look and ours loses nothing: the remote compares, and the answer is the same."""
    theirs = git.commit(person, "a person's", {"y": "y"})
    looked = Mirror._tip

    async def look_then_person_pushes(self: Mirror, url: str, branch: str, config: list[str]) -> str | None:
        monkeypatch.setattr(Mirror, "_tip", looked)
        found = await looked(self, url, branch, config)
        git(person, "push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        return found

    monkeypatch.setattr(Mirror, "_tip", look_then_person_pushes)
    with pytest.raises(NotFastForward) as caught:
        await mirror.push(mirror.url, work, git.BRANCH)
    assert caught.value.theirs == theirs
    assert git(Path(mirror.url), "rev-parse", git.BRANCH) == theirs


async def test_refused_and_away(git, tmp_path: Path, mirror: Mirror, work: str) -> None:
    """A remote that says no and one that says nothing are told apart."""
    with pytest.raises(PushRefused) as caught:
        await mirror.push(str(tmp_path / "missing.git"), work, git.BRANCH)
    assert caught.value.reason
    with pytest.raises(RemoteUnreachable):
        await mirror.push("http://127.0.0.1:9/x.git", work, git.BRANCH)
    with pytest.raises(BadRepoUrl):
        await mirror.push("ext::sh -c true", work, git.BRANCH)
    git(Path(mirror.url), "config", "receive.maxInputSize", "1")
    with pytest.raises(PushRefused):
        await mirror.push(mirror.url, work, git.BRANCH)


# Over HTTP, with a token

TOKEN = "t0ken/with+odd:chars@"


class GitOverHttp(BaseHTTPRequestHandler):
    """git-http-backend(1) behind basic authentication."""

    root: Path
    seen: list[str]
    slow: threading.Event | None = None  # until it is set, what is authorised waits
    waiting = threading.Event()

    def do_GET(self) -> None:
        wanted = "Basic " + base64.b64encode(f"factory:{TOKEN}".encode()).decode()
        given = self.headers.get("Authorization", "")
        self.seen.append(given)
        if given != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.slow:
            self.waiting.set()
            self.slow.wait(30)
        path, _, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "factory",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        body = self.rfile.read(length)
        answer = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=True).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def http_remote(remote: Path) -> Iterator[str]:
    subprocess.run(["git", "-C", str(remote), "config", "http.receivepack", "true"], check=True)
    GitOverHttp.root, GitOverHttp.seen = remote.parent, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), GitOverHttp)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/{remote.name}"
    GitOverHttp.slow = None
    server.shutdown()
    thread.join()
    server.server_close()


async def test_credentials(git, tmp_path: Path, clone: Path, base: str, http_remote: str) -> None:
    """With the token one fetches and pushes; without, or with another, it is refused at once and nothing is asked."""
    right, asked = Credentials("factory", TOKEN), [None, Credentials("factory", "wrong-pw")]

    async def access() -> Credentials | None:
        return asked.pop(0) if asked else right

    mirror = await Mirror.open(tmp_path / "http.git", http_remote, access)
    for _ in range(2):
        with pytest.raises(CannotClone) as caught:
            await asyncio.wait_for(mirror.fetch(), 30)
        assert "wrong-pw" not in f"{caught.value} {caught.value.log_tail}"
    await mirror.fetch()
    assert await mirror.resolve("main") == base
    sha = git.commit(clone, "work", {"x": "x"})
    await mirror.import_bundle(git.bundle(clone, base), ref="j1/1", expect=sha, base=base)
    with pytest.raises(PushRefused):
        await mirror.push(http_remote, sha, git.BRANCH)
    await mirror.push(http_remote, sha, git.BRANCH, credentials=right)
    assert git(GitOverHttp.root / "origin.git", "rev-parse", git.BRANCH) == sha
    left = subprocess.run(["grep", "-rF", TOKEN[:6], str(mirror.path)], capture_output=True, text=True)
    assert left.stdout == ""


async def test_no_process_shows_the_token(git, tmp_path: Path, clone: Path, base: str, http_remote: str) -> None:
    """While git fetches and pushes with it, the token is in no process's arguments and in none's environment."""
    right = Credentials("factory", TOKEN)

    async def access() -> Credentials:
        return right

    mirror = await Mirror.open(tmp_path / "http.git", http_remote, access)
    await mirror.fetch()
    sha = git.commit(clone, "work", {"x": "x"})
    await mirror.import_bundle(git.bundle(clone, base), ref="j1/1", expect=sha, base=base)
    for call in (mirror.fetch(), mirror.push(http_remote, sha, git.BRANCH, credentials=right)):
        GitOverHttp.slow, GitOverHttp.waiting = threading.Event(), threading.Event()
        running = asyncio.ensure_future(call)
        try:
            assert await asyncio.to_thread(GitOverHttp.waiting.wait, 30)
            shown = processes()
        finally:
            GitOverHttp.slow.set()
            await running
        assert any(b"git-remote-http" in text for text in shown)
        for spelling in (TOKEN, quote(TOKEN, safe=""), base64.b64encode(f"factory:{TOKEN}".encode()).decode()):
            assert not any(spelling.encode() in text for text in shown)


def processes() -> list[bytes]:
    """The arguments and environments of all that run here, as far as we may see them."""
    shown = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            shown += [(process / "cmdline").read_bytes(), (process / "environ").read_bytes()]
        except OSError:
            pass  # it has ended, or is somebody else's
    return shown


def test_where_a_token_goes() -> None:
    """The token lies in a file for this user alone while git runs, is in no argument, and is not shown."""
    credentials = Credentials("factory", TOKEN)
    assert TOKEN not in repr(credentials)
    with credential_config(credentials, "https://example.com/x.git") as [option]:
        assert TOKEN not in option
        file = Path(re.sub(r".*--file=", "", option).strip("'"))
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert file.read_text().startswith("https://factory:t0ken%2Fwith")
    assert not file.parent.exists()
    with credential_config(credentials, "/srv/x.git") as nothing:
        assert nothing == []
    with pytest.raises(BadRepoUrl), credential_config(credentials, "http://example.com/x.git"):
        pass
