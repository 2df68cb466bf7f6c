"""Become a command that is killed when the process that started it has ended; see processes.py.

    python -I -S guard.py PIPE[,KEPT...] COMMAND [ARGUMENT...]

PIPE is the reading end of a pipe whose writing end the starter alone holds: it closes with the
starter, whatever ended it. KEPT are further open files of the command. The watcher is a child of
the command, so that the command stays the starter's own child.
"""

import os
import signal
import sys


def watch(pipe: int, guarded: int, others: list[int]) -> None:
    """Wait for the starter's end, and kill what it has left behind."""
    os.setsid()  # a terminal's Ctrl-C is not for the watcher
    os.chdir("/")
    # Their readers wait for the last one who holds them. Some may have been closed before.
    for file in {0, 1, 2, *others} - {pipe}:
        os.closerange(file, file + 1)
    os.read(pipe, 1)
    if os.getppid() == guarded:  # else it has ended, and its number may be another's by now
        os.kill(guarded, signal.SIGKILL)


def main() -> None:
    """See the module."""
    pipe, *others = map(int, sys.argv[1].split(","))
    command, guarded = sys.argv[2:], os.getpid()
    if os.fork() == 0:
        try:
            watch(pipe, guarded, others)
        finally:
            os._exit(0)
    os.close(pipe)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, which is inherited
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
