"""Wires notifier together."""

from __future__ import annotations

from factory_chassis.service import Service
from factory_chassis.settings import BadSettings
from factory_telegram.bot import make_bot
from faststream.nats import NatsMessage

from .chat import Chat
from .notify import Notifier
from .settings import Settings


class NotifierService(Service):
    def __init__(self, settings: Settings) -> None:
        if settings.telegram_token is None:
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
        assert settings.telegram_token is not None
        async with make_bot(settings.telegram_token.get_secret_value(), settings.telegram_api) as bot:
            self.notifier = Notifier(
                self.line,
                self.artifacts,
                Chat(bot),
                self.redactor,
                owner=self.owner,
                public_url=settings.public_url,
                edit_every=settings.edit_every,
            )
            await self.notifier.run()


def build_app(settings: Settings) -> Service:
    return NotifierService(settings)
