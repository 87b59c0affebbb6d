"""The loopback Telegram as a process: its first line, its data over a kill, its way out; and the pytest plugin."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from factory_loopback.telegram import LoopbackTelegram, RemotePerson
from factory_loopback.telegram.__main__ import main, parsed, serve

TOKEN = "77:a-token"
CHAT = -1009000000000


def start(*arguments: str) -> tuple[subprocess.Popen[str], dict]:
    """The process and what its first line says."""
    argv = [sys.executable, "-m", "factory_loopback.telegram", "--token", TOKEN, "--chat", f"{CHAT}=Crew", *arguments]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, json.loads(process.stdout.readline())


async def test_a_killed_server_finds_its_chats_again(tmp_path: Path, bot_for, mp4):
    """kill -9, a new start on the same directory: messages, files, buttons and unconfirmed updates are there."""
    process, ready = start("--user", "5=Eve", "--data", str(tmp_path))
    try:
        assert (ready["chats"][-1]["title"], ready["users"]) == ("Crew", [{"id": 5, "name": "Eve"}])
        bot = bot_for(ready["url"], TOKEN)
        async with RemotePerson(ready["url"], CHAT, 5) as eve:
            await eve.type("one")
            [update] = await bot.get_updates(timeout=5)
            await bot.get_updates(offset=update.update_id + 1)
            await eve.type("two")
            keys = InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="Go", callback_data="go")]])
            sent = await bot.send_video(CHAT, mp4, caption="<b>v</b>", reply_markup=keys)
            gone = await bot.send_message(CHAT, "gone")
            await bot.delete_message(CHAT, gone.message_id)
            before = await eve.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
    with (tmp_path / "telegram.jsonl").open("a") as journal:
        journal.write('["message:1/')  # as a kill in the middle of a line leaves it

    async with LoopbackTelegram(TOKEN, users=["5=Eve"], chats=[f"{CHAT}=Crew"], data=tmp_path) as telegram:
        bot, eve = bot_for(telegram.url, TOKEN), telegram.person()
        assert await eve.read() == before
        [update] = await bot.get_updates(timeout=5)
        assert update.message and update.message.text == "two"
        assert sent.video
        downloaded = await bot.download(sent.video)
        assert downloaded and downloaded.read() == mp4.data
        await bot.edit_message_reply_markup(chat_id=CHAT, message_id=sent.message_id)
        assert await eve.type("three") == gone.message_id + 1
        again = await bot.get_updates(offset=update.update_id + 1, timeout=5)
        assert [u.update_id for u in again] == [update.update_id + 1]


async def test_sigterm_ends_it(capsys: pytest.CaptureFixture[str], bot_for):
    """While a poll waits, in time and with exit code 0."""
    served = asyncio.create_task(serve(parsed([])))
    while not (line := capsys.readouterr().out):
        await asyncio.sleep(0.01)
    ready = json.loads(line)
    poll = asyncio.create_task(bot_for(ready["url"], ready["token"]).get_updates(timeout=30))
    await asyncio.sleep(0.2)

    os.kill(os.getpid(), signal.SIGTERM)

    assert await asyncio.wait_for(served, 10) == 0
    await asyncio.wait([poll], timeout=10)
    assert poll.done()
    poll.exception()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--token", "nonsense"], "NUMBER:SECRET"),
        (["--chat", "Crew"], "'Crew' is not ID=TITLE"),
        (["--chat", "12=Ada"], "a positive id is a private chat"),
        (["--host", "203.0.113.1"], "203.0.113.1"),
    ],
)
def test_a_wrong_start_says_what_is_wrong(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    """One line on stderr and exit code 2, no stack trace."""
    assert main(arguments) == 2

    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)


def test_the_fixture_fails_a_test_that_called_what_is_not_built(tmp_path: Path):
    """Even where the test itself swallowed the error; a test that kept to the Bot API passes."""
    (tmp_path / "test_it.py").write_text(
        "import aiohttp\n"
        "async def call(server, method):\n"
        "    async with aiohttp.ClientSession() as session:\n"
        "        async with session.post(f'{server.url}/bot{server.token}/{method}') as answer:\n"
        "            return answer.status\n"
        "async def test_good(telegram_server):\n"
        "    assert await call(telegram_server, 'getMe') == 200\n"
        "async def test_bad(telegram_server):\n"
        "    assert await call(telegram_server, 'getStarTransactions') == 501\n"
    )
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "factory_loopback.pytest_plugin"]
    argv = [sys.executable, "-m", "pytest", *plugins, "-o", "asyncio_mode=auto", "-q", "--rootdir", str(tmp_path)]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # or it is loaded by its entry point as well
    done = subprocess.run(argv, capture_output=True, text=True, timeout=50, cwd=tmp_path, env=environment)

    assert "2 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "Not built in the loopback server: getStarTransactions" in done.stdout


def test_the_plugin_is_light():
    """It is imported by every pytest run of this environment, so it must not import aiogram."""
    code = "import sys, factory_loopback.pytest_plugin; sys.exit('aiogram' in sys.modules or 'aiohttp' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0
