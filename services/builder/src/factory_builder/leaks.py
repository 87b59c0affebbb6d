"""That no push gives one of the factory's own secrets away, whoever has put it into the work: an agent, a setup, a suite."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from factory_artifacts.redact import spellings_of
from factory_forge.errors import OwnSecret
from factory_forge.git import Mirror

LEAST = 12  # characters; shorter ones are words that stand in many an honest file
PIECE = 1 << 20  # bytes that are searched at once


class Leaks:
    """Knows the secrets in clear, base64 (at any offset), hex, URL- and JSON-escaped; a private key by each of its lines."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {spelling for secret in secrets if len(secret) >= LEAST for spelling in spellings_of(secret)}
        self._spellings = [s.encode() for s in found if not s.startswith("-----")]  # the lines around every key

    async def search(self, mirror: Mirror, sha: str) -> None:
        """Every commit that a push of `sha` would bring: what a later one takes out again is in the history for ever.

        Raises OwnSecret; NoSuchRef.
        """
        if not self._spellings:
            return
        with tempfile.TemporaryFile() as news:
            await mirror.write_news(sha, news)
            news.seek(0)
            await asyncio.to_thread(self._search, news)

    def _search(self, news: BinaryIO) -> None:
        for commit, path, added in _pieces(news):
            if any(spelling in added for spelling in self._spellings):
                sha, before, *_ = [*commit.decode().split(), ""]
                raise OwnSecret(path=path.decode(errors="replace"), commit=sha, before=before)


def _pieces(news: BinaryIO) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(commit and its parents, path, added lines) of what `Mirror.write_news` has written; the path is among the lines."""
    commit = path = b""
    added: list[bytes] = []
    size = 0
    for line in news:
        begins = line.startswith((b"\0", b"+++ "))
        if added and (begins or size > PIECE):
            yield commit, path, b"".join(added)
            added, size = [], 0
        if line.startswith(b"\0"):
            commit = line[1:].strip()
        elif line.startswith((b"+", b" +")):
            path = line.strip().removeprefix(b"+++ ").removeprefix(b"b/") if begins else path
            added.append(line)
            size += len(line)
    if added:
        yield commit, path, b"".join(added)
