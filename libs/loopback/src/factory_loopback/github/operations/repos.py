"""Repositories and their branches."""

from ..operation import Answer, Ask, operation


@operation("repos/get", "GET /repos/{owner}/{repo}")
async def get(ask: Ask) -> Answer:
    return Answer(ask.shapes.full_repo(ask.repo, ask.login))
