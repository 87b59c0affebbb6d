"""Wires intake together."""

from __future__ import annotations

import asyncio
import signal

import structlog
from aiogram import Bot
from aiogram.types import BotCommand, BotCommandScopeChat
from aiogram.utils.token import TokenValidationError
from factory_chassis import projects
from factory_chassis.service import Service
from factory_chassis.settings import BadSettings
from factory_forge.forges import Forges
from factory_telegram.bot import make_bot

from .desk import Desk
from .door import Door
from .poll import OUT_OF_REACH, Poll
from .settings import Settings
from .watch_forge import WatchForge

log = structlog.get_logger()

SLOWER = 4  # times `forge_every` between two looks where a webhook brings the news

COMMANDS = {
    "new": "Ask for a change",
    "status": "How a job stands",
    "jobs": "What is under way",
    "cancel": "Stop a job",
    "retry": "Try a failed job again",
    "help": "What I can do",
}


class Intake(Service):
    """The allow-list is read at the start and on SIGHUP; a broken file at SIGHUP keeps the old one."""

    def __init__(self, settings: Settings) -> None:
        if settings.telegram_token is None:
            raise BadSettings(["FACTORY_TELEGRAM_TOKEN: intake needs the bot's token"])
        try:
            self.projects = projects.load(settings.projects)
        except projects.BadProjects as e:
            raise BadSettings([f"FACTORY_PROJECTS: {p}" for p in str(e).splitlines()]) from e
        self.poll_settings = settings
        self.desk: Desk | None = None
        self.reread = asyncio.Event()
        self.door: Door | None = None
        super().__init__("intake", settings, tasks=[self._poll, self._watch])

    async def run(self) -> None:
        """As every service; SIGHUP is caught from the first moment on, or it would end the process."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reread)
        await super().run()

    async def connect(self) -> None:
        """Who watches the forges is asked by the door too, where there is one."""
        await super().connect()
        settings = self.poll_settings
        pace = SLOWER if settings.github_webhook_secret else 1
        self.watch = WatchForge(self.line, self.pool, Forges.of(settings), every=settings.forge_every * pace)
        self.health.details = self.watch.report
        if settings.api_token or settings.github_webhook_secret:
            self.door = Door(settings, self.line, lambda: self.projects, self.watch)
            self.tasks.append(self._open)

    async def _watch(self, _: Service) -> None:
        await self.watch.run()

    async def _open(self, _: Service) -> None:
        assert self.door is not None
        await self.door.serve()

    async def _poll(self, _: Service) -> None:
        settings = self.poll_settings
        assert settings.telegram_token is not None
        token = settings.telegram_token.get_secret_value()
        try:
            bot = make_bot(token, settings.telegram_api)
        except TokenValidationError:
            raise BadSettings(["FACTORY_TELEGRAM_TOKEN: a bot's token is written NUMBER:SECRET"]) from None
        async with bot:
            self.desk = Desk(self.line, self.projects, bot=token.split(":")[0])
            menus = asyncio.create_task(self._offer_commands(bot))
            try:
                await Poll(bot, self.desk, self.pool, timeout=settings.poll_timeout).run()
            finally:
                menus.cancel()

    async def _offer_commands(self, bot: Bot) -> None:
        """Each chat's menu, at the start and when the projects were read anew; a chat that refuses it holds nothing up."""
        commands = [BotCommand(command=c, description=d) for c, d in COMMANDS.items()]
        while True:
            for chat in [chat for project in self.projects.projects.values() for chat in project.chats]:
                try:
                    await bot.set_my_commands(commands, scope=BotCommandScopeChat(chat_id=chat))
                except OUT_OF_REACH as e:
                    log.warning("no command menu in this chat; is the bot in it?", chat=chat, why=repr(e))
            self.reread.clear()
            await self.reread.wait()

    def _reread(self) -> None:
        try:
            self.projects = projects.load(self.poll_settings.projects)
        except projects.BadProjects as e:
            log.error("projects not read; the old ones stay", why=str(e))
            return
        if self.desk is not None:
            self.desk.projects = self.projects
        self.reread.set()
        log.info("projects read anew", projects=sorted(self.projects.projects))


def build_app(settings: Settings) -> Service:
    return Intake(settings)
