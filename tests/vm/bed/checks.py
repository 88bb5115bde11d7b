"""What a topic in tests/vm is made of.

A topic is a file of functions that take a `Bed`; each whose name begins with a letter is a check, in the order in which
they stand. It fails by an exception, and is skipped by raising `Skip` with the reason. Each topic finds users without
containers, sessions and lingering, and may have the guest go down. `SECONDS` says about how long it takes: several
guests share the topics, and the longest come first.
"""

import contextlib
import importlib
import os
import queue
import time
import traceback

from guest import Guest, GuestError, Result

IMAGE = "localhost/busybox"
# A program that ends when it is asked to. Most others as process 1 of a container do not: the kernel keeps SIGTERM from them.
POLITE = """sh -c 'trap "echo ends; exit 0" TERM; echo begins; while :; do sleep 0.2; done'"""

# Ends all of a user's processes and sessions, and takes away what they wrote.
CLEAN = """
for user in tester nomanager; do
  loginctl disable-linger $user; loginctl terminate-user $user
  for try in 1 2 3 4 5 6 7 8 9 10; do pkill -KILL -u $user || break; sleep 0.2; done
  find /home/$user -mindepth 1 -maxdepth 1 ! -name '.ssh' ! -name '.bash*' ! -name .profile -exec rm -rf {} +
done 2>/dev/null
rm -rf /root/.local/share/coracle /root/bundle
"""


class Skip(Exception):
    """The reason why a check says nothing here."""


class Failed(Exception):
    """What a command did, and what it should have done."""


class Did(Result):
    """What a command did, with expectations. Each of them returns it again."""

    def expect(self, fits, what):
        if not fits:
            raise Failed(f"{what}:\n{self}")
        return self

    def ok(self):
        return self.expect(self.code == 0, "it should succeed")

    def expect_code(self, code):
        return self.expect(self.code == code, f"it should end with {code}")

    def fails(self, code, *words):
        return self.expect_code(code).says(*words)

    def prints(self, *words):
        for word in words:
            self.expect(word in self.out, f"standard output should have {word!r}")
        return self

    def prints_only(self, text):
        return self.expect(self.out == text, f"standard output should be {text!r}")

    def says(self, *words):
        for word in words:
            self.expect(word in self.err, f"standard error should have {word!r}")
        return self

    def is_quiet(self):
        return self.expect(self.err == "", "standard error should be empty")


class Login:
    """A user who is logged in: one connection, and with it one session, for all commands until `logout`."""

    def __init__(self, guest, user, number):
        self.guest, self.user = guest, user
        socket = ("-o", f"ControlPath=login-{os.getpid()}-{number}")
        done = guest.ssh(user, None, ("-M", "-N", "-f", "-o", "ControlPersist=yes", *socket), seconds=30)
        if done.code != 0:
            raise GuestError(f"{user} cannot log in: {done}")
        # Without that connection there is no other in its place.
        self.options = (*socket, "-o", "ControlMaster=no", "-o", "ProxyCommand=false")

    def run(self, script, seconds=60):
        done = self.guest.ssh(self.user, script, self.options, seconds)
        return Did(done.user, done.script, done.code, done.out, done.err)

    def ok(self, script, **how):
        """Run what has to succeed; returns what it printed."""
        return self.run(script, **how).ok().out

    def logout(self):
        self.guest.ssh(self.user, None, ("-O", "exit", *self.options), seconds=10)


class Bed:
    """What a check has to work with: a guest, and logins to it."""

    def __init__(self, guest: Guest):
        self.guest = guest
        self.logins = 0
        self.root = self.open("root")

    def open(self, user):
        self.logins += 1
        return Login(self.guest, user, self.logins)

    @contextlib.contextmanager
    def login(self, user):
        login = self.open(user)
        try:
            yield login
        finally:
            login.logout()

    def as_user(self, user, script, **how):
        """Run a script with a user's rights, but by root: no session is made or kept by it."""
        words = f"setpriv --reuid {user} --regid {user} --clear-groups env -i HOME=/home/{user} PATH=/usr/local/bin:/usr/bin:/bin"
        return self.root.run(f"{words} sh -c {quoted(script)}", **how)

    def store(self, login):
        """Give a user the image that checks run."""
        login.ok(f"coracle images -q | grep -q . || coracle pull oci:/host/images/busybox:latest")

    def clean(self):
        self.root.run(CLEAN)

    def reboot(self, orderly=True):
        """All logins end."""
        self.root.logout()
        self.guest.reboot(orderly)
        self.root = self.open("root")


def quoted(script):
    return "'" + script.replace("'", "'\\''") + "'"


def eventually(what, fits, seconds=20):
    """Wait until `fits()` is true."""
    until = time.monotonic() + seconds
    while not fits():
        if time.monotonic() > until:
            raise Failed(f"not so after {seconds} s: {what}")
        time.sleep(0.3)


class Topic:
    """A file of checks."""

    def __init__(self, name):
        self.name = name
        module = importlib.import_module(name)
        functions = [f for f in vars(module).values()
                     if callable(f) and getattr(f, "__module__", None) == name and not f.__name__.startswith("_")]
        self.checks = sorted(functions, key=lambda f: f.__code__.co_firstlineno)
        self.seconds = module.SECONDS


def topics(directory, wanted):
    """Those in a directory with the checks whose `topic::name` has one of the wanted words; the longest first."""
    found = [Topic(f[:-3]) for f in os.listdir(directory) if f.endswith(".py")]
    for topic in found:
        topic.checks = [c for c in topic.checks if not wanted or any(w in f"{topic.name}::{c.__name__}" for w in wanted)]
    return sorted((t for t in found if t.checks), key=lambda t: (-t.seconds, t.name))


class Tally:
    """What came of the checks."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.trouble = None

    def run(self, guest, waiting, until):
        """Run checks of topics in this guest until none is waiting (a queue)."""
        try:
            bed = Bed(guest)
            try:
                while True:
                    self.run_topic(bed, waiting.get_nowait(), until)
            except queue.Empty:
                bed.root.logout()
        except GuestError as e:
            self.trouble = f"{e}\nThe guest said last:\n{guest.console()}"

    def run_topic(self, bed, topic, until):
        bed.clean()
        for check in topic.checks:
            begin = time.monotonic()
            try:
                if begin > until:
                    raise Failed("no time is left for it")
                check(bed)
                self.passed, word = self.passed + 1, "ok"
            except Skip as reason:
                self.skipped, word = self.skipped + 1, f"skipped: {reason}"
            except GuestError:
                raise
            except Exception as e:
                self.failed, word = self.failed + 1, "FAILED\n" + (str(e) if isinstance(e, Failed) else traceback.format_exc())
                bed.clean()
            print(f"test {topic.name}::{check.__name__} ({time.monotonic() - begin:.1f} s) ... {word}", flush=True)
