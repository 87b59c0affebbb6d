"""Hears the chats and turns messages into jobs."""
