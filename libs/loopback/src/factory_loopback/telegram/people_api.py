"""The people's side over HTTP: type, press, edit, attach and read; the chats as pages; a test's hands (`/admin/…`)."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from factory_loopback import errors

from . import page
from .bot_api import BotApi
from .chats import Chats
from .faults import Fault, Faults
from .person import LOOK, Person, shown_message

Wire = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CHAT = r"{chat:-?\d+}"
STATUS = {errors.NoAnswer: 504, errors.BadSetup: 400}  # all others: 404


class PeopleApi:
    """What changes something takes JSON or bytes, which no page of another site can send without being refused."""

    def __init__(self, chats: Chats, faults: Faults, api: BotApi) -> None:
        self._chats, self._faults, self._api = chats, faults, api

    def routes(self) -> list[web.RouteDef]:
        person = f"/person/{CHAT}/{{user:\\d+}}"
        return [
            web.get("/", _told(self.index)),
            web.get(f"/chat/{CHAT}", _told(self.chat)),
            web.get(f"/chat/{CHAT}/bubbles", _told(self.bubbles)),
            web.get(f"/person/{CHAT}/messages", _told(self.messages)),
            web.get(f"/person/{CHAT}/files/{{file_id}}", _told(self.file)),
            web.post(f"{person}/type", _told(self.type)),
            web.post(f"{person}/edit", _told(self.edit)),
            web.post(f"{person}/press", _told(self.press)),
            web.post(f"{person}/attach", _told(self.attach)),
            web.post(f"{person}/commands", _told(self.commands)),
            web.get("/admin/calls", _told(self.calls)),
            web.get("/admin/violations", _told(self.violations)),
            web.post("/admin/faults", _told(self.add_fault)),
            web.delete("/admin/faults", _told(self.clear_faults)),
        ]

    # A person's hands

    async def type(self, request: web.Request) -> web.Response:
        body = await _json(request)
        message_id = await self._person(request).type(body["text"], body.get("reply_to"), body.get("thread_id"))
        return web.json_response({"message_id": message_id})

    async def edit(self, request: web.Request) -> web.Response:
        body = await _json(request)
        await self._person(request).edit(body["message_id"], body["text"])
        return web.json_response({})

    async def press(self, request: web.Request) -> web.Response:
        body = await _json(request)
        answer = await self._person(request).press(body["message_id"], body["button"], body.get("timeout", 10.0))
        return web.json_response({"answer": answer})

    async def attach(self, request: web.Request) -> web.Response:
        if request.content_type != "application/octet-stream":
            raise errors.BadSetup("A file is sent as application/octet-stream.")
        query = request.query
        reply_to = int(query["reply_to"]) if "reply_to" in query else None
        data = await request.read()
        message_id = await self._person(request).attach(data, query["name"], query.get("caption", ""), reply_to)
        return web.json_response({"message_id": message_id})

    async def commands(self, request: web.Request) -> web.Response:
        return web.json_response({"commands": await self._person(request).commands()})

    # A person's eyes

    async def messages(self, request: web.Request) -> web.Response:
        await self._wait(request)
        shown = [asdict(shown_message(self._chats, posted)) for posted in self._chats.shown(_chat_id(request))]
        return web.json_response({"version": self._chats.version, "messages": shown})

    async def file(self, request: web.Request) -> web.StreamResponse:
        kept = self._chats.files.by_id(request.match_info["file_id"])
        return web.FileResponse(self._chats.files.on_disk(kept), headers={"Content-Type": kept.mime_type})

    async def index(self, request: web.Request) -> web.Response:
        return web.Response(text=page.index(self._chats), content_type="text/html")

    async def chat(self, request: web.Request) -> web.Response:
        shown = page.chat(self._chats, self._chats.chat(_chat_id(request)))
        return web.Response(text=shown, content_type="text/html")

    async def bubbles(self, request: web.Request) -> web.Response:
        """What of the page changes, as soon as it does."""
        await self._wait(request)
        shown = page.bubbles(self._chats, self._chats.chat(_chat_id(request)))
        return web.json_response({"version": self._chats.version, **shown})

    # A test's hands

    async def calls(self, request: web.Request) -> web.Response:
        method = request.query.get("method")
        return web.json_response([asdict(call) for call in self._api.log if method in (None, call.method)])

    async def violations(self, request: web.Request) -> web.Response:
        return web.json_response(self._api.violations)

    async def add_fault(self, request: web.Request) -> web.Response:
        body = await _json(request)
        try:
            fault = self._faults.add(Fault(**body))
        except TypeError as error:
            raise errors.BadSetup(f"That is no fault: {error}") from error
        return web.json_response(asdict(fault))

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._faults.waiting.clear()
        return web.json_response({})

    def _person(self, request: web.Request) -> Person:
        return Person(self._chats, _chat_id(request), int(request.match_info["user"]))

    async def _wait(self, request: web.Request) -> None:
        self._chats.chat(_chat_id(request))
        if "after" in request.query:
            wait = min(float(request.query.get("wait", LOOK)), LOOK)
            await self._chats.changed(int(request.query["after"]), wait)


def _chat_id(request: web.Request) -> int:
    return int(request.match_info["chat"])


async def _json(request: web.Request) -> Wire:
    if request.content_type != "application/json":
        raise errors.BadSetup("The body is to be JSON, with Content-Type application/json.")
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise errors.BadSetup(f"The body is not JSON: {error}") from error


def _told(handler: Handler) -> Handler:
    """Errors of ours are answered as `{"code", "message"}`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except errors.LoopbackError as error:
            told = {"code": error.code, "message": str(error)}
            return web.json_response(told, status=STATUS.get(type(error), 404))
        except (KeyError, ValueError) as error:
            told = {"code": errors.BadSetup.code, "message": f"A parameter is missing or wrong: {error}"}
            return web.json_response(told, status=400)

    return answer
