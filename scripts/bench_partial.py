"""What a pull moves when most files of the image are in the store already: a part of `scripts/bench`.

The layer of debian-big and a second one in which every tenth file with content has other bytes, both as zstd:chunked;
the second is pulled whole, and into a store that has the first. Bytes are counted on the connection, by a relay.
"""

import io
import os
import shutil
import socket
import statistics
import subprocess
import tarfile
import threading

MOVED_MAX = 15  # percent
RSS_MAX = 60  # MiB


class Relay:
    """Between the client and the registry; counts what comes back."""

    def __init__(self, upstream):
        host, port = upstream.split(":")
        self.upstream, self.count, self.lock = (host, int(port)), 0, threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.name = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            server = socket.create_connection(self.upstream)
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, True), daemon=True).start()

    def pump(self, source, target, counts):
        try:
            while data := source.recv(1 << 16):
                if counts:
                    with self.lock:
                        self.count += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def taken(self):
        with self.lock:
            count, self.count = self.count, 0
        return count

    def close(self):
        self.socket.close()


def changed(source, target):
    """Copy a tar; every tenth file with content gets other bytes. Returns files, changed ones, and bytes of both."""
    files = bytes_ = new = new_bytes = 0
    with tarfile.open(source) as old, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as out:
        for member in old:
            data = old.extractfile(member).read() if member.isreg() else None
            if not data:
                out.addfile(member)
                continue
            if files % 10 == 3:
                data = bytearray(data)
                data[::997] = bytes(b ^ 0x55 for b in data[::997])
                new, new_bytes = new + 1, new_bytes + len(data)
            files, bytes_ = files + 1, bytes_ + len(data)
            out.addfile(member, io.BytesIO(data))
    return files, new, bytes_, new_bytes


def measure(bench, images, rounds):
    home = bench.user.home
    layer = bench.manifest("debian-big")["layers"][0]["digest"]
    old = os.path.join(images, "debian-big", "blobs", *layer.split(":"))
    tars = {"old": os.path.join(bench.base, "old.tar"), "new": os.path.join(bench.base, "new.tar")}
    shutil.copy(old, tars["old"])
    files, new, bytes_, new_bytes = changed(old, tars["new"])
    maker = [bench.coracle, "--root", f"{home}/maker"]
    relay = Relay(bench.registry)
    try:
        for tag, tar in tars.items():
            os.chmod(tar, 0o644)
            done = bench.user.run([*maker, "import", tar, f"localhost/{tag}:1"], capture_output=True)
            done.check_returncode()
            bench.user.run([*maker, "push", "-q", "--compression", "zstd:chunked", f"localhost/{tag}:1",
                            f"{bench.registry}/part:{tag}"], check=True, stdout=subprocess.DEVNULL)
        bench.say("## Pull of what is missing\n")
        bench.say(f"debian-big as zstd:chunked, {files} files with content, of which {new} ({100 * new / files:.0f} %, "
                  f"{100 * new_bytes / bytes_:.1f} % of the bytes), spread evenly, are others than in the image before; "
                  f"{rounds} rounds. *moved* is all that came on the connections, heads of replies included.\n")
        bench.say("| pull | moved | of all | wall median | CPU median | largest process |")
        bench.say("|---|--:|--:|--:|--:|--:|")
        store, results = f"{home}/partial", {"into an empty store": [], "with the image before": []}
        for _ in range(rounds):
            for what, runs in results.items():
                bench.aside(store)
                if what != "into an empty store":
                    bench.user.run([bench.coracle, "--root", store, "pull", "-q", f"{bench.registry}/part:old"],
                                   check=True, stdout=subprocess.DEVNULL)
                os.sync()
                relay.taken()
                taken = bench.measure(bench.user, [bench.coracle, "--root", store, "pull", "-q", f"{relay.name}/part:new"])
                runs.append((*taken, relay.taken()))
        whole = statistics.median(run[3] for run in results["into an empty store"])
        for what, runs in results.items():
            wall, cpu, _, moved = (statistics.median(run[k] for run in runs) for k in range(4))
            bench.say(f"| {what} | {moved / 1e6:.1f} MB | {100 * moved / whole:.1f} % | {wall:.0f} ms | {cpu:.0f} ms "
                      f"| {max(run[2] for run in runs):.1f} MiB |")
        part = max(run[3] for run in results["with the image before"]) / whole * 100
        rss = max(run[2] for runs in results.values() for run in runs)
        bench.verdicts([(f"moves under {MOVED_MAX} % with nine tenths of the files there", f"{part:.1f} %", part < MOVED_MAX),
                        (f"peak RSS under {RSS_MAX} MiB", f"{rss:.1f} MiB", rss < RSS_MAX)])
        bench.say()
    finally:
        relay.close()
