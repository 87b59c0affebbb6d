"""`factoryctl` where a part of the factory is away: what it needs no more than that for is done, the rest is a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from factory_chassis.settings import Settings
from factory_ctl import jobs
from factory_jobs.store import Store
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parent))

import chassis_role as role


def settings(url: str) -> Settings:
    return Settings(database_url=SecretStr(url), nats_url="nats://127.0.0.1:1")


async def test_a_job_is_cancelled_without_the_bus(
    store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres is the only truth: whoever holds the job sees it there, and it is said that this takes a moment."""
    monkeypatch.setattr(jobs, "BUS_WITHIN", 0.3)
    job, said = await role.new_job(store), list[str]()
    async with jobs.moving(settings(postgres_url), said.append) as line:
        assert (await jobs.cancel(line, job)).state == "cancelled"
    assert (await store.get(job.id)).state == "cancelled"
    assert len(said) == 1 and "NATS does not answer" in said[0]


@pytest.mark.parametrize("name", ["", "nosuch"])
async def test_another_database_is_a_sentence(empty_url: str, name: str) -> None:
    """One without tables, which `migrate` makes, and one that is not there."""
    url = empty_url.rpartition("/")[0] + f"/{name}" if name else empty_url
    with pytest.raises(jobs.Unreachable, match="does not exist") as refused:
        async with jobs.looking(settings(url)) as (store, _):
            await store.jobs()
    assert ("factoryctl migrate" in str(refused.value)) is (name == "")


def test_a_torn_settings_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "env.json").write_text('{"FACTORY_')
    with pytest.raises(jobs.Unreachable, match=r"env\.json cannot be read"):
        jobs.settings_of(tmp_path)
