"""The job that this task works on, for what stands in for the outside in a replay and is asked without it."""

from contextvars import ContextVar

job_id: ContextVar[str] = ContextVar("job_id")
