"""What can go wrong, each with a stable `code`, an exit code, and what to do next. Standard library only.

The first line of a class's docstring is its message; the keywords given are the data in it, kept as attributes.
Exit codes: 1 the repo's own command failed, 2 usage or invalid contract, 3 not ready or unhealthy,
4 refused (lock, limit, port), 130 interrupted.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from factory_contract import words

SHOWN = (
    *("file", "line", "column", "service", "suite"),
    *("log", "log_tail", "pids", "containers", "exit_code_of_command"),
)


class ContractError(Exception):
    """The `factory` command cannot go on."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    hint: str = ""

    def __init__(self, **data: Any) -> None:
        self.data = data
        self.__dict__.update({k: v for k, v in data.items() if k != "hint"})
        self.hint = data.get("hint") or type(self).hint.format_map(data)
        first = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(first.format_map(data))

    def as_dict(self) -> dict[str, Any]:
        """The `error` object of `--json`."""
        shown = {k: self.data[k] for k in SHOWN if self.data.get(k) is not None}
        return {"code": self.code, "message": str(self), "hint": self.hint, **shown}


# --- usage and the contract itself: 2 ---------------------------------------------------------------------------------


class Usage(ContractError):
    """{problem}"""

    code, exit_code = "usage", 2
    hint = "See `factory --help`."


class NoContract(ContractError):
    """There is no factory.yaml (or software-factory.yaml, or factory.sh) in {directory} or above it"""

    code, exit_code = "no_contract", 2
    hint = "Write a factory.yaml at the top of the repo; `factory schema` prints what may be in it."


class ForeignContract(ContractError):
    """{file} belongs to {product}, it is not a runtime contract"""

    code, exit_code = "foreign_contract", 2
    hint = "Leave it as it is and write the contract into software-factory.yaml, which wins where both exist."


# Every kind of mistake in a file: its code, and what it means.
PROBLEMS = {
    "yaml_syntax": "it is no YAML",
    "not_utf8": "it is not UTF-8",
    "empty": "there is nothing in it",
    "too_big": "it has more than 64 KB",
    "too_much": "it grows or nests too far when its aliases are followed",
    "too_many_aliases": "it has more aliases than a person writes",
    "documents": "it has a second document (`---`)",
    "tag": "it has a tag (`!…`)",
    "merge_key": "it has a merge key (`<<`)",
    "duplicate_key": "a key is there twice",
    "unknown_key": "there is no such key, or it belongs elsewhere",
    "missing_key": "a key has to be there",
    "wrong_type": "a value of another type is expected",
    "wrong_value": "the type is right, the value is not",
    "wrong_name": "a name does not match what names look like there",
    "said_twice": "the same is said at the top and under `runtime`",
    "unknown_service": "`depends_on`, or a Compose service, names one that is not there",
    "cycle": "services wait for each other in a circle",
    "port_twice": "two services have one port, by its name or by its number",
    "port_in_env": "a port is set by `env`: two checkouts would collide on it",
    "reserved": "a variable begins with FACTORY_",
    "outside": "a path leads out of the repo, by its links too",
    "no_directory": "`cwd` is no directory",
    "compose_file": "a Compose file cannot be understood",
    "compose_ports": "the ports of a Compose service cannot be named",
    "host_network": "a Compose service has `network_mode: host`",
    "two_files": "two Compose files have services of one name",
    "scenario": "a scenario, or `login`, is wrong",
    "unreadable": "the file cannot be read",
}


class Problem(ContractError):
    """{what}"""

    # One thing wrong in the contract file. `kind` is its stable code; `path` the keys that lead to it.
    exit_code = 2

    def __init__(
        self, kind: str, what: str, *, path: tuple[str | int, ...] = (), line: int = 1, column: int = 1, hint: str = ""
    ) -> None:
        self.kind, self.path, self.line, self.column = kind, path, line, column
        super().__init__(what=words.short(what, 400), line=line, column=column, hint=words.short(hint, 400))

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "code": self.kind, "key": ".".join(str(p) for p in self.path)}


class InvalidFile(ContractError):
    """{summary}"""

    # Every problem of a file at once; the first one is the summary.
    exit_code = 2

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.line, p.column))
        for problem in self.problems:
            problem.data["file"] = file
        first = self.problems[0]
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(
            summary=f"{file}:{first.line}:{first.column}: {first}{more}",
            file=file,
            line=first.line,
            column=first.column,
            hint=first.hint,
        )


class InvalidContract(InvalidFile):
    """{summary}"""

    code = "invalid_contract"


class InvalidScenarios(InvalidFile):
    """{summary}"""

    code = "invalid_scenarios"


class NoSuchScenario(ContractError):
    """No scenario is about “{feature}”"""

    code, exit_code = "no_such_scenario", 2
    hint = "Leave --feature out to play all."


