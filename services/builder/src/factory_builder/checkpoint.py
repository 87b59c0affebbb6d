"""Checkpoints: the job's newest commit as a bundle in the artifact store, taken out of and put into a sandbox."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path

from factory_chassis.work import Work
from factory_forge.errors import NoSuchRef
from factory_forge.git import Mirror
from factory_forge.inside import GitInside
from factory_jobs.errors import FactoryError
from factory_sandbox.client import Sandbox
from factory_sandbox.errors import Refused

SCENARIOS = ".software-factory/scenarios.yaml"


async def save(work: Work, git: GitInside, sha: str) -> str:
    """Bundles base..sha out of the sandbox into the artifact store; gives the key."""
    assert work.job.base_sha is not None
    with tempfile.TemporaryDirectory() as d:
        bundle = Path(d) / "checkpoint.bundle"
        await git.bundle_to(bundle, work.job.base_sha, sha)
        return (await work.keep("bundle", f"{sha[:12]}.bundle", bundle, commit=sha)).key


async def key_of(work: Work, sha: str) -> str | None:
    """Where the bundle of this commit lies; None for a commit that no round of ours made."""
    rounds = await work.records.rounds(work.job.id)
    return next((r.bundle for r in reversed(rounds) if r.commit == sha and r.bundle), None)


async def apply(work: Work, git: GitInside, mirror: Mirror, *, known: Collection[str] = ()) -> bool:
    """Puts the sandbox's tree to the job's newest commit. False where it stands there already.

    What lies in the tree beside that commit is work that was stopped, and goes; `known` paths are the base's own.
    """
    job = work.job
    target = job.work_sha or job.base_sha
    assert target is not None and job.base_sha is not None
    if await git.head() == target:
        if set(await git.dirt()) <= set(known):
            return False
        await git.reset(target)
        return True
    if target == job.base_sha:
        await git.reset(target)
        return True
    if key := await key_of(work, target):
        bundle = await work.artifacts.get_bytes(key)
    else:  # a person's commit: it comes from the forge, by way of the mirror
        bundle = await _from_mirror(mirror, target, job.base_sha)
    await git.apply(bundle, target)
    if await git.head() != target:
        raise FactoryError(f"The sandbox stands at {await git.head()}, not at {target}.", code="checkpoint_not_applied")
    return True


async def keep_scenarios(work: Work, sandbox: Sandbox, sha: str) -> None:
    """The agent's scenarios are in no commit: they are kept beside it, for a sandbox that has to be made anew."""
    try:
        text = (await sandbox.read(SCENARIOS, max_bytes=65_536)).decode()
    except (Refused, UnicodeDecodeError):
        return  # none yet, or none that can be read: recorder says so to the agent
    await work.records.add_evidence(work.job, sha, "scenarios", True, {"text": text})


async def restore_scenarios(work: Work, sandbox: Sandbox) -> None:
    """Puts the newest ones back where the sandbox has none."""
    kept = [e for e in await work.records.all_evidence(work.job.id) if e.kind == "scenarios"]
    if not kept:
        return
    try:
        await sandbox.read(SCENARIOS, max_bytes=1)
    except Refused:
        await sandbox.write(SCENARIOS, kept[-1].data["text"].encode())


async def _from_mirror(mirror: Mirror, sha: str, base: str) -> bytes:
    await mirror.fetch()
    with tempfile.TemporaryDirectory() as d:
        bundle = Path(d) / "push.bundle"
        await mirror.bundle(bundle, sha, base)
        return bundle.read_bytes()


async def into_mirror(work: Work, mirror: Mirror, sha: str) -> None:
    """The trusted mirror gets the commit from its bundle, or has it from the forge. Raises BundleRefused by name."""
    key = await key_of(work, sha)
    if key is None:
        await mirror.fetch()
        return
    with tempfile.TemporaryDirectory() as d:
        bundle = Path(d) / "checkpoint.bundle"
        await work.artifacts.get_file(key, bundle)
        await mirror.import_bundle(bundle, ref=work.job.id, expect=sha, base=await _root(work, mirror, sha))


async def _root(work: Work, mirror: Mirror, sha: str) -> str:
    """The commit that the rounds which led here began at: the base, or what a person has pushed, on whatever history."""
    assert work.job.base_sha is not None
    parents = {r.commit: r.parent for r in await work.records.rounds(work.job.id) if r.commit and r.parent}
    while sha in parents:
        sha = parents.pop(sha)
    try:
        return await mirror.resolve(sha)
    except NoSuchRef:  # it was taken off the branch, and this mirror has never seen it: the bundle holds it, too
        return work.job.base_sha
