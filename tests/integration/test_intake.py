"""Intake with the real aiogram against the loopback Telegram, on a real Postgres: what people write becomes jobs, once."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from aiogram import Bot
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from factory_chassis.broker import Publisher, build_broker
from factory_chassis.line import Line
from factory_chassis.projects import Projects
from factory_chassis.settings import BadSettings
from factory_ctl.embedded import Postgres
from factory_intake.app import Intake
from factory_intake.desk import Answer, Desk
from factory_intake.incoming import Said
from factory_intake.poll import Poll
from factory_intake.settings import Settings
from factory_jobs import db
from factory_jobs.errors import Failure
from factory_jobs.job import Job, Pull, Sandbox, Waiting
from factory_jobs.migrate import migrate
from factory_jobs.records import Records
from factory_jobs.store import Store
from factory_loopback.telegram import LoopbackTelegram, Person
from factory_loopback.telegram.person import ShownMessage
from factory_telegram import words
from factory_telegram.bot import make_bot
from factory_telegram.pacing import Limits
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parent))

import chassis_role as role

PILOT, ELSEWHERE = -1001234567890, -1009999999999
ADA, BOB, EVE = 1001, 1002, 1666  # an owner, a member, nobody
HEAD = "c" * 40
QUICK = Limits(chat=(1000, 1.0), group=(1000, 1.0), overall=(1000, 1.0), backoff=0.01)
FILE = {"projects": {"pilot": {"chats": [PILOT], "users": {ADA: "owner", BOB: "member"}, "repo": "/repos/pilot.git"}}}
PROJECTS = Projects.model_validate(FILE)
GATE = [["approve", "Go on"], ["reject", "Stop"]]


# ── an intake at work ─────────────────────────────────────────────────────────


@pytest.fixture
async def telegram(telegram_server: LoopbackTelegram) -> LoopbackTelegram:
    telegram_server.add_user(BOB, "Bob")
    telegram_server.add_user(EVE, "Eve")
    telegram_server.add_chat(ELSEWHERE, "Elsewhere")
    return telegram_server


@pytest.fixture
async def bot(telegram: LoopbackTelegram) -> AsyncIterator[Bot]:
    async with make_bot(telegram.token, telegram.url, limits=QUICK) as bot:
        yield bot


def line_on(pool: asyncpg.Pool) -> Line:
    """The bus is away: what becomes of jobs stands in Postgres, and the sweep hints later."""
    store = Store(pool)
    return Line(store, Records(pool), Publisher(build_broker("nats://127.0.0.1:9"), store))


def poller(bot: Bot, pool: asyncpg.Pool) -> Poll:
    return Poll(bot, Desk(line_on(pool), PROJECTS, "4242"), pool, timeout=1)


@contextlib.asynccontextmanager
async def polling(poll: Poll) -> AsyncIterator[asyncio.Task[None]]:
    """At work until the block ends; what it breaks by is raised there."""
    task = asyncio.create_task(poll.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def intake(bot: Bot, pool: asyncpg.Pool) -> AsyncIterator[Poll]:
    poll = poller(bot, pool)
    async with polling(poll):
        yield poll


@pytest.fixture
def ada(telegram: LoopbackTelegram) -> Person:
    return telegram.person(PILOT, ADA)


@pytest.fixture
def bob(telegram: LoopbackTelegram) -> Person:
    return telegram.person(PILOT, BOB)


async def handled(telegram: LoopbackTelegram) -> None:
    """Every update that there is was confirmed."""
    await role.until(lambda: not telegram.chats.updates.waiting, what="all updates are confirmed")


async def answer_to(person: Person, message_id: int) -> ShownMessage:
    return await person.wait_for(lambda m: m.from_bot and m.reply_to == message_id)


async def asked(person: Person, text: str, reply_to: int | None = None) -> ShownMessage:
    """What the bot says to this."""
    return await answer_to(person, await person.type(text, reply_to))


def says(text: str) -> str:
    return words.plain(text)


async def job_of(person: Person, store: Store, text: str = "Make it red", **columns: Any) -> tuple[Job, int]:
    """A job that this person asked for, put where the test needs it; and the message it began with."""
    message = await person.type(text)

    async def taken() -> list[Any]:
        return await store.pool.fetch("SELECT job_id FROM requests WHERE message_id = $1", message)

    rows = await role.until(taken, what=f"{text!r} became a job")
    return await put(store, rows[0]["job_id"], **columns), message


async def put(store: Store, job_id: str, **columns: Any) -> Job:
    for column, value in columns.items():
        value = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
        await store.pool.execute(f"UPDATE jobs SET {column} = $2, version = version + 1 WHERE id = $1", job_id, value)
    return await store.get(job_id)


async def numbers(store: Store) -> dict[str, int]:
    return {t: await store.pool.fetchval(f"SELECT count(*) FROM {t}") for t in ("jobs", "requests", "job_events")}


READY: dict[str, Any] = {
    "state": "ready_for_human_review",
    "proved_sha": HEAD,
    "work_sha": HEAD,
    "pr": Pull(number=7, url="https://f.example/7", head=HEAD),
    "planned_no": 1,
    "placement": 1,
    "node": "n1",
    "sandbox": Sandbox(provider="local", handle={}),
}
FAILED: dict[str, Any] = {
    "state": "failed",
    "failure": Failure(blame="repo", code="setup", message="setup ended with 1", stage="sandbox_created"),
    "cleanup": "done",
}


def gate(since: Any, **more: Any) -> Waiting:
    return Waiting(**{"kind": "gate:risk", "asks": "Shall it?", "since": since, "sha": HEAD, "options": GATE, **more})


# ── who may ───────────────────────────────────────────────────────────────────


async def test_a_chat_that_is_not_connected_is_told_its_id_and_starts_nothing(
    telegram: LoopbackTelegram, intake: Poll, store: Store
):
    """Also for a command, and for somebody who may elsewhere."""
    ada = telegram.person(ELSEWHERE, ADA)
    for text in ("Make it red", "/new make it red", "/cancel"):
        answer = await asked(ada, text)
        assert "not connected to a project" in answer.text and str(ELSEWHERE) in answer.text

    assert await numbers(store) == {"jobs": 0, "requests": 0, "job_events": 0}


async def test_a_user_who_is_not_allowed_is_told_so_and_starts_nothing(
    telegram: LoopbackTelegram, intake: Poll, store: Store, ada: Person
):
    """Neither with a text, nor as a reply to another's job, nor by a button."""
    job, message = await job_of(ada, store, waiting=None)
    before = await numbers(store)
    eve = telegram.person(PILOT, EVE)

    assert "You may not start work here" in (await asked(eve, "Make it red")).text
    assert str(EVE) in (await asked(eve, "and blue", reply_to=message)).text
    assert "You may not" in (await asked(eve, f"/cancel {job.id}")).text
    shown = await intake.bot.send_message(
        PILOT, "status", reply_markup=keyboard("Cancel", words.button(job.id, "cancel"))
    )
    assert await eve.press(shown.message_id, "Cancel") == words.NOT_HERE

    assert await numbers(store) == before