class NoUrls(ContractError):
    """{file} names no url that a browser could open"""

    code, exit_code = "no_urls", 2
    hint = "Give a service a `url`, or set validation.browser.start_url."


class UndefinedVariable(ContractError):
    """{where} uses ${{{name}}}, which is set nowhere"""

    code, exit_code = "undefined_variable", 2
    hint = "Set it under `env`, in an env file, or write ${{{name}:-default}}; names that end in _PORT are leased."


class EnvFileMissing(ContractError):
    """The env file {file} is not in this checkout"""

    code, exit_code = "env_file_missing", 2
    hint = "Copy it here from where you keep it; list it under `copy` so that new checkouts get it."


class EnvFileInvalid(ContractError):
    """{file}:{line}: expected NAME=value"""

    code, exit_code = "env_file_invalid", 2
    hint = "A line is NAME=value, with or without `export`, a comment, or empty; a value with blanks is quoted."


class BadAddress(ContractError):
    """{where}: `{text}` is no address here"""

    code, exit_code = "bad_address", 2
    hint = "Expected a port, HOST:PORT, a URL, or a path on the service's own port."


class BadPortRange(ContractError):
    """{text} is no range of ports: expected LO-HI or LO, from 1024 to 65535"""

    code, exit_code = "bad_port_range", 2
    hint = "For example `--port-range 46200-46299`."


class NoSuchService(ContractError):
    """There is no service {service}"""

    code, exit_code = "no_such_service", 2
    hint = "`factory status` lists them."


class NoSuchSuite(ContractError):
    """There is no test suite {suite}"""

    code, exit_code = "no_such_suite", 2
    hint = "`factory check` lists them."


class NoSuites(ContractError):
    """{file} names no tests"""

    code, exit_code = "no_suites", 2
    hint = "Add `tests: {{unit: [<command>]}}`."


class BadPattern(ContractError):
    """{text} is no regular expression: {why}"""

    code, exit_code = "bad_pattern", 2
    hint = "A character that is meant as itself gets a backslash: `\\.`, `\\[`."


class ImplementationMissing(ContractError):
    """The implementation {file} is not an executable file of this repo"""

    code, exit_code = "implementation_missing", 2
    hint = "chmod +x {file}, or take `implementation` out of the contract."


class ComposeFileMissing(ContractError):
    """{file}, the Compose file of {service}, is not in this checkout"""

    code, exit_code = "compose_file_missing", 2
    hint = "Say with `compose_file` where it is; if setup makes it, `factory setup` first."


class ComposeInvalid(ContractError):
    """Docker Compose refuses {file}: {why}"""

    code, exit_code = "compose_invalid", 2
    hint = "`{command} -f {file} config` says the same."


class NoComposeService(ContractError):
    """{file} has no service {service}, as Docker Compose reads it"""

    code, exit_code = "no_compose_service", 2
    hint = "`docker compose -f {file} config --services` lists them."


class NeededUnseen(ContractError):
    """{service} needs {need}, as Docker Compose reads {file}, and that stands in another file"""

    code, exit_code = "needed_unseen", 2
    hint = "Add `{need}: {{type: docker-compose}}` to `services`, and it to `depends_on` of {service}."


class ComposePorts(ContractError):
    """{service} publishes its port {target}, as Docker Compose reads {file}, and that has no name here"""

    code, exit_code = "compose_ports", 2
    hint = "Name its ports in their order there, `ports: [A_PORT, B_PORT]`, or publish none: `ports: []`."


class ComposeHostNetwork(ContractError):
    """{service} has `network_mode: host` in {file}: two checkouts would collide on its ports"""

    code, exit_code = "host_network", 2
    hint = "Let it publish `ports`, or run it by a `command`."


# --- the repo's own commands: 1 ---------------------------------------------------------------------------------------


class SetupFailed(ContractError):
    """`{command}` ended with exit code {exit_code_of_command}"""

    code, exit_code = "setup_failed", 1
    hint = "The whole log is {log}; run `factory setup` again when it is mended."


class CannotStart(ContractError):
    """`{command}` cannot be started: {why}"""

    code, exit_code = "cannot_start", 1
    hint = "Is that directory (`cwd`) there, and does the machine have processes and memory left?"


class ServiceExited(ContractError):
    """{service} ended with exit code {exit_code_of_command} before it was ready"""

    code, exit_code = "service_exited", 1
    hint = "`factory logs --service {service}` shows all of its output."


class ServiceFell(ContractError):
    """{service} ended {times} times in a row, the last time with exit code {exit_code_of_command}"""

    code, exit_code = "service_fell", 1
    hint = "`factory logs --service {service}`, then `factory restart {service}`"


