"""The loopback GitHub as a process: its first line, its data over a kill, its way out; and the pytest plugin."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from factory_loopback.github import GitHubServer, Person, new_repo
from factory_loopback.github.__main__ import main
from github import Auth, Github


def start(*arguments: str) -> tuple[subprocess.Popen[str], dict]:
    """The process and what its first line says."""
    argv = [sys.executable, "-m", "factory_loopback.github", *arguments]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, json.loads(process.stdout.readline())


async def test_a_killed_server_finds_everything_again(tmp_path: Path):
    """kill -9, a new start: pull requests, words, numbers and hooks are there, and a push that was not followed up is."""
    bare = await new_repo(tmp_path / "shop.git", {"README.md": "# Shop\n"})
    arguments = ["--data", str(tmp_path / "data"), "--repo", f"acme/shop={bare}", "--token", "t0ken=factory"]
    process, ready = start(*arguments, "--user", "ada:admin", "--webhook", "http://127.0.0.1:9/hook")
    try:
        assert ready == {"url": ready["url"], "api": ready["url"] + "/api/v3"}
        async with Person(ready["url"], "ada", "acme/shop") as ada:
            await ada.push("feature", {"a.txt": "a\n"})
            await ada.open_pull("feature", "main", "T", draft=True)
            await ada.comment(1, "Hello")
            await ada.review(1, "COMMENT", "Fine", [{"path": "a.txt", "line": 1, "body": "x"}])
            before = await ada.pull(1)
            comments, reviews = await ada.comments(1), await ada.reviews(1)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
    with (tmp_path / "data/github.jsonl").open("a") as journal:
        journal.write('["Issue:acme')  # as a kill in the middle of a line leaves it
    tree = subprocess.check_output(["git", "-C", bare, "rev-parse", "feature^{tree}"], text=True).strip()
    names = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    commit = ["git", "-C", str(bare), "commit-tree", "-p", "feature", "-m", "Late", tree]
    late = subprocess.check_output(commit, text=True, env=os.environ | names).strip()
    subprocess.check_call(["git", "-C", bare, "update-ref", "refs/heads/feature", late])

    async with GitHubServer({"acme/shop": bare}, {"t0ken": "factory"}, users=["ada"], data=tmp_path / "data") as github:
        async with github.person("ada") as ada:
            after = await ada.pull(1)
            moved = [here(each, ready["url"], github.url) for each in (before, comments, reviews)]
            assert after["head"]["sha"] == late
            assert (after["title"], after["draft"], after["node_id"]) == ("T", True, before["node_id"])
            assert moved[1:] == [await ada.comments(1), await ada.reviews(1)]
            assert (await ada.open_issue("Next"))["number"] == 2
        assert [hook.url for hook in github.store.hooks] == ["http://127.0.0.1:9/hook"]
        assert github.problems == []


def here(shape: object, old: str, new: str) -> object:
    return json.loads(json.dumps(shape).replace(old, new))


async def test_pygithub_talks_to_the_process_and_sigterm_ends_it(tmp_path: Path):
    bare = await new_repo(tmp_path / "shop.git", {"README.md": "# Shop\n"})
    (tmp_path / "more").write_text("--token=t0ken=factory:read\n")
    process, ready = start("--repo", f"acme/shop={bare}", f"@{tmp_path / 'more'}")
    try:
        with Github(base_url=ready["api"], auth=Auth.Token("t0ken"), retry=None) as client:
            repo = client.get_repo("acme/shop")
            assert (repo.permissions.pull, repo.permissions.push) == (True, False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--repo", "acme/shop"], "'acme/shop' is not NAME=VALUE"),
        (["--repo", "acme/shop=/nowhere"], "bare git repository"),
        (["--token", "t=factory:king"], "is not LOGIN:PERMISSION"),
        (["--app", "x=/nowhere:line"], "is not ID=PUBLIC_KEY_FILE:LOGIN"),
        (["--host", "203.0.113.1"], "203.0.113.1"),
    ],
)
def test_a_wrong_start_says_what_is_wrong(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    """One line on stderr and exit code 2, no stack trace."""
    assert main(arguments) == 2

    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)


def test_the_fixture_fails_a_test_that_asked_for_what_is_not_there(tmp_path: Path):
    """Even where the test itself swallowed the error; a test that kept to the API passes."""
    (tmp_path / "test_it.py").write_text(
        "import aiohttp\n"
        "async def ask(server, path):\n"
        "    headers = {'Authorization': 'token factory-token'}\n"
        "    async with aiohttp.ClientSession(headers=headers) as session:\n"
        "        async with session.get(f'{server.api}{path}') as answer:\n"
        "            return answer.status\n"
        "async def test_good(github_server):\n"
        "    assert await ask(github_server, '/repos/acme/shop') == 200\n"
        "async def test_bad(github_server):\n"
        "    assert await ask(github_server, '/zen') == 404\n"
    )
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "factory_loopback.pytest_plugin"]
    argv = [sys.executable, "-m", "pytest", *plugins, "-o", "asyncio_mode=auto", "-q", "--rootdir", str(tmp_path)]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # or it is loaded by its entry point as well
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, cwd=tmp_path, env=environment)

    assert "2 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "GET /zen does not exist in the REST API" in done.stdout
