"""Knows how to run one command so that nothing which it starts outlives it.

Run by the server as a program of its own (`python -I -S reaper.py FD`), one for each spawn. FD is a socket to the
server: a request comes in, reports go out, and when the server closes its half, or is dead, everything ends here.
As a subreaper this process inherits every descendant that lost its parents, however often it forked and whatever
session it made; so as long as it has children the tree lives, and when it has none the tree is gone.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from factory_sandbox import processes


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    line = control.makefile("rb").readline()
    if not line.endswith(b"\n"):
        return  # the server died before it had asked for anything
    processes.become_subreaper()
    woken = _wake_on_dead_children()
    child = _start(json.loads(line), control)
    _let_go_of_the_pipes()
    if child:
        born = processes.look(child.pid)
        _tell(control, pid=child.pid, birth=born.birth if born else "")
        tree = Tree(child, control)
        tree.wait(woken)
        tree.end()
    _tell(control, gone=True)


def _start(request: dict[str, Any], control: socket.socket) -> subprocess.Popen[bytes] | None:
    """The command, in a session of its own, with our pipes as its standard streams."""
    argv, cwd = request["argv"], request["cwd"]
    _reset_signals()
    try:
        return subprocess.Popen(argv, cwd=cwd, env=request["env"], start_new_session=True)
    except FileNotFoundError as e:
        if e.filename == cwd:
            _tell(
                control, refused="no-such-directory", message=f"cannot start {argv[0]!r}: there is no directory {cwd}"
            )
        else:
            _tell(control, refused="no-such-command", message=f"there is no command {argv[0]!r} on PATH inside")
    except (OSError, ValueError, subprocess.SubprocessError) as e:
        _tell(control, refused="cannot-start", message=f"cannot start {argv[0]!r} in {cwd}: {e}")
    return None


class Tree:
    """The command and all that came from it."""

    def __init__(self, child: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._child = child
        self._control = control
        self._groups = {child.pid}  # elsewhere than on Linux, groups are all that can be followed
        self._ending = False

    def wait(self, woken: int) -> None:
        """Buries the dead until the server wants an end."""
        while True:
            ready, _, _ = select.select([self._control, woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                self._bury()
            if self._control in ready:
                return  # it sends nothing more, so this is its end of the line

    def end(self) -> None:
        """Kills until nothing is left."""
        self._ending = True
        pause = 0.001
        while self._bury():
            now = processes.table()
            below = processes.descendants([os.getpid()], now)
            if not processes.LINUX:
                self._groups |= {p.pgid for p in below}
                below += [p for p in now.values() if p.pgid in self._groups and not p.zombie]
            processes.kill(below, now)
            time.sleep(pause)
            pause = min(pause * 2, 0.05)

    def _bury(self) -> bool:
        """Waits for dead children, the server is told of the command's own; False when no child is left at all."""
        while True:
            try:
                if self._ending and processes.LINUX:
                    dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                    if dead:
                        processes.kill_group_of_dead(dead.si_pid)
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return not processes.LINUX and _anyone_in(self._groups)
            if pid == 0:
                return True
            if pid == self._child.pid:
                self._child.returncode = os.waitstatus_to_exitcode(status)
                _tell(self._control, exit=self._child.returncode)


def _anyone_in(groups: set[int]) -> bool:
    return any(p.pgid in groups and not p.zombie for p in processes.table().values())


def _wake_on_dead_children() -> int:
    """A descriptor that becomes readable when a child dies."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return read


def _reset_signals() -> None:
    """An ignored SIGINT or SIGHUP (nohup, a shell's `&`) was meant for the factory, and would reach the command."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _let_go_of_the_pipes() -> None:
    """Only the tree holds them now, so that the server reads their end when the tree is gone."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _tell(control: socket.socket, **report: Any) -> None:
    try:
        control.sendall(json.dumps(report).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server is dead: the next look at the line says so, and the tree ends


if __name__ == "__main__":
    main()
