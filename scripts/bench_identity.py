"""The third part of scripts/bench: what emulated users and owners cost once a container runs.

The same work, as CPU and wall time, with

  one id          `coracle run --identity off`: what one id can do at all
  coracle         users and owners emulated
  real ids        as root, in a chroot on an overlay of the same image with its real owners, without a filter
  real ids, asked the same, where a supervisor that looks at nothing says "go on" to each call that coracle is
                  asked about (tests/bench/notify.c): what no supervisor can beat

The last two need root; without it the floor is measured with one id. Containers are kept until the end and each
run writes to a directory of its own, because deletions make later files dear (see `Bench.aside`). Where work needs
preparation, a run without the work is measured as well, in the same round, and its median (or minimum) subtracted.
"""

import collections
import glob
import io
import os
import shutil
import statistics
import subprocess
import tarfile

FILES, DIRECTORIES = 20_000, 200
IMAGE, PLAIN_IMAGE = "big14", "debian-big"
PACKAGES = "openssh-server postgresql nginx redis-server git python3-pip man-db cron dbus sudo iputils-ping"
ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# `prepare` and `work` are scripts. `times`: how often `work` does it. `one_id`: what one id does in the place of
# `work`, None where it cannot. `limit`: the promise, CPU against real ids.
Workload = collections.namedtuple("Workload", "name image prepare work times one_id limit")

UNTAR = "cd /root; tar -xf /mnt/files/tree.tar"
UNTAR_AS_ROOT = "cd /root; tar -oxf /mnt/files/tree.tar"
REPOSITORY = (f"{UNTAR_AS_ROOT}; cd tree; git init -q; git add -A; git -c user.name=b -c user.email=b@b commit -qm b; "
              "sleep 0.1; git status >/dev/null")
STATUS = "for i in $(seq 20); do git status >/dev/null; done"
FIND = "find / -xdev -printf '%u\\n' >/dev/null"
# The first time from root, then from one user to another.
CHOWN = "for i in 1 2 3; do chown -R 1000:1000 tree; chown -R 33:33 tree; done"
WORKLOADS = [
    Workload("find / -printf %u", IMAGE, None, FIND, 1, FIND, 2.0),
    Workload(f"git status, {FILES} files", IMAGE, REPOSITORY, STATUS, 20, STATUS, 1.5),
    Workload(f"untar {FILES} files", IMAGE, None, UNTAR, 1, UNTAR_AS_ROOT, 1.5),
    Workload(f"chown -R {FILES} files", IMAGE, UNTAR_AS_ROOT, CHOWN, 6, None, 4.0),
]
APT = ("printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; "
       "mkdir -p /var/cache/apt/archives/partial /var/lib/apt/lists; cp -r /mnt/files/apt/lists /var/lib/apt/; "
       "cp /mnt/files/apt/archives/*.deb /var/cache/apt/archives/; export DEBIAN_FRONTEND=noninteractive; "
       f"apt-get -y --no-install-recommends --no-download install {PACKAGES} >/tmp/log 2>&1 || {{ tail /tmp/log >&2; exit 1; }}")
FETCH = ("exec >/tmp/log 2>&1; apt-get update && ls /var/lib/apt/lists/*Packages* && "
         f"apt-get -y --download-only --no-install-recommends install {PACKAGES} && "
         "cp -r /var/lib/apt/lists /var/cache/apt/archives /mnt/files/apt/")

# LOWER DIRECTORY WORK PROGRAM...: the program on a fresh overlay, with what a container has in /proc and /dev.
REAL = """set -e
lower=$1 dir=$2 work=$3; shift 3
mkdir $dir $dir/upper $dir/work $dir/root
mount -t overlay -o lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work overlay $dir/root
cd $dir/root
mkdir -p proc dev mnt/files
mount -t proc proc proc; mount -t tmpfs tmpfs dev
for d in null zero random urandom full tty; do : >dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/pts dev/shm; mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
mount --bind $work mnt/files
exec env -i """ + ENV + """ HOME=/root chroot . "$@"
"""


class Root:
    """Real root, where a `User` is expected."""

    def __init__(self, home):
        self.home = home
        os.makedirs(home)

    def run(self, argv, **kw):
        return subprocess.run(argv, cwd=self.home, **kw)


