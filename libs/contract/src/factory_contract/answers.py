"""What `--json` prints for each verb, typed once: the commands build it, `docs/schemas/` and the reference are written from it.

Standard library only. Every answer has `command` and `ok` beside these fields; where `ok` is false there is an `error`.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

State = Literal["ready", "starting", "degraded", "failed", "stopped"]
ServiceState = Literal["pending", "starting", "ready", "unhealthy", "exited", "failed", "stopped", "completed"]


# --- what went wrong --------------------------------------------------------------------------------------------------


class Failure(TypedDict):
    """Why a command could not do what it was asked for."""

    code: Annotated[str, "stable: which of the errors it is"]
    message: Annotated[str, "what happened, for a person"]
    hint: Annotated[str, "what to do next; may be empty"]
    file: NotRequired[Annotated[str, "the file that is wrong"]]
    line: NotRequired[Annotated[int, "from 1"]]
    column: NotRequired[Annotated[int, "from 1"]]
    service: NotRequired[Annotated[str, "the service that it is about"]]
    suite: NotRequired[Annotated[str, "the suite that it is about"]]
    log: NotRequired[Annotated[str, "the path of the whole log"]]
    log_tail: NotRequired[Annotated[list[str], "its last lines"]]
    pids: NotRequired[Annotated[list[int], "processes that it is about"]]
    containers: NotRequired[Annotated[list[str], "names of containers that it is about"]]
    exit_code_of_command: NotRequired[Annotated[int, "of the repo's own command; below 0: the signal that ended it"]]


class FileProblem(TypedDict):
    """One thing wrong in a file; a command tells all of them at once."""

    code: Annotated[str, "stable: which kind of mistake it is"]
    message: Annotated[str, "what is wrong"]
    hint: Annotated[str, "the nearest valid name, or what to write; may be empty"]
    file: Annotated[str, "below the top of the repo"]
    line: Annotated[int, "from 1"]
    column: Annotated[int, "from 1"]
    key: Annotated[str, "the keys that lead there: services.api.ports"]


# --- what runs --------------------------------------------------------------------------------------------------------


class Url(TypedDict):
    """One address of the app."""

    service: Annotated[str, "who answers there"]
    url: Annotated[str, "for browsers, as the contract writes it"]
    internal_url: Annotated[str, "for programs on this machine: http://127.0.0.1:PORT"]
    port: Annotated[int | None, "null where the url names none"]
    primary: Annotated[bool, "the app's front door; one of them is"]
    also: Annotated[list[str], "the same by other names of this machine, for people"]


class Health(TypedDict):
    """What the last look at a service has found."""

    ok: Annotated[bool, "it passed"]
    detail: Annotated[str, "what was found instead"]
    at: Annotated[str, "when, ISO 8601 in UTC"]


class ServiceError(TypedDict):
    """Why a service does not run."""

    code: Annotated[str, "which of the errors it is"]
    message: Annotated[str, "what happened"]


class Service(TypedDict):
    """One service as it is now."""

    name: Annotated[str, "as the contract names it"]
    type: Annotated[Literal["process", "task", "docker-compose"], "what it is"]
    state: Annotated[ServiceState, "a task that has run to its end is `completed`"]
    pid: Annotated[int | None, "null where nothing runs"]
    ports: Annotated[dict[str, int], "what it listens on, by name"]
    url: Annotated[str | None, "for browsers"]
    exit_code: Annotated[int | None, "of its last end; below 0: the signal"]
    restarts: Annotated[int, "since the start"]
    since: Annotated[str, "when it came into its state, ISO 8601 in UTC"]
    health: Annotated[Health | None, "null before the first look"]
    error: NotRequired[Annotated[ServiceError, "why it does not run"]]
    log_bytes_lost: NotRequired[Annotated[int, "output that could not be written to its log"]]


class Supervisor(TypedDict):
    """The process that keeps the services."""

    pid: Annotated[int, "its pid"]
    since: Annotated[str, "when it came, ISO 8601 in UTC"]


class Status(TypedDict):
    """`factory status`."""

    state: Annotated[State, "of the whole app; the command's exit code is 0 only for `ready`"]
    worktree: Annotated[str, "the id of this checkout"]
    supervisor: Annotated[Supervisor | None, "null where none lives"]
    services: Annotated[list[Service], "in the order of the contract"]
    ports: Annotated[dict[str, int], "everything that is leased, by name"]
    urls: Annotated[list[Url], "the primary one first"]


class Restart(Status):
    """`factory restart`: how all is afterwards."""


class Supervise(Status):
    """`factory supervise`: how all was at its end."""


class Start(Status):
    """`factory start`: how all is afterwards."""

    already_running: Annotated[bool, "there was nothing to start"]
    seconds: Annotated[float, "until all was ready"]


class Urls(TypedDict):
    """`factory urls`."""

    urls: Annotated[list[Url], "the primary one first"]
    state: Annotated[State, "whether they answer now"]


class Line(TypedDict):
    """One line of a log."""

    at: Annotated[str, "when, ISO 8601 in UTC"]
    service: Annotated[str, "who said it"]
    text: Annotated[str, "without the newline"]


class Logs(TypedDict):
    """`factory logs`."""

    lines: Annotated[list[Line], "the oldest first"]


class Stop(TypedDict):
    """`factory stop`."""

    stopped: Annotated[list[str], "services that were ended"]
    leftovers: Annotated[list[int], "pids that a killed supervisor had left, ended too"]
    containers: Annotated[list[str], "containers that a killed supervisor had left, removed too"]
    state: NotRequired[Annotated[Literal["stopped"], "how all is now"]]


class Left(TypedDict):
    """What an environment has left that nobody keeps."""

    processes: Annotated[list[int], "pids"]
    ports: Annotated[list[int], "leases"]
    containers: Annotated[list[str], "names"]
    projects: Annotated[list[str], "Compose projects of which containers, networks, volumes or images are there"]


class Part(TypedDict):
    """One service, in few words."""

    name: Annotated[str, "as the contract names it"]
    state: Annotated[ServiceState, "as `factory status` tells it"]
    pid: Annotated[int | None, "null where nothing runs"]


class Environment(TypedDict):
    """One environment of this machine."""

    checkout: Annotated[str, "its directory, also where that is gone"]
    worktree: Annotated[str, "its id"]
    user: Annotated[str, "whose it is; `?` where nothing tells"]
    mine: Annotated[bool, "it is the caller's: of others' only running or stopped is known"]
    state: Annotated[
        Literal["ready", "starting", "degraded", "failed", "stopped", "gone", "running"],
        "as `factory status` there would tell it; `gone`: its checkout is; `running`: another user's",
    ]
    since: Annotated[str | None, "when its supervisor came, ISO 8601 in UTC"]
    supervisor: Annotated[Supervisor | None, "null where none lives"]
    services: Annotated[list[Part], "in the order of the contract"]
    ports: Annotated[dict[str, int], "everything that is leased, by name"]
    processes: Annotated[list[int], "pids of all that belongs to it and is kept"]
    containers: Annotated[list[str], "names"]
    left: Annotated[Left, "what it has left that nobody keeps"]
    stale: Annotated[bool, "`factory clean --stale` removes what it has left"]
    error: NotRequired[Annotated[Failure, "why it is not well"]]


class Ps(TypedDict):
    """`factory ps`."""

    environments: Annotated[list[Environment], "by their paths"]


class Removed(Left):
    """What `clean --stale` has removed of one environment."""

    checkout: Annotated[str, "its directory"]
    worktree: Annotated[str, "its id"]
    error: NotRequired[Annotated[Failure, "why not all of it could be removed"]]


class Others(TypedDict):
    """An environment of another user that has left something."""

    checkout: Annotated[str, "its directory"]
    user: Annotated[str, "whose it is"]


class Clean(TypedDict):
    """`factory clean`; with `--stale` of all dead environments, which are told one by one beside."""

    stopped: Annotated[list[str], "services that were ended"]
    leftovers: Annotated[list[int], "pids that a killed supervisor had left, ended too"]
    containers: Annotated[list[str], "containers that a killed supervisor had left, removed too"]
    ports: Annotated[list[int], "leases that were given back"]
    removed: Annotated[list[str], "what was removed of .software-factory/"]
    environments: NotRequired[Annotated[list[Removed], "with --stale: those of which something was removed"]]
    others: NotRequired[Annotated[list[Others], "with --stale: dead ones of other users, which were not touched"]]


# --- what runs once ---------------------------------------------------------------------------------------------------


class Step(TypedDict):
    """One command of the repo that has ended."""

    command: Annotated[str, "as the contract writes it"]
    seconds: Annotated[float, "how long it took"]
    exit_code: Annotated[int, "below 0: the signal that ended it"]
    log: Annotated[str, "the path of its output"]


class Setup(TypedDict):
    """`factory setup`."""

    steps: Annotated[list[Step], "the one that failed is the last"]
    copied: Annotated[list[str], "ignored files that were brought from the main worktree"]
    missing: Annotated[list[str], "files listed under `copy` that are neither here nor there"]


class TestFailure(TypedDict):
    """One test that failed."""

    name: Annotated[str, "as its runner calls it"]
    message: Annotated[str, "what it said"]


class TestRun(TypedDict):
    """What one runner has found, in one package of a workspace."""

    runner: Annotated[str, "pytest, vitest, …; junit where its report was read"]
    where: Annotated[str, "the package; empty where there is one only"]
    passed: Annotated[int, "tests"]
    failed: Annotated[int, "tests"]
    skipped: Annotated[int, "tests"]


class Suite(TypedDict):
    """One suite that was run."""

    suite: Annotated[str, "its name in the contract"]
    commands: Annotated[list[str], "what was run, up to the one that failed"]
    ok: Annotated[bool, "its commands ended with 0, no test failed, at least one ran"]
    exit_code: Annotated[int, "of its last command; 143 where it hung and was ended"]
    passed: Annotated[int, "tests"]
    failed: Annotated[int, "tests"]
    skipped: Annotated[int, "tests"]
    seconds: Annotated[float, "how long it took"]
    failures: Annotated[list[TestFailure], "in the order of the runner, the first 1000"]
    runner: Annotated[str | None, "whose results were understood; null: a check, judged by its exit code alone"]
    runs: Annotated[list[TestRun], "what the counts are the sum of"]
    note: Annotated[str, "what else is to be known; may be empty"]
    log: Annotated[str, "the path of its output"]
    tail: Annotated[list[str], "its last lines"]


class Test(TypedDict):
    """`factory test`."""

    suites: Annotated[list[Suite], "in the order that they were run"]


# --- the browser ------------------------------------------------------------------------------------------------------


class Seen(TypedDict):
    """An error that the browser saw."""

    text: Annotated[str, "as it was"]
    key: Annotated[str, "without ports, ids and times: the same error has the same key in another run"]
    where: Annotated[str, "the page or script"]
    scenario: Annotated[str, "in which it came first"]
    times: Annotated[int, "how often"]


class Known(TypedDict):
    """Keys of everything that was seen: what a later run need not count."""

    console: list[str]
    requests: list[str]
    page_errors: list[str]


class Chapter(TypedDict):
    """A part of the film."""

    title: Annotated[str, "what it shows"]
    criterion: Annotated[str | None, "the criterion that it is for"]
    scenario: Annotated[str, "the scenario that it is of"]
    start: Annotated[float, "seconds from the begin"]
    end: Annotated[float, "seconds from the begin"]


class Video(TypedDict):
    """The film."""

    path: Annotated[str, "an MP4"]
    seconds: Annotated[float, "how long it is"]
    codec: Annotated[str, "h264"]
    width: Annotated[int, "pixels"]
    height: Annotated[int, "pixels"]
    frames: Annotated[int, "how many"]
    chapters: list[Chapter]


class Played(TypedDict):
    """How one scenario went."""

    name: Annotated[str, "of the scenario"]
    criteria: Annotated[list[str], "what it shows"]
    ok: Annotated[bool, "every step did what it says"]
    error: Annotated[str, "why not; else empty"]
    step_index: Annotated[int | None, "the step that failed, from 0"]
    step: Annotated[str, "that step in words"]
    screenshot: Annotated[str | None, "how the page stood at the end"]
    seconds: Annotated[float, "how long it took"]
    outline: Annotated[str, "what the page showed where it failed, as text"]


class Page(TypedDict):
    """One URL that was looked at."""

    service: Annotated[str, "whose it is"]
    url: Annotated[str, "as it was opened"]
    ok: Annotated[bool, "there is no reason against it"]
    reasons: Annotated[list[str], "no answer, an error status, an empty page, an uncaught error, a request that broke"]
    status: Annotated[int | None, "of the answer"]
    title: Annotated[str, "of the page"]
    text: Annotated[int, "characters that can be read"]
    blank: Annotated[bool, "nothing can be seen"]
    console: Annotated[list[Seen], "errors on the console: told, not counted"]
    requests: Annotated[list[Seen], "the app's requests that failed; those below 500 are told, not counted"]
    page_errors: Annotated[list[Seen], "uncaught errors"]
    screenshot: Annotated[str | None, "null where nothing answered"]


class Validate(TypedDict):
    """`factory validate`: `results` and what else was seen where scenarios were played, `pages` where URLs were looked at."""

    mode: Annotated[Literal["scenarios", "smoke"], "what was done"]
    directory: Annotated[str, "where pictures, film, trace and verdict.json are"]
    video: Annotated[Video | None, "null where record_video is false, or nothing could be filmed"]
    trace: Annotated[str | None, "for `playwright show-trace`"]
    known: Annotated[Known, "everything that was seen"]
    login: NotRequired[Annotated[Played | None, "of a smoke check: the login that failed"]]
    pages: NotRequired[Annotated[list[Page], "of a smoke check"]]
    results: NotRequired[Annotated[list[Played], "of scenarios; a login that failed is the first"]]
    screenshots: NotRequired[Annotated[list[str], "of scenarios"]]
    console_new: NotRequired[Annotated[list[Seen], "errors on the console; they count"]]
    console_known: NotRequired[Annotated[list[Seen], "those that a scenario provokes on purpose"]]
    requests_new: NotRequired[Annotated[list[Seen], "the app's requests that failed; they count"]]
    requests_known: NotRequired[Annotated[list[Seen], "those that a scenario provokes on purpose"]]
    page_errors: NotRequired[Annotated[list[Seen], "uncaught errors; they count"]]
    page_errors_known: NotRequired[Annotated[list[Seen], "those that a scenario provokes on purpose"]]


class Artifact(TypedDict):
    """One file that is kept as evidence."""

    path: Annotated[str, "below the top of the repo"]
    bytes: Annotated[int, "how big it is"]


class Artifacts(TypedDict):
    """`factory artifacts`."""

    files: Annotated[list[Artifact], "by their paths"]
    to: Annotated[str | None, "the directory that they were copied to"]


# --- about the contract -----------------------------------------------------------------------------------------------


class Check(TypedDict):
    """`factory check`."""

    file: Annotated[str, "which file was read"]
    name: Annotated[str, "of the app"]
    services: Annotated[list[str], "names"]
    ports: Annotated[list[str], "every X_PORT that it refers to"]
    suites: Annotated[list[str], "names"]
    scenarios: Annotated[list[str] | None, "names; null where the extra [validate], which reads them, is not installed"]
    missing: Annotated[list[str], "Compose files that are not here yet"]
    contract: Annotated[dict[str, Any], "all of it, with defaults filled in and short forms widened"]


class Schema(TypedDict):
    """`factory schema`."""

    schema: Annotated[dict[str, Any], "the JSON Schema of factory.yaml"]


class Completion(TypedDict):
    """`factory completion`."""

    shell: Annotated[Literal["bash", "zsh", "fish"], "which"]
    script: Annotated[str, "what the shell has to run"]


ANSWERS: dict[str, type] = {
    "check": Check,
    "setup": Setup,
    "start": Start,
    "supervise": Supervise,
    "status": Status,
    "urls": Urls,
    "logs": Logs,
    "test": Test,
    "validate": Validate,
    "artifacts": Artifacts,
    "restart": Restart,
    "stop": Stop,
    "clean": Clean,
    "ps": Ps,
    "schema": Schema,
    "completion": Completion,
}
