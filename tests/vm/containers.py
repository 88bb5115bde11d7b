"""Containers on a kernel and a system that the host does not have: Linux 6.1, systemd, version 2 of control groups."""

from checks import IMAGE, POLITE, eventually

SECONDS = 25


def an_ordinary_user_runs_them(bed):
    _life(bed, "tester")


def so_does_one_without_a_manager(bed):
    _life(bed, "nomanager")


def _life(bed, user):
    with bed.login(user) as own:
        bed.store(own)
        # Without a warning: the kernel's own overlay, also that of Linux 6.1.
        own.run(f"coracle run --rm {IMAGE} sh -c 'id -u; id -un; exit 7'").expect_code(7).prints_only("0\nroot\n").is_quiet()
        own.run(f"coracle run --rm {IMAGE} grep ' / overlay' /proc/mounts").ok()
        own.run(f"coracle run -d --name c {IMAGE} {POLITE}").ok().is_quiet()
        assert own.ok("coracle exec c sh -c 'echo $$ >/made; hostname >/dev/null; echo done'") == "done\n"
        eventually("it is logged", lambda: "begins" in own.ok("coracle logs c"))
        assert own.ok("coracle ps --format '{{.Names}} {{.State}}'") == "c running\n"
        own.ok("coracle stop c")
        assert own.ok("coracle ps -a --format '{{.Names}} {{.State}}'") == "c exited\n"
        own.run("coracle start c").ok()
        own.ok("coracle exec c test -e /made")
        own.ok("coracle rm -f c")
        assert own.ok("coracle ps -aq") == ""


def identities_are_emulated(bed):
    with bed.login("tester") as tester:
        bed.store(tester)
        script = ("touch /f /g; chown app:app /f; chown 33:44 /g; stat -c %U:%G /f; stat -c %u:%g /g; "
                  "su app -c 'id -un; id -G; touch /home/x 2>/dev/null || echo no; touch /f && cat /f'; id -u")
        tester.run(f"""coracle run --rm {IMAGE} sh -c "{script}" """).ok().prints_only("app:app\n33:44\napp\n2345 3456\nno\n0\n")
        assert tester.ok(f"coracle run --rm --user app {IMAGE} id -u") == "1234\n"


def nothing_of_a_container_stays(bed):
    with bed.login("tester") as tester:
        bed.store(tester)
        look = "find /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) -type d; cat /proc/self/mounts"
        before = tester.ok(look)
        tester.ok(f"coracle run --rm {IMAGE} true; coracle run -d --name c {IMAGE} sleep 1000; coracle rm -f -t 0 c")
        eventually("no process is left", lambda: tester.run("pgrep -u tester -f 'coracle|sleep'").code == 1)
        assert tester.ok(look) == before


def a_container_sees_its_own_groups_alone(bed):
    with bed.login("tester") as tester:
        bed.store(tester)
        out = tester.ok(f"coracle run --rm {IMAGE} sh -c 'cat /proc/self/cgroup; ls /sys/fs/cgroup | head -3'")
        assert out.startswith("0::/\n"), out
        assert "user.slice" not in out, out
