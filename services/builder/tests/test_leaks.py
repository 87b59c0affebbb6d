"""No push gives one of the factory's own secrets away: real git, a secret wherever an agent may leave it."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from factory_builder import checkpoint, feedback
from factory_builder.handlers import Handlers
from factory_builder.leaks import LEAST, Leaks
from factory_builder.settings import Settings
from factory_forge.errors import OwnSecret
from factory_forge.git import Mirror
from factory_forge.inside import GitInside
from factory_forge.local import LocalForge
from factory_jobs import events as ev

SECRET = "cÖrrect/horse+battery=staple"
KEY = "-----BEGIN PRIVATE" + " KEY-----\n" + "\n".join(c * 64 for c in "abc") + "\n-----END PRIVATE" + " KEY-----\n"
RAW = SECRET.encode()


@pytest.fixture
def commit(work: Any, clone: Path, inside: GitInside, mirror: Mirror) -> Callable[..., Any]:
    """A commit of the job's as the mirror has it; what is None is deleted."""

    async def made(parent: str = "", **files: bytes | None) -> str:
        for name, content in files.items():
            path = clone / name.replace("_", ".")
            path.unlink() if content is None else path.write_bytes(content)
        sha = (await inside.commit(parent or work.job.base_sha, "m")).sha
        key = await checkpoint.save(work, inside, sha)
        await work.put_round(work.job, commit=sha, parent=parent or work.job.base_sha, bundle=key)
        await checkpoint.into_mirror(work, mirror, sha)
        return sha

    return made


@pytest.mark.parametrize(
    "content",
    [
        b"token = '%s'\n" % RAW,
        base64.b64encode(RAW),
        b"Basic " + base64.b64encode(b"x-access-token:" + RAW),
        quote(SECRET, safe="").encode(),
        RAW.hex().encode(),
        b"\0\1\2" + RAW + b"\xff\0",
        b"-diff\n" * 400_000 + RAW,
        KEY.splitlines()[2].encode(),
    ],
    ids=["clear", "base64", "in base64", "url", "hex", "binary", "at the end of much", "a line of a key"],
)
async def test_found_in_every_spelling(mirror: Mirror, commit: Any, content: bytes) -> None:
    """In whatever file, however the repository has it shown; the error says where, and never what."""
    sha = await commit(notes_txt=content, _gitattributes=b"*.txt -diff\n")
    with pytest.raises(OwnSecret, match=r"notes\.txt holds one of the factory's own secrets") as refused:
        await Leaks([SECRET, KEY]).search(mirror, sha)
    assert SECRET not in str(refused.value)


async def test_found_in_what_a_later_commit_takes_out(work: Any, mirror: Mirror, commit: Any) -> None:
    """History is pushed too: the first commit that brings it is named, with the one before it."""
    clean = await commit(page_py=b"x\n")
    dirty = await commit(clean, page_py=RAW)
    sha = await commit(dirty, page_py=b"y\n")
    with pytest.raises(OwnSecret) as refused:
        await Leaks([SECRET]).search(mirror, sha)
    assert (refused.value.commit, refused.value.before) == (dirty, clean)


async def test_not_found_where_a_push_brings_none(
    person: Path, git: Any, mirror: Mirror, work: Any, commit: Any
) -> None:
    """What the forge has already, what is taken out, the lines around every key, and words that only look like one."""
    (person / "app.py").write_text(f"{SECRET}\nold\n")
    git(person, "commit", "-q", "-a", "-m", "a person's own")
    await mirror.fetch()
    work.job = msgspec.structs.replace(work.job, base_sha=await mirror.resolve("main"))
    sha = await commit(app_py=b"new\n", key_pem=KEY.splitlines()[0].encode(), words_txt=b"x" * (LEAST - 1))
    await Leaks([SECRET, KEY, "x" * (LEAST - 1)]).search(mirror, sha)


async def test_the_agent_is_told_and_its_next_commit_leaves_it_out(
    work: Any, mirror: Mirror, clone: Path, here: Any
) -> None:
    """The round is refused by name, what was there before stays, and the next one is pushed without a trace of it."""
    handlers = here()
    handlers.leaks = Leaks([SECRET])
    handlers.agent = lambda _: (clone / "page.py").write_bytes(RAW) and None
    event = await handlers.implementation_in_progress(work)
    assert isinstance(event, ev.FellBack)
    assert "page.py holds one of the factory's own secrets" in event.feedback
    assert "work_sha" not in event.facts
    assert feedback.before(await work.rounds(""), 1, 2) == event.feedback
    work.job = msgspec.structs.replace(work.job, round=2)
    handlers.agent = lambda _: (clone / "page.py").write_bytes(b"x\n") and None
    done = await handlers.implementation_in_progress(work)
    assert isinstance(done, ev.Done)
    assert [c.sha for c in await mirror.log(work.job.base_sha, done.facts["work_sha"])] == [done.facts["work_sha"]]


async def test_one_that_was_set_after_the_round_is_not_pushed_either(
    work: Any, remote: Path, commit: Any, here: Any, git: Any
) -> None:
    """The last look is just before the push: the job goes back to what was clean, and the tree is committed anew."""
    work.job = msgspec.structs.replace(work.job, repo=str(remote))
    clean = await commit(page_py=b"x\n")
    work.job = msgspec.structs.replace(work.job, round=2)
    work.job = msgspec.structs.replace(work.job, work_sha=await commit(clean, page_py=RAW), state="video_recorded")
    handlers = here()
    handlers.leaks = Leaks([SECRET])
    event = await handlers.video_recorded(work)
    assert isinstance(event, ev.FellBack)
    assert event.facts == {"work_sha": clean}
    assert "page.py" in event.feedback
    assert "factory/" not in git(remote, "for-each-ref")
    assert await LocalForge(remote, "software-factory", "http://factory:8080").pulls() == []


def test_builder_looks_for_what_it_was_set_up_with() -> None:
    """All of its secrets, and no default."""
    given = Settings(github_token="ghx_of-the-factory", s3_secret_key="minioadmin")  # type: ignore[arg-type]
    assert b"ghx_of-the-factory" in Handlers(given).leaks._spellings
    assert Handlers(Settings()).leaks._spellings == []
