"""The bot: aiogram's, with HTML as its default, paced, on Telegram's servers or on another Bot API."""

from aiogram import Bot
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.enums import ParseMode

from .pacing import Limits, Pacing


def make_bot(token: str, api: str | None = None, *, limits: Limits | None = None) -> Bot:
    """A bot for `token`; `api` is the base URL of another Bot API (`http://127.0.0.1:8081`). Close its `session`.

    Raises aiogram.utils.token.TokenValidationError for a token that is not NUMBER:SECRET. Calls raise aiogram's own
    exceptions, after what `Pacing` repeats by itself.
    """
    session = AiohttpSession(api=TelegramAPIServer.from_base(api) if api else PRODUCTION)
    session.middleware(Pacing(limits))
    return Bot(token, session=session, default=DefaultBotProperties(parse_mode=ParseMode.HTML))
