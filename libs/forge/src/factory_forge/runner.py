"""How git is run on the host: never with discovery, never with anybody's configuration, never through a shell.

Each rule answers an attack that was reproduced (tests/test_attacks.py): a repository's own files, configuration and
hooks are data here, whoever wrote them.
"""

import asyncio
import os
import re
import shlex
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from .errors import BadRepoUrl, GitFailed, GitTimeout, TooMuchOutput

MIB = 1024 * 1024
LOOK_S = 120.0  # for calls that read or write the mirror's own disk
REMOTE_S = 900.0  # for calls that talk to a remote

_SAFE = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.quotePath": "false",
    "core.bigFileThreshold": "16m",  # larger files are streamed, never held in memory
    "credential.helper": "",  # an empty one resets the list
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",  # clones of jobs borrow the mirror's objects: none may ever be dropped
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
    "push.recurseSubmodules": "no",
    "safe.bareRepository": "explicit",
    "submodule.recurse": "false",
}
_OPTIONS = [
    "--no-pager",
    "--literal-pathspecs",
    *(w for name, value in _SAFE.items() for w in ("-c", f"{name}={value}")),
]

_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",  # refs/replace would show another commit than the one that is pushed
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
    "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",  # not ext, not fd: they run what the URL says
    "LC_ALL": "C",  # messages are read for their reasons
}
# What the way to a remote may need; HOME is not among it (~/.netrc, ~/.gitconfig).
_PASSED = re.compile(r"PATH|TMPDIR|SSH_AUTH_SOCK|SSL_CERT_(FILE|DIR)|(?i:(https?|all|no)_proxy)")


@dataclass(frozen=True)
class Output:
    """What a git command left: its status, what it printed, and the end of what it complained."""

    status: int
    stdout: bytes
    stderr: str


@dataclass(frozen=True)
class Credentials:
    """A user name and a password or token for one remote, over https (or http to this machine)."""

    username: str
    password: str = field(repr=False)


