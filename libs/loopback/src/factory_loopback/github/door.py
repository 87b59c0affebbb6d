"""What every request goes through: it is written down, and meets the fault that waits for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from .faults import AFTER, Fault, Faults

UNICORN = "<html><body><h1>Unicorn!</h1><p>We had issues producing the response to your request.</p></body></html>"
LOOK = 0.05  # seconds between looks whether a client still waits


@dataclass
class Call:
    """One request and what became of it; `status` 0: it got no answer."""

    method: str
    path: str  # below /api/v3; of GraphQL and git, their own
    at: float  # Unix time
    operation: str = ""
    login: str = ""
    status: int | None = None  # None: under way
    seconds: float = 0.0
    fault: str = ""
    request_id: str = ""
    query: dict[str, str] = field(default_factory=dict)


Act = Callable[[web.Request, Call], Awaitable[web.StreamResponse]]
Refuse = Callable[[Fault, Call], web.StreamResponse]


class Door:
    """Keeps the log of all requests; `problems` is what no client of ours may do, and no server of ours either."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.log: list[Call] = []
        self.problems: list[str] = []
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Lets go of whoever waits for an answer that never comes."""
        self._closing.set()

    async def through(self, request: web.Request, path: str, act: Act, limited: Refuse) -> web.StreamResponse:
        """`act` answers; `limited` makes the answer of a rate limit."""
        call = Call(request.method, path, time.time(), query=dict(request.query))
        self.log.append(call)
        started = time.monotonic()
        try:
            return await self._answered(request, call, act, limited)
        except Exception as error:
            if request.transport and not request.transport.is_closing():
                self.problems.append(f"The loopback server broke at {call.method} {call.path}: {error!r}")
            raise
        finally:
            call.seconds = time.monotonic() - started

    async def _answered(self, request: web.Request, call: Call, act: Act, limited: Refuse) -> web.StreamResponse:
        fault = self._faults.find(call.method, call.path)
        response: web.StreamResponse | None = None
        if fault is None or fault.what in AFTER:
            response = await act(request, call)
            call.status = response.status
            if fault is None or response.status >= 400 or fault not in self._faults.waiting:
                return response
        self._faults.strike(fault)
        call.fault, call.status = fault.what, 0
        kind = fault.what.removesuffix("-after")
        if kind in ("primary", "secondary"):
            response = limited(fault, call)
            call.status = response.status
            return response
        if kind == "502":
            call.status = 502
            return web.Response(status=502, text=UNICORN, content_type="text/html")
        if kind == "timeout":
            await self._until_gone(request)
        if request.transport:
            request.transport.close()
        return web.Response(status=502)  # goes nowhere

    async def _until_gone(self, request: web.Request) -> None:
        while request.transport and not request.transport.is_closing() and not self._closing.is_set():
            await asyncio.sleep(LOOK)
