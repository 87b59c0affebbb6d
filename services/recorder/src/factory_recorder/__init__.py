"""Exercises the running app in a browser and films it."""
