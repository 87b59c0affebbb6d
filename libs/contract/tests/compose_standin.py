"""Stands in for `docker`, `docker compose` and `docker-compose`, and writes down what it is asked: $STANDIN/calls.jsonl.

Containers are processes of this machine that outlive whoever has started them; $PORT_<target> tells them the port of the host,
as nothing forwards it. Files in $STANDIN change its mind: `silent` (no engine answers), `v1` (only docker-compose 1.29), `slow`
(a pull does not end), `nothing` (no Compose at all). Images whose name begins with `far/` can be pulled, with `no/` they cannot.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

HOME = Path(os.environ["STANDIN"])
KNOWN = {"services", "volumes", "networks", "name", "version", "secrets", "configs", "include"}
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"


def fail(text: str, code: int = 1) -> NoReturn:
    print(text, file=sys.stderr, flush=True)
    sys.exit(code)


# --- what there is: one JSON file a thing -----------------------------------------------------------------------------


def things(kind: str) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((HOME / kind).glob("*.json"))]


def keep(kind: str, name: str, thing: dict[str, Any]) -> None:
    (HOME / kind).mkdir(exist_ok=True)
    fresh = HOME / kind / f".{name.replace('/', '_')}.{os.getpid()}"
    fresh.write_text(json.dumps(thing))
    fresh.rename(HOME / kind / f"{name.replace('/', '_')}.json")


def drop(kind: str, name: str) -> None:
    (HOME / kind / f"{name.replace('/', '_')}.json").unlink()


def container(name: str) -> dict[str, Any]:
    return next((c for c in things("containers") if c["Id"] == name), None) or fail(f"Error: No such container: {name}")


def change(name: str, **state: Any) -> None:
    found = container(name)
    found["State"].update(state)
    keep("containers", found["Name"].lstrip("/"), found)


def labelled(kind: str, argv: list[str]) -> list[dict[str, Any]]:
    wanted = argv[argv.index("--filter") + 1].removeprefix("label=").partition("=")
    labels = [(thing, (thing.get("Config") or thing)["Labels"].get(wanted[0])) for thing in things(kind)]
    return [thing for thing, value in labels if (value == wanted[2] if wanted[1] else value is not None)]


# --- the engine -------------------------------------------------------------------------------------------------------


def start(name: str) -> NoReturn:
    """Attached: the container's output, and its exit code."""
    found = container(name)
    for port in found["Ports"]:
        try:
            with socket.create_server(("127.0.0.1", int(port["host"]))):
                pass
        except OSError:
            change(name, Error=f"Bind for 127.0.0.1:{port['host']} failed: port is already allocated")
            fail("Error response from daemon: driver failed programming external connectivity")
    log = HOME / f"{name}.log"
    log.touch()
    with log.open("rb") as said:
        said.seek(0, os.SEEK_END)
        change(name, Running=True, Status="running", Pid=0, Error="")
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                _contain(found, log)
            os._exit(0)
        while container(name)["State"]["Running"]:
            _pass_on(said.read())
            time.sleep(0.02)
        _pass_on(said.read())
    sys.exit(container(name)["State"]["ExitCode"])


