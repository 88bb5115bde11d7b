"""What `coracle doctor` says of systemd, control groups and lingering, for those who have them and those who do not."""

import json

from checks import eventually

SECONDS = 40


def _findings(login):
    report = json.loads(login.ok("coracle doctor --json"))
    return report, {f["id"]: f for f in report["findings"]}


def _result(finding, result, *words):
    assert finding["result"] == result, finding
    for word in words:
        assert word in finding["detail"], finding


def a_login_has_its_own_systemd(bed):
    with bed.login("tester") as tester:
        report, found = _findings(tester)
        assert report["can_run"], report["blockers"]
        assert report["rungs"]["limits"] == "systemd", report["rungs"]
        # As the kernel says: what Debian's user@.service delegates.
        given = tester.ok("cat /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers").strip()
        _result(found["systemd-user"], "ok", "/run/user/1000/systemd/private", f"delegated: {given}")
        _result(found["cgroup"], "missing", "cgroup v2", "session-")
        _result(found["linger"], "limited", "what is started from here stays", "units of the user's systemd end")
        assert found["linger"]["admin"] == "loginctl enable-linger tester", found["linger"]


def its_socket_is_found_without_a_variable(bed):
    with bed.login("tester") as tester:
        report = json.loads(tester.ok("env -u XDG_RUNTIME_DIR -u DBUS_SESSION_BUS_ADDRESS coracle doctor --json"))
        assert report["rungs"]["limits"] == "systemd", report["rungs"]


def lingering_is_told(bed):
    with bed.login("tester") as tester:
        bed.root.ok("loginctl enable-linger tester")
        _, found = _findings(tester)
        _result(found["linger"], "ok", "stay after logout")
        bed.root.ok("loginctl disable-linger tester")
        _, found = _findings(tester)
        _result(found["linger"], "limited")


def below_the_users_systemd_all_ends_with_the_login(bed):
    with bed.login("tester") as tester:
        report = json.loads(tester.ok("systemd-run --user --scope --quiet coracle doctor --json"))
        linger = next(f for f in report["findings"] if f["id"] == "linger")
        _result(linger, "limited", "ends with the last login")


def a_delegated_group_is_found(bed):
    with bed.login("tester") as tester:
        report = json.loads(tester.ok("systemd-run --user --scope --quiet -p Delegate=yes coracle doctor --json"))
        cgroup = next(f for f in report["findings"] if f["id"] == "cgroup")
        _result(cgroup, "ok", "memory", "pids")


def without_a_manager_there_is_none(bed):
    with bed.login("nomanager") as nomanager:
        report, found = _findings(nomanager)
        assert report["can_run"], report["blockers"]
        assert report["rungs"]["limits"] == "refuse", report["rungs"]
        _result(found["systemd-user"], "missing", "no manager runs for this user")
        assert found["systemd-user"]["admin"] == "loginctl enable-linger nomanager", found["systemd-user"]
        _result(found["cgroup"], "missing", "may not be written by us")
        _result(found["linger"], "limited", "what is started from here stays")


def the_admins_advice_helps(bed):
    with bed.login("nomanager") as nomanager:
        _, found = _findings(nomanager)
        bed.root.ok(found["systemd-user"]["admin"])
        eventually("its systemd runs", lambda: bed.root.run("systemctl is-active user@1001.service").code == 0)
        report, found = _findings(nomanager)
        _result(found["systemd-user"], "ok", "delegated:")
        assert report["rungs"]["limits"] == "systemd", report["rungs"]
        bed.root.ok("loginctl disable-linger nomanager")


def root_may_write_its_group(bed):
    report, found = _findings(bed.root)
    assert report["can_run"], report["blockers"]
    _result(found["cgroup"], "ok", "memory", "pids")
    _result(found["linger"], "ok")


def its_words_for_people_say_the_same(bed):
    with bed.login("tester") as tester:
        tester.run("coracle doctor").ok().prints("ok       systemd of the user", "limited  running after logout",
                                                 "admin:   loginctl enable-linger tester", "limits systemd.")


def its_trials_leave_nothing(bed):
    with bed.login("nomanager") as nomanager:
        for user in (nomanager, bed.root):
            look = "find /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) -type d; cat /proc/self/mounts"
            before = set(user.ok(look).splitlines())
            user.ok("coracle doctor")
            # What logins make comes and goes by itself.
            eventually("nothing of doctor's is left", lambda: before.issuperset(user.ok(look).splitlines()))