def keyboard(label: str, data: str) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text=label, callback_data=data)]])


# ── requests, once ────────────────────────────────────────────────────────────


async def test_a_plain_text_is_a_request(intake: Poll, store: Store, records: Records, ada: Person):
    """A job in `received` that keeps who, what, where and the project as it is now; the bot itself says nothing."""
    job, message = await job_of(ada, store, "Make it red:\n- all of it")

    assert (job.state, job.project, job.repo, job.title) == ("received", "pilot", "/repos/pilot.git", "Make it red")
    assert job.snapshot["users"] == {"1001": "owner", "1002": "member"}
    [request] = await records.requests(job.id)
    assert (request.chat, request.message_id, request.author) == (str(PILOT), message, "Ada (1001)")
    assert request.text == "Make it red:\n- all of it"
    assert request.link == f"https://t.me/c/1234567890/{message}"
    assert [m.from_bot for m in await ada.read()] == [False]


async def test_new_is_the_same_and_a_caption_too(telegram: LoopbackTelegram, intake: Poll, store: Store, ada: Person):
    """What follows the command, wherever it is said; a command without words is asked for them."""
    await job_of(ada, store, "/new Make it red")
    await job_of(ada, store, "/new@factory_bot Make it blue")
    await ada.attach(b"\x89PNG\r\n\x1a\n" + b"0" * 40, "shot.bin", caption="Like this")
    await handled(telegram)
    assert sorted(j.title for j in await store.jobs()) == ["Like this", "Make it blue", "Make it red"]

    assert (await asked(ada, "/new")).text == words.EMPTY
    await ada.type("/new@other_bot Make it green")
    await handled(telegram)
    assert len(await store.jobs()) == 3


