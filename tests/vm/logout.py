"""What becomes of detached containers when their user logs out, and whether `run` said so before.

The guest's systemd ends a user's manager a second after the last logout (UserStopDelaySec=, ten by default).
"""

from checks import IMAGE, POLITE, eventually

SECONDS = 90

LATER = 5  # seconds after which a manager that is going to end has ended
START = f"coracle run -d --name c {IMAGE} {POLITE}"
BELOW = f"systemd-run --user --scope --quiet {START}"
KILLS = "/etc/systemd/logind.conf.d/kills.conf"


def _state(bed, name="c"):
    """As somebody sees it who is not logged in."""
    return bed.as_user("tester", "coracle ps -a --format '{{.Names}} {{.State}}' | grep '^" + name + " '").out.split()[1:]


def _processes(bed):
    return bed.root.run("pgrep -u tester -f begins").out.split()


def _manager_runs(bed):
    return bed.root.run("systemctl is-active user@1000.service").code == 0


def _login_and_start(bed, start):
    """What starting a container says to somebody who then logs out."""
    with bed.login("tester") as tester:
        bed.store(tester)
        tester.run("coracle rm -fa -t 0")
        said = tester.run(start).ok()
        assert _state(bed) == ["running"] and _processes(bed)
    return said


def what_a_login_started_stays(bed):
    _login_and_start(bed, START).is_quiet()
    bed.root.ok(f"sleep {LATER}")
    assert _state(bed) == ["running"] and _processes(bed)
    # And the next login can use it.
    with bed.login("tester") as tester:
        tester.ok("coracle exec c true; coracle rm -f -t 0 c")


def below_the_users_systemd_it_ends_with_the_last_login(bed):
    with bed.login("tester"):
        _login_and_start(bed, BELOW).says("warning: it ends with the last login", "loginctl enable-linger tester")
        # Another login is left.
        bed.root.ok(f"sleep {LATER}")
        assert _state(bed) == ["running"] and _processes(bed)
    eventually("its processes are ended", lambda: not _processes(bed))
    eventually("the manager ends", lambda: not _manager_runs(bed))
    assert _state(bed) == ["exited"]


def its_end_is_told_as_it_was(bed):
    # Of the container that the check before left.
    end = bed.as_user("tester", "coracle inspect --format '{{.State.Status}} {{.State.Running}} {{.State.Pid}}' c").ok()
    end.prints_only("exited false 0\n")
    table = bed.as_user("tester", "coracle ps -a --format '{{.Status}}'").ok().out
    assert table.startswith("Exited"), table
    bed.as_user("tester", "coracle wait c").ok()
    bed.as_user("tester", "coracle exec c true").fails(125, "not running")


def it_starts_again_at_the_next_login(bed):
    with bed.login("tester") as tester:
        tester.ok("coracle start c")
        tester.ok("coracle exec c true")
        tester.ok("coracle rm -f -t 0 c")


def with_lingering_it_stays(bed):
    bed.root.ok("loginctl enable-linger tester")
    _login_and_start(bed, BELOW).is_quiet()
    bed.root.ok(f"sleep {LATER}")
    assert _manager_runs(bed)
    assert _state(bed) == ["running"] and _processes(bed)
    bed.as_user("tester", "coracle exec c true; coracle rm -f -t 0 c").ok()
    bed.root.ok("loginctl disable-linger tester")


def where_logind_kills_it_ends_with_the_login(bed):
    bed.root.ok(f"printf '[Login]\\nKillUserProcesses=yes\\n' >{KILLS}; systemctl restart systemd-logind")
    try:
        with bed.login("tester"):
            _login_and_start(bed, START).says("warning: it ends with this login", "KillUserProcesses", "systemd-run --user --scope")
            eventually("its processes are ended", lambda: not _processes(bed))
        assert _state(bed) == ["exited"]
    finally:
        bed.root.ok(f"rm {KILLS}; systemctl restart systemd-logind")


def what_the_warning_advises_helps(bed):
    bed.root.ok(f"printf '[Login]\\nKillUserProcesses=yes\\n' >{KILLS}; systemctl restart systemd-logind; loginctl enable-linger tester")
    try:
        _login_and_start(bed, BELOW).is_quiet()
        bed.root.ok(f"sleep {LATER}")
        assert _state(bed) == ["running"] and _processes(bed)
    finally:
        bed.root.ok(f"rm {KILLS}; systemctl restart systemd-logind; loginctl disable-linger tester")


def nobody_ends_those_of_a_user_without_a_session(bed):
    with bed.login("nomanager") as nomanager:
        bed.store(nomanager)
        nomanager.run(START).ok().is_quiet()
    bed.root.ok(f"sleep {LATER}")
    bed.as_user("nomanager", "coracle exec c true && coracle rm -f -t 0 c").ok()
