"""Hears the chats, the forge and the HTTP door, and turns what they say into jobs and their events."""

import factory_telegram.lean  # noqa: F401 - before aiogram
