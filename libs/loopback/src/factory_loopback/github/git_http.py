"""git over smart HTTP, by the real `git http-backend`; what a push did to branches is followed up before it is answered.

https://git-scm.com/docs/git-http-backend
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from aiohttp import web

from . import refusals
from .bare import ENVIRONMENT, configured
from .door import Call, Door
from .faults import Fault
from .hub import Hub
from .identities import Identities, Identity, check
from .records import Repo
from .refusals import Refusal

CHUNK = 65_536  # bytes
ASK_FOR_PASSWORD = {"WWW-Authenticate": 'Basic realm="GitHub"'}
UPDATE_HOOK = """#!/bin/sh
# Refuses as GitHub does. $1 is the ref, $2 its old and $3 its new commit.
case " $PROTECTED_REFS " in
    *" $1 "*) ;;
    *) exit 0 ;;
esac
echo "error: GH006: Protected branch update failed for $1." >&2
echo "" >&2
case "$3" in
    0000000000000000000000000000000000000000) echo "- Cannot delete this branch" >&2 ;;
    *)
        git merge-base --is-ancestor "$2" "$3" 2>/dev/null || echo "- Cannot force-push to this branch" >&2
        echo "- Changes must be made through a pull request." >&2
        ;;
esac
exit 1
"""


class GitHttp:
    """Answers `/owner/name.git/…`. Passwords are tokens; the name in front of one does not matter."""

    def __init__(self, hub: Hub, identities: Identities, door: Door, hooks: Path) -> None:
        self._hub, self._identities, self._door, self._hooks = hub, identities, door, hooks
        hooks.mkdir(parents=True, exist_ok=True)
        (hooks / "update").write_text(UPDATE_HOOK)
        (hooks / "update").chmod(0o755)

    def routes(self) -> list[web.RouteDef]:
        repo = r"/{owner}/{repo:[^/]+?}{suffix:(?:\.git)?}"
        return [
            web.get(f"{repo}/info/refs", self.answer),
            web.post(f"{repo}/{{service:git-upload-pack|git-receive-pack}}", self.answer),
        ]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return await self._door.through(request, request.path, self._answered, _limited)

    async def _answered(self, request: web.Request, call: Call) -> web.StreamResponse:
        service = request.match_info.get("service") or request.query.get("service", "")
        call.operation = service
        pushes = service == "git-receive-pack"
        try:
            identity = self._identities.of(request.headers.get("Authorization"))
            call.login = identity.login
            repo = self._allowed(identity, f"{request.match_info['owner']}/{request.match_info['repo']}", pushes)
        except Refusal as error:
            headers = ASK_FOR_PASSWORD if error.status == 401 else {}
            return web.Response(status=error.status, text=f"{error.message}\n", headers=headers)
        if not pushes or request.method == "GET":
            return await self._backend(request, repo, identity.login)
        async with self._hub.lock(repo):
            before = await self._hub.bare(repo).branches()
            response = await self._backend(request, repo, identity.login, whole=True)
            await self._hub.pushed(repo, before, identity.login)
        return response

    def _allowed(self, identity: Identity, name: str, pushes: bool) -> Repo:
        """Raises Refusal in git's words: 401 for nobody, 404 for who may not see it, 403 for who may only read."""
        found = self._hub.repo(name)
        try:
            repo = check(identity, found, ("contents", "read"), "read")
        except Refusal as error:
            if not identity.login:
                raise refusals.unauthorized("Authentication required") from error
            raise Refusal(404, "Repository not found.") from error
        if not pushes:
            return repo
        try:
            return check(identity, repo, ("contents", "write"), "write")
        except Refusal as error:
            if not identity.login:
                raise refusals.unauthorized("Authentication required") from error
            raise Refusal(403, f"Permission to {repo.name}.git denied to {identity.login}.") from error

    async def _backend(
        self, request: web.Request, repo: Repo, login: str, *, whole: bool = False
    ) -> web.StreamResponse:
        """Runs it as CGI; `whole`: its answer is gathered before it is sent."""
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            env=self._environment(request, repo, login),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdin
        assert process.stdout
        feeding = asyncio.create_task(_feed(request, process.stdin))
        try:
            status, headers = await _head(process.stdout)
            if whole:
                return web.Response(status=status, headers=headers, body=await process.stdout.read())
            response = web.StreamResponse(status=status, headers=headers)
            await response.prepare(request)
            while piece := await process.stdout.read(CHUNK):
                await response.write(piece)
            await response.write_eof()
            return response
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its client is gone, and nobody reads what its children write
            raise
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await process.wait()

    def _environment(self, request: web.Request, repo: Repo, login: str) -> dict[str, str]:
        settings = {
            "http.receivepack": "true",
            "core.hooksPath": str(self._hooks),
            "receive.autogc": "false",
            "receive.denyDeleteCurrent": "ignore",  # the hook has the word
            "receive.hideRefs": "refs/pull",
            "uploadpack.allowAnySHA1InWant": "true",
            "uploadpack.allowFilter": "true",
        }
        protocol = request.headers.get("Git-Protocol", "")
        place = request.match_info.get("service") or "info/refs"
        return {
            **ENVIRONMENT,
            **configured(settings),
            "PROTECTED_REFS": " ".join(f"refs/heads/{branch}" for branch in repo.protected),
            "GIT_PROJECT_ROOT": repo.path,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": protocol,
            "HTTP_GIT_PROTOCOL": protocol,
            "PATH_INFO": f"/{place}",
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "REMOTE_USER": login,
            "REMOTE_ADDR": request.remote or "",
        }


async def _feed(request: web.Request, stdin: asyncio.StreamWriter) -> None:
    """The body, already unpacked, as long as the other side reads it."""
    try:
        async for piece in request.content.iter_chunked(CHUNK):
            stdin.write(piece)
            await stdin.drain()
    except ConnectionError:
        pass  # it has what it needs: the reason is in its answer
    finally:
        stdin.close()


async def _head(stdout: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers of a CGI answer."""
    headers: dict[str, str] = {}
    while line := (await stdout.readline()).decode().strip():
        name, _, value = line.partition(": ")
        headers[name] = value
    return int(headers.pop("Status", "200 OK").split()[0]), headers


def _limited(fault: Fault, call: Call) -> web.StreamResponse:
    return web.Response(status=429, text="Too many requests\n", headers={"Retry-After": str(fault.seconds)})
