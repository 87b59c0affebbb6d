"""Notifier with the real aiogram against the loopback Telegram, on real Postgres, S3 and NATS: the chat shows what is."""

import asyncio
import contextlib
import itertools
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from aiogram import Bot
from factory_artifacts.redact import Redactor
from factory_artifacts.store import ArtifactStore
from factory_chassis.broker import Publisher, build_broker
from factory_chassis.line import Line
from factory_chassis.settings import BadSettings
from factory_jobs import db
from factory_jobs import events as ev
from factory_jobs.errors import Failure
from factory_jobs.job import Job, Pull, Sandbox, Waiting
from factory_jobs.records import Records
from factory_jobs.store import NewRequest, Store
from factory_loopback.telegram import LoopbackTelegram
from factory_loopback.telegram.person import ShownMessage
from factory_notifier import holding, notify, patience
from factory_notifier.app import NotifierService
from factory_notifier.chat import Chat
from factory_notifier.notify import Notifier
from factory_notifier.settings import Settings
from factory_telegram import words
from factory_telegram.bot import make_bot
from factory_telegram.pacing import Limits
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parent))

import chassis_role as role

PILOT, ELSEWHERE = -1001234567890, -1009999999999
HEAD = "c" * 40
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(5000)
QUICK = Limits(chat=(1000, 1.0), group=(1000, 1.0), overall=(1000, 1.0), patience=0)
PULL = Pull(number=7, url="https://f.example/pulls/pilot/7", head=HEAD)
READY: dict[str, Any] = {"state": "ready_for_human_review", "proved_sha": HEAD, "work_sha": HEAD, "pr": PULL}
FAILED: dict[str, Any] = {
    "state": "failed",
    "cleanup": "pending",
    "failure": Failure(
        blame="repo", code="setup", message="It ended with 1.", stage="sandbox_created", log_tail="no module x"
    ),
}


# ── a notifier at work ────────────────────────────────────────────────────────


@pytest.fixture
async def telegram(telegram_server: LoopbackTelegram) -> LoopbackTelegram:
    telegram_server.add_chat(ELSEWHERE, "Elsewhere")
    return telegram_server


@pytest.fixture
async def bot(telegram: LoopbackTelegram) -> AsyncIterator[Bot]:
    async with make_bot(telegram.token, telegram.url, limits=QUICK) as bot:
        yield bot


@pytest.fixture
async def artifacts(s3: Any) -> AsyncIterator[ArtifactStore]:
    store = ArtifactStore(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key)
    yield store
    store.close()


@pytest.fixture
def nowhere() -> ArtifactStore:
    """For what needs no film."""
    return ArtifactStore("http://127.0.0.1:9", "b", "a", "s")


def notifier_on(bot: Bot, pool: asyncpg.Pool, artifacts: ArtifactStore, *, owner: str = "n1", **more: Any) -> Notifier:
    store = Store(pool)
    line = Line(store, Records(pool), Publisher(build_broker("nats://127.0.0.1:9"), store))
    given: dict[str, Any] = {"public_url": "https://f.example", "edit_every": 0.0}
    return Notifier(line, artifacts, Chat(bot), Redactor(["hunter2<secret>"]), owner=owner, **given | more)


@contextlib.asynccontextmanager
async def telling(given: Notifier) -> AsyncIterator[asyncio.Task[None]]:
    """At work until the block ends; what it breaks by is raised there."""
    task = asyncio.create_task(given.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch):
    """Tests need not wait for what only saves work."""
    monkeypatch.setattr(notify, "LOOK", 0.05)
    monkeypatch.setattr(patience, "FIRST", 0.4)


@pytest.fixture
async def notifier(bot: Bot, pool: asyncpg.Pool, nowhere: ArtifactStore) -> AsyncIterator[Notifier]:
    given = notifier_on(bot, pool, nowhere)
    async with telling(given):
        yield given


numbers = itertools.count(1)


