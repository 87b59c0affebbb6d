"""The loopback Telegram as a server: one bot, its chats, the people in them, and the faults that a test asks for."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from aiohttp import web

from factory_loopback.errors import BadSetup
from factory_loopback.journal import Journal

from .bot_api import READ_LIMIT, BotApi, Call
from .chats import Chat, Chats, parse_named
from .faults import Fault, Faults
from .people_api import PeopleApi
from .person import Person

TOKEN = "4242:loopback-is-not-a-secret"
USERS = ("1001=Ada@ada",)
CHATS = ("-1001234567890=Pilot",)


class LoopbackTelegram:
    """A Telegram for one bot on this machine.

    async with LoopbackTelegram(token) as telegram:
        bot = Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(telegram.url)))
        ada = telegram.person()
        await ada.type("/start")

    `users` and `chats` are written `ID=TITLE` or `ID=TITLE@USERNAME`; a positive id is a person (with a private chat),
    below -10^12 a supergroup, else a basic group. With `data` everything is found again at the next start.
    """

    def __init__(
        self,
        token: str = TOKEN,
        *,
        users: Iterable[str] = USERS,
        chats: Iterable[str] = CHATS,
        forums: Iterable[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        data: Path | None = None,
        bot_name: str = "Factory",
        bot_username: str = "factory_bot",
    ) -> None:
        if not token.partition(":")[0].isdecimal():
            raise BadSetup("A bot's token is written NUMBER:SECRET (as in 4242:loopback).")
        self.token, self.host, self.port = token, host, port
        bot = {"id": int(token.partition(":")[0]), "is_bot": True, "first_name": bot_name, "username": bot_username}
        self._scratch = None if data else tempfile.TemporaryDirectory(prefix="loopback-telegram-")
        directory = data or Path(self._scratch.name if self._scratch else "")
        self.chats = Chats(bot, directory, Journal(directory / "telegram.jsonl" if data else None))
        for text in users:
            self.chats.add_user(*parse_named(text))
        for texts, forum in ((chats, False), (forums, True)):
            for text in texts:
                self.chats.add_chat(*parse_named(text), forum=forum)
        self.faults = Faults()
        self.api = BotApi(token, self.chats, self.faults)
        self.chats.webhook.violations = self.api.violations
        self._runner: web.AppRunner | None = None

    # Life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; with port 0, `port` and `url` say where afterwards."""
        app = web.Application(client_max_size=READ_LIMIT)
        app.add_routes(self.api.routes())
        app.add_routes(PeopleApi(self.chats, self.faults, self.api).routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()
        self.chats.webhook.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Ends every poll and delivery; what is in a `data` directory stays."""
        await self.chats.webhook.stop()
        self.chats.close()
        if self._runner:
            await self._runner.cleanup()
        if self._scratch:
            self._scratch.cleanup()

    @property
    def url(self) -> str:
        """What `TelegramAPIServer.from_base` and RemotePerson take."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    # Sides

    def person(self, chat_id: int | None = None, user_id: int | None = None) -> Person:
        """A user in a chat; without ids the first user, in the first group (or in private where there is no group)."""
        user_id = user_id or next(iter(self.chats.users))
        first = next((chat.id for chat in self.chats.groups()), user_id)
        return Person(self.chats, chat_id or first, user_id)

    def add_user(self, user_id: int, name: str, username: str = "") -> None:
        self.chats.add_user(user_id, name, username)

    def add_chat(self, chat_id: int, title: str, username: str = "", *, forum: bool = False) -> Chat:
        return self.chats.add_chat(chat_id, title, username, forum=forum)

    def page(self, chat_id: int) -> str:
        """The address of the chat as a page."""
        return f"{self.url}/chat/{chat_id}"

    # A test's hands

    def fault(
        self,
        method: str = "*",
        status: int = 502,
        *,
        retry_after: int | None = None,
        times: int | None = 1,
        chat_id: int | None = None,
        description: str = "",
        acts: bool = False,
        drop: bool = False,
        html: bool = False,
        delay: float = 0.0,
        lasts: float | None = None,
    ) -> Fault:
        """Lets the next `times` calls of `method` fail, or all for as long as it `lasts`; see `Fault`."""
        return self.faults.add(
            Fault(method, status, retry_after, times, chat_id, description, acts, drop, html, delay, lasts)
        )

    def calls(self, method: str | None = None, chat_id: int | None = None) -> list[Call]:
        """The log of all calls, oldest first."""
        return [
            call
            for call in self.api.log
            if method in (None, call.method) and chat_id in (None, call.args.get("chat_id"))
        ]

    @property
    def violations(self) -> list[str]:
        """Calls that no bot of ours may make: not built, not as described. The pytest fixture fails on any."""
        return self.api.violations
