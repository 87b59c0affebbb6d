"""The owner of a job is killed in each of its states and in its cleanup: somebody goes on, and it is seen as a pause."""

import pytest
from factory_jobs.machine import PHASES, WORKING, State
from outside import Outside
from sound import WISH, all_ready, audited, kinds
from whole import Line, processes_of

pytestmark = pytest.mark.timeout(300)


async def test_the_owner_of_each_state_is_killed(line: Line, outside: Outside) -> None:
    """Two jobs share the twelve states: each kill meets one, and whatever else that service has in hands."""
    projects = [await line.project() for _ in range(2)]
    outside.arm("planner.received.working", "kill9")
    begun = [(p, await p.ask(WISH)) for p in projects]
    for i, state in enumerate(s for s in State if s in WORKING and s is not State.RECEIVED):
        outside.arm(f"{PHASES[state].owner}.{state}.working", "kill9", begun[i % 2][1].id)
    jobs = await all_ready(begun, within=240)
    assert outside.still_armed() == []
    assert sum([(await kinds(line, job)).count("lease_expired") for job in jobs]) >= 12


async def test_the_owner_of_a_cleanup_is_killed(line: Line, outside: Outside) -> None:
    """The errand is taken up again, nothing is left, and the chat says so."""
    project = await line.project()
    job = await project.reach(await project.ask(WISH), "ready_for_human_review")
    outside.arm("envkeeper.cleanup.working", "kill9", job.id)
    await project.ada.type(f"/cancel {job.id}")
    await project.shows("Cancelled", "nothing is left running", within=90)
    assert outside.still_armed() == [] and processes_of(job.id) == []
    await audited(line)
