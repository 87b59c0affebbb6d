"""Scenarios as data, smoke checks, screencast, MP4."""
