"""Wires notifier together."""

from __future__ import annotations

from aiogram.utils.token import TokenValidationError
from factory_artifacts.redact import Redactor
from factory_chassis.service import Service
from factory_chassis.settings import BadSettings
from factory_telegram.bot import make_bot
from factory_telegram.pacing import Limits
from factory_telegram.words import esc
from faststream.nats import NatsMessage

from .chat import Chat
from .notify import Notifier
from .recording import RecordingChat
from .settings import Settings


class NotifierService(Service):
    def __init__(self, settings: Settings) -> None:
        if settings.telegram_token is None and not settings.replay:
            raise BadSettings(["FACTORY_TELEGRAM_TOKEN: notifier needs the bot's token"])
        super().__init__("notifier", settings, tasks=[self._notify], listens=self._hint)
        self.bot_settings = settings
        self.notifier: Notifier | None = None

    async def _hint(self, message: NatsMessage) -> None:
        """A hint only wakes the notifier: what has to be shown stands in the rows."""
        await message.ack()
        if self.notifier:
            self.notifier.wake.set()

    async def _notify(self, _: Service) -> None:
        settings = self.bot_settings
        if settings.replay:
            await self._tell(RecordingChat(self.records))
            return
        assert settings.telegram_token is not None
        try:  # when Telegram asks to wait, the text is made anew afterwards
            token, limits = settings.telegram_token.get_secret_value(), Limits(patience=0)
            bot = make_bot(token, settings.telegram_api, limits=limits)
        except TokenValidationError:
            raise BadSettings(["FACTORY_TELEGRAM_TOKEN: a bot's token is written NUMBER:SECRET"]) from None
        async with bot:
            await self._tell(Chat(bot))

    async def _tell(self, chat: Chat | RecordingChat) -> None:
        secrets = self.settings.secrets()
        self.notifier = Notifier(
            self.line,
            self.artifacts,
            chat,
            Redactor([*secrets, *map(esc, secrets)]),  # as they stand in HTML too
            owner=self.owner,
            public_url=self.settings.public_url,
            edit_every=self.bot_settings.edit_every,
        )
        await self.notifier.run()


def build_app(settings: Settings) -> Service:
    return NotifierService(settings)
