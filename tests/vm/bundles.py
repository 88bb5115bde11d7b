"""coracle-oci with control groups of version 2: limits of a bundle bite, are changed, and leave nothing behind."""

import json

from checks import IMAGE, eventually

SECONDS = 60

GROUPS = "/sys/fs/cgroup"
MIB = 1 << 20


class _Bundle:
    """With busybox in it, of this login."""

    def __init__(self, login, script, resources=None, **linux):
        self.login = login
        login.ok(f"[ -d ~/bundle ] || {{ coracle pull oci:/host/images/busybox:latest; mkdir -p ~/bundle/rootfs; coracle run --name b {IMAGE} true; "
                 "coracle export b | tar -C ~/bundle/rootfs -xf -; coracle rm b; }")
        config = json.loads(login.ok("cd ~/bundle && rm -f config.json && coracle-oci spec && cat config.json"))
        config["process"]["terminal"] = False
        config["process"]["args"] = ["sh", "-c", script]
        config["root"]["readonly"] = False
        config["linux"]["resources"] = resources or {}
        config["linux"].update(linux)
        self.config = config

    def oci(self, words, options="", **how):
        """Write the configuration and run a command beside it."""
        self.login.ok(f"cat >~/bundle/config.json <<'JSON'\n{json.dumps(self.config)}\nJSON")
        return self.login.run(f"cd ~/bundle && coracle-oci {options} {words}", **how)

    def detached(self, options=""):
        self.oci("run --detach c </dev/null >out 2>&1; code=$?; cat out >&2; exit $code", options).ok()

    def delete(self):
        self.login.run("coracle-oci delete --force c")


def _group(bed, path, file):
    return bed.root.ok(f"cat {GROUPS}{path}/{file}").strip()


def a_limit_on_memory_kills(bed):
    # dd fills a buffer of its block size.
    allocate = "dd if=/dev/zero of=/dev/null bs={0}M count=1 2>/dev/null; echo $?"
    limits = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}
    script = f"{allocate.format(8)}; {allocate.format(100)}; sleep 1000"
    bundle = _Bundle(bed.root, script, limits, cgroupsPath="/limits/memory")
    bundle.detached()
    try:
        eventually("both have run", lambda: len(bed.root.ok("cat ~/bundle/out").split()) == 2)
        assert bed.root.ok("cat ~/bundle/out").split() == ["0", "137"]
        assert _group(bed, "/limits/memory", "memory.max") == str(32 * MIB)
        assert "oom_kill 1" in _group(bed, "/limits/memory", "memory.events").splitlines()
        usage = json.loads(bed.root.ok("coracle-oci events --stats c"))["data"]["memory"]["usage"]
        assert usage["limit"] == 32 * MIB and usage["usage"] < 32 * MIB, usage
    finally:
        bundle.delete()
    assert bed.root.run(f"ls {GROUPS}/limits").code != 0, "the groups are gone"


def one_on_processes_stops_forks(bed):
    bundle = _Bundle(bed.root, "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; sleep 1000",
                     {"pids": {"limit": 6}}, cgroupsPath="/limits/pids")
    bundle.detached()
    try:
        eventually("it is told", lambda: "can't fork" in bed.root.ok("cat ~/bundle/out"))
        assert _group(bed, "/limits/pids", "pids.max") == "6"
        assert int(_group(bed, "/limits/pids", "pids.current")) <= 6
        assert _group(bed, "/limits/pids", "pids.events").split()[1] != "0"
    finally:
        bundle.delete()


def one_on_cpu_time_slows_down(bed):
    bundle = _Bundle(bed.root, "while :; do :; done", {"cpu": {"quota": 10000, "period": 100000}}, cgroupsPath="/limits/cpu")
    bundle.detached()
    try:
        def stat():
            return dict(line.split() for line in _group(bed, "/limits/cpu", "cpu.stat").splitlines())
        assert _group(bed, "/limits/cpu", "cpu.max") == "10000 100000"
        eventually("it is held back", lambda: int(stat()["nr_throttled"]) >= 5)
        # A tenth of the time, and what one period may overdraw.
        used = int(stat()["usage_usec"])
        bed.root.ok("sleep 2")
        used = int(stat()["usage_usec"]) - used
        assert used < 1_000_000, f"{used} us in more than 2 s"
    finally:
        bundle.delete()


