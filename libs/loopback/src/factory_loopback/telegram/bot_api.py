"""The Bot API over HTTP: reads a call in any body format, checks it, carries it out, checks and logs the answer."""

import asyncio
import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, MultipartReader, web

from factory_loopback.errors import BotApiError, BrokenPromise, NotBuilt

from . import methods, passing_on, spec, topics  # noqa: F401 - the other two declare methods
from .chats import Chats
from .faults import Fault, Faults
from .files import MEGABYTE, Upload

Wire = dict[str, Any]

UPLOAD_LIMIT = 50 * MEGABYTE  # of a whole request, as of the public Bot API server
READ_LIMIT = 4 * UPLOAD_LIMIT  # what is still read and thrown away, so that the client gets to see the refusal


@dataclass
class Call:
    """One call in the log; times in seconds, `at` on the Unix clock."""

    method: str
    args: Wire
    at: float
    status: int = 0
    description: str = ""
    seconds: float = 0.0
    files: dict[str, int] = field(default_factory=dict)  # name: bytes

    def as_json(self) -> Wire:
        return asdict(self)


class BotApi:
    """Answers `/bot{token}/{method}` and `/file/bot{token}/{path}`; `violations` is what no bot of ours may do."""

    def __init__(self, token: str, chats: Chats, faults: Faults) -> None:
        self._token, self._chats, self._faults = token, chats, faults
        self.log: list[Call] = []
        self.violations: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route("*", "/bot{token}/{method}", self.answer),
            web.get("/file/bot{token}/{path:.+}", self.file),
        ]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        started = time.monotonic()
        call = Call(request.match_info["method"], {}, time.time())
        self.log.append(call)
        try:
            status, body = await self._answered(request, call)
        except _Dropped:
            status, body = 0, {}
        except BrokenPromise as error:
            self.violations.append(str(error))
            status, body = 500, _refusal(BotApiError(500, str(error)))
        call.status, call.description = status, body.get("description", "")
        call.seconds = time.monotonic() - started
        if not status:
            if request.transport:
                request.transport.close()
            return web.Response(status=500)  # goes nowhere
        if "html" in body:
            return web.Response(status=status, text=body["html"], content_type="text/html")
        return web.json_response(body, status=status)

    async def file(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] != self._token:
            return web.json_response(_refusal(BotApiError(401, "Unauthorized")), status=401)
        try:
            kept = self._chats.files.by_path(request.match_info["path"])
        except BotApiError as error:
            return web.json_response(_refusal(error), status=404)
        return web.FileResponse(self._chats.files.on_disk(kept))

    async def _answered(self, request: web.Request, call: Call) -> tuple[int, Wire]:
        try:
            if request.match_info["token"] != self._token:
                raise BotApiError(401, "Unauthorized")
            name = spec.method_name(call.method)
            if not name:
                self.violations.append(f"{call.method} does not exist in the Bot API")
                raise BotApiError(404, "Not Found: method not found")
            call.method = name
            fields, uploads = await _read(request)
            call.args = spec.decode(name, fields)
            call.files = {key: len(upload.data) for key, upload in uploads.items()}
            fault = self._faults.take(name, call.args.get("chat_id"))
            if fault and not fault.acts:
                return await _failed(fault)
            result = await self._result(name, call.args, uploads)
            return await _failed(fault) if fault else (200, {"ok": True, "result": result})
        except NotBuilt as error:
            self.violations.append(str(error))
            return error.status, _refusal(error)
        except BotApiError as error:
            return error.status, _refusal(error)

    async def _result(self, name: str, args: Wire, uploads: dict[str, Upload]) -> Any:
        if name in methods.METHODS:
            try:
                spec.check_request(name, args, uploads)
            except BotApiError as error:
                self.violations.append(str(error))
                raise
        result = await methods.carry_out(name, methods.Context(self._chats, args, uploads))
        spec.check_answer(name, result)
        return result


class _Dropped(Exception):
    """The connection is to break instead of an answer."""


async def _failed(fault: Fault) -> tuple[int, Wire]:
    await asyncio.sleep(fault.delay)
    if fault.drop:
        raise _Dropped
    if fault.html:
        return fault.status, {"html": f"<html><h1>{fault.status} {fault.words}</h1></html>", "description": fault.words}
    return fault.status, _refusal(BotApiError(fault.status, fault.words, fault.retry_after))


def _refusal(error: BotApiError) -> Wire:
    parameters = {"parameters": {"retry_after": error.retry_after}} if error.retry_after else {}
    return {"ok": False, "error_code": error.status, "description": error.description, **parameters}


async def _read(request: web.Request) -> tuple[Wire, dict[str, Upload]]:
    """Arguments and files of a query, a form, a multipart or a JSON body; raises BotApiError (400, 413)."""
    fields: Wire = dict(request.query)
    if request.content_type == "multipart/form-data":
        more, uploads = await _read_multipart(await request.multipart())
        return fields | more, uploads
    body = await request.read()
    if request.content_type == "application/json" and body:
        try:
            found = json.loads(body)
        except ValueError as error:
            raise BotApiError(400, "Bad Request: can't parse JSON object") from error
        return fields | {key: value for key, value in found.items() if value is not None}, {}
    return fields | dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)), {}


async def _read_multipart(reader: MultipartReader) -> tuple[Wire, dict[str, Upload]]:
    """A part with a file name is a file; one that is named like a parameter stands for that parameter itself."""
    fields: Wire = {}
    uploads: dict[str, Upload] = {}
    total = 0
    async for part in reader:
        if not isinstance(part, BodyPartReader) or not part.name:
            raise BotApiError(400, "Bad Request: a part of the body has no name")
        pieces: list[bytes] = []
        while piece := await part.read_chunk(MEGABYTE):
            total += len(piece)
            if total <= UPLOAD_LIMIT:
                pieces.append(piece)
            if total > READ_LIMIT:
                raise BotApiError(413, "Request Entity Too Large")
        if part.filename:
            uploads[part.name] = Upload(b"".join(pieces), part.filename)
            fields[part.name] = f"{spec.ATTACHED}{part.name}"
        else:
            fields[part.name] = b"".join(pieces).decode(errors="replace")
    if total > UPLOAD_LIMIT:
        raise BotApiError(413, "Request Entity Too Large")
    used = json.dumps({key: value for key, value in fields.items() if key not in uploads})
    return {k: v for k, v in fields.items() if k not in uploads or f"{spec.ATTACHED}{k}" not in used}, uploads
