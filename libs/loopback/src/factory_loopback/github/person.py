"""A person at GitHub, as in a browser and at a keyboard: opens issues, comments, reviews, merges, closes, pushes.

Works on a server in this process or another: all of it goes over HTTP, past tokens, limits, faults and the log.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from factory_loopback.errors import LoopbackError, NoAnswer

Wire = dict[str, Any]  # an object in REST's shape
LOOK = 0.1  # seconds between looks


class Refused(LoopbackError):
    """GitHub refuses what the person does: …"""

    code = "refused"

    def __init__(self, status: int, body: Wire) -> None:
        super().__init__(f"GitHub refuses it ({status}): {body.get('message')} {body.get('errors') or ''}".strip())
        self.status, self.body = status, body


class Person:
    """A user of the server at `url`, in one repository.

    async with Person(github.url, "ada", "acme/shop") as ada:
        await ada.comment(1, "Please make it blue.")
    """

    def __init__(self, url: str, login: str, repo: str) -> None:
        self.login, self.repo = login, repo
        self._base = f"{url}/_control/people/{quote(login)}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    # Issues and pull requests; of both, `number` says which

    async def open_issue(self, title: str, body: str = "", labels: list[str] | None = None) -> Wire:
        return await self.call("POST", "/issues", {"title": title, "body": body, "labels": labels or []})

    async def open_pull(self, head: str, base: str, title: str, body: str = "", *, draft: bool = False) -> Wire:
        wanted = {"head": head, "base": base, "title": title, "body": body, "draft": draft}
        return await self.call("POST", "/pulls", wanted)

    async def comment(self, number: int, body: str) -> Wire:
        return await self.call("POST", f"/issues/{number}/comments", {"body": body})

    async def edit_comment(self, comment_id: int, body: str) -> Wire:
        return await self.call("PATCH", f"/issues/comments/{comment_id}", {"body": body})

    async def edit(self, number: int, **fields: Any) -> Wire:
        """Title, body, labels, assignees, … as REST names them."""
        return await self.call("PATCH", f"/issues/{number}", fields)

    async def close(self, number: int) -> Wire:
        return await self.edit(number, state="closed")

    async def reopen(self, number: int) -> Wire:
        return await self.edit(number, state="open")

    async def merge(self, number: int, way: str = "merge") -> Wire:
        """way: merge, squash or rebase."""
        return await self.call("PUT", f"/pulls/{number}/merge", {"merge_method": way})

    async def review(
        self, number: int, event: str = "COMMENT", body: str = "", comments: list[Wire] | None = None
    ) -> Wire:
        """event: COMMENT, APPROVE or REQUEST_CHANGES; comments: `{"path", "line", "body"}`."""
        wanted = {"event": event, "body": body, "comments": comments or []}
        return await self.call("POST", f"/pulls/{number}/reviews", wanted)

    # Branches

    async def push(
        self,
        branch: str,
        files: dict[str, str | None] | None = None,
        message: str = "A change by hand",
        *,
        start: str = "",
        force: bool = False,
    ) -> str:
        """Commits these files (None: gone) and pushes, past the protection of branches; see people.Push."""
        wanted = {"repo": self.repo, "branch": branch, "files": files or {}, "message": message}
        return (await self._send("POST", "/push", {**wanted, "start": start, "force": force}))["sha"]

    async def delete_branch(self, branch: str) -> None:
        await self.call("DELETE", f"/git/refs/heads/{branch}")

    # Eyes

    async def pull(self, number: int) -> Wire:
        return await self.call("GET", f"/pulls/{number}")

    async def pulls(self, state: str = "all") -> list[Wire]:
        """The hundred newest."""
        return await self.call("GET", f"/pulls?state={state}&per_page=100")

    async def comments(self, number: int) -> list[Wire]:
        return await self.call("GET", f"/issues/{number}/comments?per_page=100")

    async def reviews(self, number: int) -> list[Wire]:
        return await self.call("GET", f"/pulls/{number}/reviews?per_page=100")

    async def wait_for_pull(self, predicate: Callable[[Wire], bool], timeout: float = 10.0) -> Wire:
        """The newest pull request (as lists show it) that `predicate` holds for; raises NoAnswer after `timeout` s."""
        end = time.monotonic() + timeout
        while True:
            pulls = await self.pulls()
            for pull in pulls:
                if predicate(pull):
                    return pull
            if time.monotonic() >= end:
                shown = "\n".join(f"  #{p['number']} {p['state']} {p['title']}" for p in pulls) or "  none"
                raise NoAnswer(f"No pull request that was waited for within {timeout:g} s. There are:\n{shown}")
            await asyncio.sleep(LOOK)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Any operation of REST on the repository. Raises Refused."""
        return await self._send(method, f"/api/repos/{self.repo}{path}", body)

    async def _send(self, method: str, path: str, body: Any) -> Any:
        assert self._session, "A person is used inside `async with`."
        async with self._session.request(method, self._base + path, json=body) as answer:
            told = None if answer.status == 204 else await answer.json()
            if answer.status >= 400:
                raise Refused(answer.status, told or {})
            return told