async def test_what_is_too_long_is_refused_whole(bot: Bot, pool: asyncpg.Pool, store: Store):
    """Half of a wish is another wish."""
    said = Said(update_id=1, chat=PILOT, user=ADA, name="Ada", message_id=1, text="x" * 20_001)

    assert await poller(bot, pool).desk.said(said) == Answer(words.TOO_LONG)
    assert await store.jobs() == []


async def test_the_same_update_makes_one_job(
    telegram: LoopbackTelegram, bot: Bot, pool: asyncpg.Pool, store: Store, ada: Person
):
    """Again, at once from several sides, and from an intake that begins anew."""
    await ada.type("Make it red")
    [update] = await bot.get_updates()
    polls = [poller(bot, pool) for _ in range(4)]

    await asyncio.gather(*(p._handle(update) for p in polls))
    await polls[0]._handle(update)
    async with polling(poller(bot, pool)):  # nobody has confirmed it yet: it comes once more
        await handled(telegram)

    assert await numbers(store) == {"jobs": 1, "requests": 1, "job_events": 1}
    assert [m.from_bot for m in await ada.read()] == [False]


@pytest.fixture
async def pools(postgres_url: str) -> AsyncIterator[list[asyncpg.Pool]]:
    """As of two processes."""
    pools = [await db.connect(postgres_url) for _ in range(2)]
    yield pools
    for pool in pools:
        await pool.close()


async def test_two_intakes_share_one_bot(
    telegram: LoopbackTelegram, bot: Bot, pools: list[asyncpg.Pool], store: Store, ada: Person
):
    """One polls; where its connection dies or it ends, the other goes on; nothing is taken twice or lost."""
    first, second = (poller(bot, pool) for pool in pools)
    async with polling(first), polling(second) as still:
        for n in range(3):
            await ada.type(f"Wish {n}")
        await handled(telegram)
        assert not [call for call in telegram.calls("getUpdates") if call.status == 409]  # never two at once

        await store.pool.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        await ada.type("Wish 3")
        await handled(telegram)
        assert not still.done()
        async with polling(poller(bot, pools[0])):
            pass  # comes and goes
        await ada.type("Wish 4")
        await handled(telegram)
        settled = time.time() + 1.5  # the one without the lead sees it when its last poll is over
        await asyncio.sleep(4)
        assert [call for call in telegram.calls("getUpdates") if call.at > settled]
        assert not [call for call in telegram.calls("getUpdates") if call.at > settled and call.status == 409]

    assert sorted(j.title for j in await store.jobs()) == [f"Wish {n}" for n in range(5)]
    assert (await numbers(store))["requests"] == 5


async def test_a_follow_up_whose_answer_never_left_is_not_taken_twice(
    telegram: LoopbackTelegram, bot: Bot, pool: asyncpg.Pool, store: Store, ada: Person
):
    """Killed between the commit and the answer: the update comes again, and what stands is left."""
    async with polling(poller(bot, pool)):
        job, message = await job_of(ada, store, **READY)
        await handled(telegram)
    telegram.fault("sendMessage", delay=30)
    async with polling(poller(bot, pool)):
        await ada.type("and blue", reply_to=message)
        await role.until(lambda: telegram.calls("sendMessage"), what="it answers")
    assert telegram.chats.updates.waiting

    async with polling(poller(bot, pool)):
        await handled(telegram)

    after = await store.get(job.id)
    assert (after.state, after.request_no) == ("received", 2)
    assert (await numbers(store))["requests"] == 2