async def new(store: Store, title: str = "Make it red", chat: int = PILOT, **columns: Any) -> Job:
    number = next(numbers)
    asked = NewRequest(source=f"t:{number}", author="Ada (1001)", text=title, chat=str(chat), message_id=None)
    job = await store.create(project="pilot", snapshot={"rounds": 5}, repo="/r.git", title=title, request=asked)
    assert job is not None
    return await put(store, job.id, **columns) if columns else job


async def put(store: Store, job_id: str, **columns: Any) -> Job:
    """As a move leaves it: other columns, one event further."""
    names = [f"{name} = ${n}" for n, name in enumerate(columns, 2)]
    values = [msgspec.to_builtins(v) if isinstance(v, msgspec.Struct) else v for v in columns.values()]
    sets = ", ".join([*names, "version = version + 1", "seq = seq + 1"])
    await store.pool.execute(f"UPDATE jobs SET {sets} WHERE id = $1", job_id, *values)
    return await store.get(job_id)


async def shown(telegram: LoopbackTelegram, chat: int = PILOT) -> list[ShownMessage]:
    return [m for m in await telegram.person(chat).read() if m.from_bot]


async def up_to_date(store: Store, *jobs: Job, within: float = 15) -> None:
    """Every chat shows these jobs' newest event."""

    async def caught_up() -> bool:
        ids = [j.id for j in jobs]
        behind = "SELECT count(*) FROM jobs j LEFT JOIN messages m ON m.job_id = j.id AND m.kind = 'status' "
        return not await store.pool.fetchval(
            behind + "WHERE j.id = ANY ($1) AND (coalesce(m.shown_seq, 0) < j.seq OR m.lease_owner IS NOT NULL)", ids
        )

    await role.until(caught_up, within, "the chat is up to date")


async def film(records: Records, artifacts: ArtifactStore, job: Job, *, stored: bool = True) -> None:
    """What recorder leaves."""
    name = {"kind": "video", "name": "film.mp4", "commit": HEAD}
    key = f"jobs/{job.id}/{HEAD}/1/video/film.mp4"
    if stored:
        await artifacts.put_bytes(key, MP4, "video/mp4")
    await records.add_artifact(job, key=key, sha256="5" * 64, size=len(MP4), content_type="video/mp4", **name)
    facts = {"seconds": 12.4, "width": 1280, "height": 720, "codec": "h264"}
    await records.add_evidence(job, HEAD, "browser", True, {"results": [], "video": facts})


# ── one live message ──────────────────────────────────────────────────────────


async def test_a_job_has_one_status_message(telegram: LoopbackTelegram, notifier: Notifier, store: Store):
    """Sent once without a sound, then edited; the words are those of the newest state."""
    job = await new(store)
    await telegram.person().wait_for(lambda m: "Planning" in m.text)
    for state in ("planned", "sandbox_created", "implementation_in_progress", "tests_running"):
        job = await put(store, job.id, state=state, lease_owner="w", round=1)
        await up_to_date(store, job)

    [status] = await shown(telegram)
    assert "Running the tests…" in status.text and status.silent
    assert [b.text for row in status.buttons for b in row] == ["Cancel"]
    assert len(telegram.calls("sendMessage")) == 1 and len(status.edited_at) == 4


async def test_an_event_that_changes_no_word_edits_nothing(
    telegram: LoopbackTelegram, notifier: Notifier, store: Store
):
    """A claim, a note: the chat is up to date without a call."""
    job = await new(store, lease_owner="w")
    await up_to_date(store, job)
    before = len(telegram.calls())

    await up_to_date(store, await put(store, job.id, lease_epoch=9))

    assert len(telegram.calls()) == before


