"""`factoryctl`: the factory on one machine, its demo, and the commands to look into it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

EPILOG = """examples:
  factoryctl demo                     the main job on the example app, all on this machine
  factoryctl up --projects FILE       run the factory here; FACTORY_TELEGRAM_TOKEN names the bot
  factoryctl jobs                     what is under way
  factoryctl show JOB                 its timeline
  factoryctl logs JOB --state tests_running
  factoryctl replay JOB --from tests_running --debug builder
  factoryctl audit                    whether records, forge, chats and this machine agree
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="factoryctl", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, says: str, *, job: bool = False, data: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")
        if job:
            sub.add_argument("job", help="its id, or the beginning of it")
        if data:
            sub.add_argument(
                "--data", type=Path, default=Path("var/factory"), help="the factory's directory (default: %(default)s)"
            )
        return sub

    up = command("up", "start the factory here and keep it running")
    up.add_argument("--projects", type=Path, default=Path("factory-projects.yaml"), help="default: %(default)s")
    up.add_argument("--port", type=int, default=0, help="of the web pages (default: a free one, kept)")
    demo = command("demo", "run the main job on the example app with a scripted agent", data=False)
    demo.add_argument("--keep", action="store_true", help="leave everything running afterwards, until Ctrl-C")
    demo.add_argument("--dir", type=Path, default=Path("var/demo"), help="where all of it goes (default: %(default)s)")
    demo.add_argument("--repo", type=Path, help="another app than examples/pilot")
    demo.add_argument("--request", help="another wish; give --script with it")
    demo.add_argument("--script", type=Path, help="another script for the agent")
    command("migrate", "bring the database to this version's shape and make the bucket, where that is missing")
    jobs = command("jobs", "list jobs, the newest first")
    jobs.add_argument("--all", action="store_true", help="ended ones too")
    jobs.add_argument("--replays", action="store_true", help="replays instead of jobs")
    show = command("show", "a job's timeline", job=True)
    logs = command("logs", "what a job's stages logged", job=True)
    logs.add_argument("--state", help="only this state's")
    replay = command("replay", "work through a job once more from its records; nothing is done outside", job=True)
    replay.add_argument(
        "--from", dest="state", metavar="STATE", help="where it last entered this state (default: all of it)"
    )
    replay.add_argument("--to", metavar="SERVICE", help="stop after what this service does")
    replay.add_argument("--agent", action="store_true", help="call the agent; without it the rounds of then are taken")
    replay.add_argument(
        "--wait-for",
        metavar="SERVICE",
        action="append",
        default=[],
        help="start this one yourself; the command is shown",
    )
    replay.add_argument(
        "--debug", metavar="SERVICE", action="append", default=[], help="likewise, with a command that debugs it"
    )
    audit = command("audit", "compare what is written down with itself, the forge, the chats and this machine")
    audit.add_argument("job", nargs="?", help="this one alone: its id, or the beginning of it")
    audit.add_argument("--deep", action="store_true", help="read every artifact and compare its hash")
    audit.add_argument(
        "--wait", type=float, default=10, help="seconds that what is found has to stand (default: %(default)s)"
    )
    cancel = command("cancel", "stop a job", job=True)
    retry = command("retry", "try a failed job again", job=True)
    for sub in (demo, jobs, show, replay, audit, cancel, retry):
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return top


def main() -> None:
    args = parser().parse_args()
    run: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, int]]] = {
        "up": up,
        "demo": demo,
        "migrate": migrate,
        "jobs": jobs,
        "show": show,
        "logs": logs,
        "replay": replay,
        "audit": audit,
        "cancel": cancel,
        "retry": retry,
    }
    try:
        sys.exit(asyncio.run(_interruptible(run[args.command](args))))
    except KeyboardInterrupt:
        sys.exit(130)


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """SIGTERM and Ctrl-C end the work by cancelling it, so that it stops what it started. Known errors are sentences."""
    from factory_artifacts.errors import ArtifactError
    from factory_chassis.settings import EX_CONFIG, BadSettings
    from factory_jobs.errors import StoreError

    from .embedded import ServerFailed
    from .jobs import Unreachable
    from .prepare import CannotPrepare
    from .up import UpError

    task = asyncio.ensure_future(work)
    interrupted = False

    def stop() -> None:
        nonlocal interrupted
        interrupted = True
        task.cancel()

    for sig in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sig, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if interrupted:
            return 130
        raise
    except BadSettings as e:
        _fail(*e.problems)
        return EX_CONFIG
    except (UpError, ServerFailed, Unreachable, CannotPrepare, ArtifactError, TimeoutError) as e:
        _fail(str(e))
        return 1
    except StoreError as e:
        _fail(str(e))
        return 2


def _fail(*lines: str) -> None:
    for line in lines:
        sys.stderr.write(f"factoryctl: {line}\n")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _settings(args: argparse.Namespace) -> Any:
    """Of the factory that runs on --data, else of the environment."""
    from factory_chassis.settings import Settings, read

    return read(Settings, _environment(args))


def _environment(args: argparse.Namespace) -> dict[str, str]:
    from .jobs import settings_of

    return {**settings_of(args.data), **{k: v for k, v in os.environ.items() if k.startswith("FACTORY_")}}