async def test_a_cancel_whose_end_was_not_written_is_not_done_twice(
    bot: Bot, pool: asyncpg.Pool, store: Store, ada: Person, intake: Poll, monkeypatch: pytest.MonkeyPatch
):
    """A second cancel of the same press would close the pull request: the event itself bears the update's number."""
    job, _ = await job_of(ada, store, **READY | {"state": "tests_running", "request_no": 2})
    said = Said(update_id=77, chat=PILOT, user=ADA, name="Ada", message_id=50, text=job.id, command="cancel")
    desk = intake.desk
    with monkeypatch.context() as m:
        m.setattr(Records, "take_update", _killed)
        with pytest.raises(ConnectionError):
            await desk.said(said)
    assert (await store.get(job.id)).state == "ready_for_human_review"

    assert await desk.said(said) == Answer(words.STOPPED, job_id=job.id)
    assert await desk.said(said) is None

    after = await store.get(job.id)
    assert (after.state, after.work_sha) == ("ready_for_human_review", HEAD)
    assert [e["kind"] for e in await store.events(job.id)] == ["created", "cancel"]


async def _killed(*_: Any) -> bool:
    raise ConnectionError("killed here")


async def test_an_update_that_finds_no_postgres_comes_again(
    telegram: LoopbackTelegram, bot: Bot, tmp_path: Path, ada: Person
):
    """Handled once, when it is back; meanwhile nothing is confirmed and the process lives."""
    server = Postgres(tmp_path)
    await server.start()
    connection = await asyncpg.connect(server.url)
    await migrate(connection)
    await connection.close()
    pool = await db.connect(server.url)
    try:
        async with polling(poller(bot, pool)) as task:
            await ada.type("Before")
            await handled(telegram)
            await server.stop()
            await ada.type("Meanwhile")
            await ada.type("/jobs")
            await asyncio.sleep(2.5)
            assert not task.done() and len(telegram.chats.updates.waiting) == 2

            await server.start()
            listed = await ada.wait_for(lambda m: m.from_bot, 20)
            await handled(telegram)

        assert [j.title for j in await Store(pool).jobs()] == ["Meanwhile", "Before"]
        assert "Meanwhile" in listed.text and len([m for m in await ada.read() if m.from_bot]) == 1
    finally:
        await pool.close()
        await server.stop()


# ── what goes wrong on the way ────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 502},
        {"status": 502, "html": True},
        {"status": 502, "drop": True},
        {"status": 409},
        {"status": 429, "retry_after": 1},
        {"status": 500, "acts": True},
    ],
    ids=str,
)
async def test_polling_goes_on_after_any_fault_of_telegram(
    telegram: LoopbackTelegram, bot: Bot, pool: asyncpg.Pool, store: Store, ada: Person, fault: dict[str, Any]
):
    """A bad gateway, a proxy's page, a cut connection, another poller, too many requests."""
    for method in ["getUpdates"] if fault["status"] == 409 else ["getMe", "getUpdates"]:
        telegram.fault(method, **fault)
    await ada.type("Make it red")

    async with polling(poller(bot, pool)):
        await handled(telegram)

    assert [j.title for j in await store.jobs()] == ["Make it red"]


async def test_an_answer_that_cannot_be_sent_holds_nothing_up(
    telegram: LoopbackTelegram, intake: Poll, store: Store, ada: Person
):
    """Blocked or cut off: the next message is taken."""
    telegram.fault("sendMessage", 403)
    telegram.fault("sendMessage", drop=True)
    for text in ("/help", "/jobs", "Make it red"):
        await ada.type(text)
    await handled(telegram)

    assert [j.title for j in await store.jobs()] == ["Make it red"]


async def test_a_message_that_breaks_us_is_answered_and_holds_nothing_up(
    telegram: LoopbackTelegram, intake: Poll, store: Store, ada: Person, monkeypatch: pytest.MonkeyPatch
):
    """A fault of ours in one message must not stop the chat."""
    real = intake.desk.said

    async def said(given: Said) -> Answer | None:
        if given.text == "boom":
            raise ZeroDivisionError
        return await real(given)

    monkeypatch.setattr(intake.desk, "said", said)
    assert (await asked(ada, "boom")).text == words.BROKE
    outsized = Said(update_id=2, chat=PILOT, user=ADA, name="Ada", message_id=2**70, text="no bigint")
    assert await intake._answer(outsized) == Answer(words.BROKE)
    await job_of(ada, store, "Make it red")
    assert len(await store.jobs()) == 1


