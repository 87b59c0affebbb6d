"""The files that a chat holds: kept on disk, known by `file_id`, measured as far as Telegram measures them."""

import hashlib
import mimetypes
import secrets
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

from factory_loopback.errors import BotApiError
from factory_loopback.journal import Journal

MEGABYTE = 1024 * 1024
DOWNLOAD_LIMIT = 20 * MEGABYTE  # of getFile
PHOTO_LIMIT = 10 * MEGABYTE
THUMBNAIL_LIMIT = 200 * 1024


@dataclass(frozen=True)
class Upload:
    """A file as it came in with a request."""

    data: bytes
    name: str
    mime_type: str = ""


@dataclass(frozen=True)
class KeptFile:
    """A file of a chat; `path` is the one that getFile answers."""

    file_id: str
    file_unique_id: str
    file_size: int
    name: str
    mime_type: str
    path: str
    width: int = 0
    height: int = 0


class Files:
    """Everything under one directory, `<folder>/file_<n><suffix>`, as the paths of the Bot API look."""

    def __init__(self, directory: Path, journal: Journal) -> None:
        self.directory, self._journal = directory, journal
        self._by_id = {key: KeptFile(**record) for key, record in journal.under("file:").items()}

    def keep(self, folder: str, upload: Upload) -> KeptFile:
        """Writes the bytes and gives them an id; `folder` is the Bot API's: photos, videos, documents, thumbnails."""
        width, height = image_size(upload.data) or (0, 0)
        mime_type = upload.mime_type or mimetypes.guess_type(upload.name)[0] or "application/octet-stream"
        kept = KeptFile(
            file_id=f"BQACAgI{secrets.token_urlsafe(36)}",
            file_unique_id=f"AgAD{hashlib.sha256(upload.data).hexdigest()[:12]}",
            file_size=len(upload.data),
            name=upload.name,
            mime_type=mime_type,
            path=f"{folder}/file_{len(self._by_id) + 1}{Path(upload.name).suffix}",
            width=width,
            height=height,
        )
        target = self.directory / kept.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(upload.data)
        self._by_id[kept.file_id] = kept
        self._journal.put(f"file:{kept.file_id}", asdict(kept))
        return kept

    def by_id(self, file_id: str) -> KeptFile:
        if file_id not in self._by_id:
            raise BotApiError(400, "Bad Request: wrong file identifier/HTTP URL specified")
        return self._by_id[file_id]

    def by_path(self, path: str) -> KeptFile:
        for kept in self._by_id.values():
            if kept.path == path:
                return kept
        raise BotApiError(404, "Not Found")

    def on_disk(self, kept: KeptFile) -> Path:
        return self.directory / kept.path


def is_mp4(data: bytes) -> bool:
    """An ISO base media file (ISO/IEC 14496-12): Telegram shows only these as a video."""
    return data[4:8] == b"ftyp"


def is_jpeg(data: bytes) -> bool:
    return data[:3] == b"\xff\xd8\xff"


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG or JPEG; None for anything else."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    return _jpeg_size(data) if is_jpeg(data) else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walks the segments to the frame header (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        at += 2 + size
    return None
