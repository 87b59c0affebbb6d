"""Console as it runs, on real Postgres, S3, NATS and a real local forge: files in parts, pages that hold, nothing that leaks."""

import asyncio
import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import factory_console as console_package
import msgspec
import pytest
from factory_artifacts.content_types import content_type
from factory_artifacts.errors import StorageDown
from factory_artifacts.store import ArtifactStore
from factory_chassis.settings import BadSettings
from factory_console import app
from factory_console.app import Console
from factory_console.settings import Settings
from factory_ctl.embedded import Postgres
from factory_forge.forge import LineComment, Status
from factory_forge.forges import Forges
from factory_jobs import events as ev
from factory_jobs.errors import Failure
from factory_jobs.job import Job, Pull, Sandbox
from factory_jobs.records import Records
from factory_jobs.store import NewRequest, Store
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parent))

import chassis_role as role

FILM = bytes(range(256)) * 4096  # 1 MiB
HOSTILE = "<script>alert(1)</script> \"'>&amp;"
HEAD = "c" * 40


@pytest.fixture
def given(postgres_url: str, nats_url: str, s3: Any, tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr(postgres_url),
        nats_url=nats_url,
        s3_endpoint=s3.endpoint,
        s3_bucket=s3.bucket,
        s3_access_key=s3.access_key,
        s3_secret_key=SecretStr(s3.secret_key),
        node_dir=tmp_path / "node",
        console_port=0,
        stop_grace=2,
    )


@pytest.fixture
async def artifacts(s3: Any) -> AsyncIterator[ArtifactStore]:
    store = ArtifactStore(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key)
    yield store
    store.close()