async def test_a_token_that_telegram_refuses_is_a_broken_configuration(telegram: LoopbackTelegram, pool: asyncpg.Pool):
    """Named, so that the process ends with 78 and not in a circle."""
    async with make_bot("4242:another", telegram.url, limits=QUICK) as bot:
        with pytest.raises(BadSettings, match="FACTORY_TELEGRAM_TOKEN: Telegram refuses it"):
            await poller(bot, pool).run()


# ── commands ──────────────────────────────────────────────────────────────────


async def test_help_is_for_whoever_asks_or_mistypes(intake: Poll, ada: Person):
    """Every command is in it."""
    for text in ("/help", "/start", "/stauts"):
        assert (await asked(ada, text)).text == says(words.HELP)


async def test_status_and_jobs_show_what_is_there(intake: Poll, store: Store, ada: Person):
    """By id, by a reply, or the only one; else which are meant; another project's job is not known here."""
    assert (await asked(ada, "/jobs")).text == (await asked(ada, "/status")).text == "Nothing is under way."
    red, message = await job_of(ada, store, "Make it <red>", state="tests_running", round=2)
    assert (await asked(ada, "/status")).text.splitlines() == [
        f"Make it <red> ({red.id})",
        "Running the tests · round 2 of 5",
    ]

    blue, _ = await job_of(ada, store, "Make it blue")
    which = (await asked(ada, "/status")).text
    assert which.startswith("Which one?") and red.id in which and blue.id in which
    assert (await asked(ada, "/jobs")).text.splitlines() == [
        f"{blue.id} Make it blue — planning",
        f"{red.id} Make it <red> — running the tests · round 2 of 5",
    ]
    assert red.id in (await asked(ada, f"/status {red.id.upper()}")).text
    assert red.id in (await asked(ada, "/status", reply_to=message)).text
    assert red.id in (await asked(ada, "/status of this please", reply_to=message)).text
    await put(store, blue.id, project="other")
    for unknown in (blue.id, "jaaaaaaaaaa", "' OR 1=1"):
        assert (await asked(ada, f"/status {unknown}")).text == words.NO_SUCH_JOB


async def test_cancel_says_what_became_of_it(intake: Poll, store: Store, ada: Person):
    """The only live one; where a proved commit is, the work stops and the pull request stays; ended ones are left."""
    job, message = await job_of(ada, store, state="tests_running", placement=1)
    assert (await asked(ada, "/cancel")).text == words.CANCELLED
    assert (await store.get(job.id)).state == "cancelled"
    assert (await asked(ada, "/cancel", reply_to=message)).text == words.ENDED_BEFORE
    assert (await asked(ada, "/cancel")).text == "Nothing is under way."

    proved, _ = await job_of(ada, store, **READY | {"state": "tests_running", "request_no": 2})
    assert (await asked(ada, f"/cancel {proved.id}")).text == words.STOPPED
    assert (await store.get(proved.id)).state == "ready_for_human_review"


async def test_retry_finds_the_failed_job(intake: Poll, store: Store, ada: Person):
    """Also among live ones; of several it asks which; a live one is not tried again."""
    live, live_message = await job_of(ada, store, "Live")
    assert (await asked(ada, "/retry")).text == "Nothing is under way."
    assert (await asked(ada, "/retry", reply_to=live_message)).text == words.NOT_FAILED
    failed, _ = await job_of(ada, store, "Fails", **FAILED)
    assert (await asked(ada, "/retry")).text == words.RETRIED
    assert (await store.get(failed.id)).state == "received"

    await put(store, failed.id, **FAILED)
    await put(store, live.id, **FAILED)
    which = (await asked(ada, "/retry")).text
    assert failed.id in which and live.id in which


# ── replies ───────────────────────────────────────────────────────────────────


async def test_a_reply_to_a_ready_job_is_a_further_change_that_can_be_taken_back(
    intake: Poll, store: Store, records: Records, ada: Person
):
    """Same job, same pull request; *Not a change* makes it ready again, and is good for that change alone."""
    job, message = await job_of(ada, store, **READY)

    answer = await asked(ada, "and the other page", reply_to=message)
    assert answer.text == says(words.FOLLOWED)
    after = await store.get(job.id)
    assert (after.state, after.request_no, after.pr) == ("received", 2, job.pr)
    assert [r.text for r in await records.unread(job.id)][-1] == "and the other page"

    assert await ada.press(answer.message_id, "Not a change") == words.STOPPED
    back = await store.get(job.id)
    assert (back.state, back.work_sha) == ("ready_for_human_review", HEAD)
    assert await records.unread(job.id) == []
    assert await ada.press(answer.message_id, "Not a change") == words.ENDED_BEFORE

    again = await asked(ada, "but a third page", reply_to=message)
    assert await ada.press(answer.message_id, "Not a change") == words.ENDED_BEFORE
    assert (await store.get(job.id)).request_no == 3
    assert await ada.press(again.message_id, "Not a change") == words.STOPPED


