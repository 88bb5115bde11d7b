"""`coracle generate systemd` with the user's own systemd: what it makes of starts, stops and accidents."""

from checks import IMAGE, POLITE, eventually

SECONDS = 150

UNIT = "container-web.service"


def _install(bed, tester, words, options=""):
    """A unit made from a container called web, in its place."""
    bed.store(tester)
    tester.run(f"systemctl --user stop {UNIT}; coracle rm -f -t 0 web")
    tester.ok(f"coracle create --name web {IMAGE} {words}")
    tester.ok(f"mkdir -p ~/.config/systemd/user && cd ~/.config/systemd/user && coracle generate systemd --name --files {options} web")
    if "--new" in options:
        tester.ok("coracle rm web")
    said = tester.run("systemd-analyze --user --man=no verify ~/.config/systemd/user/" + UNIT).ok()
    assert UNIT not in said.err, said
    tester.ok("systemctl --user daemon-reload")


def _property(tester, name):
    return tester.ok(f"systemctl --user show --property {name} --value {UNIT}").strip()


def _running(tester):
    return tester.run("coracle exec web true").code == 0


def _state(tester):
    return tester.ok("coracle ps -a --format '{{.Names}} {{.State}}'").strip()


def _life(bed, tester, new):
    begin = bed.root.ok("date '+%F %T'").strip()
    tester.ok(f"systemctl --user start {UNIT}")
    eventually("the container runs", lambda: _running(tester))
    tester.run(f"systemctl --user status {UNIT}").ok().prints("active (running)")
    group = tester.ok(f"coracle exec web true; cat /sys/fs/cgroup$(systemctl --user show -P ControlGroup {UNIT})/cgroup.procs | wc -l")
    assert int(group) >= 2, "the container's processes are in the unit's group"
    first = _property(tester, "MainPID")
    tester.ok(f"systemctl --user restart {UNIT}")
    eventually("it runs again", lambda: _running(tester))
    assert _property(tester, "MainPID") not in (first, "0")
    tester.ok(f"systemctl --user stop {UNIT}")
    assert _property(tester, "ActiveState") == "inactive"
    assert _property(tester, "Result") == "success"
    assert _state(tester) == ("" if new else "web exited")
    tester.run(f"systemctl --user is-failed {UNIT}").prints_only("inactive\n")
    # What it wrote is in the journal, the first and the second time.
    ends = f"journalctl -o cat --since '{begin}' _SYSTEMD_USER_UNIT={UNIT} | grep -c ends"
    eventually("its words are in the journal", lambda: bed.root.run(ends).out == "2\n")


def a_unit_for_a_container(bed):
    with bed.login("tester") as tester:
        _install(bed, tester, POLITE)
        _life(bed, tester, new=False)


def a_unit_that_makes_a_new_one_each_time(bed):
    with bed.login("tester") as tester:
        _install(bed, tester, POLITE, "--new")
        _life(bed, tester, new=True)


def a_killed_monitor_is_started_again(bed):
    for options in ("", "--new"):
        with bed.login("tester") as tester:
            _install(bed, tester, POLITE, options)
            tester.ok(f"systemctl --user start {UNIT}")
            eventually("the container runs", lambda: _running(tester))
            # The main process, and the monitor where that is another one.
            tester.ok(f"kill -9 $(systemctl --user show -P MainPID {UNIT})")
            eventually("systemd has started it again", lambda: _property(tester, "NRestarts") == "1")
            eventually("the container runs again", lambda: _running(tester))
            tester.ok("pkill -9 -f '^coracle-monitor' || pkill -9 -x coracle")
            eventually("systemd has started it once more", lambda: _property(tester, "NRestarts") == "2")
            eventually("the container runs once more", lambda: _running(tester))
            tester.ok(f"systemctl --user stop {UNIT}")
            assert _property(tester, "Result") == "success", tester.run(f"systemctl --user status {UNIT}")
            eventually("no process is left", lambda: tester.run("pgrep -u tester -f 'coracle|sleep'").code == 1)


def a_program_that_fails_is_a_failure(bed):
    with bed.login("tester") as tester:
        _install(bed, tester, "sh -c 'exit 3'", "--restart-policy no")
        tester.run(f"systemctl --user start {UNIT}")
        eventually("it failed", lambda: _property(tester, "ActiveState") == "failed")
        assert _property(tester, "ExecMainStatus") == "3"
        tester.run(f"systemctl --user reset-failed {UNIT}")


def a_stop_by_other_means_is_no_failure(bed):
    with bed.login("tester") as tester:
        _install(bed, tester, POLITE)
        tester.ok(f"systemctl --user start {UNIT}")
        eventually("the container runs", lambda: _running(tester))
        tester.ok("coracle stop web")
        eventually("the unit ends", lambda: _property(tester, "ActiveState") == "inactive")
        assert _property(tester, "NRestarts") == "0"


def it_starts_at_boot_and_needs_no_login(bed):
    bed.root.ok("loginctl enable-linger tester")
    with bed.login("tester") as tester:
        _install(bed, tester, POLITE)
        tester.ok(f"systemctl --user enable {UNIT}")
    bed.reboot()
    eventually("it runs", lambda: bed.as_user("tester", "coracle exec web true").code == 0, seconds=40)
    assert bed.root.ok("loginctl list-sessions --no-legend | grep tester || echo none") == "none\n"
    with bed.login("tester") as tester:
        tester.run(f"systemctl --user status {UNIT}").ok().prints("active (running)")
        tester.ok(f"systemctl --user disable --now {UNIT}")
    bed.root.ok("loginctl disable-linger tester")
