"""The hands of tests and people in other processes, below `/_control`: faults, the log, what is kept, what people do."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from factory_loopback.errors import BadSetup, LoopbackError

from .bare import GitFailed
from .door import Door
from .faults import Faults, fault_of
from .hub import Hub
from .identities import Identity
from .people import Push, push
from .rates import Rates
from .refusals import Refusal
from .rest import Rest

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CONTROL = "/_control"


class Control:
    """Nothing of this is in the log, costs any limit or meets a fault."""

    def __init__(self, hub: Hub, rest: Rest, door: Door, faults: Faults, rates: Rates) -> None:
        self._hub, self._rest, self._door, self._faults, self._rates = hub, rest, door, faults, rates

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{CONTROL}/journal", _told(self.journal)),
            web.get(f"{CONTROL}/problems", _told(self.problems)),
            web.delete(f"{CONTROL}/problems", _told(self.forgive)),
            web.get(f"{CONTROL}/state", _told(self.state)),
            web.get(f"{CONTROL}/faults", _told(self.waiting)),
            web.post(f"{CONTROL}/faults", _told(self.add_fault)),
            web.delete(f"{CONTROL}/faults", _told(self.clear_faults)),
            web.post(f"{CONTROL}/limits", _told(self.limit)),
            web.post(f"{CONTROL}/deliveries/{{id}}/redeliver", _told(self.redeliver)),
            web.post(f"{CONTROL}/people/{{login}}/push", _told(self.push)),
            web.route("*", f"{CONTROL}/people/{{login}}/api{{path:/.*}}", _told(self.act)),
        ]

    # A test's hands

    async def journal(self, request: web.Request) -> web.Response:
        """Every request, oldest first, and how often each operation was asked for."""
        calls = self._door.log
        counts = Counter(call.operation or f"{call.method} {call.path}" for call in calls)
        deliveries = [asdict(delivery) for delivery in self._hub.store.deliveries]
        return web.json_response(
            {
                "total": len(calls),
                "counts": counts,
                "requests": [asdict(call) for call in calls],
                "deliveries": deliveries,
            }
        )

    async def problems(self, request: web.Request) -> web.Response:
        return web.json_response(self._door.problems)

    async def forgive(self, request: web.Request) -> web.Response:
        self._door.problems.clear()
        return web.json_response([])

    async def state(self, request: web.Request) -> web.Response:
        return web.json_response(self._hub.store.tables())

    async def waiting(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(fault) for fault in self._faults.waiting])

    async def add_fault(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self._faults.add(fault_of(await _json(request)))))

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._faults.waiting.clear()
        return web.json_response([])

    async def limit(self, request: web.Request) -> web.Response:
        """`{"login", "remaining", "seconds", "resource"?}`: so many requests are left to it, for so long."""
        body = await _json(request)
        self._rates.set(body["login"], body["remaining"], body["seconds"], body.get("resource", "core"))
        return web.json_response({})

    async def redeliver(self, request: web.Request) -> web.Response:
        delivery = self._hub.webhooks.redeliver(int(request.match_info["id"]))
        return web.json_response(asdict(delivery))

    # People's hands

    async def act(self, request: web.Request) -> web.Response:
        """A REST operation as this person; its answer is as it is, with GitHub's refusals."""
        identity = Identity(self._known(request))
        query, body = dict(request.query), await _json(request) if request.can_read_body else None
        raw = request.rel_url.raw_path.partition("/api")[2]
        try:
            answer = await self._rest.perform(identity, request.method, raw, query, body)
        except Refusal as error:
            return web.json_response(error.body, status=error.status)
        if answer.status == 204:
            return web.Response(status=204)
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)

    async def push(self, request: web.Request) -> web.Response:
        login, body = self._known(request), await _json(request)
        try:
            return web.json_response({"sha": await push(self._hub, login, Push(**body))})
        except TypeError as error:
            raise BadSetup(f"That is no push: {error}") from error

    def _known(self, request: web.Request) -> str:
        login = request.match_info["login"]
        if self._hub.store.users.get(login) is None:
            raise BadSetup(f"Nobody is called {login} here (add them: --user {login}).")
        return login


async def _json(request: web.Request) -> Any:
    if request.content_type != "application/json":
        raise BadSetup("The body is to be JSON, with Content-Type application/json.")
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise BadSetup(f"The body is not JSON: {error}") from error


def _told(handler: Handler) -> Handler:
    """Errors of ours are answered as `{"code", "message"}`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (BadSetup, GitFailed, Refusal) as error:
            return web.json_response({"code": error.code, "message": str(error)}, status=_status(error))
        except (KeyError, ValueError) as error:
            told = {"code": BadSetup.code, "message": f"A parameter is missing or wrong: {error}"}
            return web.json_response(told, status=400)

    return answer


def _status(error: LoopbackError) -> int:
    return error.status if isinstance(error, Refusal) else 400