async def test_whoever_asked_for_the_change_takes_it_back(intake: Poll, store: Store, ada: Person, bob: Person):
    """A member on another's job: his own follow-up yes, the owner's no."""
    _, message = await job_of(ada, store, **READY)

    his = await asked(bob, "and the other page", reply_to=message)
    assert await bob.press(his.message_id, "Not a change") == words.STOPPED
    hers = await asked(ada, "and the third page", reply_to=message)
    assert await bob.press(hers.message_id, "Not a change") == words.NOT_YOURS


async def test_thanks_are_no_request(intake: Poll, store: Store, ada: Person):
    """As a reply or by themselves; the same with /fix is one."""
    job, message = await job_of(ada, store, **READY)

    for text in ("Thanks!", "great job 🎉", "👍"):
        assert (await asked(ada, text, reply_to=message)).text == says(words.THANKED)
        assert (await asked(ada, text)).text == says(words.THANKED)
    assert (await numbers(store))["requests"] == 1
    assert (await asked(ada, "/fix thanks", reply_to=message)).text == says(words.FOLLOWED)
    assert (await store.get(job.id)).request_no == 2
    assert (await asked(ada, "/fix thanks")).text == says(words.WHICH_JOB)


async def test_a_reply_while_work_runs_is_kept_for_the_agent(intake: Poll, store: Store, records: Records, ada: Person):
    """Unread, with the same request number; nobody loses a lease by it."""
    job, message = await job_of(ada, store, state="implementation_in_progress", lease_owner="w", lease_epoch=3, round=1)

    assert (await asked(ada, "use a darker red", reply_to=message)).text == words.STEERED

    after = await store.get(job.id)
    assert (after.state, after.request_no, after.lease_owner, after.lease_epoch) == (job.state, 1, "w", 3)
    assert [r.text for r in await records.unread(job.id)][-1] == "use a darker red"


async def test_a_reply_to_a_failed_job_tries_it_again_with_that_text(intake: Poll, store: Store, ada: Person):
    """Planned anew."""
    job, message = await job_of(ada, store, **FAILED)

    assert (await asked(ada, "python 3.12 is fine", reply_to=message)).text == words.RETRIED
    after = await store.get(job.id)
    assert (after.state, after.request_no, after.failure) == ("received", 2, None)


@pytest.mark.parametrize("state", ["cancelled", "merged"])
async def test_a_reply_to_an_ended_job_is_a_new_one(intake: Poll, store: Store, ada: Person, state: str):
    """The old one stays as it is."""
    job, message = await job_of(ada, store, state=state)

    await ada.type("and now blue", reply_to=message)
    new = await role.until(lambda: _other(store, job.id), what="a new job")

    assert (new.title, new.state) == ("and now blue", "received")
    assert (await store.get(job.id)).state == state


async def _other(store: Store, job_id: str) -> Job | None:
    return next((j for j in await store.jobs() if j.id != job_id), None)


async def test_a_reply_to_the_bots_own_message_finds_its_job(intake: Poll, store: Store, records: Records, ada: Person):
    """The status message stands for the job, as the request does."""
    job, _ = await job_of(ada, store, **READY)
    status = await intake.bot.send_message(PILOT, "status")
    await records.lease_message(job.id, str(PILOT), "status", "n")
    await records.shown(job.id, str(PILOT), "status", status.message_id, 1, "status")

    assert (await asked(ada, "and blue", reply_to=status.message_id)).text == says(words.FOLLOWED)


