"""Wires intake together."""

from __future__ import annotations

import asyncio
import signal

import structlog
from aiogram.types import BotCommand, BotCommandScopeChat
from factory_chassis import projects
from factory_chassis.service import Service
from factory_chassis.settings import BadSettings
from factory_telegram.bot import make_bot

from .desk import Desk
from .poll import Poll
from .settings import Settings

log = structlog.get_logger()

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
        super().__init__("intake", settings, tasks=[self._poll])

    async def _poll(self, _: Service) -> None:
        settings = self.poll_settings
        assert settings.telegram_token is not None
        token = settings.telegram_token.get_secret_value()
        async with make_bot(token, settings.telegram_api) as bot:
            desk = Desk(self.line, self.projects, bot=token.split(":")[0])
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload, desk)
            commands = [BotCommand(command=c, description=d) for c, d in COMMANDS.items()]
            for project in self.projects.projects.values():
                for chat in project.chats:
                    await self._patiently(
                        "Telegram",
                        lambda chat=chat: bot.set_my_commands(commands, scope=BotCommandScopeChat(chat_id=chat)),
                    )
            await Poll(bot, desk, self.pool, timeout=settings.poll_timeout).run()

    def _reload(self, desk: Desk) -> None:
        try:
            desk.projects = self.projects = projects.load(self.poll_settings.projects)
            log.info("projects read anew", projects=sorted(self.projects.projects))
        except projects.BadProjects as e:
            log.error("projects not read; the old ones stay", why=str(e))


def build_app(settings: Settings) -> Service:
    return Intake(settings)
