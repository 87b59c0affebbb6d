"""What kind of bytes a name promises."""

from pathlib import PurePosixPath

_TYPES = {
    ".log": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".diff": "text/x-diff; charset=utf-8",
    ".patch": "text/x-diff; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".xml": "application/xml",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".har": "application/json",
    ".bundle": "application/x-git-bundle",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".svg": "image/svg+xml",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".vtt": "text/vtt; charset=utf-8",
}


def content_type(name: str) -> str:
    """The media type for a file name or key; `application/octet-stream` where the ending says nothing.

    From a table of ours and not from `mimetypes`, whose answers differ from machine to machine.
    """
    return _TYPES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")
