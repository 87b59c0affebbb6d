"""Settings: each also by file, every wrong variable named at once, no secret in a message; and the node's name."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from factory_chassis import settings
from factory_chassis.settings import BadSettings, Settings, node_name, read
from pydantic import Field, SecretStr, ValidationError


class Own(Settings):
    """A service with settings of its own."""

    edit_every: float = Field(default=3, ge=0)


def problems(environ: dict[str, str], kind: type[Settings] = Settings) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        read(kind, environ)
    return caught.value.problems


def test_defaults_and_what_is_given() -> None:
    """An empty environment is a whole configuration; what is given replaces the default; the rest is not ours."""
    assert read(Settings, {"PATH": "/bin", "HOME": "/root"}) == Settings()
    given = read(Settings, {"FACTORY_CAPACITY": "7", "FACTORY_LEASE_SECONDS": "1.5", "FACTORY_NODE_DIR": "/srv/node"})
    assert (given.capacity, given.lease_seconds, given.node_dir) == (7, 1.5, Path("/srv/node"))


PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu\n-----END RSA PRIVATE KEY-----\n"
VALUES = {
    "database_url": "postgresql://db/x",
    "nats_url": "nats://bus",
    "s3_endpoint": "https://s3",
    "telegram_api": "http://telegram",
    "github_api": "https://github.example/api/v3",
    "github_app_key": PEM,
    "github_reviewer_app_key": PEM,
    "public_url": "https://factory.example",
    "log_format": "console",
    "replay": "true",
}


@pytest.mark.parametrize("field", Settings.model_fields)
def test_each_setting_also_by_file(tmp_path: Path, field: str) -> None:
    """FACTORY_X_FILE names a file that holds it; the line's end does not count."""
    text = VALUES.get(field, "7")
    (tmp_path / "value").write_text(f"{text}\n")
    pair = {"id": "key", "key": "id"}
    other = re.sub(r"(?<=app_)(id|key)$", lambda m: pair[m[0]], field)
    needs = {} if other == field else {f"FACTORY_{other.upper()}": VALUES.get(other, "7")}
    by_file = read(Settings, {f"FACTORY_{field.upper()}_FILE": str(tmp_path / "value"), **needs})
    assert by_file == read(Settings, {f"FACTORY_{field.upper()}": text, **needs})
    assert by_file != Settings()


def test_every_secret_is_one_by_file_too(tmp_path: Path) -> None:
    """Secrets are typed as such: they do not show when settings are printed, and the redactor gets them in clear."""
    kept = {name for name, f in Settings.model_fields.items() if "SecretStr" in str(f.annotation)}
    who = {f"github_{of}{what}" for of in ("", "reviewer_") for what in ("token", "app_key")}
    door = {"api_token", "github_webhook_secret"}
    assert kept == {"database_url", "s3_secret_key", "telegram_token", *who, *door}
    (tmp_path / "s").write_text("postgresql://factory:hunt%2Fer22@db/factory")
    by_file = kept - {"github_app_key", "github_reviewer_app_key", "github_reviewer_token"}
    given = read(
        Settings, {f"FACTORY_{n.upper()}_FILE": str(tmp_path / "s") for n in by_file} | {"FACTORY_S3_BUCKET": "plain"}
    )
    assert "hunt" not in repr(given) and "plain" in repr(given)
    assert set(given.secrets()) == {"postgresql://factory:hunt%2Fer22@db/factory", "hunt/er22"}
    assert Settings().secrets() == ["postgresql://postgres@127.0.0.1:5432/factory", "minioadmin"]


def test_unknown_names_are_errors_with_the_nearest_name() -> None:
    """A typing error is found at start and not by wondering; what is far from everything gets no advice."""
    assert problems({"FACTORY_DATBASE_URL": "x", "FACTORY_TELEGRAM_TOKEN_FIEL": "x", "FACTORY_QQ": "x"}) == [
        "FACTORY_DATBASE_URL: no such setting (did you mean FACTORY_DATABASE_URL?)",
        "FACTORY_QQ: no such setting",
        "FACTORY_TELEGRAM_TOKEN_FIEL: no such setting (did you mean FACTORY_TELEGRAM_TOKEN?)",
    ]


def test_what_others_read_is_known() -> None:
    """Settings of other services, their files, and names that are read elsewhere are none of ours, and no error."""
    others = dict.fromkeys(settings.KNOWN - {"FACTORY_FAILPOINT"}, "x")
    others |= {f"FACTORY_{name.upper()}": "x" for name in settings.OF_SERVICES}
    others |= {"FACTORY_CONSOLE_PORT_FILE": "/nowhere"}
    assert read(Settings, others) == Settings()
    assert read(Own, {"FACTORY_EDIT_EVERY": "5", "FACTORY_NODE_JOBS": "2"}).edit_every == 5


