"""Servers that stand in for what is on the internet, for the demo and the tests."""