class ServiceLeft(ContractError):
    """{service} ended with exit code 0 before it was ready: a service has to stay in the foreground"""

    code, exit_code = "service_left", 1
    hint = "If it is meant to run once, say `type: task`; if it goes into the background, tell it not to."


class TaskFailed(ContractError):
    """The task {service} ended with exit code {exit_code_of_command}"""

    code, exit_code = "task_failed", 1
    hint = "`factory logs --service {service}` shows all of its output."


class ContainersFailed(ContractError):
    """The containers of {file} cannot be made: {why}"""

    code, exit_code = "containers_failed", 1
    hint = "The whole log is {log}."


class ContainerFailed(ContractError):
    """The container of {service} cannot be started: {why}"""

    code, exit_code = "container_failed", 1
    hint = "`factory logs --service {service}` shows all of its output."


class SeedFailed(ContractError):
    """The seed command `{command}` ended with exit code {exit_code_of_command}"""

    code, exit_code = "seed_failed", 1
    hint = "The whole log is {log}."


class TestsFailed(ContractError):
    """{what}"""

    __test__ = False  # not a test class of pytest's
    code, exit_code = "tests_failed", 1
    hint = "`factory test <suite>` runs one of them again."


class ValidationFailed(ContractError):
    """{what}"""

    code, exit_code = "validation_failed", 1
    hint = "`factory logs --since 5m` is what the services said meanwhile."


class BrowserFailed(ContractError):
    """The browser could not be used: {why}"""

    code, exit_code = "browser_failed", 4
    hint = "`{python} -m playwright install --with-deps chromium` gets one that works, and what it needs of the system."


class CleanFailed(ContractError):
    """The clean command `{command}` ended with exit code {exit_code_of_command}; everything else was removed"""

    code, exit_code = "clean_failed", 1
    hint = "Mend it, then `factory clean` again."


# --- not ready or unhealthy: 3 ----------------------------------------------------------------------------------------


class NotReady(ContractError):
    """{service} did not get ready within {seconds:.0f} s: {detail}"""

    code, exit_code = "not_ready", 3
    hint = "`factory logs --service {service}`; a slow one gets more time by healthcheck.start_period."


class NotRunning(ContractError):
    """Nothing of this checkout is running"""

    code, exit_code = "not_running", 3
    hint = "`factory start`"


class NotStarted(ContractError):
    """This checkout was not started yet, so its ports are not known"""

    code, exit_code = "not_started", 3
    hint = "`factory start`"


class SupervisorGone(ContractError):
    """The supervisor (pid {pid}) is gone{leftover}"""

    code, exit_code = "supervisor_gone", 3
    hint = "`factory clean` removes what is left; `factory start` ends it and starts anew."


class Rebooted(ContractError):
    """The machine was started anew since; nothing of this checkout is running"""

    code, exit_code = "rebooted", 3
    hint = "`factory start`"


class Moved(ContractError):
    """This checkout was started as {was} and has moved{leftover}"""

    code, exit_code = "moved", 3
    hint = "`factory clean`, then `factory start`"


class CheckoutGone(ContractError):
    """{root} is not there any more"""

    code, exit_code = "checkout_gone", 3
    hint = "`factory clean --stale` removes what it has left."


class CheckoutMoved(ContractError):
    """{root} has moved to {now}"""

    code, exit_code = "moved", 3
    hint = "`factory clean` there, then `factory start`"


class SupervisorFailed(ContractError):
    """The supervisor ended before it could say why"""

    code, exit_code = "supervisor_failed", 4
    hint = "The lines above are its own; please report them."


class SupervisorSilent(ContractError):
    """The supervisor (pid {pid}) does not answer"""

    code, exit_code = "supervisor_silent", 3
    hint = "`factory clean` ends it and what it started."


class Unhealthy(ContractError):
    """{what}"""

    code, exit_code = "unhealthy", 3
    hint = "`factory status`, `factory logs`"


# --- refused: 4 -------------------------------------------------------------------------------------------------------


class DockerMissing(ContractError):
    """`{command}` is not installed, and there are services of type docker-compose"""

    code, exit_code = "docker_missing", 4
    hint = "Install Docker (docs.docker.com/get-docker), or run them by a `command` of their own."


class ComposeMissing(ContractError):
    """Neither `docker compose` nor `docker-compose` is installed"""

    code, exit_code = "compose_missing", 4
    hint = "Install Docker Compose v2 (docs.docker.com/compose/install)."


class EngineSilent(ContractError):
    """The Docker engine does not answer: {why}"""

    code, exit_code = "engine_silent", 4
    hint = "Start it (`docker version` shows when it answers), then call this again."


class DockerFailed(ContractError):
    """`{command}` has failed: {why}"""

    code, exit_code = "docker_failed", 4
    hint = "`docker info` says how the engine is; then call this again."


