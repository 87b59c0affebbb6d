"""examples/diffie-shaped for real: bun, Restate and Postgres out of npm, two checkouts at once in one browser, nothing left.

Skipped, with the reason, where npm or what it installs cannot be had.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factory_browser import browser as browsers
from factory_browser import chromium
from factory_contract import ports
from playwright.async_api import Page, expect

EXAMPLE = Path(__file__).parents[2] / "examples" / "diffie-shaped"
SHELL = {k: v for k, v in os.environ.items() if not k.startswith("FACTORY_")}
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # `factory` is there
UNREACHABLE = re.compile(
    r"ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ConnectionRefused|FailedToOpenSocket|E40[34]\b"
)
STAYS = {"node_modules/", ".env.worktree"}  # ignored by git; `setup` made them

pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(not shutil.which("npx"), reason="npm is not installed")]


class Checkout:
    """One worktree of the repo. `command`: what takes the verbs."""

    def __init__(self, root: Path) -> None:
        self.root, self.command = root, "factory"

    def popen(self, *args: str) -> "subprocess.Popen[str]":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([self.command, *args], cwd=self.root, env={**SHELL, "PATH": PATH}, **pipes)

    def json(self, *args: str) -> dict[str, Any]:
        process = self.popen(*args, "--json")
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, f"{args}: exit code {process.returncode}\n{out}\n{err}"
        return json.loads(out)

    def git(self, *args: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        return subprocess.run(["git", *who, *args], cwd=self.root, check=True, capture_output=True, text=True).stdout

    def processes(self) -> set[int]:
        """Whoever works in the checkout, was started by it, or was told of it. Postgres overwrites its environment."""
        mine = str(self.root)
        found = set[int]()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
                if mine.encode() in told or (process / "cwd").readlink().is_relative_to(self.root):
                    found.add(int(process.name))
            except OSError:
                continue  # it has just ended
        return found - {os.getpid()}


@pytest.fixture(scope="module", autouse=True)
def browser() -> None:
    try:
        chromium.find()
    except chromium.NoChromium as e:
        pytest.skip(str(e))


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Checkout]]:
    """A repo and a worktree of it, both set up; the second has what the first installed from the same cache."""
    top = tmp_path_factory.mktemp("diffie")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=EXAMPLE, capture_output=True, text=True
    )
    one, two = Checkout(top / "main"), Checkout(top / "feature")
    for name in tracked.stdout.splitlines():
        (one.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(EXAMPLE / name, one.root / name)
    one.git("init", "-q")
    one.git("add", ".")
    one.git("commit", "-qm", "x")
    one.git("worktree", "add", "-q", str(two.root))
    for checkout in (one, two):
        process = checkout.popen("setup", "--json")
        out, err = process.communicate(timeout=200)
        if process.returncode != 0 and (why := UNREACHABLE.search(err)):
            pytest.skip(f"npm's registry cannot be reached ({why[0]})")
        assert process.returncode == 0, out + err
    yield [one, two]
    for checkout in (one, two):
        checkout.popen("clean").communicate(timeout=60)
        for pid in checkout.processes():  # only after a failure
            os.kill(pid, 9)


async def sign_in(page: Page, url: str) -> None:
    await page.goto(url)
    await page.get_by_label("Email").fill("ada@example.com")
    await page.get_by_label("Password").fill("shaped-ada")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Projects")).to_be_visible()


async def create(page: Page, name: str) -> None:
    """And waits until the test service has looked at it, which the open page is told."""
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="Create project").click()
    await expect(page.get_by_role("listitem").filter(has_text=name)).to_contain_text(
        "passed: answered 200", timeout=15_000
    )


async def in_one_browser(urls: list[str]) -> list[list[str]]:
    """Signs in to each app, creates a project in each, and reads what each shows after the other was used."""
    async with browsers.opened() as browser:
        context = await browsers.fresh(browser, (1280, 720))
        pages = [await context.new_page() for _ in urls]
        for page, url in zip(pages, urls, strict=True):
            await sign_in(page, url)
        for number, page in enumerate(pages):
            await create(page, f"Project {number}")
        shown = []
        for page in pages:
            await page.reload()
            await expect(page.get_by_role("heading", name="Projects")).to_be_visible()
            await expect(page.get_by_role("listitem").first).to_be_visible()
            shown.append(await page.get_by_role("listitem").locator("b").all_text_contents())
        sessions = [c for c in await context.cookies() if c.get("name") == "session"]
        assert len({c.get("domain") for c in sessions}) == len(urls)
        return shown


def assert_nothing_is_left(checkout: Checkout, leased: dict[str, int]) -> None:
    """No process, no listener, no lease, no file but the ignored ones that setup has made."""
    assert checkout.processes() == set()
    for port in leased.values():
        assert ports.is_free(port)
        assert not (ports.SHARED / f"{port}.json").exists()
    status = checkout.git("status", "--porcelain", "--ignored").splitlines()
    assert {re.sub(r"packages/[a-z-]+/(?=node_modules/)", "", line.removeprefix("!! ")) for line in status} == STAYS


async def test_two_checkouts_at_once(checkouts: list[Checkout]) -> None:
    """Started at the same moment both are healthy, share no port, process or database, and take two logins of one browser."""
    starting = [checkout.popen("start", "--json") for checkout in checkouts]
    answers = [process.communicate(timeout=200) for process in starting]
    assert [process.returncode for process in starting] == [0, 0], answers
    told = [json.loads(out) for out, _ in answers]
    assert [t["state"] for t in told] == ["ready", "ready"]
    numbers = [*told[0]["ports"].values(), *told[1]["ports"].values()]
    assert len(set(numbers)) == len(numbers) == 20
    one, two = (checkout.processes() for checkout in checkouts)
    assert one and two and not one & two
    assert {s["pid"] for s in told[0]["services"] if s["pid"]} <= one

    shown = await in_one_browser([t["urls"][0]["url"] for t in told])
    assert shown == [["Project 0"], ["Project 1"]]

    for checkout, t in zip(checkouts, told, strict=True):
        assert sorted(checkout.json("clean")["ports"]) == sorted(t["ports"].values())
        assert_nothing_is_left(checkout, t["ports"])


def test_through_the_repos_own_script(checkouts: list[Checkout]) -> None:
    """The verbs as the vision writes them."""
    checkout = Checkout(checkouts[0].root)
    checkout.command = "./factory.sh"
    checkout.json("setup")
    told = checkout.json("start", "--port-range", "46200", "--worktree-id", "job_123")
    assert (told["state"], told["worktree"]) == ("ready", "job-123")
    assert all(46200 <= port < 46300 for port in told["ports"].values())
    assert checkout.json("status")["state"] == "ready"
    assert [u["service"] for u in checkout.json("urls")["urls"]] == ["app", "restate", "realtime", "api", "website"]
    assert all(suite["ok"] for suite in checkout.json("test")["suites"])

    shown = checkout.json("validate", "--feature", "user can create project")
    assert [(r["name"], r["ok"]) for r in shown["results"]] == [("user can create project", True)]
    assert Path(shown["video"]["path"]).stat().st_size > 10_000

    checkout.json("stop")
    assert checkout.processes() == set()
    checkout.json("clean")
    assert_nothing_is_left(checkout, told["ports"])


def test_a_machine_without_npm_is_told_what_is_needed(checkouts: list[Checkout], tmp_path: Path) -> None:
    """In words, before anything is installed."""
    for tool in ("sh", "env"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    bare = {**SHELL, "PATH": str(tmp_path)}
    command = [str(Path(sys.executable).parent / "factory"), "setup", "--json"]
    done = subprocess.run(command, cwd=checkouts[1].root, env=bare, capture_output=True, text=True, timeout=60)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (1, "setup_failed")
    assert error["hint"].startswith("npm, this repo's package manager, is not installed here")