def test_wrong_values_are_all_named_at_once(tmp_path: Path) -> None:
    """Each with its variable (the file's, where it came by file) and the reason."""
    (tmp_path / "port").write_text("http")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    found = problems(
        {
            "FACTORY_CAPACITY": "many",
            "FACTORY_EDIT_EVERY": "-1",
            "FACTORY_HEALTH_PORT_FILE": str(tmp_path / "port"),
            "FACTORY_LOG_FORMAT": "xml",
            "FACTORY_S3_BUCKET_FILE": str(tmp_path / "missing"),
            "FACTORY_GITHUB_TOKEN_FILE": str(tmp_path / "bytes"),
        },
        Own,
    )
    assert len(found) == 6
    by_name = dict(p.split(": ", 1) for p in found)
    assert "valid integer" in by_name["FACTORY_CAPACITY"]
    assert "greater than or equal to 0" in by_name["FACTORY_EDIT_EVERY"]
    assert "valid integer" in by_name["FACTORY_HEALTH_PORT_FILE"]
    assert "pattern" in by_name["FACTORY_LOG_FORMAT"]
    assert by_name["FACTORY_S3_BUCKET_FILE"] == f"cannot read {tmp_path / 'missing'}: No such file or directory"
    assert by_name["FACTORY_GITHUB_TOKEN_FILE"] == f"cannot read {tmp_path / 'bytes'}: it is no text"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "localhost/factory?password=hunter2"),
        ("DATABASE_URL", "mysql://ann:hunter2@db/x"),
        ("DATABASE_URL", "postgresql://ann:hunter2@db:port/x"),
        ("DATABASE_URL", "postgresql://ann:hunter2@[::1/x"),
        ("NATS_URL", "127.0.0.1:4222"),
        ("S3_ENDPOINT", "minio:9000"),
        ("PUBLIC_URL", "factory.example"),
        ("TELEGRAM_API", "api.telegram.org"),
        ("GITHUB_API", "ftp://api.github.com"),
    ],
)
def test_what_is_no_url_is_refused(name: str, value: str) -> None:
    """Before anything connects; the message does not repeat it, for it may hold a password."""
    (problem,) = problems({f"FACTORY_{name}": value})
    assert problem.startswith(f"FACTORY_{name}: ")
    assert "hunter2" not in problem and "Value error" not in problem


def test_one_identity_each_on_github() -> None:
    """A token or an App, whole; and the reviewer is somebody else. No key and no token is repeated in a message."""
    app = {"FACTORY_GITHUB_APP_ID": "12", "FACTORY_GITHUB_APP_KEY": PEM}
    (problem,) = problems(app | {"FACTORY_GITHUB_TOKEN": "ghp_x"})
    assert problem == "FACTORY_GITHUB_TOKEN: an App (FACTORY_GITHUB_APP_ID) is given as well; one of them has to go"
    for half in ("FACTORY_GITHUB_APP_ID", "FACTORY_GITHUB_APP_KEY"):
        assert "given together" in problems({half: app[half]})[0]
    same = {"FACTORY_GITHUB_TOKEN": "ghp_canary", "FACTORY_GITHUB_REVIEWER_TOKEN": "ghp_canary"}
    (problem,) = problems(same)
    assert problem.startswith("FACTORY_GITHUB_REVIEWER_TOKEN: ") and "canary" not in problem
    assert read(Settings, app | {"FACTORY_GITHUB_REVIEWER_TOKEN": "ghp_x"}).github_app_id == "12"


def test_a_token_can_stand_in_a_header() -> None:
    """A line's end goes; what is no token is refused before a library repeats it in its complaint."""
    given = read(Settings, {"FACTORY_GITHUB_TOKEN": " ghp_x\n"}).github_token
    assert given and given.get_secret_value() == "ghp_x"
    (problem,) = problems({"FACTORY_GITHUB_TOKEN": "ghp_canary\nghp_other"})
    assert problem.startswith("FACTORY_GITHUB_TOKEN: not a token") and "canary" not in problem


def test_a_private_key() -> None:
    """Its line ends may have been written as \\n to fit a variable; what is none is refused and not repeated."""
    app = {"FACTORY_GITHUB_APP_ID": "12", "FACTORY_GITHUB_APP_KEY": PEM.strip().replace("\n", "\\n")}
    given = read(Settings, app)
    assert given.github_app_key and given.github_app_key.get_secret_value() == PEM
    assert PEM in given.secrets() and "MIIB" not in repr(given)
    (problem,) = problems(app | {"FACTORY_GITHUB_APP_KEY": "hunter2"})
    assert problem == "FACTORY_GITHUB_APP_KEY: not a private key in PEM, as the App's page gives it"


