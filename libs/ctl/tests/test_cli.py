"""`factoryctl` as a command: what it takes, what it says, and how it ends."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from factory_ctl.cli import EPILOG, _settings, parser

COMMANDS = ("up", "demo", "migrate", "jobs", "show", "logs", "replay", "audit", "cancel", "retry")


def run(*argv: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """As a person calls it, with no other FACTORY_* than these."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FACTORY_")}
    argv = (sys.executable, "-m", "factory_ctl.cli", *argv)
    return subprocess.run(argv, env=clean | env, cwd=cwd, capture_output=True, text=True, timeout=50)


def test_help_names_every_command_and_shows_examples():
    """Each with what it does; each example begins with a command that there is."""
    text = parser().format_help()

    assert all(f"\n    {command} " in text for command in COMMANDS)
    examples = [line.split()[1] for line in EPILOG.splitlines() if line.startswith("  factoryctl")]
    assert set(examples) <= set(COMMANDS) and len(examples) == 7


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_of_its_own(command: str, capsys: pytest.CaptureFixture[str]):
    """`--help` ends with 0."""
    with pytest.raises(SystemExit) as e:
        parser().parse_args([command, "--help"])
    assert e.value.code == 0
    assert f"usage: factoryctl {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fly"],
        ["show"],
        ["logs"],
        ["cancel"],
        ["retry"],
        ["replay"],
        ["up", "--port", "web"],
        ["jobs", "extra"],
        ["up", "--json"],
    ],
    ids=" ".join,
)
def test_what_it_does_not_take_is_a_usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]):
    """Exit code 2, with what is wrong."""
    with pytest.raises(SystemExit) as e:
        parser().parse_args(argv)
    assert e.value.code == 2
    assert "factoryctl" in capsys.readouterr().err


def test_defaults_work_in_a_checkout():
    """The factory's directory is the same for all commands, so that they find one another."""
    given = {c: parser().parse_args([c] if c in {"up", "demo", "migrate", "jobs"} else [c, "j"]) for c in COMMANDS}

    assert {str(args.data) for c, args in given.items() if c != "demo"} == {"var/factory"}
    assert str(given["demo"].dir) == "var/demo" and given["demo"].keep is False
    assert str(given["up"].projects) == "factory-projects.yaml" and given["up"].port == 0
    assert given["show"].job == "j" and given["logs"].state is None


def test_help_loads_nothing_heavy():
    """Who asks for help does not wait for drivers of databases and chats."""
    code = "import sys; sys.argv = ['factoryctl', '--help']\nimport factory_ctl.cli as c\ntry: c.main()\nexcept SystemExit: pass\n"
    code += (
        "print({'asyncpg', 'aiohttp', 'minio', 'faststream', 'pydantic', 'yaml'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)

    assert done.stderr.strip() == "set()"


def test_settings_are_those_of_the_factory_on_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What `up` wrote there; the environment goes before it."""
    for name in [name for name in os.environ if name.startswith("FACTORY_")]:
        monkeypatch.delenv(name)
    (tmp_path / "env.json").write_text(json.dumps({"FACTORY_NATS_URL": "nats://kept:1", "FACTORY_S3_BUCKET": "kept"}))
    monkeypatch.setenv("FACTORY_S3_BUCKET", "said")

    settings = _settings(parser().parse_args(["jobs", "--data", str(tmp_path)]))

    assert (settings.nats_url, settings.s3_bucket) == ("nats://kept:1", "said")
    assert (
        _settings(parser().parse_args(["jobs", "--data", str(tmp_path / "none")])).nats_url == "nats://127.0.0.1:4222"
    )


def test_no_factory_is_a_sentence(tmp_path: Path):
    """Exit code 1, what to do, and no stack trace."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run("jobs", "--data", str(tmp_path), FACTORY_DATABASE_URL=f"postgresql://postgres@127.0.0.1:{port}/x")

    assert done.returncode == 1
    assert done.stderr.startswith("factoryctl: No factory answers: start one with `factoryctl up`")
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_migrate_without_a_database_is_a_sentence():
    """Exit code 1 and what does not answer; a container that is started for it ends with that."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run("migrate", FACTORY_DATABASE_URL=f"postgresql://postgres@127.0.0.1:{port}/x")

    assert done.returncode == 1 and done.stderr.startswith("factoryctl: Postgres: ")
    assert "Traceback" not in done.stderr


def test_a_broken_configuration_ends_with_78_and_names_each_variable(tmp_path: Path):
    """Before anything is started: nothing is made on the disk."""
    projects = tmp_path / "p.yaml"
    projects.write_text("projects:\n  pilot: {chats: [], users: {1: boss}, repo: /r.git}\n")
    data = tmp_path / "data"

    done = run("up", "--data", str(data), "--projects", str(projects), cwd=tmp_path)
    assert done.returncode == 78
    assert "factoryctl: FACTORY_TELEGRAM_TOKEN: the bot's token is needed" in done.stderr
    assert f"factoryctl: {projects}: projects.pilot.chats: " in done.stderr
    assert f"factoryctl: {projects}: projects.pilot.users.1: " in done.stderr

    done = run("up", "--data", str(data), "--projects", str(projects), cwd=tmp_path, FACTORY_NATS_ULR="x")
    assert done.returncode == 78 and "did you mean FACTORY_NATS_URL?" in done.stderr
    assert not data.exists()


def test_a_demo_outside_of_a_checkout_says_where_it_looked(tmp_path: Path):
    """And leaves nothing behind."""
    done = run("demo", "--dir", str(tmp_path / "demo"), cwd=tmp_path)

    assert done.returncode == 1
    assert f"the demo's app is not at {tmp_path}/examples/pilot" in done.stderr
    assert not (tmp_path / "demo").exists()