class Identity:
    def __init__(self, bench, is_root, images):
        self.bench, self.images = bench, images
        self.names = {image: bench.pull(image) for image in (IMAGE, PLAIN_IMAGE)}
        self.work = os.path.join(bench.user.home, "work")
        os.makedirs(os.path.join(self.work, "apt"))
        self.make_tree()
        shutil.copy(os.path.join(bench.bin, "notify"), self.work)
        subprocess.run(["chown", "-R", "{}:{}".format(*bench.user.ids), self.work], check=True)
        self.runs = 0
        self.modes = ["one id", "coracle"]
        if is_root:
            self.root = Root(os.path.join(bench.base, "real"))
            self.lowers = {image: self.unpack(image) for image in (IMAGE, PLAIN_IMAGE)}
            self.script = os.path.join(self.root.home, "real.sh")
            with open(self.script, "w") as f:
                f.write(REAL)
            self.modes += ["real ids", "real ids, asked"]
        else:
            self.modes += ["one id, asked"]
        self.base = "real ids" if is_root else "one id"

    def make_tree(self):
        content = b"A file of a few hundred bytes, as sources have many.\n" * 6
        with tarfile.open(os.path.join(self.work, "tree.tar"), "w", format=tarfile.GNU_FORMAT) as tar:
            def add(name, kind, mode, data=b""):
                info = tarfile.TarInfo(name)
                info.type, info.mode, info.size, info.mtime = kind, mode, len(data), 1_700_000_000
                info.uid = info.gid = 1000
                tar.addfile(info, io.BytesIO(data))
            for d in range(DIRECTORIES):
                add(f"tree/d{d:03}", tarfile.DIRTYPE, 0o755)
                for f in range(FILES // DIRECTORIES):
                    add(f"tree/d{d:03}/f{f:03}", tarfile.REGTYPE, 0o644, content)

    def unpack(self, image):
        """As real root would: owners, and overlay's own marks for what is deleted. Returns overlay's list of layers."""
        layers = []
        for i, layer in enumerate(self.bench.manifest(image)["layers"]):
            where = os.path.join(self.root.home, f"{image}-{i}")
            os.makedirs(where)
            blob = os.path.join(self.images, image, "blobs", *layer["digest"].split(":"))
            subprocess.run(["tar", "--numeric-owner", "-xpzf", blob, "-C", where], check=True)
            for mark in glob.glob(where + "/**/.wh.*", recursive=True, include_hidden=True):
                os.unlink(mark)
                if os.path.basename(mark) != ".wh..wh..opq":
                    os.mknod(os.path.join(os.path.dirname(mark), os.path.basename(mark)[4:]), 0o20000)
                else:
                    os.setxattr(os.path.dirname(mark), "trusted.overlay.opaque", b"y")
            layers.append(where)
        return ":".join(reversed(layers))

    def command(self, mode, image, script):
        """(user, argv) of `script`."""
        self.runs += 1
        asked = ["/mnt/files/notify"] if mode.endswith("asked") else []
        program = [*asked, "sh", "-c", script]
        if mode.startswith("real"):
            argv = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "sh", self.script, self.lowers[image],
                    os.path.join(self.root.home, str(self.runs)), self.work, *program]
            return self.root, argv
        identity = "full" if mode == "coracle" else "off"
        return self.bench.user, self.bench.coracle_command(
            "run", "--identity", identity, "--network", "none", "-v", f"{self.work}:/mnt/files", self.names[image], *program)

    def costs(self, load, rounds):
        """Interleaved rounds. mode → list of (with the work, without it), each (wall ms, CPU ms)."""
        costs = {}
        for _ in range(rounds):
            for mode in self.modes:
                work = load.one_id if mode.startswith("one id") else load.work
                if work is None:
                    continue
                script = work if load.prepare is None else f"{load.prepare}; {work}"
                cost = self.bench.measure(*self.command(mode, load.image, script))[:2]
                before = (0, 0)
                if load.prepare is not None:
                    before = self.bench.measure(*self.command(mode, load.image, load.prepare))[:2]
                costs.setdefault(mode, []).append((cost, before))
        return costs

    def rows(self, load, costs):
        """Lines of the table; returns the CPU ratio of coracle to the base and that of the floor, if both are there."""
        def once(pick, runs, k):
            """Wall (0) or CPU (1) time of doing it once."""
            return (pick(r[0][k] for r in runs) - pick(r[1][k] for r in runs)) / load.times

        medians = {mode: [once(statistics.median, runs, k) for k in (0, 1)] for mode, runs in costs.items()}
        if any(value <= 0 for pair in medians.values() for value in pair):
            # What is subtracted varied by more than the work costs: nothing can be said, least of all "holds".
            self.bench.say(f"| {load.name} | – | too noisy: more rounds | | | – | – |")
            return None, None
        base = medians.get(self.base)
        for mode, (wall, cpu) in medians.items():
            least = once(min, costs[mode], 1)
            ratios = f"{cpu / base[1]:.2f} | {wall / base[0]:.2f}" if base else "– | –"
            self.bench.say(f"| {load.name} | {mode} | {cpu:.0f} ms | {least:.0f} ms | {wall:.0f} ms | {ratios} |")
        if not base:
            return None, None
        floor = next((m[1] / base[1] for mode, m in medians.items() if mode.endswith("asked")), None)
        return medians["coracle"][1] / base[1], floor

    def fetch(self):
        """The packages, once; returns why there are none."""
        argv = self.bench.coracle_command("run", "--rm", "--network", "host", "-v", f"{self.work}:/mnt/files", self.names[PLAIN_IMAGE],
                                          "sh", "-c", FETCH)
        if self.bench.user.run(argv, capture_output=True).returncode:
            return "the packages cannot be fetched from here"
        return None

    def measure(self, rounds):
        say = self.bench.say
        say("## Identity\n")
        say(f"The same work with one id, with emulated ids, and with real ones; {rounds} interleaved rounds, one for packages. "
            "*asked* is the floor: each call that coracle is asked about is answered with \"go on\" at once, by a "
            "supervisor that looks at nothing (tests/bench/notify.c). CPU is that of all processes, the supervisor among "
            f"them. Ratios are to *{self.base}*, by medians.\n")
        loads = list(WORKLOADS)
        why = self.fetch()
        if not why:
            count = len(glob.glob(os.path.join(self.work, "apt", "archives", "*.deb")))
            loads.append(Workload(f"apt-get install, {count} packages", PLAIN_IMAGE, None, APT, 1, None, 1.1))
        say("| work | ids | CPU median | CPU min | wall median | CPU ÷ | wall ÷ |")
        say("|---|---|--:|--:|--:|--:|--:|")
        items = []
        for load in loads:
            packages = load.work is APT
            self.bench.settle()
            ratio, floor = self.rows(load, self.costs(load, max(1, rounds // 3) if packages else rounds))
            if ratio is not None:
                beside = f", floor {floor:.2f} ×" if floor else ""
                items.append((f"{load.name}: CPU at most {load.limit} × {self.base}", f"{ratio:.2f} ×{beside}", ratio <= load.limit))
        if why:
            say(f"\nNo row for apt-get install: {why}.")
        self.bench.verdicts(items)
        say()