async def test_a_reply_to_an_answer_is_about_its_job(intake: Poll, store: Store, ada: Person):
    """What the bot said about a job stands for it too, whatever the person answers to."""
    job, message = await job_of(ada, store, state="implementation_in_progress", round=1)
    noted = await asked(ada, "use a darker red", reply_to=message)
    again = await asked(ada, "no, lighter", reply_to=noted.message_id)
    assert again.text == words.STEERED
    status = await asked(ada, "/status", reply_to=again.message_id)
    assert job.id in status.text

    await put(store, job.id, **READY)
    thanked = await asked(ada, "thanks", reply_to=status.message_id)
    assert (await asked(ada, "/fix and blue", reply_to=thanked.message_id)).text == says(words.FOLLOWED)
    assert [j.id for j in await store.jobs()] == [job.id]


# ── gates and questions ───────────────────────────────────────────────────────


async def waits(store: Store, person: Person, **more: Any) -> tuple[Job, int]:
    """A job that asks, and the message with its request."""
    job, message = await job_of(person, store, state="video_recorded", work_sha=HEAD, planned_no=1)
    since = await store.value("now")
    return await put(store, job.id, waiting=gate(since, **more)), message


async def ask(bot: Bot, job: Job) -> int:
    """The question as the notifier shows it."""
    facts = words.Facts(job=job, plan={}, requests=[], rounds=[], evidence={}, artifacts=[])
    question = words.question(facts)
    rows = [[InlineKeyboardButton(text=b.label, callback_data=b.data) for b in question.buttons]]
    sent = await bot.send_message(PILOT, question.text, reply_markup=InlineKeyboardMarkup(inline_keyboard=rows))
    return sent.message_id


async def test_a_gate_is_answered_by_a_button_once(intake: Poll, store: Store, records: Records, ada: Person):
    """The answer is kept for this commit; the job goes on; a second press finds nothing open."""
    job, _ = await waits(store, ada)
    question = await ask(intake.bot, job)

    assert await ada.press(question, "Go on") == "Ada: Go on."
    after = await store.get(job.id)
    assert after.waiting is None
    assert await records.decision(job.id, "gate:risk", HEAD) == "approve"
    assert await ada.press(question, "Stop") == words.GONE
    assert [d["answer"] for d in await records.decisions(job.id)] == ["approve"]


async def test_a_button_of_an_earlier_question_approves_no_later_commit(intake: Poll, store: Store, ada: Person):
    """It was about what stood there then."""
    job, _ = await waits(store, ada)
    old = await ask(intake.bot, job)
    assert job.waiting is not None
    now = await put(store, job.id, waiting=msgspec.structs.replace(job.waiting, sha="d" * 40))

    assert await ada.press(old, "Go on") == words.GONE
    assert (await store.get(job.id)).waiting == now.waiting


@pytest.mark.parametrize(
    ("text", "state"), [("yes", "video_recorded"), ("Go on.", "video_recorded"), ("stop", "cancelled")]
)
async def test_a_gate_is_answered_in_words(intake: Poll, store: Store, ada: Person, text: str, state: str):
    """As a reply; rejected, the work ends."""
    job, message = await waits(store, ada)

    assert (await asked(ada, text, reply_to=message)).text.startswith("Ada: ")
    after = await store.get(job.id)
    assert (after.state, after.waiting) == (state, None)


async def test_words_that_are_no_answer_leave_the_question_open(intake: Poll, store: Store, ada: Person):
    """Kept for the next round, and said."""
    job, message = await waits(store, ada)

    assert (await asked(ada, "what does it cost?", reply_to=message)).text == words.STILL_OPEN
    assert (await store.get(job.id)).waiting == job.waiting


