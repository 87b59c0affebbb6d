"""`/a/<job>/<sha256>/<name>`: what the artifact store holds, by the link that every page and message uses; with ranges."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator
from typing import cast

import structlog
from aiohttp import web
from factory_artifacts.errors import ArtifactError, NoSuchArtifact
from factory_artifacts.store import ArtifactStore
from factory_jobs.records import Artifact, Records

log = structlog.get_logger()

RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.I)
INLINE = ("video/", "image/png", "image/jpeg", "image/webp", "text/plain")  # shown in the page; all else is downloaded
# No sandbox for what is shown: in one a browser's player may not load the film that it was opened for.
SHOWN = "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'"
FOR_EVER = "private, max-age=31536000, immutable"  # the address names the content


async def serve(request: web.Request, records: Records, store: ArtifactStore) -> web.StreamResponse:
    """200, 206, 304 or 416 (RFC 9110, sections 13 and 14); a 404 says nothing about what there is."""
    found = await records.artifact(request.match_info["job"], request.match_info["sha256"])
    if found is None:
        raise web.HTTPNotFound
    if any(tag.value in {found.sha256, "*"} for tag in request.if_none_match or ()):
        return web.Response(status=304, headers={"ETag": f'"{found.sha256}"', "Cache-Control": FOR_EVER})
    first, last, partial = _range(request, found)
    response = web.StreamResponse(status=206 if partial else 200, headers=_headers(found, first, last, partial))
    response.content_length = last - first + 1
    if request.method == "HEAD" or found.size == 0:
        await response.prepare(request)
        return response
    chunks = cast("AsyncGenerator[bytes]", store.stream(found.key, first, last - first + 1))
    async with contextlib.aclosing(chunks):
        try:
            head = await anext(chunks, b"")
        except NoSuchArtifact:
            raise web.HTTPNotFound from None
        except ArtifactError as e:
            log.warning("the artifact store does not answer", key=found.key, why=str(e))
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"}) from None
        try:
            await response.prepare(request)
            await response.write(head)
            async for chunk in chunks:
                await response.write(chunk)
        except ConnectionError:
            pass  # the reader has gone, as players do when they jump
        except ArtifactError as e:  # the length was promised: only an end of the connection says that this is not all
            log.warning("an artifact broke off", key=found.key, why=str(e))
            if request.transport is not None:
                request.transport.abort()
    return response


def _range(request: web.Request, found: Artifact) -> tuple[int, int, bool]:
    """First and last byte, and whether it is a part. Of several ranges, and of another version, the whole is sent.

    Raises 416.
    """
    size = found.size
    match = RANGE.fullmatch(request.headers.get("Range", "").strip())
    if (
        not match
        or not (match[1] or match[2])
        or request.headers.get("If-Range", f'"{found.sha256}"') != f'"{found.sha256}"'
    ):
        return 0, size - 1, False
    if not match[1]:
        first, last = max(size - int(match[2]), 0), size - 1
    else:
        first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    if first > last:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return first, last, True


def _headers(artifact: Artifact, first: int, last: int, partial: bool) -> dict[str, str]:
    how = "inline" if artifact.content_type.startswith(INLINE) else "attachment"
    headers = {
        "Content-Type": artifact.content_type,
        "Accept-Ranges": "bytes",
        "ETag": f'"{artifact.sha256}"',
        "Cache-Control": FOR_EVER,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": SHOWN if how == "inline" else "sandbox",
        "Content-Disposition": f'{how}; filename="{artifact.name}"',
    }
    if partial:
        headers["Content-Range"] = f"bytes {first}-{last}/{artifact.size}"
    return headers