async def test_a_message_is_edited_at_most_every_edit_every_seconds(
    telegram: LoopbackTelegram, bot: Bot, pool: asyncpg.Pool, nowhere: ArtifactStore, store: Store
):
    """However often the job moves; the last state is shown in the end."""
    async with telling(notifier_on(bot, pool, nowhere, edit_every=0.5)):
        job = await new(store, lease_owner="w")
        for n in range(40):
            job = await put(store, job.id, title=f"Step {n}")
            await asyncio.sleep(0.05)
        await up_to_date(store, job)

    [status] = await shown(telegram)
    assert status.text.startswith("Step 39\n")
    edits = [call.at for call in telegram.calls("editMessageText")]
    assert 2 <= len(edits) <= 8
    assert all(later - earlier >= 0.45 for earlier, later in itertools.pairwise(edits))


async def test_several_jobs_of_a_chat_share_its_edits_and_ends_do_not_wait(
    telegram: LoopbackTelegram, bot: Bot, pool: asyncpg.Pool, nowhere: ArtifactStore, store: Store
):
    """Each has its turn, in sum no more often than a chat takes; new jobs, questions and ends come at once."""
    async with telling(notifier_on(bot, pool, nowhere, edit_every=0.4)):
        jobs = [await new(store, f"Job {n}", lease_owner="w") for n in range(4)]
        await role.until(lambda: len(telegram.calls("sendMessage")) == 4, 2, "all of them have begun")
        for n in range(60):
            for job in jobs:
                await put(store, job.id, title=f"{job.title} step {n}")
            if n == 30:
                ended = await put(store, jobs[0].id, **FAILED)
                failed_at = asyncio.get_running_loop().time()
                await telegram.person().wait_for(lambda m: "❌ Failed" in m.text)
                assert asyncio.get_running_loop().time() - failed_at < 1.5
            await asyncio.sleep(0.05)

        edits = telegram.calls("editMessageText")
        assert {e.args["message_id"] for e in edits} >= {1, 2, 3, 4}
        between = [b.at - a.at for a, b in itertools.pairwise(edits)]
        assert sum(gap < 0.55 for gap in between) <= 1  # the status of the one that ended
        await up_to_date(store, ended, *jobs)


async def test_a_message_that_somebody_deleted_is_sent_again(
    telegram: LoopbackTelegram, bot: Bot, notifier: Notifier, store: Store
):
    """And goes on being the one that is edited."""
    job = await new(store)
    await up_to_date(store, job)
    await bot.delete_message(PILOT, (await shown(telegram))[0].message_id)

    for state in ("planned", "tests_running"):
        job = await put(store, job.id, state=state, lease_owner="w")
        await up_to_date(store, job)

    [status] = await shown(telegram)
    assert "Running the tests…" in status.text and len(status.edited_at) == 1


async def test_it_answers_the_message_that_asked(telegram: LoopbackTelegram, notifier: Notifier, store: Store):
    """Also where that is deleted by now."""
    for number in (await telegram.person().type("Make it red"), 999):
        job = await new(store)
        await store.pool.execute("UPDATE requests SET message_id = $2 WHERE job_id = $1", job.id, number)
        job = await put(store, job.id, **FAILED)
        await up_to_date(store, job)

    replies = [m.reply_to for m in await shown(telegram) if m.text.startswith("❌ Failed")]
    assert replies == [1, None]


# ── ends and questions ────────────────────────────────────────────────────────


async def test_a_ready_job_ends_in_a_message_and_a_film_that_plays(
    telegram: LoopbackTelegram, bot: Bot, pool: asyncpg.Pool, store: Store, records: Records, artifacts: ArtifactStore
):
    """Once each, in order, with a sound; the film with its size and length; a later note edits the text alone."""
    job = await new(store)
    await film(records, artifacts, job)
    preview = Sandbox(provider="local", handle={}, preview_url="http://127.0.0.1:4000/", preview="up")
    async with telling(notifier_on(bot, pool, artifacts)):
        job = await put(store, job.id, **READY, sandbox=preview)
        await up_to_date(store, job)
        job = await put(store, job.id, sandbox=msgspec.structs.replace(preview, preview="down"))
        await up_to_date(store, job)

    status, final, video = await shown(telegram)
    assert "Ready for your review." in status.text and not status.buttons
    assert "✅ Ready for your review: Make it red" in final.text and not final.silent
    assert "http://127.0.0.1:4000/ (down)" in final.text and len(final.edited_at) == 1
    assert [b.url for row in final.buttons for b in row] == [PULL.url]
    assert video.media is not None and video.media.kind == "video"
    assert (video.media.width, video.media.height, video.media.duration) == (1280, 720, 12)
    assert video.media.file_size == len(MP4)
    [call] = telegram.calls("sendVideo")
    assert call.args["supports_streaming"] and not video.edited_at


