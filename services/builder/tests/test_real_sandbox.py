"""A round's git in a sandbox as it is in life, not only in a directory of this process."""

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factory_builder import checkpoint, merging
from factory_forge.errors import CheckoutBroken
from factory_forge.git import Mirror
from factory_forge.inside import GitInside
from factory_jobs.errors import FactoryError
from factory_sandbox.client import Sandbox, node_key
from factory_sandbox.local import Local, Spec


@pytest.fixture
async def sandbox(tmp_path: Path, work: Any, clone: Path) -> AsyncIterator[Sandbox]:
    node = tmp_path / "n"
    spec = Spec("node", node, work.job.id, 1, clone, shims={}, env={}, ports=(2000, 2019))
    handle = await Local().create(spec, 1)
    try:
        yield Sandbox(handle, node_key(node), 1)
    finally:
        await Local().destroy(handle)


async def test_a_round(work: Any, mirror: Mirror, clone: Path, sandbox: Sandbox) -> None:
    """Commit, bundle, mirror, and back to the base: by the sandbox's own calls."""
    git = GitInside(sandbox, work.job.branch)
    (clone / "page.py").write_text("x\n" * 200_000)  # more than one frame
    assert list(await git.changes()) == ["page.py"]
    made = await git.commit(work.job.base_sha, "Add a page")
    await work.put_round(work.job, commit=made.sha, bundle=await checkpoint.save(work, git, made.sha))
    await checkpoint.into_mirror(work, mirror, made.sha)
    assert await mirror.read(made.sha, "page.py") == b"x\n" * 200_000
    await git.reset(work.job.base_sha)
    assert not (clone / "page.py").exists()
    await git.apply(work.kept[f"{made.sha[:12]}.bundle"], made.sha)
    assert await git.head() == made.sha
    assert await git.dirt() == []


async def test_a_merge(
    work: Any, person: Path, mirror: Mirror, clone: Path, sandbox: Sandbox, git: Callable[..., str]
) -> None:
    """What conflicts comes in as a checkpoint, and goes out as one commit with both parents."""
    inside = GitInside(sandbox, work.job.branch, work.job.base_sha)
    (clone / "app.py").write_text("2\n")
    ours = (await inside.commit(work.job.base_sha, "ours")).sha
    await work.put_round(work.job, commit=ours, bundle=await checkpoint.save(work, inside, ours))
    work.job = msgspec.structs.replace(work.job, work_sha=ours, round=2)
    (person / "app.py").write_text("3\n")
    git(person, "commit", "-q", "-a", "-m", "moved on")
    theirs = git(person, "rev-parse", "HEAD")
    merge = await merging.begin(work, inside, mirror, ours, await work.rounds(""))
    assert merge is not None
    assert await inside.head() == merge.given
    assert (clone / "app.py").read_text() == f"<<<<<<< {ours}\n2\n=======\n3\n>>>>>>> {theirs}\n"
    (clone / "app.py").write_text("2 and 3\n")
    both = (await inside.commit(merge.given, "both", parents=merge.parents)).sha
    await work.put_round(work.job, commit=both, parent=ours, bundle=await checkpoint.save(work, inside, both))
    await checkpoint.into_mirror(work, mirror, both)
    assert await merging.fault(mirror, merge, both) is None
    assert await mirror.is_ancestor(theirs, both)
    assert await mirror.read(both, "app.py") == b"2 and 3\n"


async def test_a_repository_that_is_gone(work: Any, clone: Path, sandbox: Sandbox) -> None:
    """Is a place that is lost, by the code that the worker knows."""
    shutil.rmtree(clone / ".git")
    with pytest.raises(CheckoutBroken) as e:
        await GitInside(sandbox, work.job.branch, work.job.base_sha).dirt()
    assert e.value.code == "sandbox-lost"


async def test_an_error(work: Any, sandbox: Sandbox) -> None:
    """git's own words come out of the sandbox."""
    with pytest.raises(FactoryError, match="in the sandbox: fatal") as e:
        await GitInside(sandbox, work.job.branch).reset("1" * 40)
    assert e.value.log_tail
