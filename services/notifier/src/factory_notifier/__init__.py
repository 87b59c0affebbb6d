"""Keeps the chat told."""

import factory_telegram.lean  # noqa: F401 - before aiogram
