"""Artifact rows against the artifact store."""

from __future__ import annotations

import asyncio
import hashlib

from factory_artifacts.errors import ArtifactError, NoSuchArtifact
from factory_artifacts.store import ArtifactStore
from factory_chassis.settings import Settings
from factory_jobs.books import Books
from factory_jobs.records import Artifact

from .finding import Finding, finding

AT_ONCE = 8


async def findings(settings: Settings, books: Books, *, deep: bool) -> list[Finding]:
    """Each object has to be there with its size; `deep`: and with its hash."""
    store = ArtifactStore(
        settings.s3_endpoint, settings.s3_bucket, settings.s3_access_key, settings.s3_secret_key.get_secret_value()
    )
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(artifact: Artifact) -> str:
        async with turn:
            return await _wrong(store, artifact, deep)

    try:
        said = await asyncio.gather(*(one(a) for a in books.artifacts))
    except ArtifactError as e:
        return [finding("unseen", "", f"the artifact store: {e}")]
    finally:
        store.close()
    return [
        finding("artifact", a.job_id, f"{a.kind} {a.name} {wrong}")
        for a, wrong in zip(books.artifacts, said, strict=True)
        if wrong
    ]


async def _wrong(store: ArtifactStore, artifact: Artifact, deep: bool) -> str:
    """Raises ArtifactError where the store does not answer."""
    try:
        size = (await store.stat(artifact.key)).size
        if size != artifact.size:
            return f"holds {size} bytes, its row says {artifact.size}"
        if not deep:
            return ""
        digest = hashlib.sha256()
        async for chunk in store.stream(artifact.key):
            digest.update(chunk)
    except NoSuchArtifact:
        return f"is not in the artifact store ({artifact.key})"
    return "" if digest.hexdigest() == artifact.sha256 else "holds other bytes than its row says"