async def git(
    git_dir: Path,
    *args: str,
    stdin: bytes | int = b"",
    stdout: int | None = None,
    config: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    work_tree: Path | None = None,
    timeout: float = LOOK_S,
    max_bytes: int = 64 * MIB,
    ok: Sequence[int] = (0,),
) -> Output:
    """Runs `git <args>` on exactly `git_dir`.

    `stdin` and `stdout` may be file descriptors. The whole process group is killed when the time is over, too much is
    printed or the caller is cancelled. Raises GitTimeout, TooMuchOutput, and GitFailed for a status that is not `ok`.
    """
    place = [f"--git-dir={git_dir}"] + ([f"--work-tree={work_tree}"] if work_tree else [])
    more = [word for item in config for word in ("-c", item)]
    process = await asyncio.create_subprocess_exec(
        "git",
        *_OPTIONS,
        *more,
        *place,
        *args,
        stdin=stdin if isinstance(stdin, int) else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE if stdout is None else stdout,
        stderr=asyncio.subprocess.PIPE,
        cwd=work_tree or (git_dir if git_dir.is_dir() else "/"),
        env={name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
        | _ENVIRONMENT
        | {**(env or {})},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout):
            printed, complained, _ = await asyncio.gather(
                _read(process.stdout, max_bytes, args[0]),
                _tail(process.stderr),
                _feed(process.stdin, stdin),
            )
            status = await process.wait()
    except TimeoutError as error:
        raise GitTimeout(command=args[0], seconds=timeout) from error
    finally:
        await _end(process)
    if status not in ok:
        raise GitFailed(command=args[0], status=status, log=complained.strip())
    return Output(status, printed, complained)


async def _read(stream: asyncio.StreamReader | None, max_bytes: int, command: str) -> bytes:
    chunks, size = [], 0
    while stream and (chunk := await stream.read(256 * 1024)):
        size += len(chunk)
        chunks.append(chunk)
        if size > max_bytes:
            raise TooMuchOutput(command=command, max_bytes=max_bytes, printed=b"".join(chunks)[:max_bytes])
    return b"".join(chunks)


async def _tail(stream: asyncio.StreamReader | None) -> str:
    tail = b""
    while stream and (chunk := await stream.read(64 * 1024)):
        tail = (tail + chunk)[-16 * 1024 :]
    return tail.decode(errors="replace")


async def _feed(stream: asyncio.StreamWriter | None, data: bytes | int) -> None:
    if stream is None or isinstance(data, int):
        return
    try:
        stream.write(data)
        await stream.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # git left before it had read all; its status and stderr say why
    finally:
        stream.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends what is left of the process group; after a command that ended by itself that is nothing."""
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended between the look and the kill
    await process.wait()


_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+:(?!/)[^\s:].*")


def check_url(url: str) -> str:
    """`url` itself, or for a path the absolute one. Raises BadRepoUrl for what could run a command or show a secret."""

    def refuse(reason: str) -> BadRepoUrl:
        shown = re.sub(r"(://[^/@\s:]*):[^/@\s]*@", r"\1:•••@", url[:200])
        return BadRepoUrl(url=shown, reason=reason)

    if not url or url.startswith("-") or not url.isprintable():
        raise refuse("it is empty, begins with a dash or holds control characters")
    if "::" in url.split("/", 1)[0]:
        raise refuse("transports that run commands (ext::, fd::) are never used")
    if "://" not in url:
        if Path(url).is_absolute() or _SCP_LIKE.fullmatch(url):
            return url
        raise refuse("it is neither a URL nor an absolute path")
    parts = urlsplit(url)
    if parts.scheme not in ("file", "http", "https", "ssh"):
        raise refuse(f"{parts.scheme}:// is not used")
    if parts.password or (parts.username and parts.scheme != "ssh"):
        raise refuse("it holds a user name or password; those come by reference, apart from the URL")
    if parts.scheme != "file" and (not parts.hostname or parts.hostname.startswith("-")):
        raise refuse("it names no host")
    return url


def is_local(url: str) -> bool:
    return url.startswith(("/", "file://"))


@contextmanager
def credential_config(credentials: Credentials | None, url: str) -> Iterator[list[str]]:
    """`-c` values with which git finds `credentials` for the host of `url` alone.

    They lie in a file that only this user can read and that is gone afterwards: arguments and environment are visible
    to others, and a redirect to another host gets nothing (git-credential-store(1) matches scheme and host).
    Raises BadRepoUrl for a password that would travel in clear.
    """
    if credentials is None or urlsplit(url).scheme not in ("http", "https"):
        yield []
        return
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise BadRepoUrl(url=url, reason="a token is not sent over http; use https")
    with tempfile.TemporaryDirectory(prefix="factory-git-") as directory:
        file = Path(directory, "credentials")
        user, password = quote(credentials.username, safe=""), quote(credentials.password, safe="")
        file.touch(mode=0o600)
        file.write_text(f"{parts.scheme}://{user}:{password}@{parts.netloc}\n")
        yield [f"credential.helper=store --file={shlex.quote(str(file))}"]


def reason_of(error: GitFailed) -> str:
    """The lines in which git says why, at most 600 characters."""
    lines = [line.strip() for line in error.log.splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"(fatal|error|remote|ssh|! \[)", line)] or lines
    return "; ".join(telling)[-600:] or f"status {error.status}"


_AWAY = re.compile(
    r"Could not resolve host|Connection (refused|timed out|reset)|Operation timed out|Network is unreachable"
    r"|early EOF|RPC failed|unexpected disconnect|returned error: (5\d\d|429)|Failed to connect",
    re.IGNORECASE,
)


def is_away(error: GitFailed) -> bool:
    """Whether the remote did not answer, as against: answered no."""
    return _AWAY.search(error.log) is not None
