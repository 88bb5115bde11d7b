"""The guest's disk: Debian with systemd as process 1, from the machine's own apt sources.

It lies in a directory named after all that goes into it, `target/vm/image-KEY`, with the key by which ssh gets in,
and is never changed: each guest writes to a layer of its own.
"""

import fcntl
import glob
import hashlib
import importlib.machinery
import importlib.util
import os
import platform
import shutil
import subprocess
import sys

BED = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(BED)))
HOME = os.path.join(REPOSITORY, "target", "vm")
KERNEL = "linux.uml"
MODULES = "/usr/lib/uml/modules"
PACKAGES = ["systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "openssh-server", "iproute2", "kmod",
            "procps", "fuse3", "fuse-overlayfs"]
PROGRAMS = [KERNEL, "mmdebstrap", "mke2fs", "ssh", "ssh-keygen", "ip", "nsenter", "unshare", "setpriv", "mount"]
LEFT_OUT = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"]
SIZE = "2G"  # of the file system; the file is sparse
BUILD_SECONDS = 400


def lacking():
    """Why no guest can be made on this machine; None if one can."""
    if platform.machine() != "x86_64":
        return f"there is no user-mode Linux for {platform.machine()}"
    if os.geteuid() != 0:
        return "only root can make the guest's disk and network"
    missing = [p for p in PROGRAMS if not shutil.which(p)]
    if missing:
        return f"not installed: {', '.join(missing)} (scripts/setup-tests installs them)"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun for the guest's network"
    return None


def make_images():
    """scripts/make-images as a module: it knows how to get mmdebstrap to this machine's mirror."""
    path = os.path.join(REPOSITORY, "scripts", "make-images")
    loader = importlib.machinery.SourceFileLoader("make_images", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def modules():
    """The kernel's modules, which are of one version."""
    found = sorted(glob.glob(MODULES + "/*"))
    if not found:
        sys.exit(f"vm: no kernel modules in {MODULES}\nhint: apt-get install --reinstall user-mode-linux")
    return found[-1]


def key(apt):
    h = hashlib.sha256()
    for path in (os.path.abspath(__file__), os.path.join(BED, "customize")):
        with open(path, "rb") as f:
            h.update(f.read())
    for text in (apt.sources(), apt.suite(), modules()):
        h.update(text.encode() + b"\0")
    return h.hexdigest()[:16]


def build():
    """Make the image, unless it is there; returns its directory."""
    apt = make_images()
    os.makedirs(HOME, exist_ok=True)
    done = os.path.join(HOME, "image-" + key(apt))
    with open(os.path.join(HOME, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(done):
            return done
        print("vm: making the guest's disk …", file=sys.stderr, flush=True)
        draft = os.path.join(HOME, "draft")
        shutil.rmtree(draft, ignore_errors=True)
        os.mkdir(draft, 0o700)
        try:
            make(apt, draft)
            os.rename(draft, done)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        for old in glob.glob(HOME + "/image-*"):
            # A guest that runs keeps its disk open, and needs its key no more than once.
            if old != done:
                shutil.rmtree(old, ignore_errors=True)
    return done


def make(apt, draft):
    tree = os.path.join(draft, "tree")
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vm", "-f", os.path.join(draft, "id")])
    run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(PACKAGES), *apt.apt_options(),
         *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
         f'--customize-hook=sh "{BED}/customize" "$1" "{draft}/id.pub" "{modules()}"', apt.suite(), tree, "-"],
        input=apt.sources(), env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "HOME": "/nonexistent"})
    run(["mke2fs", "-q", "-t", "ext4", "-d", tree, "-O", "^has_journal", "-E", "lazy_itable_init=1", "-m", "0",
         os.path.join(draft, "disk"), SIZE])
    shutil.rmtree(tree)


def run(command, **how):
    done = subprocess.run(command, text=True, stdout=sys.stderr, timeout=BUILD_SECONDS, **how)
    if done.returncode != 0:
        sys.exit(f"vm: {command[0]} failed")