def _print(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


async def up(args: argparse.Namespace) -> int:
    from .up import Factory

    _check_configuration(args.projects)
    factory = Factory(args.data, projects=args.projects, public_port=args.port, say=_say)
    ended = asyncio.Event()
    await factory.start()
    try:
        _say(f"the factory runs: {factory.public_url}   (logs in {factory.data / 'logs'}; Ctrl-C stops it)")
        await factory.watch(ended)
    finally:
        await asyncio.shield(factory.stop())
        _say("stopped; jobs go on from their checkpoints at the next start")
    return 0


def _check_configuration(path: Path) -> None:
    """Raises BadSettings before anything is started; the services would say the same, later."""
    from factory_chassis import projects
    from factory_chassis.settings import BadSettings, Settings, read

    problems = [] if read(Settings).telegram_token else ["FACTORY_TELEGRAM_TOKEN: the bot's token is needed (or _FILE)"]
    try:
        projects.load(path)
    except projects.BadProjects as e:
        problems += str(e).splitlines()
    if problems:
        raise BadSettings(problems)


async def demo(args: argparse.Namespace) -> int:
    from .demo import Demo, Script, summary

    script = Script.default(Path.cwd()) if not args.repo else Script(args.repo, "", Path())
    if args.repo or args.request or args.script:
        default = script if not args.repo else Script.default(Path.cwd())
        script = Script(args.repo or default.repo, args.request or default.request, args.script or default.agent)
    run = Demo(args.dir, script, _say)
    result = await run.run(keep=args.keep)
    if args.json:
        _print(result)
    else:
        print("\n".join(summary(result)))
    return 0 if result["state"] == "ready_for_human_review" else 1


async def migrate(args: argparse.Namespace) -> int:
    from .prepare import prepare, said

    _say(said(await prepare(_settings(args))))
    return 0


async def jobs(args: argparse.Namespace) -> int:
    from factory_jobs.store import Store

    from .jobs import as_row, line_of, looking

    async with looking(_settings(args)) as (store, _):
        found = await Store(store.pool, replay=args.replays).jobs(live=not args.all)
    if args.json:
        _print({"jobs": [as_row(j) for j in found]})
    else:
        print("\n".join(map(line_of, found)) or "nothing is under way")
    return 0


async def show(args: argparse.Namespace) -> int:
    import msgspec

    from .jobs import find, looking, timeline

    async with looking(_settings(args)) as (store, records):
        job = await find(store, args.job)
        if args.json:
            _print({"job": msgspec.to_builtins(job), "history": msgspec.to_builtins(await store.history(job.id))})
        else:
            print("\n".join(await timeline(store, records, job)))
    return 0


async def logs(args: argparse.Namespace) -> int:
    from .jobs import find, logs, looking

    settings = _settings(args)
    async with looking(settings) as (store, records):
        job = await find(store, args.job)
        text = await logs(settings, records, job, args.state)
    with contextlib.suppress(BrokenPipeError):
        print(text or "no stage of it has ended yet")
    return 0


async def replay(args: argparse.Namespace) -> int:
    """0: it went the same way as the job; 1: it did not, and where is said; 2: there is nothing to replay."""
    from factory_jobs.replay import CannotReplay

    from .jobs import find, looking
    from .replay import Replay, options_of, summary

    settings = _settings(args)
    try:
        options = options_of(args.state, args.to, agent=args.agent, wait_for=args.wait_for, debug=args.debug)
        async with looking(settings) as (store, _):
            job = await find(store, args.job)
        result = await Replay(settings, _environment(args), args.data, options, _say).run(job)
    except CannotReplay as e:
        _fail(str(e))
        return 2
    if args.json:
        _print(result)
    else:
        print("\n".join(summary(result)))
    return 1 if result["differences"] else 0


async def audit(args: argparse.Namespace) -> int:
    """0: all of it agrees; 1: what does not is said, a line each."""
    import msgspec

    from .audit import audit
    from .jobs import find, looking

    settings, job_id = _settings(args), None
    if args.job:
        async with looking(settings) as (store, _):
            job_id = (await find(store, args.job)).id
    found = await audit(settings, job_id, deep=args.deep, wait=args.wait)
    if args.json:
        _print({"findings": msgspec.to_builtins(found)})
    else:
        for each in found:
            print(f"{each.kind:9} {each.job_id or '-':11}  {each.what}\n{'':23}{each.hint}")
        print(f"{len(found)} findings" if found else "nothing found")
    return 1 if found else 0


async def cancel(args: argparse.Namespace) -> int:
    from .jobs import as_row, cancel, find, line_of, moving

    async with moving(_settings(args), _say) as line:
        job = await cancel(line, await find(line.store, args.job))
    _print(as_row(job)) if args.json else print(line_of(job))
    return 0


async def retry(args: argparse.Namespace) -> int:
    from .jobs import as_row, find, line_of, moving, retry

    async with moving(_settings(args), _say) as line:
        before = await find(line.store, args.job)
        job = await retry(line, before)
    if job.version == before.version:
        _fail(f"{job.id} is {job.state}: only a failed job can be tried again")
        return 2
    _print(as_row(job)) if args.json else print(line_of(job))
    return 0


if __name__ == "__main__":
    main()
