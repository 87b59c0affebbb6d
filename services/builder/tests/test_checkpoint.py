"""Checkpoints: out of a sandbox, into the next one, and into the mirror that is pushed from."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factory_builder import checkpoint
from factory_forge.errors import BundleRefused, NoSuchRef
from factory_forge.git import Mirror
from factory_forge.inside import GitInside


async def a_round(work: Any, clone: Path, inside: GitInside, text: str) -> str:
    """One round as the handler makes it; the job's newest commit afterwards."""
    (clone / "app.py").write_text(text)
    made = await inside.commit(work.job.work_sha or work.job.base_sha, text)
    key = await checkpoint.save(work, inside, made.sha)
    await work.put_round(work.job, commit=made.sha, bundle=key)
    work.job = msgspec.structs.replace(work.job, work_sha=made.sha, round=work.job.round + 1)
    return made.sha


async def test_into_the_next_sandbox(
    work: Any, mirror: Mirror, clone: Path, inside: GitInside, git_in: Callable[[Path], GitInside]
) -> None:
    """After two rounds a new place comes up at the base and is brought to the newest commit; then nothing is to do."""
    await a_round(work, clone, inside, "2\n")
    newest = await a_round(work, clone, inside, "3\n")
    there = clone.with_name("next")
    await mirror.clone_for_job(there, work.job.base_sha, work.job.branch)
    assert await checkpoint.apply(work, git_in(there), mirror) is True
    assert (there / "app.py").read_text() == "3\n"
    assert await git_in(there).head() == newest
    assert await checkpoint.apply(work, git_in(there), mirror) is False


async def test_a_living_sandbox_is_only_looked_at(work: Any, mirror: Mirror, clone: Path, inside: GitInside) -> None:
    """Where the tree stands at the newest commit it is left alone, what the base's own setup makes in it too."""
    await a_round(work, clone, inside, "2\n")
    (clone / "notes.txt").write_text("x")
    assert await checkpoint.apply(work, inside, mirror, known=["notes.txt"]) is False
    assert (clone / "notes.txt").exists()


async def test_half_of_a_stopped_round_goes(work: Any, mirror: Mirror, clone: Path, inside: GitInside) -> None:
    """What an agent had begun when its work was cancelled is in nobody's next round, in a sandbox that lives on."""
    await a_round(work, clone, inside, "2\n")
    (clone / "app.py").write_text("half\n")
    (clone / "half.py").write_text("x")
    (clone / "notes.txt").write_text("x")
    assert await checkpoint.apply(work, inside, mirror, known=["notes.txt"]) is True
    assert (clone / "app.py").read_text() == "2\n"
    assert not (clone / "half.py").exists()


async def test_back_to_the_base(work: Any, mirror: Mirror, clone: Path, inside: GitInside) -> None:
    """A job without a commit begins at its base, whatever a lost round has left."""
    (clone / "app.py").write_text("2\n")
    await inside.commit(work.job.base_sha, "never kept")
    assert await checkpoint.apply(work, inside, mirror) is True
    assert (clone / "app.py").read_text() == "1\n"


async def test_a_persons_commit(work: Any, mirror: Mirror, person: Path, clone: Path, inside: GitInside) -> None:
    """A commit that no round made comes from the forge, by way of the mirror."""
    run = ["git", "-C", str(person), "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    (person / "app.py").write_text("by hand\n")
    subprocess.run([*run, "commit", "-q", "-a", "-m", "by hand"], check=True)
    sha = subprocess.run([*run, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    work.job = msgspec.structs.replace(work.job, work_sha=sha)
    assert await checkpoint.apply(work, inside, mirror) is True
    assert (clone / "app.py").read_text() == "by hand\n"
    await checkpoint.into_mirror(work, mirror, sha)
    assert await mirror.resolve(sha) == sha


async def test_into_the_mirror(work: Any, mirror: Mirror, clone: Path, inside: GitInside) -> None:
    """The mirror gets the commit from its bundle, and may be given it again."""
    sha = await a_round(work, clone, inside, "2\n")
    with pytest.raises(NoSuchRef):
        await mirror.resolve(sha)
    for _ in range(2):
        await checkpoint.into_mirror(work, mirror, sha)
        assert await mirror.resolve(work.job.id) == sha


async def test_another_commit_under_its_name(work: Any, mirror: Mirror, clone: Path, inside: GitInside) -> None:
    """A bundle that does not hold what its round says is refused."""
    first = await a_round(work, clone, inside, "2\n")
    second = await a_round(work, clone, inside, "3\n")
    work.kept[f"{second[:12]}.bundle"] = work.kept[f"{first[:12]}.bundle"]
    with pytest.raises(BundleRefused):
        await checkpoint.into_mirror(work, mirror, second)


async def test_key_of(work: Any, clone: Path, inside: GitInside) -> None:
    """The newest bundle of a commit; none for one that no round made."""
    sha = await a_round(work, clone, inside, "2\n")
    assert await checkpoint.key_of(work, sha) == f"{sha[:12]}.bundle"
    assert await checkpoint.key_of(work, "1" * 40) is None


async def test_scenarios_outlive_their_sandbox(work: Any, clone: Path, inside: GitInside) -> None:
    """The newest are put back where there are none, and what an agent has written since stays."""
    place: Any = inside.place
    written = clone / checkpoint.SCENARIOS
    await checkpoint.keep_scenarios(work, place, "a" * 40)
    await checkpoint.restore_scenarios(work, place)
    assert not written.exists()
    for text in ("old\n", "new\n"):
        written.parent.mkdir(exist_ok=True)
        written.write_text(text)
        await checkpoint.keep_scenarios(work, place, "a" * 40)
    written.unlink()
    await checkpoint.restore_scenarios(work, place)
    assert written.read_text() == "new\n"
    written.write_text("newer\n")
    await checkpoint.restore_scenarios(work, place)
    assert written.read_text() == "newer\n"
