"""Whose an error is, and what of it is told; ids."""

import pytest
from factory_jobs import errors, ids
from factory_jobs.errors import Failure


@pytest.mark.parametrize(
    ("kind", "blame", "retry"),
    [
        (errors.FactoryError, "factory", True),
        (errors.OutsideError, "outside", True),
        (errors.RepoError, "repo", False),
        (errors.WorkError, "work", False),
        (errors.RequestError, "request", False),
    ],
)
def test_blame_decides_what_is_done(kind: type[errors.JobError], blame: str, retry: bool) -> None:
    """Ours and the outside's are tried again, the repo's, the work's and the request's are told."""
    error = kind("it broke", code="broke", log_tail="x" * 9000, hint="look")
    assert (error.blame, error.retry) == (blame, retry)
    failure = error.failure("tests_running")
    assert failure == Failure(
        blame=blame, code="broke", message="it broke", stage="tests_running", log_tail="x" * errors.TAIL, hint="look"
    )
    assert kind("it broke", code="broke", stage="planned").failure("tests_running").stage == "planned"


def test_what_the_store_answers_names_the_job() -> None:
    """Its facts are data; fenced is a kind of stale."""
    error = errors.Fenced("jabcdefghij", epoch=3, now=4)
    assert isinstance(error, errors.Stale)
    assert (error.job_id, error.facts) == ("jabcdefghij", {"epoch": 3, "now": 4})
    assert str(error).startswith("A higher epoch holds the lease")
    assert "jabcdefghij" in str(error)


def test_ids_are_names_that_go_everywhere() -> None:
    """A subject, a branch, a host label, a path and a key can hold them; two are never the same."""
    made = {ids.new_job_id() for _ in range(2000)}
    assert len(made) == 2000
    assert all(ids.is_job_id(i) for i in made)
    for other in (
        "",
        "jABCDEFGHIJ",
        "jabcdefghi",
        "jabcdefghijk",
        "kabcdefghij",
        "jabcdefghi1",
        "jabcdefghij\n",
        "../x",
    ):
        assert not ids.is_job_id(other)
