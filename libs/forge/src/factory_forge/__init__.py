"""The trusted git mirror, and forges: pull requests, reviews, statuses."""
