"""Deskline: a help desk for a small team."""