@pytest.fixture
async def web(given: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser without a screen, in front of a console that runs in this loop."""
    async with role.running(Console(given)) as console:
        await role.until(lambda: console.console_port, what="it listens")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{console.console_port}", auto_decompress=False) as session:
            yield session


numbers = iter(range(1, 10**6))


async def new(store: Store, title: str = "Make it red", *, repo: str = "/r.git", **columns: Any) -> Job:
    asked = NewRequest(
        source=f"t:{next(numbers)}", author="Ada (1001)", text=title, chat="-1", link="https://t.me/c/1/2"
    )
    job = await store.create(project="pilot", snapshot={"rounds": 5}, repo=repo, title=title, request=asked)
    assert job is not None
    for column, value in columns.items():
        value = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
        await store.pool.execute(f"UPDATE jobs SET {column} = $2 WHERE id = $1", job.id, value)
    return await store.get(job.id)


async def kept(
    records: Records,
    artifacts: ArtifactStore,
    job: Job,
    *,
    name: str = "film.mp4",
    kind: str = "video",
    content_type: str = "video/mp4",
    data: bytes = FILM,
    commit: str | None = HEAD,
    stored: bool = True,
) -> str:
    """An artifact, by its address."""
    key, sha = f"jobs/{job.id}/{commit}/{next(numbers)}/{kind}/{name}", hashlib.sha256(data).hexdigest()
    if stored:
        await artifacts.put_bytes(key, data, content_type)
    facts = {"kind": kind, "name": name, "content_type": content_type, "commit": commit}
    await records.add_artifact(job, key=key, sha256=sha, size=len(data), **facts)
    return f"/a/{job.id}/{sha}/{name}"


# ── files ─────────────────────────────────────────────────────────────────────


async def test_a_file_comes_whole_and_in_parts(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore
):
    """As players ask for it; each part is what stands there."""
    url = await kept(records, artifacts, await new(store))

    async with web.get(url) as answer:
        assert answer.status == 200 and await answer.read() == FILM
        assert answer.headers["Content-Type"] == "video/mp4" and answer.headers["Accept-Ranges"] == "bytes"
        etag = answer.headers["ETag"]
    for asked, part in (
        ("bytes=0-", FILM),
        ("bytes=0-0", FILM[:1]),
        ("bytes=300000-700001", FILM[300_000:700_002]),
        ("bytes=-100", FILM[-100:]),
        ("bytes=1048000-9999999", FILM[1_048_000:]),
    ):
        async with web.get(url, headers={"Range": asked, "If-Range": etag}) as answer:
            assert answer.status == 206 and await answer.read() == part, asked
            first = FILM.rindex(part) if asked == "bytes=-100" else int(re.findall(r"\d+", asked)[0])
            assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(FILM)}"
    async with web.get(url, headers={"Range": "bytes=0-1", "If-Range": '"older"'}) as answer:
        assert answer.status == 200 and len(await answer.read()) == len(FILM)


async def test_a_part_that_is_not_there_is_refused(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore
):
    """With the size, so that the player asks anew."""
    url = await kept(records, artifacts, await new(store))

    async with web.get(url, headers={"Range": f"bytes={len(FILM)}-"}) as answer:
        assert answer.status == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(FILM)}"


async def test_head_says_the_same_without_the_file(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore
):
    """Length and part; S3 is not asked."""
    url = await kept(records, artifacts, await new(store), stored=False)

    async with web.head(url) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(FILM)))
        assert await answer.read() == b""
    async with web.head(url, headers={"Range": "bytes=10-19"}) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (206, "10")


async def test_what_the_browser_has_is_not_sent_again(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore
):
    """By its tag, weak or in a list, also for a part; another tag gets the file."""
    url = await kept(records, artifacts, await new(store))
    tag = f'"{url.split("/")[3]}"'

    for asked in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        async with web.get(url, headers={"If-None-Match": asked, "Range": "bytes=9999999999-"}) as answer:
            assert answer.status == 304, asked
            assert answer.headers["ETag"] == tag and "immutable" in answer.headers["Cache-Control"]
    async with web.get(url, headers={"If-None-Match": '"x"'}) as answer:
        assert answer.status == 200


async def test_an_empty_file_is_an_empty_file(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore
):
    """A stage may log nothing."""
    url = await kept(
        records, artifacts, await new(store), name="a.log", kind="log", content_type="text/plain", data=b""
    )

    async with web.get(url) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    async with web.get(url, headers={"Range": "bytes=0-"}) as answer:
        assert answer.status == 416


@pytest.mark.parametrize("name", ["page.html", "picture.svg", "feed.xml", "page.xhtml"])
async def test_what_a_browser_would_run_is_downloaded(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore, name: str
):
    """An agent's file must not act in the name of this host."""
    url = await kept(records, artifacts, await new(store), name=name, content_type=content_type(name), data=b"<svg/>")

    async with web.get(url) as answer:
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
        assert answer.headers["Content-Security-Policy"] == "sandbox"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_reader_who_leaves_is_no_fault(
    web: aiohttp.ClientSession,
    store: Store,
    records: Records,
    artifacts: ArtifactStore,
    monkeypatch: pytest.MonkeyPatch,
):
    """Players break off whenever somebody jumps."""
    said: list[str] = []
    monkeypatch.setattr(app, "log", Said(said))
    big = FILM * 24
    url = await kept(records, artifacts, await new(store), data=big)
    for _ in range(3):
        answer = await web.get(url)
        await answer.content.read(10)
        answer.close()
    async with web.get(url) as answer:
        assert len(await answer.read()) == len(big)

    await asyncio.sleep(0.5)  # whoever serves a reader who has left sees it a little later
    assert said == []


class Said:
    """A log that keeps what is said, at any level."""

    def __init__(self, kept: list[str]) -> None:
        self._kept = kept

    def __getattr__(self, level: str) -> Any:
        return lambda event, **more: self._kept.append(f"{level}: {event} {more}")


# ── nothing that leaks ────────────────────────────────────────────────────────

SHA = "5" * 64


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/static/",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2fetc%2fpasswd",
        "/jobs/",
        "/jobs/jaaaaaaaaaa",
        "/jobs/..%2f..",
        "/jobs/%00",
        "/jobs/'%20OR%201=1",
        "/pulls/pilot/1",
        "/pulls/%2e%2e/1",
        "/pulls/..%2f..%2fetc/1",
        "/pulls/pilot/" + "9" * 4400,
        f"/a/jaaaaaaaaaa/{SHA}/x",
        f"/a/%00/{SHA}/x",
        f"/a/jaaaaaaaaaa/{SHA}/..%2f..%2fx",
        "/a/jaaaaaaaaaa/../x",
        f"/a/jaaaaaaaaaa/{SHA.upper().replace('5', 'F')}/x",
        "//evil.example/x",
    ],
)
async def test_what_is_not_here_is_a_page_that_says_no_more(web: aiohttp.ClientSession, path: str):
    """404 for every address that is none of ours, with a way back; no path, no trace."""
    status, text = await raw(web, path)

    assert status in {403, 404}, text
    assert "Content-Type: text/html" in text and "<script" not in text
    assert "Not here" in text and 'href="/"' in text
    assert str(Path(console_package.__file__).parent) not in text and "Traceback" not in text


