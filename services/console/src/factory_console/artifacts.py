"""`/a/<job>/<sha256>/<name>`: what the artifact store holds, by the link that every page and message uses; with ranges."""

from __future__ import annotations

import contextlib
import re

from aiohttp import web
from factory_artifacts.errors import ArtifactError, NoSuchArtifact
from factory_artifacts.store import ArtifactStore
from factory_jobs.records import Artifact, Records

RANGE = re.compile(r"bytes=(\d*)-(\d*)$")
INLINE = ("video/", "image/png", "image/jpeg", "image/webp", "text/plain")  # shown in the page; all else is downloaded


async def serve(request: web.Request, records: Records, store: ArtifactStore) -> web.StreamResponse:
    """200 or 206 (RFC 9110, section 14); 404 says nothing about what there is."""
    found = await records.artifact(request.match_info["job"], request.match_info["sha256"])
    if found is None:
        raise web.HTTPNotFound
    first, last, partial = _range(request, found.size)
    response = web.StreamResponse(status=206 if partial else 200, headers=_headers(found, first, last, partial))
    if request.headers.get("If-None-Match") == f'"{found.sha256}"':
        return web.Response(status=304)
    response.content_length = last - first + 1
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    chunks = store.stream(found.key, first, last - first + 1)
    try:
        head = await anext(chunks, b"")
    except NoSuchArtifact:
        raise web.HTTPNotFound from None
    except ArtifactError as e:
        raise web.HTTPServiceUnavailable(text=f"The artifact store does not answer: {e}") from None
    async with contextlib.aclosing(chunks):
        await response.prepare(request)
        await response.write(head)
        async for chunk in chunks:
            await response.write(chunk)
    return response


def _range(request: web.Request, size: int) -> tuple[int, int, bool]:
    """First and last byte, and whether it is a part. Raises 416."""
    match = RANGE.match(request.headers.get("Range", ""))
    if not match or not (match[1] or match[2]):
        return 0, size - 1, False
    if not match[1]:
        first, last = max(size - int(match[2]), 0), size - 1
    else:
        first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    if first > last:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return first, last, True


def _headers(artifact: Artifact, first: int, last: int, partial: bool) -> dict[str, str]:
    inline = artifact.content_type.startswith(INLINE)
    headers = {
        "Content-Type": artifact.content_type,
        "Accept-Ranges": "bytes",
        "ETag": f'"{artifact.sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
        "Content-Disposition": "inline" if inline else f'attachment; filename="{artifact.name}"',
    }
    if partial:
        headers["Content-Range"] = f"bytes {first}-{last}/{artifact.size}"
    return headers