async def test_a_member_decides_on_his_own_jobs_only(intake: Poll, store: Store, ada: Person, bob: Person):
    """Not on another's, also not after saying something about it; an owner decides on every one."""
    hers, message = await waits(store, ada)
    question = await ask(intake.bot, hers)
    await asked(bob, "use a darker red", reply_to=message)

    assert await bob.press(question, "Go on") == words.NOT_YOURS
    assert (await asked(bob, "yes", reply_to=message)).text == words.NOT_YOURS
    assert (await asked(bob, "/cancel", reply_to=message)).text == words.NOT_YOURS
    status = await intake.bot.send_message(PILOT, "s", reply_markup=keyboard("Cancel", words.button(hers.id, "cancel")))
    assert await bob.press(status.message_id, "Cancel") == words.NOT_YOURS
    assert (await store.get(hers.id)).waiting == hers.waiting

    his, message = await waits(store, bob)
    question = await ask(intake.bot, his)
    assert await bob.press(question, "Go on") == "Bob: Go on."
    assert (await asked(ada, "/cancel", reply_to=message)).text == words.CANCELLED


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("v1:{id}:answer:zzzz", words.GONE),
        ("v1:{id}:answer", words.GONE),
        ("v1:{id}:merge", words.GONE),
        ("v1:{id}:undo:x", words.ENDED_BEFORE),
        ("v1:jaaaaaaaaaa:cancel", words.NO_SUCH_JOB),
        ("v1:'; DROP TABLE jobs; --:cancel", words.NO_SUCH_JOB),
    ],
)
async def test_what_a_button_says_is_not_trusted(intake: Poll, store: Store, ada: Person, data: str, says: str):
    """A client may send anything: it is answered and changes nothing."""
    job, _ = await job_of(ada, store, state="tests_running")
    sent = await intake.bot.send_message(PILOT, "x", reply_markup=keyboard("Go", data.format(id=job.id)))
    before = await numbers(store)

    assert await ada.press(sent.message_id, "Go") == says
    assert (await store.get(job.id)).version == job.version and await numbers(store) == before


# ── the service ───────────────────────────────────────────────────────────────


@pytest.fixture
def given(telegram: LoopbackTelegram, postgres_url: str, nats_url: str, tmp_path: Path) -> Settings:
    projects = tmp_path / "factory-projects.yaml"
    projects.write_bytes(msgspec.yaml.encode(FILE))
    return Settings(
        database_url=SecretStr(postgres_url),
        nats_url=nats_url,
        s3_secret_key=SecretStr("not asked for"),
        telegram_token=SecretStr(telegram.token),
        telegram_api=telegram.url,
        projects=projects,
        node_dir=tmp_path / "node",
        poll_timeout=1,
        stop_grace=2,
    )


async def test_projects_are_read_anew_on_sighup(telegram: LoopbackTelegram, given: Settings, store: Store):
    """Who was refused may now, and the new chat has its menu; a broken file keeps what stood."""
    eve = telegram.person(ELSEWHERE, EVE)
    async with role.running(Intake(given)):
        ada = telegram.person(PILOT, ADA)
        await role.until(ada.commands, what="the menu")
        assert [name for name, _ in await ada.commands()] == ["new", "status", "jobs", "cancel", "retry", "help"]
        assert "not connected" in (await asked(eve, "Make it red")).text

        given.projects.write_text("projects: [")
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.2)
        await job_of(ada, store, "Make it red")

        more = {"other": {"chats": [ELSEWHERE, -1], "users": {EVE: "member"}, "repo": "/repos/other.git"}}
        given.projects.write_bytes(msgspec.yaml.encode({"projects": FILE["projects"] | more}))
        os.kill(os.getpid(), signal.SIGHUP)
        await role.until(eve.commands, what="the new chat's menu, though the bot is not in the other chat")
        job, _ = await job_of(eve, store, "Make it green")
        assert (job.project, job.state) == ("other", "received")


async def test_a_killed_intake_is_followed_by_the_other(
    telegram: LoopbackTelegram, given: Settings, store: Store, tmp_path: Path
):
    """As processes: the one that polls dies as soon as a job is written; the next finds the same update, and no second job."""
    argv = [sys.executable, "-m", "factory_intake"]
    env = role.environment(given)
    ada = telegram.person(PILOT, ADA)
    first = role.Process(argv, env | {"FACTORY_FAILPOINT": "intake.written:kill9"}, tmp_path / "first.log")
    second = None
    try:
        await role.until(lambda: polls(first), what="the first polls")
        second = role.Process(argv, env, tmp_path / "second.log")
        await second.healthy()
        assert not polls(second)
        await ada.type("Wish 0")
        assert await first.ended() == -signal.SIGKILL
        assert telegram.chats.updates.waiting
        await ada.type("Wish 1")
        await handled(telegram)
    finally:
        for process in filter(None, (first, second)):
            process.kill()

    assert sorted(j.title for j in await store.jobs()) == ["Wish 0", "Wish 1"]
    assert (await numbers(store))["requests"] == 2


def polls(process: Any) -> bool:
    return any(e["event"] == "polling" for e in process.said())