async def raw(web: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    """Without a client that would make the address tidy first."""
    base = str(web._base_url)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rstrip("/").rpartition(":")[2]))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
    text = (await asyncio.wait_for(reader.read(), 20)).decode()
    writer.close()
    return int(text.split()[1]), text


async def test_a_file_is_found_through_its_own_job_only(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore
):
    """Who knows a hash does not get it under another job."""
    mine, other = await new(store), await new(store)
    url = await kept(records, artifacts, mine)

    async with web.get(url.replace(mine.id, other.id)) as answer:
        assert answer.status == 404
    async with web.post(url) as answer:
        assert answer.status == 405 and "GET" in answer.headers["Allow"]


async def test_pages_may_do_nothing(web: aiohttp.ClientSession, store: Store):
    """No scripts, no frames, no forms, nothing of other hosts."""
    job = await new(store)
    for path in ("/", f"/jobs/{job.id}", "/nowhere"):
        async with web.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy and answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "<script" not in await answer.text()


# ── pages ─────────────────────────────────────────────────────────────────────


async def follow(web: aiohttp.ClientSession, path: str) -> str:
    """The page; every address of this host on it leads somewhere."""
    async with web.get(path) as answer:
        text = await answer.text()
        assert answer.status == 200, text
    for link in set(re.findall(r'(?:href|src)="([^"]+)"', text)):
        if urljoin("http://here/", link).startswith("http://here/"):
            async with web.get(link.split("#")[0].replace("&amp;", "&")) as answer:
                assert answer.status == 200, link
    return text


async def test_the_list_of_jobs(web: aiohttp.ClientSession, store: Store):
    """Newest first, each with its state and a way to it; before the first there is a word of what to do."""
    assert "Nothing yet" in await follow(web, "/")
    await new(store, "Make it red")
    await new(store, HOSTILE, state="failed")

    text = await follow(web, "/")

    assert "Planning" in text and "Failed" in text
    assert text.index("alert(1)") < text.index("Make it red")
    assert "&lt;script&gt;alert(1)" in text


async def test_a_jobs_page_has_all_that_is_known(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore
):
    """The way it went with times and logs, the film, tests, browser, review, rounds, plan and what was said; as text."""
    job = await new(store, f"Urgent {HOSTILE}")
    claimed = await store.claim(job.id, ["received"], owner="planner@n1")
    assert claimed is not None
    log = await kept(
        records, artifacts, claimed, name="received.log", kind="log", content_type="text/plain", data=b"log"
    )
    job = await store.apply(claimed, ev.Done(), actor="planner@n1", epoch=claimed.lease_epoch)
    await records.add_plan(job.id, 1, {"by": "rules", "criteria": [{"id": "c1", "text": HOSTILE}], "files": [HOSTILE]})
    await records.put_round(job, commit=HEAD, summary=HOSTILE, feedback=f"\x1b[31m{HOSTILE}\x1b[0m")
    film = await kept(records, artifacts, job)
    shot = await kept(records, artifacts, job, name="1.png", kind="screenshot", content_type="image/png", data=b"png")
    video = {"sha256": film.split("/")[3], "chapters": [{"title": HOSTILE, "criterion": "c1", "start": 65.2}]}
    suite = {"suite": HOSTILE, "passed": 3, "failed": None, "seconds": None, "counts": True, "known": ["a"]}
    suite["failures"] = [{"name": HOSTILE}]
    await records.add_evidence(job, HEAD, "suites", False, {"suites": [suite]})
    seen = {"results": [{"name": HOSTILE, "ok": False, "criteria": ["c1"], "error": HOSTILE}], "video": video}
    await records.add_evidence(job, HEAD, "browser", False, seen | {"console_new": [{"text": HOSTILE}]})
    review = {"by": "rules", "verdict": "changes_requested", "summary": HOSTILE, "findings": []}
    review["findings"] = [{"severity": "blocking", "path": HOSTILE, "line": 3, "says": HOSTILE}]
    await records.add_evidence(job, HEAD, "review", False, review)
    failure = Failure(blame="repo", code="x", message=HOSTILE, stage="sandbox_created", log_tail=HOSTILE, hint=HOSTILE)
    columns = {"work_sha": HEAD, "failure": failure, "cleanup": "problem", "state": "failed", "round": 1}
    for column, value in columns.items():
        value = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
        await store.pool.execute(f"UPDATE jobs SET {column} = $2 WHERE id = $1", job.id, value)

    text = await follow(web, f"/jobs/{job.id}")

    for said in (
        "planner",
        "received",
        "planned",
        "1:05",
        "changes requested",
        "blocking",
        "Failed at",
        "not everything",
    ):
        assert said in text, said
    for link in (log, shot, f"{film}#t=65"):
        assert link in text, link
    assert f'<video controls preload="metadata" src="{film}"' in text
    assert "<script" not in text and "\x1b" not in text
    assert text.count("alert(1)") >= 16