def test_tokens_go_out_in_clear_to_this_machine_alone() -> None:
    """An API over http is one on loopback."""
    assert read(Settings, {"FACTORY_GITHUB_API": "http://127.0.0.1:81/api/v3"}).github_api
    assert "https" in problems({"FACTORY_GITHUB_API": "http://github.example/api/v3"})[0]


@pytest.mark.parametrize("url", ["postgresql:///factory?host=/run/pg", "postgres://ann@db:5432/x", "postgresql://db/x"])
def test_ways_to_write_a_database(url: str) -> None:
    """By host, by port, by socket."""
    assert read(Settings, {"FACTORY_DATABASE_URL": url}).database_url.get_secret_value() == url


def test_a_setting_that_is_given_twice(tmp_path: Path) -> None:
    """Which of them counts is nobody's guess."""
    (tmp_path / "t").write_text("two")
    assert problems({"FACTORY_GITHUB_TOKEN": "one", "FACTORY_GITHUB_TOKEN_FILE": str(tmp_path / "t")}) == [
        "FACTORY_GITHUB_TOKEN_FILE: FACTORY_GITHUB_TOKEN is set as well; one of them has to go"
    ]


def test_a_failpoint_that_says_nothing_is_refused() -> None:
    """A test that sets it would pass without ever hitting it."""
    (problem,) = problems({"FACTORY_FAILPOINT": "builder.before_claim:kil9"})
    assert problem.startswith("FACTORY_FAILPOINT: 'builder.before_claim:kil9' is no ")
    read(Settings, {"FACTORY_FAILPOINT": "builder.before_claim:kill9:2"})


def test_settings_are_frozen() -> None:
    """Nobody changes them while a service runs, and nobody adds to them."""
    given = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        given.capacity = 9  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Settings(colour="red")  # type: ignore[call-arg]
    assert isinstance(given.database_url, SecretStr)


def test_refusing_names_each_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each variable, and the exit code of sysexits.h for a broken configuration."""
    with pytest.raises(SystemExit) as caught:
        settings.refuse(["FACTORY_A: one", "FACTORY_B: two"])
    assert caught.value.code == 78
    assert capsys.readouterr().err == "configuration: FACTORY_A: one\nconfiguration: FACTORY_B: two\n"


# ── the node's name ───────────────────────────────────────────────────────────


def test_a_node_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host gives the name, as subjects and labels allow it; it stays when the host is another.

    Two directories on one machine are two nodes: a job of the one must not look for its sandbox on the other.
    """
    monkeypatch.setattr("socket.gethostname", lambda: "Build_Machine.Example-" + "x" * 30)
    name = node_name(tmp_path / "node")
    assert re.fullmatch(f"build-machine-example-{'x' * 10}-[0-9a-f]{{4}}", name)
    assert node_name(tmp_path / "another") != name
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert node_name(tmp_path / "node") == name
    assert [p.name for p in (tmp_path / "node").iterdir()] == ["node"]
    monkeypatch.setattr("socket.gethostname", lambda: "___")
    assert re.fullmatch("node-[0-9a-f]{4}", node_name(tmp_path / "nameless"))


def test_a_node_that_many_name_at_once(tmp_path: Path) -> None:
    """Three services that start together, in threads and in processes, agree on one name, and leave nothing else."""
    script = (
        "import socket, sys, pathlib, factory_chassis.settings as s\n"
        "socket.gethostname = lambda: sys.argv[2]\n"
        "print(s.node_name(pathlib.Path(sys.argv[1])))"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "processes")]
    started = [subprocess.Popen([*argv, f"host-{n}"], stdout=subprocess.PIPE, text=True) for n in range(3)]
    names = {p.communicate(timeout=50)[0] for p in started}
    assert len(names) == 1 and names.pop().startswith("host-")
    for n in range(20):
        directory = tmp_path / f"threads-{n}"
        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(node_name, [directory] * 4))) == 1
        assert [p.name for p in directory.iterdir()] == ["node"]


def test_a_node_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """It is named as the variable that it came from, with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(BadSettings, match=r"FACTORY_NODE_DIR: cannot use .*/file: "):
        node_name(tmp_path / "file")
    (tmp_path / "node").write_text("Not_A/Name")
    with pytest.raises(BadSettings, match=r"FACTORY_NODE_DIR: .*/node holds 'Not_A/Name'"):
        node_name(tmp_path)


def test_an_empty_file_is_a_secret_that_is_not_there(tmp_path: Path) -> None:
    """Where there need be none. An empty address of the database stays an error, and so does an empty variable."""
    (tmp_path / "empty").write_text("\n")
    assert read(Settings, {"FACTORY_GITHUB_TOKEN_FILE": str(tmp_path / "empty")}).github_token is None
    assert problems({"FACTORY_DATABASE_URL_FILE": str(tmp_path / "empty")}) == [
        "FACTORY_DATABASE_URL_FILE: not a URL such as postgresql://host:port"
    ]
