"""Writes OCI image layouts (image-spec, image-layout.md) with full control over layers and config.

Used by nasty.py and scripts/make-images. Python standard library only; `zstd` and `pigz` are called
as programs. Everything written is reproducible: same input, same digests.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess

MEDIA = "application/vnd.oci.image."
CREATED = "2025-01-01T00:00:00Z"


def arch():
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def compress(data_path, out_path, how):
    """Compress a tar file: gzip, zstd or plain. Returns the suffix of the layer's media type."""
    if how == "plain":
        shutil.copyfile(data_path, out_path)
        return "tar"
    if how == "zstd":
        with open(data_path, "rb") as src, open(out_path, "wb") as dst:
            subprocess.run(["zstd", "-q", "-6", "-c"], stdin=src, stdout=dst, check=True)
        return "tar+zstd"
    assert how == "gzip", how
    tool = shutil.which("pigz") or shutil.which("gzip")
    with open(data_path, "rb") as src, open(out_path, "wb") as dst:
        subprocess.run([tool, "-n", "-6", "-c"], stdin=src, stdout=dst, check=True)
    return "tar+gzip"


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


class Layout:
    """An OCI layout directory under construction; `close` writes its index."""

    def __init__(self, path):
        self.path = path
        self.manifests = []
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(os.path.join(path, "blobs", "sha256"))

    def blob(self, data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.path, "blobs", "sha256", digest), "wb") as f:
            f.write(data)
        return {"digest": "sha256:" + digest, "size": len(data)}

    def layer(self, tar, how="gzip"):
        """Add a layer from a tar file (path) or its bytes; returns (descriptor, diff id)."""
        tmp = os.path.join(self.path, "layer.tmp")
        if isinstance(tar, bytes):
            source = os.path.join(self.path, "layer.tar")
            with open(source, "wb") as f:
                f.write(tar)
        else:
            source = tar
        suffix = compress(source, tmp, how)
        diff_id, digest, size = sha256(source), sha256(tmp), os.path.getsize(tmp)
        os.rename(tmp, os.path.join(self.path, "blobs", "sha256", digest))
        if source is not tar:
            os.unlink(source)
        descriptor = {"mediaType": MEDIA + "layer.v1." + suffix, "digest": "sha256:" + digest, "size": size}
        return descriptor, "sha256:" + diff_id

    def image(self, layers, config=None, tag="latest", architecture=None):
        """Add an image of layers made by `layer`."""
        architecture = architecture or arch()
        document = {
            "created": CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [diff for _, diff in layers]},
            "history": [{"created": CREATED, "created_by": f"layer {i + 1}"} for i in range(len(layers))],
        }
        blob = self.blob(json.dumps(document, sort_keys=True).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": MEDIA + "manifest.v1+json",
            "config": {"mediaType": MEDIA + "config.v1+json", **blob},
            "layers": [descriptor for descriptor, _ in layers],
        }
        self.manifests.append({
            "mediaType": MEDIA + "manifest.v1+json",
            **self.blob(json.dumps(manifest, sort_keys=True).encode()),
            "annotations": {"org.opencontainers.image.ref.name": tag},
            "platform": {"architecture": architecture, "os": "linux"},
        })

    def close(self):
        with open(os.path.join(self.path, "oci-layout"), "w") as f:
            json.dump({"imageLayoutVersion": "1.0.0"}, f)
        index = {"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json", "manifests": self.manifests}
        with open(os.path.join(self.path, "index.json"), "w") as f:
            json.dump(index, f, sort_keys=True)


class Tar:
    """A tar writer that writes exactly what it is told: raw names, GNU or PAX extensions, any type.

    `fmt` is "pax" or "gnu" and decides how long names, big numbers and the magic are written.
    """

    def __init__(self, fmt="pax"):
        self.fmt = fmt
        self.out = io.BytesIO()

    def _octal(self, value, width):
        if 0 <= value < 8 ** (width - 1):
            return b"%0*o\0" % (width - 1, value)
        assert self.fmt == "gnu", "a big number needs a PAX record"
        return bytes([0x80]) + value.to_bytes(width - 1, "big")

    def _header(self, name, kind, mode, uid, gid, size, mtime, link, user, group, dev):
        magic = b"ustar\x0000" if self.fmt == "pax" else b"ustar  \0"
        head = (name[:100].ljust(100, b"\0") + self._octal(mode, 8) + self._octal(uid, 8) + self._octal(gid, 8)
                + self._octal(size, 12) + self._octal(mtime, 12) + b" " * 8 + kind + link[:100].ljust(100, b"\0")
                + magic + user[:31].ljust(32, b"\0") + group[:31].ljust(32, b"\0")
                + self._octal(dev[0], 8) + self._octal(dev[1], 8)).ljust(512, b"\0")
        checksum = sum(head)
        return head[:148] + b"%06o\0 " % checksum + head[156:]

    def _data(self, data):
        self.out.write(data + b"\0" * (-len(data) % 512))

    def _pax(self, records, kind=b"x"):
        body = b""
        for key, value in records.items():
            rest = b" " + key + b"=" + value + b"\n"
            size = len(rest)
            while size != len(rest) + len(str(size)):
                size = len(rest) + len(str(size))
            body += str(size).encode() + rest
        self.out.write(self._header(b"pax_header", kind, 0o644, 0, 0, len(body), 0, b"", b"", b"", (0, 0)))
        self._data(body)

    def global_pax(self, records):
        self._pax(records, b"g")

    def add(self, name, kind=b"0", mode=0o644, uid=0, gid=0, data=b"", mtime=1700000000, link=b"", user=b"root",
            group=b"root", dev=(0, 0), pax=None):
        name, link = os.fsencode(name), os.fsencode(link)
        records = dict(pax or {})
        if self.fmt == "gnu":
            for flag, text in ((b"L", name), (b"K", link)):
                if len(text) > 100:
                    self.out.write(self._header(b"././@LongLink", flag, 0, 0, 0, len(text) + 1, 0, b"", b"", b"", (0, 0)))
                    self._data(text + b"\0")
        else:
            if len(name) > 100:
                records[b"path"] = name
            if len(link) > 100:
                records[b"linkpath"] = link
            for key, value in ((b"uid", uid), (b"gid", gid)):
                if value >= 8 ** 7:
                    records[key] = str(value).encode()
            uid, gid = min(uid, 8 ** 7 - 1), min(gid, 8 ** 7 - 1)
        if records:
            self._pax(records)
        self.out.write(self._header(name, kind, mode, uid, gid, len(data), int(mtime), link, user, group, dev))
        self._data(data)

    def dir(self, name, mode=0o755, **kw):
        self.add(name.rstrip("/") + "/" if isinstance(name, str) else name + b"/", b"5", mode, **kw)

    def symlink(self, name, to, **kw):
        self.add(name, b"2", 0o777, link=to, **kw)

    def hardlink(self, name, to, mode=0o644, **kw):
        self.add(name, b"1", mode, link=to, **kw)

    def fifo(self, name, mode=0o644, **kw):
        self.add(name, b"6", mode, **kw)

    def char(self, name, major, minor, mode=0o600, **kw):
        self.add(name, b"3", mode, dev=(major, minor), **kw)

    def raw(self, blocks):
        """Append another archive without its end marker."""
        while blocks.endswith(b"\0" * 512) and len(blocks) >= 512:
            blocks = blocks[:-512]
        self.out.write(blocks)

    def bytes(self):
        return self.out.getvalue() + b"\0" * 1024