async def test_a_failure_is_told_and_its_cleanup_when_it_is_known(
    telegram: LoopbackTelegram, notifier: Notifier, store: Store
):
    """Stage and log at once; the same message says later what became of the rest."""
    job = await put(store, (await new(store)).id, **FAILED)
    failed = await telegram.person().wait_for(lambda m: "❌ Failed" in m.text)
    assert "Setting the repo up (sandbox_created)" in failed.text
    assert "no module x" in failed.text and "Cleanup: under way" in failed.text
    await up_to_date(store, job)

    job = await put(store, job.id, cleanup="done")
    await up_to_date(store, job)

    status, failed = await shown(telegram)
    assert "❌ Environment" in status.text
    assert "Cleanup: done, nothing is left running" in failed.text
    assert len(failed.edited_at) == 1 and not failed.silent


async def test_a_cancelled_job_shows_where_it_was_stopped(telegram: LoopbackTelegram, notifier: Notifier, store: Store):
    """By its history."""
    job = await new(store)
    job = await put(store, job.id, placement=1, sandbox=Sandbox(provider="local", handle={}))
    for event in (ev.Done(),):
        claimed = await store.claim(job.id, [job.state], owner="w")
        assert claimed is not None
        job = await store.apply(claimed, event, actor="w", epoch=claimed.lease_epoch)
    after = await store.tell(job.id, ev.Cancel(by="Ada"), actor="t")
    assert after is not None and after.state == "cancelled"
    await up_to_date(store, after)

    status, ended = await shown(telegram)
    assert "✅ Plan" in status.text and "🛑 Environment" in status.text
    assert ended.text.startswith("🛑 Cancelled: Make it red")


async def test_a_question_has_buttons_until_it_is_answered(
    telegram: LoopbackTelegram, notifier: Notifier, store: Store, records: Records
):
    """Then it says by whom and what; the same asked again is a new message."""
    options = [["approve", "Go on"], ["reject", "Stop"]]
    job = await new(store)
    for _ in range(2):
        asks = Waiting(kind="budget", asks="More?", since=await store.value("now"), options=options)
        job = await put(store, job.id, waiting=asks)
        await up_to_date(store, job)
        [question] = [m for m in await shown(telegram) if m.text.startswith("❓") and m.buttons]
        assert [b.text for b in question.buttons[0]] == ["Go on", "Stop"]
        job = await store.answer(job.id, ev.Answered(ask="budget", answer="approve", by="Ada"), actor="t")
        await up_to_date(store, job)
        await asyncio.sleep(1.01)  # questions are told apart by the second

    questions = [m for m in await shown(telegram) if m.text.startswith("❓")]
    assert [m.text.splitlines()[-1] for m in questions] == ["☑ Ada: approve"] * 2
    assert not any(m.buttons for m in questions)


# ── what goes wrong with Telegram ─────────────────────────────────────────────


