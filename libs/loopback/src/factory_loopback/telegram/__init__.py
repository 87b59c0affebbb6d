"""A Telegram of our own: the Bot API over HTTP for one bot, and the side of the people in its chats."""

from .faults import Fault
from .person import Media, Person, RemotePerson, ShownButton, ShownMessage
from .server import Call, LoopbackTelegram

__all__ = ["Call", "Fault", "LoopbackTelegram", "Media", "Person", "RemotePerson", "ShownButton", "ShownMessage"]
