"""REST over HTTP: who asks, may they, is it as described, what comes of it; in pages, with ETags and limits.

https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api
"""

import hashlib
import json
import uuid
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from . import rates, refusals
from .door import Call, Door
from .faults import Fault
from .hub import Hub
from .identities import Identities, Identity, check, check_itself
from .operation import Answer, Ask, Operation, Page, Routes
from .rates import Rates
from .records import Repo
from .refusals import NotBuilt, Refusal
from .spec import Description

API = "/api/v3"
PER_PAGE, PER_PAGE_MAX = 30, 100
VERSION = "2022-11-28"


class Rest:
    """Answers everything below `/api/v3`."""

    def __init__(self, hub: Hub, identities: Identities, limits: Rates, door: Door, description: Description) -> None:
        self._hub, self._identities, self._rates, self._door = hub, identities, limits, door
        self._description = description
        self._routes = Routes(description.operations)

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", f"{API}{{path:(/.*)?}}", self.answer)]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix(API)
        return await self._door.through(request, path, self._answered, self._limited)

    def _limited(self, fault: Fault, call: Call) -> web.StreamResponse:
        return refused(limit_of(fault, call))

    async def _answered(self, request: web.Request, call: Call) -> web.StreamResponse:
        call.request_id = uuid.uuid4().hex.upper()
        common = {"X-GitHub-Request-Id": call.request_id, "X-GitHub-Api-Version-Selected": VERSION}
        try:
            if not request.headers.get("User-Agent"):
                raise Refusal(
                    403,
                    "Request forbidden by administrative rules. Please make sure your request has a User-Agent header",
                )
            if request.headers.get("X-GitHub-Api-Version", VERSION) != VERSION:
                raise Refusal(400, f"Unsupported API version; the supported one is {VERSION}")
            identity = self._identities.of(request.headers.get("Authorization"))
            call.login = identity.login
            counted = call.path != "/rate_limit"
            if counted:
                self._rates.take(identity.login)
            try:
                body = await _json(request)
                answer = await self.perform(identity, call.method, call.path, dict(request.query), body, call)
                response = self._response(request, answer)
            except Refusal as error:
                response = refused(error)
            if counted and response.status == 304:
                self._rates.give_back(identity.login)
            common |= self._rates.window(identity.login).headers("core")
            if identity.login and not identity.app:
                common["X-OAuth-Scopes"] = "repo"
        except Refusal as error:
            response = refused(error)
        for name, value in common.items():
            response.headers.setdefault(name, value)
        return response

    async def perform(
        self, identity: Identity, method: str, path: str, query: dict[str, str], body: Any, call: Call | None = None
    ) -> Answer:
        """Carries out what is asked for, without limits and faults. Raises Refusal."""
        found = self._routes.find(method, path)
        if found is None:
            self._door.problems.append(f"{method} {path} does not exist in the REST API")
            raise refusals.not_found()
        route, parameters = found
        name, operation = route.operations[method]
        if call:
            call.operation = name
        if operation is None:
            error = NotBuilt(f"{method} {route.path} ({name})")
            self._door.problems.append(str(error))
            raise error
        self._check_request(operation, query, body)
        repo = None
        if operation.by_app:
            check_itself(identity)
        if operation.in_repo:
            named = self._hub.repo(f"{parameters['owner']}/{parameters['repo']}")
            repo = check(identity, named, operation.needs, operation.people)
        ask = Ask(self._hub, self._rates, self._identities, identity, parameters, query, body, repo)
        try:
            answer = await self._act(operation, ask, repo, f"{self._hub.site.api}{path}")
        except Refusal as error:
            self._check_answer(operation, error.status, error.body)
            raise
        self._check_answer(operation, answer.status, answer.body)
        return answer

    async def _act(self, operation: Operation, ask: Ask, repo: Repo | None, address: str) -> Answer:
        if repo and operation.method != "GET":
            async with self._hub.lock(repo):
                done = await operation.act(ask)
        else:
            done = await operation.act(ask)
        return page(done, ask.query, address) if isinstance(done, Page) else done

    def _check_request(self, operation: Operation, query: dict[str, str], body: Any) -> None:
        if problem := self._description.request_problem(operation.name, query, body):
            self._door.problems.append(
                f"The request {operation.method} {operation.path} is not as described: {problem}"
            )
            raise Refusal(422, f"Invalid request.\n\n{problem}")

    def _check_answer(self, operation: Operation, status: int, body: Any) -> None:
        if problem := self._description.answer_problem(operation.name, status, body):
            words = (
                f"The loopback server's answer to {operation.method} {operation.path} is not as described: {problem}"
            )
            self._door.problems.append(words)
            raise Refusal(500, words)

    def _response(self, request: web.Request, answer: Answer) -> web.Response:
        if answer.status == 204:
            return web.Response(status=204, headers=answer.headers)
        text = json.dumps(answer.body)
        headers = {"X-GitHub-Media-Type": "github.v3; format=json", "Cache-Control": "private, max-age=60, s-maxage=60"}
        headers |= answer.headers
        if request.method == "GET":
            whole = f"{text}{answer.headers.get('Link', '')}"
            headers["ETag"] = f'W/"{hashlib.sha256(whole.encode()).hexdigest()}"'
            if headers["ETag"].removeprefix("W/") in request.headers.get("If-None-Match", ""):
                return web.Response(status=304, headers=headers)
        return web.Response(status=answer.status, text=text, content_type="application/json", headers=headers)


def page(whole: Page, query: dict[str, str], address: str) -> Answer:
    """The part of a list that is asked for, with links to the others."""
    size = min(_positive(query.get("per_page")) or PER_PAGE, PER_PAGE_MAX)
    number = _positive(query.get("page")) or 1
    last = max(-(-len(whole.records) // size), 1)
    shapes = [whole.shape(record) for record in whole.records[(number - 1) * size : number * size]]
    others = {"prev": number - 1, "next": number + 1, "last": last, "first": 1}
    wanted = {
        name: other
        for name, other in others.items()
        if last > 1 and (number > 1 if name in ("prev", "first") else number < last)
    }
    links = [f'<{address}?{urlencode({**query, "page": other})}>; rel="{name}"' for name, other in wanted.items()]
    return Answer(
        whole.envelope(shapes) if whole.envelope else shapes, headers={"Link": ", ".join(links)} if links else {}
    )


def _positive(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and int(text) > 0 else None


def limit_of(fault: Fault, call: Call) -> Refusal:
    """The refusal of a rate limit that a fault stands for."""
    if fault.what == "secondary":
        return rates.secondary(fault.seconds)
    return rates.exceeded(call.login, rates.spent(fault.seconds))


def refused(error: Refusal) -> web.Response:
    return web.json_response(error.body, status=error.status, headers=error.headers)


async def _json(request: web.Request) -> Any:
    text = await request.read()
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise Refusal(400, "Problems parsing JSON") from error
