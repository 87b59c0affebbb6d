"""Reviews the pull request under its own identity."""
