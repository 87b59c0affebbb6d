"""A round's git in a sandbox as it is in life, not only in a directory of this process."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from factory_builder import checkpoint
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


async def test_an_error(work: Any, sandbox: Sandbox) -> None:
    """git's own words come out of the sandbox."""
    with pytest.raises(FactoryError, match="in the sandbox: fatal") as e:
        await GitInside(sandbox, work.job.branch).reset("1" * 40)
    assert e.value.log_tail