async def test_retry_after_is_honoured_and_the_text_made_anew(
    telegram: LoopbackTelegram, notifier: Notifier, store: Store
):
    """What is sent after the wait is what is true then; no other chat waits with it."""
    telegram.fault("sendMessage", 429, retry_after=2, chat_id=PILOT)
    job = await new(store)
    await role.until(lambda: telegram.calls("sendMessage"), what="it was refused")
    other = await new(store, chat=ELSEWHERE)
    job = await put(store, job.id, state="tests_running", lease_owner="w")
    await up_to_date(store, other, within=1.5)
    assert await shown(telegram) == []
    await up_to_date(store, job)

    refused, sent = telegram.calls("sendMessage", PILOT)
    assert sent.at - refused.at >= 1.95
    [status] = await shown(telegram)
    assert "Running the tests…" in status.text and not status.edited_at


async def test_a_bot_that_is_blocked_tries_again_with_the_next_event(
    telegram: LoopbackTelegram, notifier: Notifier, store: Store
):
    """Not before, and other chats are told."""
    telegram.fault("sendMessage", 403, chat_id=PILOT, times=2)
    job, other = await new(store), await new(store, chat=ELSEWHERE)
    await up_to_date(store, job, other)
    await asyncio.sleep(0.3)
    assert len(telegram.calls("sendMessage", PILOT)) == 1

    for state in ("planned", "tests_running"):
        job = await put(store, job.id, state=state, lease_owner="w")
        await up_to_date(store, job)

    assert ["Running the tests…" in m.text for m in await shown(telegram)] == [True]
    assert len(await shown(telegram, ELSEWHERE)) == 1


@pytest.mark.parametrize(
    "fault", [{"status": 502}, {"status": 502, "html": True}, {"status": 500, "drop": True}], ids=str
)
async def test_what_could_not_be_sent_is_sent_later(
    telegram: LoopbackTelegram, notifier: Notifier, store: Store, fault: dict[str, Any]
):
    """Less and less often, until it goes."""
    telegram.fault("sendMessage", times=2, **fault)
    job = await new(store)
    await up_to_date(store, job)

    calls = telegram.calls("sendMessage")
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(calls)]
    assert len(calls) == 3 and len(await shown(telegram)) == 1
    assert gaps[0] >= 0.35 and gaps[1] >= 0.75


async def test_what_was_sent_is_written_down_when_postgres_is_back(
    telegram: LoopbackTelegram, notifier: Notifier, store: Store, monkeypatch: pytest.MonkeyPatch
):
    """Postgres goes away between the two: the message is in the chat, and is not sent again for that."""
    shown_, away = notifier.line.records.shown, [ConnectionRefusedError("gone"), asyncpg.InterfaceError("closed")]

    async def written(*args: Any) -> None:
        if away:
            raise away.pop()
        await shown_(*args)

    monkeypatch.setattr(notifier.line.records, "shown", written)
    job = await new(store)
    await role.until(lambda: not away, 10, "it was tried again")
    await up_to_date(store, job)
    assert len(telegram.calls("sendMessage")) == len(await shown(telegram)) == 1


async def test_a_text_that_telegram_refuses_comes_bare(telegram: LoopbackTelegram, notifier: Notifier, store: Store):
    """Somebody waits for it: without its dress and its buttons it still says what happened. Tried once."""
    telegram.fault("sendMessage", 400, description="Bad Request: can't parse entities")
    job = await put(store, (await new(store)).id, **FAILED)
    await up_to_date(store, job)

    status, failed = await shown(telegram)
    assert "<b>" not in status.html and "❌ Environment" in status.text
    assert "❌ <b>Failed" in failed.html


async def test_a_chat_that_takes_nothing_is_not_asked_for_ever(
    telegram: LoopbackTelegram, notifier: Notifier, store: Store
):
    """Not there, or no rights: logged, and tried again with the next event; others are told."""
    job, other = await new(store, chat=-1005), await new(store)
    await up_to_date(store, job, other)
    await asyncio.sleep(0.3)

    assert len(telegram.calls("sendMessage", -1005)) == 2
    assert len(await shown(telegram)) == 1