def _pass_on(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _contain(found: dict[str, Any], log: Path) -> NoReturn:
    """What containerd's shim does: it has nothing of who started it, neither its environment nor its pipes."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    for fd in (1, 2):
        os.dup2(out, fd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.closerange(3, 100)
    env = {"PATH": os.environ["PATH"], **found["Env"]}
    os.execve(sys.executable, [sys.executable, __file__, "shim", found["Id"]], {**env, "STANDIN": str(HOME)})


def shim(name: str) -> None:
    found = container(name)
    process = subprocess.Popen(found["Cmd"], cwd=found["Dir"], start_new_session=True)
    change(name, Pid=process.pid)
    code = process.wait()
    change(name, Running=False, Status="exited", Pid=0, ExitCode=code if code >= 0 else 128 - code)


def stop(argv: list[str]) -> None:
    seconds = 10.0
    if argv[:1] == ["-t"]:
        seconds, argv = float(argv[1]), argv[2:]
    for name in argv:
        for by, wait in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + wait
            while (state := container(name)["State"])["Running"]:
                if state["Pid"]:
                    try:
                        os.killpg(state["Pid"], by)
                    except ProcessLookupError:
                        pass
                if time.monotonic() > deadline:
                    break
                time.sleep(0.03)
        print(name)


def remove(argv: list[str]) -> None:
    for name in (word for word in argv if not word.startswith("--")):
        found = container(name)
        if found["State"]["Running"]:
            stop(["-t", "0", name])
        drop("containers", found["Name"].lstrip("/"))


def _formatted(found: dict[str, Any], text: str) -> str:
    """As Go's templates do it, with the two things that are asked for."""
    text = text.replace("{{.Names}}", found["Name"].lstrip("/"))
    return re.sub(r'\{\{\.Label "([^"]+)"\}\}', lambda label: found["Config"]["Labels"].get(label[1], ""), text)


def execute(name: str, argv: list[str]) -> NoReturn:
    found = container(name)
    if not found["State"]["Running"]:
        fail(f"Error response from daemon: Container {name} is not running")
    sys.exit(subprocess.run(argv, cwd=found["Dir"], env={"PATH": os.environ["PATH"], **found["Env"]}).returncode)


def shown(found: dict[str, Any]) -> dict[str, Any]:
    ports = {f"{p['target']}/tcp": [{"HostIp": "127.0.0.1", "HostPort": p["host"]}] for p in found["Ports"]}
    return {**found, "NetworkSettings": {"Ports": ports if found["State"]["Running"] else {}}}


def engine(verb: str, argv: list[str]) -> None:
    if (HOME / "silent").exists():
        fail("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
    if verb == "start":
        start(argv[-1])
    elif verb == "stop":
        stop(argv)
    elif verb == "rm":
        remove(argv)
    elif verb == "exec":
        execute(argv[0], argv[1:])
    elif verb == "inspect":
        print(json.dumps([shown(container(name)) for name in argv]))
    elif verb == "ps":
        for found in labelled("containers", argv):
            print(_formatted(found, argv[argv.index("--format") + 1]) if "--format" in argv else found["Id"])
    elif verb == "image" and argv[0] == "inspect":
        if not argv[1].startswith("here/") and not (HOME / "images" / f"{argv[1].replace('/', '_')}.json").exists():
            fail(f"Error: No such image: {argv[1]}")
    elif argv[0] == "ls":
        print("\n".join(thing["Name"] for thing in labelled(f"{verb}s", argv)))
    elif argv[0] == "rm":
        for name in (word for word in argv[1:] if not word.startswith("--")):
            drop(f"{verb}s", name)
    else:
        fail(f"docker: '{verb}' is not a docker command.")


# --- Compose ----------------------------------------------------------------------------------------------------------


def compose(argv: list[str], *, v1: bool) -> None:
    if argv[0] == "version":
        return print("1.29.2" if v1 else "2.99.0")
    given = {"-p": os.environ.get("COMPOSE_PROJECT_NAME", ""), "--project-directory": str(Path.cwd())}
    files, rest = list[Path](), argv
    while rest[0].startswith("-"):
        if rest[0] == "-f":
            files.append(Path(rest[1]))
        given[rest[0]], rest = rest[1], rest[2:]
    project, directory = given["-p"], given["--project-directory"]
    files = files or [Path(os.environ["COMPOSE_FILE"])]
    verb, names = rest[0], [word for word in rest[1:] if not word.startswith("-")]
    made = config(files, Path(directory), v1=v1)
    if verb == "config" and v1:
        import yaml

        print(yaml.safe_dump(made))
    elif verb == "config":
        print('level=warning msg="the attribute `version` is obsolete"', file=sys.stderr)
        print(json.dumps({"name": project, **made}))
    elif (HOME / "silent").exists():
        fail("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
    elif verb == "pull":
        pull([made["services"][name]["image"] for name in names])
    elif verb == "up" and "--no-start" in rest and "--no-deps" in rest:
        create(project, directory, made, names, [str(f) for f in files])
    elif verb == "exec":
        ours = (c for c in things("containers") if c["Config"]["Labels"][PROJECT] == project)
        found = next(c for c in ours if c["Config"]["Labels"][SERVICE] == names[0])
        execute(found["Id"], names[1:])
    else:
        fail(f"the stand-in does not know {verb}")
    return None


def config(files: list[Path], directory: Path, *, v1: bool) -> dict[str, Any]:
    import yaml

    def fill(match: re.Match[str]) -> str:
        return os.environ.get(match[1]) or match[2] or ""

    made: dict[str, Any] = {}
    for file in files:
        # what comes out is read by Compose again, so a literal dollar stays doubled
        text = re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", fill, file.read_text())
        for key, value in (yaml.safe_load(text) or {}).items():
            if key not in KNOWN and not key.startswith("x-"):
                fail(f"validating {file}: (root) Additional property {key} is not allowed", 15)
            if v1 and key == "include":
                fail(f"ERROR: The Compose file '{file}' is invalid because:\nInvalid top-level property \"include\".")
            made[key] = {**(made.get(key) or {}), **value} if isinstance(value, dict) else value
    wanted = os.environ.get("COMPOSE_PROFILES", "").split(",")
    services: dict[str, Any] = made["services"]
    for name, service in list(services.items()):
        if service.get("profiles") and not set(service["profiles"]) & set(wanted):
            del services[name]
            continue
        _normal(service, directory, v1=v1)
    return made


def _normal(service: dict[str, Any], directory: Path, *, v1: bool) -> None:
    """As the real ones render it: long forms, absolute paths."""
    ports = [_port(port, v1=v1) for port in service.get("ports") or []]
    service.update({"ports": ports} if ports else {})
    on = service.get("depends_on") or []
    if isinstance(on, list):
        service["depends_on"] = {name: {"condition": "service_started"} for name in on}
    if isinstance(build := service.get("build"), str):
        service["build"] = {"context": str(directory / build)}


def _port(port: Any, *, v1: bool) -> Any:
    if not isinstance(port, str) or v1:
        return port
    *host, target = port.split(":")
    bare, _, protocol = target.partition("/")
    entry = {"mode": "ingress", "target": int(bare), "protocol": protocol or "tcp"}
    return {**entry, **({"published": host[-1]} if host else {}), **({"host_ip": host[0]} if len(host) > 1 else {})}


def pull(images: list[str]) -> None:
    for image in images:
        if (HOME / "slow").exists():
            time.sleep(60)
        if not image.startswith("far/"):
            fail(f"Error response from daemon: pull access denied for {image}, repository does not exist")
        keep("images", image, {"Name": image, "Labels": {}})


def create(project: str, directory: str, made: dict[str, Any], names: list[str], files: list[str]) -> None:
    labels = {PROJECT: project, f"{PROJECT}.working_dir": directory, f"{PROJECT}.config_files": ",".join(files)}
    keep("networks", f"{project}_default", {"Name": f"{project}_default", "Labels": labels})
    for name in names:
        service = made["services"][name]
        for volume in service.get("volumes") or []:
            own = (made.get("volumes") or {}).get(volume.partition(":")[0]) or {}
            full = own.get("name") or f"{project}_{volume.partition(':')[0]}"
            keep("volumes", full, {"Name": full, "Labels": labels})
        if "build" in service:
            keep("images", service["image"], {"Name": service["image"], "Labels": service["build"]["labels"]})
        full = f"{project}-{name}-1"
        if (HOME / "containers" / f"{full}.json").exists():
            continue
        ports = [_bound(port) for port in service.get("ports") or []]
        env = {key: str(value).replace("$$", "$") for key, value in (service.get("environment") or {}).items()}
        keep("containers", full, {
            "Id": f"{abs(hash((full, time.time_ns()))):016x}", "Name": f"/{full}", "Ports": ports, "Dir": directory,
            "Cmd": ["/bin/sh", "-c", service["command"].replace("$$", "$")],
            "Env": {**env, **{f"PORT_{p['target']}": p["host"] for p in ports}},
            "Config": {
                "Labels": {**service.get("labels", {}), **labels, SERVICE: name},
                "Healthcheck": _healthcheck(service.get("healthcheck")),
            },
            "State": {"Running": False, "Status": "created", "Pid": 0, "ExitCode": 0, "Error": ""},
        })  # fmt: skip
        print(f" Container {full}  Created", file=sys.stderr)


def _bound(port: Any) -> dict[str, str]:
    """One that was given a port of the host, as both generations have it."""
    if isinstance(port, dict):
        return {"host": port["published"], "target": str(port["target"])}
    _, host, target = port.partition("/")[0].split(":")
    return {"host": host, "target": target}


def _healthcheck(check: dict[str, Any] | None) -> dict[str, Any] | None:
    if check is None:
        return None
    nanoseconds = int(float(str(check.get("interval", "30s")).removesuffix("s")) * 1e9)
    return {"Test": check["test"], "Interval": nanoseconds, "Retries": check.get("retries", 0)}


def main() -> None:
    program, *argv = sys.argv[1:]
    if program == "shim":
        return shim(argv[0])
    with (HOME / "calls.jsonl").open("a") as f:
        f.write(json.dumps([program, *argv]) + "\n")
    v1 = (HOME / "v1").exists()
    if program == "docker-compose":
        return compose(argv, v1=v1)
    if argv[0] == "compose":
        if v1 or (HOME / "nothing").exists():
            fail("docker: 'compose' is not a docker command.\nSee 'docker --help'")
        return compose(argv[1:], v1=False)
    return engine(argv[0], argv[1:])


if __name__ == "__main__":
    main()
