"""What a test run has found: one small parser for each runner's own words, JUnit XML first where it was written.

A parser has `parse(text) -> Found | None`; None says that the runner was not recognised.
"""
