"""A guest that runs: user-mode Linux, reached by ssh in a network namespace that holds nothing else.

All of it lives in three namespaces made by unshare(1), whose pid stands in the guest's directory. That process holds a
lock there as long as it lives, so that a number in a file is never taken for somebody else's process; when it is killed
the kernel ends the rest.
"""

import fcntl
import os
import shutil
import subprocess
import time

from image import BED

ADDRESS = "10.77.0.2"
# Port 22 makes a session and a systemd of the user, port 23 neither.
PORTS = {"tester": 22, "root": 22, "nomanager": 23}
START_SECONDS = 120  # with the end of what ran before


class GuestError(Exception):
    """The guest, not what runs in it, is not as it should be."""


class Guest:
    def __init__(self, directory):
        self.dir = directory

    def path(self, name):
        return os.path.join(self.dir, name)

    # Life

    def boot(self, image, binary, images, with_caller):
        """Have it boot. `with_caller`: it dies with the thread that calls this."""
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        lock = self.lock()
        if lock is None:
            raise GuestError("a guest runs already: scripts/vm stop ends it")
        self.clear()
        for name in ("uml", "share"):
            os.mkdir(self.path(name))
        shutil.copy(os.path.join(image, "id"), self.path("id"))
        bound = ["setpriv", "--pdeathsig", "KILL"] if with_caller else []
        command = [*bound, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                   "sh", os.path.join(BED, "keeper"), self.dir, os.path.join(image, "disk"), "copy", binary, images]
        with lock, open(self.path("console.log"), "wb") as console:
            keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                      start_new_session=True, pass_fds=[lock.fileno()])
        with open(self.path("pid"), "w") as f:
            f.write(str(keeper.pid))

    def wait_for_login(self, unlike=None):
        """Wait for a boot that is not the one called `unlike`."""
        until = time.monotonic() + START_SECONDS
        while True:
            if not self.runs():
                raise GuestError("the guest ended while it booted:\n" + self.console())
            seen = self.boot_id(seconds=10)
            if seen and seen != unlike:
                return
            if time.monotonic() > until:
                raise GuestError(f"nobody could log in for {START_SECONDS} seconds:\n" + self.console())
            time.sleep(0.2)

    def boot_id(self, seconds=30):
        """What the kernel calls this boot; empty if nobody can log in."""
        return self.ssh("nomanager", "cat /proc/sys/kernel/random/boot_id", seconds=seconds).out.strip()

    def reboot(self, orderly=True):
        """Or as if its power had failed for a moment, but for files, which are on the disk."""
        before = self.boot_id()
        open(self.path("again"), "w").close()
        how = "poweroff" if orderly else "poweroff --force --force"
        # In the background, since the connection may not end.
        self.ssh("root", f"(sync; sleep 0.5; systemctl {how}) >/dev/null 2>&1 &", seconds=20)
        self.wait_for_login(unlike=before)

    def stop(self):
        """End it at once, and forget what it wrote; returns whether there was one."""
        pid = self.runs()
        if pid:
            os.kill(pid, 9)
            until = time.monotonic() + 10
            while self.runs():
                if time.monotonic() > until:
                    raise GuestError(f"process {pid} is killed and does not end")
                time.sleep(0.02)
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
        self.clear()
        return bool(pid)

    def clear(self):
        """Only what may be asked for later stays."""
        for entry in os.scandir(self.dir) if os.path.isdir(self.dir) else ():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name not in ("lock", "console.log"):
                os.unlink(entry)

    def lock(self):
        """The lock, if nobody has it."""
        f = open(self.path("lock"), "w")
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return f
        except BlockingIOError:
            f.close()
            return None

    def lives(self):
        lock = self.lock()
        if lock is not None:
            lock.close()
        return lock is None

    def runs(self):
        """The pid of the process that keeps it; None if there is none."""
        if not os.path.exists(self.path("pid")) or not self.lives():
            return None
        with open(self.path("pid")) as f:
            return int(f.read())

    def console(self, lines=25):
        """The last of what its kernel and systemd said."""
        with open(self.path("console.log"), errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    # Commands

    def ssh_command(self, user, *options):
        pid = self.runs()
        if pid is None:
            raise GuestError("no guest runs\nhint: scripts/vm start")
        return ["nsenter", f"--net=/proc/{pid}/ns/net", f"--pid=/proc/{pid}/ns/pid_for_children",
                "ssh", "-F", "none", "-i", "id", "-p", str(PORTS[user]), "-o", "StrictHostKeyChecking=no",
                "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
                "-o", "ConnectTimeout=5", *options, f"{user}@{ADDRESS}"]

    def ssh(self, user, script, options=(), seconds=60):
        """Run a shell script, as of a new login unless the options say otherwise."""
        command = [*self.ssh_command(user, *options), *([script] if script is not None else [])]
        try:
            done = subprocess.run(command, cwd=self.dir, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  errors="replace", timeout=seconds)
        except subprocess.TimeoutExpired as late:
            return Result(user, script, 124, text(late.stdout), text(late.stderr) + f"no end after {seconds} s\n")
        return Result(user, script, done.returncode, done.stdout, done.stderr)


def text(said):
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""


class Result:
    """What a command in the guest did."""

    def __init__(self, user, script, code, out, err):
        self.user, self.script, self.code, self.out, self.err = user, script, code, out, err

    def __str__(self):
        parts = [f"{self.user}$ {self.script}", self.out.rstrip(), self.err.rstrip(), f"-> {self.code}"]
        return "\n".join(p for p in parts if p)