def limits_can_be_changed(bed):
    bundle = _Bundle(bed.root, "sleep 1000", {"pids": {"limit": 50}}, cgroupsPath="/limits/change")
    bundle.detached()
    try:
        bed.root.ok("coracle-oci update --pids-limit 7 --memory 67108864 --cpu-quota 20000 c")
        assert _group(bed, "/limits/change", "pids.max") == "7"
        assert _group(bed, "/limits/change", "memory.max") == str(64 * MIB)
        assert _group(bed, "/limits/change", "cpu.max").startswith("20000 ")
    finally:
        bundle.delete()


def pausing_is_the_kernels(bed):
    bundle = _Bundle(bed.root, "while :; do :; done", cgroupsPath="/limits/pause")
    bundle.detached()
    try:
        bed.root.ok("coracle-oci pause c")
        assert "frozen 1" in _group(bed, "/limits/pause", "cgroup.events").splitlines()
        used = _group(bed, "/limits/pause", "cpu.stat").split()[1]
        bed.root.ok("sleep 1")
        assert _group(bed, "/limits/pause", "cpu.stat").split()[1] == used, "it uses no time"
        assert json.loads(bed.root.ok("coracle-oci state c"))["status"] == "paused"
        bed.root.ok("coracle-oci resume c")
        assert "frozen 0" in _group(bed, "/limits/pause", "cgroup.events").splitlines()
    finally:
        bundle.delete()


def rules_for_devices_hold(bed):
    # 98:0 is the guest's own disk.
    script = ("mknod /disk b 98 0; head -c 1 /disk >/dev/null && echo read; sh -c ': >>/disk' && echo written; "
              "echo x >/dev/null && echo usual; rm /disk")
    disk = {"allow": True, "type": "b", "major": 98, "minor": 0, "access": "r"}
    for rules, want in (([], "usual\n"), ([disk], "read\nusual\n"), ([{**disk, "access": "rw"}], "read\nwritten\nusual\n")):
        bundle = _Bundle(bed.root, script, {"devices": [{"allow": False, "access": "rwm"}, *rules]})
        for kind in ("bounding", "effective", "permitted"):
            bundle.config["process"]["capabilities"][kind].append("CAP_MKNOD")
        bundle.oci("run c").ok().prints_only(want)


def systemds_form_of_a_path(bed):
    bundle = _Bundle(bed.root, "sleep 1000", cgroupsPath="limits-deep.slice:coracle:c")
    bundle.detached("--systemd-cgroup")
    try:
        found = bed.root.ok(f"find {GROUPS} -type d -name 'coracle-c.scope'").strip()
        assert found.endswith("/limits.slice/limits-deep.slice/coracle-c.scope"), found
        bed.root.run(f"wc -l <{found}/cgroup.procs").ok().prints_only("1\n")
    finally:
        bundle.delete()
    assert bed.root.ok(f"find {GROUPS} -name 'limits*'") == ""


def a_user_without_a_group_of_his_own_is_refused(bed):
    for user in ("tester", "nomanager"):
        with bed.login(user) as own:
            bundle = _Bundle(own, "echo runs", {"pids": {"limit": 9}})
            bundle.oci("run c").fails(1, "the number of processes", "it is not ours to write to")
            bundle = _Bundle(own, "echo runs")
            bundle.oci("run c").ok().prints_only("runs\n")


def one_with_a_delegated_group_is_served(bed):
    with bed.login("tester") as tester:
        script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all"
        bundle = _Bundle(tester, script, {"pids": {"limit": 6}}, cgroupsPath="OWN/box")
        tester.ok(f"cat >~/bundle/template.json <<'JSON'\n{json.dumps(bundle.config)}\nJSON")
        # A group that has others with limits below it has no processes of its own (cgroups(7), "no internal processes").
        tester.ok("""cat >~/bundle/delegated <<'SH'
            cd ~/bundle
            own=$(cut -d: -f3 /proc/self/cgroup)
            mkdir /sys/fs/cgroup$own/ours && echo $$ >/sys/fs/cgroup$own/ours/cgroup.procs
            sed "s|OWN|$own|" template.json >config.json
            coracle-oci run c; echo "ended with $?"
            ls -d /sys/fs/cgroup$own/box\nSH""".replace("\\n", "\n"))
        said = tester.run("systemd-run --user --scope --quiet -p Delegate=yes sh ~/bundle/delegated")
        said.prints("ended with ").says("can't fork", "No such file or directory")
