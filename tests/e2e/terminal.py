"""terminal.py ROWS COLS STEPS CMD...: run a command on a terminal of its own.

STEPS is a JSON list of ["expect", TEXT], ["send", TEXT], ["resize", ROWS, COLS], and ["runs", LINE],
which waits for a process with this command line. Prints a JSON object: transcript, code (128+n for a
signal), and whether the terminal's settings after the end are those from before. Ends with 1 when what
is waited for does not come within a minute.
"""

import fcntl
import glob
import json
import os
import pty
import select
import struct
import sys
import termios
import time

LIMIT = 60


def resize(fd, rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def runs(line):
    want = line.replace(" ", "\0").encode() + b"\0"
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                if f.read() == want:
                    return True
        except OSError:
            continue  # It has ended meanwhile.
    return False


def main():
    rows, cols, steps = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    master, slave = pty.openpty()
    resize(slave, rows, cols)
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        os.closerange(3, 100)
        os.execvp(sys.argv[4], sys.argv[4:])
    seen, at = b"", 0

    def read(limit):
        nonlocal seen
        ready, _, _ = select.select([master], [], [], limit)
        if ready:
            seen += os.read(master, 65536)
        return bool(ready)

    failed = None
    for step in steps:
        if step[0] == "expect":
            want, end = step[1].encode(), time.monotonic() + LIMIT
            while (found := seen.find(want, at)) < 0 and time.monotonic() < end:
                read(0.1)
            if found < 0:
                failed = f"{step[1]!r} did not come"
                os.kill(pid, 9)
                break
            at = found + len(want)
        elif step[0] == "send":
            os.write(master, step[1].encode())
        elif step[0] == "resize":
            resize(master, step[1], step[2])
        elif step[0] == "runs":
            end = time.monotonic() + LIMIT
            while not (found := runs(step[1])) and time.monotonic() < end:
                read(0.05)
            if not found:
                failed = f"{step[1]!r} does not run"
                os.kill(pid, 9)
                break
        else:
            sys.exit(f"no such step: {step[0]}")
    end = time.monotonic() + LIMIT
    status = None
    while status is None:
        while read(0.02):
            pass
        done, st = os.waitpid(pid, os.WNOHANG)
        if done:
            status = st
        elif time.monotonic() > end:
            failed = failed or "it does not end"
            os.kill(pid, 9)
            status = os.waitpid(pid, 0)[1]
    while read(0.1):
        pass
    print(json.dumps({
        "transcript": seen.decode(errors="replace"),
        "code": os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status),
        "restored": termios.tcgetattr(slave)[:4] == before[:4],
        "failed": failed,
    }))
    return 1 if failed else 0


sys.exit(main())
