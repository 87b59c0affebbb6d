"""Runs the agent in rounds, tests the result, opens the pull request."""
