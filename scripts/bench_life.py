"""What containers in the background cost: a part of `scripts/bench`.

A hundred at once against crun, their memory, a list of a thousand, one more program in a container, and a log of
one gigabyte against podman's conmon.
"""

import glob
import json
import os
import shutil
import statistics
import subprocess
import time

DETACHED = 100
LISTED = 1000
PS_MAX = 50  # ms
EXEC_MAX = 1.5
MEMORY_MAX = 1024  # KiB
LOG_LINES = 12_500_000  # of 80 bytes: 1 GB
TICKS = os.sysconf("SC_CLK_TCK")


def processes(name, word=""):
    """Pids of the processes called `name` (as the kernel has it) that have `word` among their arguments."""
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        pid = path.split("/")[2]
        try:
            with open(path) as f:
                if f.read().strip() != name:
                    continue
            with open(f"/proc/{pid}/cmdline") as f:
                if word in f.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def private(pid):
    """KiB of memory that only this process has: what it has written to."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_Dirty"))


def cpu(pid):
    """Seconds of CPU time until now."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Life:
    def __init__(self, bench, images):
        self.bench, self.images = bench, images
        self.image = "localhost/bench-life"

    def coracle(self, *words):
        return self.bench.coracle_command(*words)

    def run(self, *words, **kw):
        return self.bench.user.run(self.coracle(*words), check=True, capture_output=True, text=True, **kw).stdout

    def measure(self, rounds):
        bench = self.bench
        bench.say("## Containers in the background\n")
        pulled = self.run("pull", "-q", f"oci:{self.images}/busybox").strip()
        self.run("tag", pulled, self.image)
        self.bundle = self.crun_bundle()
        try:
            self.starts()
            self.lists()
            self.execs(rounds)
            self.logs()
        finally:
            self.run("rm", "-f", "--all")

    def crun_bundle(self):
        peer = self.bench.peer
        bundle = os.path.join(peer.home, "life")
        os.makedirs(os.path.join(bundle, "rootfs", "bin"))
        for program in ("true", "sleep"):
            shutil.copy("/bin/busybox", f"{bundle}/rootfs/bin/{program}")
        for path in (bundle, f"{bundle}/rootfs", f"{bundle}/rootfs/bin"):
            os.chown(path, *peer.ids)
        peer.run(["crun", "spec", "--rootless", "-f", f"{bundle}/config.json"], check=True, capture_output=True)
        with open(f"{bundle}/config.json") as f:
            spec = json.load(f)
        spec["process"].update(args=["/bin/sleep", "3600"], terminal=False)
        with open(f"{bundle}/config.json", "w") as f:
            json.dump(spec, f)
        return bundle

    def crun(self, *words):
        return ["crun", "--root", f"{self.bench.peer.home}/crun-life", "--cgroup-manager=disabled", *words]

    def timed(self, user, script):
        began = time.monotonic()
        user.run(["sh", "-c", script], check=True, stdout=subprocess.DEVNULL)
        return (time.monotonic() - began) * 1000

    def starts(self):
        bench = self.bench
        words = " ".join(self.coracle("run", "-d", "--network", "none"))
        count = f"for i in $(seq {DETACHED}); do"
        rows = []
        for name, options in (("coracle", ""), ("coracle --identity off", "--identity off")):
            took = self.timed(bench.user, f"{count} {words} {options} --name c$i {self.image} sleep 3600; done")
            sizes = [private(p) for p in processes("coracle-monitor", "coracle-monitor")]
            helpers = [private(p) for p in processes("coracle-ids", "coracle-monitor")]
            rows.append((name, took, len(sizes), statistics.median(sizes), len(helpers), statistics.median(helpers or [0])))
            self.run("rm", "-f", "--all")
        crun = " ".join(self.crun("run", "-d", "--bundle", self.bundle))
        took = self.timed(bench.peer, f"{count} {crun} c$i >/dev/null; done")
        bench.peer.run(["sh", "-c", f"{count} {' '.join(self.crun('delete', '-f'))} c$i; done"], check=True)
        bench.say(f"| {DETACHED} containers, one after the other | wall | ÷ crun | monitors | private memory of one | supervisors | of one |")
        bench.say("|---|---|---|---|---|---|---|")
        bench.say(f"| crun run -d (no monitor, no log) | {took:.0f} ms | 1 | | | | |")
        for name, ms, n, size, helpers, helper in rows:
            word = "" if size <= MEMORY_MAX else f" **more than {MEMORY_MAX} KiB**"
            bench.say(f"| {name} | {ms:.0f} ms | {ms / took:.2f} | {n} | {size:.0f} KiB{word} | {helpers} | {helper:.0f} KiB |")
        bench.say()

    def lists(self):
        bench = self.bench
        words = " ".join(self.coracle("run", "-d", "--network", "none", "--identity", "off"))
        self.timed(bench.user, f"for i in $(seq {LISTED}); do {words} {self.image} sleep 3600; done")
        times = [bench.measure(bench.user, self.coracle("ps")) for _ in range(7)]
        running = len(self.run("ps", "-q").split())
        wall = statistics.median(t[0] for t in times)
        word = "" if wall <= PS_MAX else f" **more than {PS_MAX} ms**"
        bench.say(f"`ps` with {running} containers that run: {wall:.1f} ms (median of 7){word}\n")
        self.run("rm", "-f", "--all")

    def execs(self, rounds):
        bench = self.bench
        self.run("run", "-d", "--network", "none", "--name", "full", self.image, "sleep", "3600")
        self.run("run", "-d", "--network", "none", "--identity", "off", "--name", "off", self.image, "sleep", "3600")
        bench.peer.run(self.crun("run", "-d", "--bundle", self.bundle, "one"), check=True, stdout=subprocess.DEVNULL)
        results = bench.rounds({
            "crun exec": (bench.peer, self.crun("exec", "one", "/bin/true")),
            "coracle exec": (bench.user, self.coracle("exec", "full", "true")),
            "coracle exec, --identity off": (bench.user, self.coracle("exec", "off", "true")),
        }, rounds)
        bench.peer.run(self.crun("delete", "-f", "one"), check=True)
        self.run("rm", "-f", "--all")
        base = statistics.median(r[1] for r in results["crun exec"])
        bench.say("| one more program, `true` | wall median | CPU median | CPU ÷ crun |")
        bench.say("|---|---|---|---|")
        for name, all_ in results.items():
            wall, used = (statistics.median(r[i] for r in all_) for i in (0, 1))
            word = "" if used / base <= EXEC_MAX else f" **more than {EXEC_MAX}**"
            bench.say(f"| {name} | {wall:.1f} ms | {used:.1f} ms | {used / base:.2f}{word} |")
        bench.say()

    def logs(self):
        bench = self.bench
        script = f"yes {'x' * 79} | head -n {LOG_LINES}; echo end; sleep 3600"
        id_ = self.run("run", "-d", "--network", "none", "--identity", "off", self.image, "sh", "-c", script).strip()
        [monitor] = processes("coracle-monitor", id_)
        log = os.path.join(bench.store, "containers", id_, "log")
        ours = self.settle(monitor, log)
        shown = bench.user.run(["sh", "-c", " ".join(self.coracle("logs", id_)) + " | sha256sum"], capture_output=True, text=True)
        want = bench.user.run(["sh", "-c", f"(yes {'x' * 79} | head -n {LOG_LINES}; echo end) | sha256sum"],
                              capture_output=True, text=True)
        whole = "every byte is there" if shown.stdout == want.stdout else "**bytes are missing**"
        self.run("rm", "-f", id_)
        bench.say("| a log of 1 GB, lines of 80 bytes | CPU of the monitor |")
        bench.say("|---|---|")
        bench.say(f"| coracle ({whole}) | {ours:.2f} s |")
        theirs = self.conmon(script)
        bench.say(f"| conmon (podman, k8s-file) | {theirs} |\n")

    def settle(self, pid, log):
        """CPU seconds of a monitor once its log does not grow any more."""
        last, since = -1, time.monotonic()
        while time.monotonic() - since < 2:
            time.sleep(0.2)
            size = os.path.getsize(log)
            if size != last:
                last, since = size, time.monotonic()
        return cpu(pid)

    def conmon(self, script):
        bench = self.bench
        podman = ["podman", *bench.podman_options()]
        archive = os.path.join(bench.user.home, "life.tar")
        self.run("save", "--format", "docker-archive", "-o", archive, self.image)
        os.chmod(bench.user.home, 0o755)
        loaded = bench.peer.run([*podman, "load", "-q", "-i", archive], capture_output=True, text=True)
        done = bench.peer.run([*podman, "run", "-d", "--network", "none", "--log-driver", "k8s-file", self.image, "sh", "-c", script],
                              capture_output=True, text=True)
        if done.returncode:
            return f"does not run here: {(loaded.stderr + done.stderr).strip().splitlines()[-1:]}"
        id_ = done.stdout.strip()
        [pid] = processes("conmon", id_)
        log = bench.peer.run([*podman, "inspect", "--format", "{{.HostConfig.LogConfig.Path}}", id_], capture_output=True,
                             text=True).stdout.strip()
        used = self.settle(pid, log)
        bench.peer.run([*podman, "rm", "-f", "-t", "0", id_], capture_output=True)
        return f"{used:.2f} s"