async def test_a_token_that_telegram_refuses_is_a_broken_configuration(
    telegram: LoopbackTelegram, pool: asyncpg.Pool, store: Store, nowhere: ArtifactStore
):
    """Named, so that the process ends with 78 and not in a circle."""
    await new(store)
    async with make_bot("4242:another", telegram.url, limits=QUICK) as bot:
        with pytest.raises(BadSettings, match="FACTORY_TELEGRAM_TOKEN: Telegram refuses it"):
            await asyncio.wait_for(notifier_on(bot, pool, nowhere).run(), 20)


# ── what goes wrong elsewhere ─────────────────────────────────────────────────


async def test_a_film_that_cannot_be_fetched_holds_nothing_else_up(
    telegram: LoopbackTelegram,
    notifier: Notifier,
    store: Store,
    records: Records,
    artifacts: ArtifactStore,
):
    """S3 away: the final message is there at once, the film when it can be had, and other jobs go on."""
    job = await new(store)
    await film(records, artifacts, job)
    await put(store, job.id, **READY)
    await telegram.person().wait_for(lambda m: "✅ Ready" in m.text)
    await up_to_date(store, await new(store, "Another"))
    assert not telegram.calls("sendVideo")

    notifier.artifacts = artifacts
    await telegram.person().wait_for(lambda m: m.media is not None)
    await up_to_date(store, await store.get(job.id))
    assert len([m for m in await shown(telegram) if "✅ Ready" in m.text]) == 1


async def test_a_film_that_is_gone_is_said(
    telegram: LoopbackTelegram, bot: Bot, pool: asyncpg.Pool, store: Store, records: Records, artifacts: ArtifactStore
):
    """Its message says so, once."""
    job = await new(store)
    await film(records, artifacts, job, stored=False)
    async with telling(notifier_on(bot, pool, artifacts)):
        job = await put(store, job.id, **READY)
        await up_to_date(store, job)

    assert [m.text for m in await shown(telegram)][2] == f"🎬 Make it red\n{words.NO_FILM}"


async def test_a_job_that_breaks_us_holds_no_other_up(
    telegram: LoopbackTelegram, notifier: Notifier, store: Store, records: Records
):
    """Records of a shape that nobody expects: the others of its chat are told, and so is it when it can be."""
    broken = await new(store, "Broken")
    await records.add_evidence(broken, HEAD, "suites", True, {"nothing": "here"})
    broken = await put(store, broken.id, state="review_running", work_sha=HEAD)
    await up_to_date(store, await new(store, "Whole"))
    assert [m.text.splitlines()[0] for m in await shown(telegram)] == ["Whole"]

    await records.add_evidence(broken, HEAD, "suites", True, {"suites": []})
    await up_to_date(store, broken)
    assert len(await shown(telegram)) == 2


async def test_no_secret_reaches_a_chat(
    telegram: LoopbackTelegram, bot: Bot, store: Store, postgres_url: str, nats_url: str, tmp_path: Path
):
    """Also not as it stands in HTML. And a hint wakes the service."""
    secret = "p<w&1234567"
    settings = Settings(
        database_url=SecretStr(postgres_url),
        nats_url=nats_url,
        s3_secret_key=SecretStr(secret),
        telegram_token=SecretStr(telegram.token),
        telegram_api=telegram.url,
        node_dir=tmp_path / "node",
        edit_every=0,
        stop_grace=2,
    )
    async with role.running(NotifierService(settings)) as service:
        job = await new(store, f"Use {secret} and {telegram.token}")
        await service.line.publisher.hint(job)
        await up_to_date(store, job)

    [status] = await shown(telegram)
    assert status.text.startswith("Use ••• and •••\n")


# ── kills, and two at once ────────────────────────────────────────────────────