async def test_a_job_that_waits_in_line_has_a_page_too(web: aiohttp.ClientSession, store: Store):
    """With nothing known yet."""
    job = await new(store)
    text = await follow(web, f"/jobs/{job.id}")
    assert "Make it red" in text and "received" in text and "<video" not in text


# ── the local forge ───────────────────────────────────────────────────────────


def git(where: Path, *argv: str) -> str:
    env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    done = subprocess.run(
        ["git", "-C", str(where), *identity, *argv], check=True, env=env, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A repository with a change on a branch: a line changed, a file renamed and made executable, one with hostile text."""
    tree, bare = tmp_path / "seed", tmp_path / "pilot.git"
    tree.mkdir()
    git(tree, "init", "-q", "-b", "main")
    (tree / "app.py").write_text("one\ntwo\nthree\n")
    (tree / "run.sh").write_text("echo run\necho more\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "The app")
    git(tree, "switch", "-q", "-c", "factory/x")
    (tree / "app.py").write_text(f"one\n{HOSTILE}\nthree\n")
    (tree / "logo.bin").write_bytes(b"\0\1\2")
    git(tree, "mv", "run.sh", "start.sh")
    (tree / "start.sh").chmod(0o755)
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", f"Make it red {HOSTILE}")
    git(tmp_path, "clone", "-q", "--bare", str(tree), str(bare))
    return bare


async def test_a_pull_requests_page_has_all_that_a_reviewer_needs(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore, bare: Path
):
    """Text, checks, film, reviews with their remarks at the lines, commits and the change; merged, it says so."""
    head, base = git(bare, "rev-parse", "factory/x"), git(bare, "rev-parse", "main")
    url = "http://127.0.0.1:1"
    forges = Forges(url)
    forge, reviewer = await forges.connect(str(bare)), await forges.connect(str(bare), reviewer=True)
    body = f"## Problem\n\n{HOSTILE}\n\n- [x] **c1** done\n\n<!-- factory-job: hidden -->"
    pull = await forge.open_pull(
        branch="factory/x", base="main", title=f"Red {HOSTILE}", body=body, labels=["risk:low"]
    )
    await forge.set_status(Status(sha=head, context="factory/tests", state="success", description="3 passed"))
    said = [LineComment(path="app.py", line=2, body=f"Why **this**? {HOSTILE}")]
    await reviewer.add_review(
        pull.number, sha=head, verdict="request_changes", body="Not yet.", comments=said, marker="review:1"
    )
    job = await new(
        store,
        repo=str(bare),
        state="ready_for_human_review",
        base_sha=base,
        proved_sha=head,
        pr=Pull(number=pull.number, url=pull.url, head=head),
        sandbox=Sandbox(provider="local", handle={}, preview_url="http://127.0.0.1:4000/", preview="up"),
    )
    film = await kept(records, artifacts, job, commit=head)

    text = await follow(web, "/pulls/pilot/1")

    assert "draft" in text and "risk:low" in text and "3 passed" in text and film in text
    assert '<li class="task">☑ <strong>c1</strong> done</li>' in text and "hidden" not in text
    assert (
        "request changes" in text and text.count("Why <strong>this</strong>?") == 2
    )  # with the review and at its line
    changed = text.index('<td class="text">&lt;script&gt;')
    assert changed < text.rindex("Why <strong>this") < text.index('<td class="text">three</td>')
    assert "run.sh → start.sh" in text and "renamed, mode 100644 → 100755" in text and "A binary file." in text
    assert "3 files changed" in text and head[:12] in text and "http://127.0.0.1:4000/" in text
    assert "<script" not in text

    await forge.mark_ready(pull.number)
    await forge.merge_pull(pull.number)  # type: ignore[attr-defined]
    assert "pull-merged" in await follow(web, "/pulls/pilot/1")


async def test_a_pull_request_that_nobody_knows_is_not_here(web: aiohttp.ClientSession, store: Store, bare: Path):
    """Of another repo, another number, or one that the forge has lost."""
    await new(store, repo=str(bare), pr=Pull(number=7, url="u", head=HEAD))
    for path in ("/pulls/pilot/7", "/pulls/pilot/8", "/pulls/other/7"):
        async with web.get(path) as answer:
            assert answer.status == 404, path


# ── what goes wrong ───────────────────────────────────────────────────────────


async def test_a_file_that_the_store_has_lost_is_not_here(
    web: aiohttp.ClientSession, store: Store, records: Records, artifacts: ArtifactStore
):
    """The row alone is no file."""
    url = await kept(records, artifacts, await new(store), stored=False)
    async with web.get(url) as answer:
        assert answer.status == 404


async def test_a_store_that_is_away_is_said(given: Settings, store: Store, records: Records, artifacts: ArtifactStore):
    """503 and when to come again, without its address; pages without files go on."""
    job = await new(store)
    url = await kept(records, artifacts, job)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with role.running(Console(given.model_copy(update={"s3_endpoint": away}))) as console:
            await role.until(lambda: console.console_port, what="it listens")
            async with aiohttp.ClientSession(f"http://127.0.0.1:{console.console_port}") as web:
                async with web.get(url) as answer:
                    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
                    text = await answer.text()
                    assert "does not answer" in text and away not in text
                async with web.get(f"/jobs/{job.id}") as answer:
                    assert answer.status == 200


async def test_a_file_that_breaks_off_is_not_taken_for_whole(
    given: Settings, store: Store, records: Records, artifacts: ArtifactStore
):
    """Its length was promised: the connection is cut, and nobody gets a page at the end of a film."""
    url = await kept(records, artifacts, await new(store))

    async def breaks(key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        yield FILM[:1000]
        raise StorageDown(endpoint="s3", reason="gone")

    async with role.running(Console(given)) as console:
        await role.until(lambda: console.console_port, what="it listens")
        console.artifacts.stream = breaks
        async with aiohttp.ClientSession(f"http://127.0.0.1:{console.console_port}") as web:
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
                async with web.get(url) as answer:
                    await answer.read()


async def test_a_database_that_is_away_is_said(web: aiohttp.ClientSession, store: Store, postgres_server: Postgres):
    """503 while it is away, and the page again as soon as it is back."""
    job = await new(store)
    await postgres_server.stop()
    try:
        async with web.get(f"/jobs/{job.id}") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert "does not answer" in await answer.text()
    finally:
        await postgres_server.start()

    async def back() -> bool:
        async with web.get(f"/jobs/{job.id}") as answer:
            return answer.status == 200

    await role.until(back, what="the page is there again")


async def test_a_port_that_is_taken_is_a_broken_configuration(given: Settings):
    """Named, and the process ends with 78."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadSettings, match=f"FACTORY_CONSOLE_PORT: cannot listen on {port}: Address already in use"):
            await asyncio.wait_for(Console(given.model_copy(update={"console_port": port})).run(), 30)