class ImageUnavailable(ContractError):
    """The image {image} of {service} cannot be pulled: {why}"""

    code, exit_code = "image_unavailable", 4
    hint = "Is its name right, the registry reachable, `docker login` done? The whole log is {log}."


class ComposeProjectTaken(ContractError):
    """The Compose project {project} is of {owner}"""

    code, exit_code = "compose_project_taken", 4
    hint = "Give this checkout another --worktree-id, or remove that one's containers."


class PortTaken(ContractError):
    """Port {port}, fixed for {name}, is taken by {owner}"""

    code, exit_code = "port_taken", 4
    hint = "End that, or take the fixed number out of `ports` so that a free one is leased."


class NoFreePort(ContractError):
    """No port is free for {name} between {low} and {high}"""

    code, exit_code = "no_free_port", 4
    hint = "Give another --port-range, or `factory clean` checkouts that you no longer need."


class PortsDirectory(ContractError):
    """The machine's port leases in {directory} cannot be used: {why}"""

    code, exit_code = "ports_directory", 4
    hint = "All users of the machine share it: it has to be writable for all, as /tmp is (mode 1777)."


class ForeignListener(ContractError):
    """Port {port} ({name}) is answered by {owner}, which is not of this environment"""

    code, exit_code = "foreign_listener", 4
    hint = "End that process, or `factory clean` and `factory start` to get another port."


class PortLost(ContractError):
    """{service} could not have its port {port} ({name}): since it was leased {owner} has taken it"""

    code, exit_code = "port_lost", 4
    hint = "`factory start` again leases another one."


class PortUnused(ContractError):
    """{service} looks healthy, but none of its processes listens on {name} ({port})"""

    code, exit_code = "port_unused", 3
    hint = "Let its command use ${{{name}}}."


class AlreadyRunning(ContractError):
    """Another supervisor (pid {pid}) has this checkout"""

    code, exit_code = "already_running", 4
    hint = "`factory status`; `factory stop` ends it."


class Stopping(ContractError):
    """The supervisor was told to stop"""

    code, exit_code = "stopping", 4
    hint = "`factory start` again, when `factory status` says that it is stopped."


class StateUnwritable(ContractError):
    """{file} cannot be written: {why}"""

    code, exit_code = "state_unwritable", 4
    hint = "Is the disk full (`df -h .`), or the directory another user's? Then call this again."


class SocketDirectory(ContractError):
    """{directory} is not a private directory of yours, the control socket cannot be put there"""

    code, exit_code = "socket_directory", 4
    hint = "Remove it, or set TMPDIR to a directory of your own."


class LeftBehind(ContractError):
    """Processes {pids} could not be ended"""

    code, exit_code = "left_behind", 4
    hint = "Another user's, or stuck in the kernel (state D in `ps -o pid,stat,args`): `sudo kill -9` ends the former."


class BrowserMissing(ContractError):
    """`factory validate` needs the browser part, which is not installed"""

    code, exit_code = "browser_missing", 4
    hint = "In a clone of software-factory: `{python} -m pip install ./libs/browser './libs/contract[validate]'`."


class ChromiumMissing(ContractError):
    """`factory validate` needs a Chromium. {why}"""

    code, exit_code = "chromium_missing", 4
    hint = (
        "`{python} -m playwright install --with-deps chromium`, or your system's package (`apt install chromium`), "
        "or the path of one in FACTORY_CHROMIUM."
    )


class MachineRefused(ContractError):
    """{what}"""

    # Of the operating system: no permission, no space, too many open files.
    code, exit_code = "machine_refused", 4
    hint = "Mend that, then call this again."

    @classmethod
    def by(cls, e: OSError) -> "MachineRefused":
        return cls(what=f"{e.filename}: {e.strerror}" if e.filename else e.strerror or str(e))


class Interrupted(ContractError):
    """Interrupted"""

    code, exit_code = "interrupted", 130


class Reported(ContractError):
    """{message}"""

    # An error that the supervisor has met and told over its socket or in its state.
    def __init__(self, error: dict[str, Any]) -> None:
        self.error = {k: v for k, v in error.items() if k != "exit_code"}
        super().__init__(**{"message": "The supervisor failed", **error})
        self.exit_code = int(error.get("exit_code", 1))  # pyright: ignore[reportAttributeAccessIssue]

    def as_dict(self) -> dict[str, Any]:
        return self.error


def tell(error: ContractError) -> dict[str, Any]:
    """The error as data that `Reported` makes an error of again."""
    told = {**error.as_dict(), "exit_code": error.exit_code}
    if isinstance(error, InvalidFile):
        told["errors"] = [p.as_dict() for p in error.problems]
    return told