async def test_two_notifiers_neither_double_nor_reorder(
    telegram: LoopbackTelegram, bot: Bot, postgres_url: str, store: Store, records: Records, artifacts: ArtifactStore
):
    """Five jobs that move all the time: one status, one final and one film each, and no text goes back."""
    pools = [await db.connect(postgres_url) for _ in range(2)]
    first, second = (notifier_on(bot, pool, artifacts, owner=f"n{n}") for n, pool in enumerate(pools))
    async with telling(first), telling(second):
        jobs = [await new(store, f"{n}: step 000", lease_owner="w") for n in range(5)]
        for step, job in itertools.product(range(1, 25), jobs):
            await put(store, job.id, title=f"{job.title[0]}: step {step:03}")
        for job in jobs:
            await film(records, artifacts, job)
            await put(store, job.id, **READY)
        await up_to_date(store, *[await store.get(j.id) for j in jobs], within=30)
    for pool in pools:
        await pool.close()

    messages = await shown(telegram)
    for n in range(5):
        [status, final, video] = [m for m in messages if f"{n}: step" in m.text]
        steps = [html.split("step ")[1][:3] for html in [*status.history, status.html]]
        assert steps == sorted(steps) and steps[-1] == "024"
        assert "✅ Ready" in final.text and video.media is not None


async def test_one_that_is_slow_keeps_its_lease(
    telegram: LoopbackTelegram,
    bot: Bot,
    postgres_url: str,
    store: Store,
    nowhere: ArtifactStore,
    monkeypatch: pytest.MonkeyPatch,
):
    """A send that takes longer than a lease is not done again by the other."""
    monkeypatch.setattr(holding, "RENEW", 0.2)
    pools = [await db.connect(postgres_url) for _ in range(2)]
    first, second = (notifier_on(bot, pool, nowhere, owner=f"n{n}") for n, pool in enumerate(pools))
    sent = first.chat.show

    async def slowly(*args: Any, **more: Any) -> int:
        found = await sent(*args, **more)
        await asyncio.sleep(2.5)
        return found

    first.chat.show = slowly
    async with telling(first):
        job = await new(store)
        await role.until(lambda: telegram.calls("sendMessage"), what="the first sends")
        async with telling(second):
            for _ in range(8):  # a lease of 30 s, in a tenth of the time
                await store.pool.execute("UPDATE messages SET lease_until = lease_until - interval '20 seconds'")
                await asyncio.sleep(0.25)
            await up_to_date(store, job)
    for pool in pools:
        await pool.close()

    assert len(telegram.calls("sendMessage")) == 1


@pytest.mark.parametrize("place", ["notifier.status.sent", "notifier.failed.sent"])
async def test_a_kill_between_sending_and_writing_doubles_one_message_at_most(
    telegram: LoopbackTelegram,
    store: Store,
    postgres_url: str,
    nats_url: str,
    tmp_path: Path,
    bot: Bot,
    pool: asyncpg.Pool,
    nowhere: ArtifactStore,
    place: str,
):
    """`kill -9` of the process: the next one tells the rest, and edits what it wrote itself."""
    settings = Settings(
        database_url=SecretStr(postgres_url),
        nats_url=nats_url,
        s3_secret_key=SecretStr("not asked for"),
        telegram_token=SecretStr(telegram.token),
        telegram_api=telegram.url,
        node_dir=tmp_path / "node",
        edit_every=0,
    )
    job = await put(store, (await new(store)).id, **FAILED)
    env = role.environment(settings) | {"FACTORY_FAILPOINT": f"{place}:kill9"}
    process = role.Process([sys.executable, "-m", "factory_notifier"], env, tmp_path / "n.log")
    assert await process.ended(30) == -signal.SIGKILL

    await store.pool.execute("UPDATE messages SET lease_until = now()")  # 30 s later
    async with telling(notifier_on(bot, pool, nowhere)):
        await up_to_date(store, job)
        job = await put(store, job.id, cleanup="done")
        await up_to_date(store, job)

    messages = await shown(telegram)
    doubled = "Failed." if "status" in place else "❌ Failed"
    assert len(messages) == 3
    assert len([m for m in messages if doubled in m.text]) == 2
    assert "Cleanup: done" in messages[-1].text
