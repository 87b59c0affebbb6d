"""Keeps the chat told."""
