"""The chat as a page: what it shows, and that nothing typed into a chat becomes markup of it."""

import re

import aiohttp
import pytest
from aiogram import Bot
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, ReplyParameters
from factory_loopback.telegram import LoopbackTelegram

PILOT = -1001234567890


@pytest.fixture
async def page(telegram: LoopbackTelegram):
    """Fetches a page of the server."""
    async with aiohttp.ClientSession() as session:

        async def fetch(path: str = f"/chat/{PILOT}") -> str:
            async with session.get(telegram.url + path) as answer:
                assert answer.status == 200
                return await answer.text()

        yield fetch


async def test_the_page_shows_the_chat(telegram: LoopbackTelegram, bot: Bot, page, mp4, jpeg):
    """Bubbles, replies, reactions, a player with its poster and length, buttons, the pinned message, the bot's action."""
    asked = await telegram.person().type("/new a thing")
    keys = [[InlineKeyboardButton(text="Cancel", callback_data="c:1", style="danger")], []]
    keys[1].append(InlineKeyboardButton(text="PR", url="http://127.0.0.1:8/pr/1"))
    video = await bot.send_video(
        PILOT,
        mp4,
        caption="<b>Ready</b> see https://a.example/x",
        duration=75,
        thumbnail=jpeg(32, 18),
        reply_markup=InlineKeyboardMarkup(inline_keyboard=keys),
        reply_parameters=ReplyParameters(message_id=asked),
    )
    await bot.pin_chat_message(PILOT, video.message_id)
    await bot.send_chat_action(PILOT, "typing")

    html = await page()

    assert '<span class="found">/new</span> a thing' in html
    assert '<b>Ready</b> see <a href="https://a.example/x">https://a.example/x</a>' in html
    assert re.search(r'<video [^>]*src="/person/-1001234567890/files/[^"]+"[^>]* poster="[^"]+"[^>]* controls', html)
    assert '<span class="length">1:15</span>' in html
    assert re.search(r'<button class="key danger" data-message="2" data-press="c:1">Cancel</button>', html)
    assert '<a class="key  link" href="http://127.0.0.1:8/pr/1"' in html
    assert re.search(r'<a class="quote" href="#m1".*/new a thing', html)
    assert "Pinned message" in html and "Factory is typing …" in html
    assert f'href="/chat/{PILOT}"' in await page("/")


async def test_what_is_typed_never_becomes_markup(telegram: LoopbackTelegram, bot: Bot, page):
    """Names, texts, titles, button labels and file names are escaped wherever they show."""
    evil = '"><script>alert(1)</script>'
    telegram.add_user(1003, evil)
    telegram.add_chat(PILOT, evil)
    person = telegram.person(PILOT, 1003)
    message_id = await person.type(evil)
    await person.attach(b"x", f"{evil.replace('/', '')}.log", evil)
    await person.type(evil, reply_to=message_id)
    keys = [[InlineKeyboardButton(text=evil, callback_data=evil)]]
    sent = await bot.send_message(PILOT, evil, parse_mode=None, reply_markup=InlineKeyboardMarkup(inline_keyboard=keys))
    await bot.pin_chat_message(PILOT, sent.message_id)

    for path in (f"/chat/{PILOT}", "/"):
        html = await page(path)
        assert html.count("<script") == (1 if "/chat/" in path else 0)
        assert '"><script' not in html


async def test_the_changing_parts_come_as_they_change(telegram: LoopbackTelegram, bot: Bot, page):
    """The page asks with the version that it has, and gets the bubbles as soon as there is another."""
    async with aiohttp.ClientSession() as session:
        first = await (await session.get(f"{telegram.url}/chat/{PILOT}/bubbles")).json()
        await bot.send_message(PILOT, "news")
        path = f"{telegram.url}/chat/{PILOT}/bubbles?after={first['version']}"
        second = await (await session.get(path)).json()

    assert "No messages here yet" in first["bubbles"]
    assert '<div class="text">news</div>' in second["bubbles"]
    assert second["version"] != first["version"]
