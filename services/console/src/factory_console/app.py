"""Wires console together: a service with pages instead of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jinja2
import structlog
from aiohttp import web
from factory_chassis.service import Service

from . import artifacts
from .pages import Pages
from .settings import Settings

log = structlog.get_logger()

HERE = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; media-src 'self'; style-src 'self'; script-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


class Console(Service):
    def __init__(self, settings: Settings) -> None:
        super().__init__("console", settings, tasks=[self._serve])
        self.console_port = settings.console_port
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        self.templates.filters["duration"] = _duration

    def routes(self) -> list[web.RouteDef]:
        pages = Pages(self.store, self.records, self.settings.public_url)

        async def jobs(_: web.Request) -> web.Response:
            return self._page("jobs.html", await pages.jobs())

        async def job(request: web.Request) -> web.Response:
            return self._page("job.html", await pages.job(request.match_info["job"]))

        async def pull(request: web.Request) -> web.Response:
            return self._page(
                "pull.html", await pages.pull(request.match_info["repo"], int(request.match_info["number"]))
            )

        async def artifact(request: web.Request) -> web.StreamResponse:
            return await artifacts.serve(request, self.records, self.artifacts)

        return [
            web.get("/", jobs),
            web.get("/jobs/{job}", job),
            web.get("/pulls/{repo}/{number:\\d+}", pull),
            web.get("/a/{job}/{sha256:[0-9a-f]{64}}/{name}", artifact),
            web.static("/static", HERE / "static"),  # type: ignore[list-item]
        ]

    def _page(self, template: str, facts: dict[str, Any]) -> web.Response:
        html = self.templates.get_template(template).render(**facts)
        return web.Response(text=html, content_type="text/html", headers=HEADERS)

    async def _serve(self, _: Service) -> None:
        app = web.Application(middlewares=[self._errors])
        app.add_routes(self.routes())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.console_port)
        await site.start()
        log.info("pages", url=self.settings.public_url, port=self.console_port)
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    @web.middleware
    async def _errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """What is not there, and what broke, are pages too."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            page = self._page("problem.html", {"title": "Not here", "text": "There is no such page."})
            page.set_status(404)
            return page
        except web.HTTPException:
            raise
        except Exception as e:
            log.exception("page broke", path=request.path, why=repr(e))
            page = self._page("problem.html", {"title": "This page broke", "text": "The log of console says why."})
            page.set_status(500)
            return page


def build_app(settings: Settings) -> Service:
    return Console(settings)
