#!/usr/bin/env python3
"""nasty.py OUT: writes OCI layouts that hold everything a tar layer can do to an unpacker.

OUT/nasty14           14 layers; gzip, zstd and plain mixed
OUT/nasty14-gzip      the same tree for umoci 0.4: all gzip, and layer 9 without the old GNU sparse
                      type, which umoci refuses
OUT/nasty-more        what umoci refuses or does otherwise: parent directories that no layer has, a
                      global PAX header, typeflag 7
OUT/nasty-implied     layers whose entries come without their parent directories, which lower layers have
OUT/nasty-sparse0     PAX sparse formats 0.0 and 0.1

The images carry a static busybox, so that they also run. No root needed: devices, owners and modes
exist only in the tar headers.
"""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from oci import Layout, Tar  # noqa: E402

BUSYBOX = "/bin/busybox"
APPLETS = ["sh", "true", "false", "id", "cat", "ls", "echo", "stat", "find", "env", "sleep", "touch", "rm", "mkdir"]
# vfs_cap_data revision 2, effective, cap_net_raw (linux/capability.h).
CAP_NET_RAW = b"\x01\x00\x00\x02\x00\x20\x00\x00" + b"\0" * 12


def gnu_sparse(directory, fmt, version=None, sparse=True):
    """A tar of one sparse file (1 MiB, three islands of data) written by GNU tar."""
    name = f"sparse-{fmt}{version or ''}"
    path = os.path.join(directory, name)
    with open(path, "wb") as f:
        f.truncate(1 << 20)
        for offset, text in ((0, b"start"), (65536 * 3, b"middle" * 1000), ((1 << 20) - 4096, b"z" * 4096)):
            f.seek(offset)
            f.write(text)
    os.utime(path, (1600000000, 1600000000))
    command = ["tar", *(["--sparse"] if sparse else []), "-C", directory, f"--format={fmt}", "--owner=root:0", "--group=root:0",
               "--mode=0640", "-cf", "-", name, "--transform=s,^,sparse/,"]
    if fmt == "posix":
        # Keep the archive reproducible: no atime, ctime or pid in the PAX headers.
        command.insert(1, "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
    if version:
        command.insert(1, f"--sparse-version={version}")
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def base():
    t = Tar("pax")
    for d in ("bin", "etc", "usr", "usr/bin", "root", "proc", "sys", "dev", "run", "var", "var/lib"):
        t.dir(d, mtime=1500000000)
    t.dir("tmp", 0o1777, mtime=1500000001)
    with open(BUSYBOX, "rb") as f:
        t.add("bin/busybox", mode=0o755, data=f.read(), mtime=1500000002)
    for applet in APPLETS:
        t.symlink("bin/" + applet, "busybox", mtime=1500000003)
    t.add("etc/passwd", data=b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
                             b"www-data:x:33:33:www-data:/var/www:/bin/sh\n")
    t.add("etc/group", data=b"root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nextra:x:77:www-data\n")
    return t


def layers(tmp, old_gnu=True):
    """The 14 layers, as (tar bytes, compression). Without `old_gnu`, layer 9 is a plain entry."""
    made = [(base(), "gzip")]

    # 2: modes and owners that an unprivileged unpacker cannot simply set and still read.
    t = Tar("pax")
    t.dir("modes", mtime=1400000000)
    for mode in (0o000, 0o111, 0o400, 0o644, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777):
        t.add(f"modes/f{mode:04o}", mode=mode, data=b"mode %o\n" % mode, mtime=1400000000 + mode)
    for mode in (0o000, 0o500, 0o1777, 0o2775, 0o7000):
        t.dir(f"modes/d{mode:04o}", mode, mtime=1400000000 + mode)
        t.add(f"modes/d{mode:04o}/inside", mode=0o600, data=b"inside\n")
        t.dir(f"modes/d{mode:04o}/deeper", 0o000)
        t.add(f"modes/d{mode:04o}/deeper/file", mode=0o000, data=b"deeper\n")
    t.dir("owners")
    for uid, gid in ((0, 42), (33, 33), (1000, 100), (65534, 65534), (2097151, 1), (2097152, 3000000000),
                     (1234567890, 4294967293)):
        t.add(f"owners/f{uid}-{gid}", uid=uid, gid=gid, data=b"%d:%d\n" % (uid, gid), user=b"", group=b"")
        t.dir(f"owners/d{uid}-{gid}", uid=uid, gid=gid, user="naïve".encode(), group=b"\xff\xfe")
    t.symlink("owners/link", "nowhere", uid=33, gid=77)
    made.append((t, "zstd"))

    # 3: hard links, across directories, forward in order, to set-id files, to symlinks.
    t = Tar("pax")
    t.dir("links")
    t.dir("links/a")
    t.dir("links/b", 0o700)
    t.dir("links/c", 0o000)
    t.add("links/a/file", data=b"linked three times\n", mtime=1300000000)
    t.hardlink("links/b/file", "links/a/file", mtime=1300000000)
    t.hardlink("links/c/file", "links/b/file", mtime=1300000000)
    t.add("links/a/suid", mode=0o4711, data=b"set-id\n", uid=33)
    t.hardlink("links/b/suid", "./links/a/suid", 0o4711, uid=33)
    t.add("links/a/empty", mode=0o000)
    t.hardlink("links/c/empty", "links/a/empty", 0o000)
    t.symlink("links/abs", "/links/a/file")
    t.symlink("links/rel", "../links/./a/file")
    t.symlink("links/dangling", "/does/not/../exist")
    t.symlink("links/loop", "loop")
    t.symlink("links/outside", "../../../../../../etc/hostname")
    made.append((t, "plain"))

    # 4: long names, the GNU way (L and K headers), big numbers in base 256.
    t = Tar("gnu")
    deep = "gnu/" + "/".join(["directory-with-a-long-name-%02d" % i for i in range(12)])
    t.dir("gnu")
    path = "gnu"
    for part in deep.split("/")[1:]:
        path += "/" + part
        t.dir(path, uid=2097152, mtime=1200000000)
    t.add(deep + "/" + "f" * 255, data=b"long\n", uid=4000000000, gid=2097152, mtime=8589934592)
    t.symlink("gnu/link", deep + "/" + "f" * 255)
    t.hardlink("gnu/hard", deep + "/" + "f" * 255, uid=4000000000, gid=2097152, mtime=8589934592)
    t.add("gnu/exactly-100-" + "x" * 84, data=b"100 bytes of name\n")
    made.append((t, "gzip"))

    # 5: long names, the PAX way; fractional and negative times; comments.
    t = Tar("pax")
    deep = "pax/" + "/".join(["Verzeichnis-äöü-%02d" % i for i in range(15)])
    t.dir("pax")
    path = "pax"
    for part in deep.split("/")[1:]:
        path += "/" + part
        t.dir(path)
    t.add(deep + "/" + "ü" * 120, data=b"long\n", pax={b"mtime": b"1234567890.123456789"})
    t.symlink("pax/link", deep + "/" + "ü" * 120, pax={b"mtime": b"1234567890.5"})
    t.hardlink("pax/hard", deep + "/" + "ü" * 120, pax={b"mtime": b"1234567890.123456789"})
    t.add("pax/before-1970", data=b"old\n", pax={b"mtime": b"-3600"})
    t.add("pax/size-in-pax", data=b"twelve bytes", pax={b"size": b"12"})
    t.add("pax/unknown-key", data=b"x", pax={b"VENDOR.key": b"value = with = signs\nand a newline"})
    made.append((t, "zstd"))

    # 6: names that are no UTF-8, or that a terminal or a shell would choke on.
    t = Tar("pax")
    t.dir("names")
    for name in (b"latin-\xe9\xe8", b"ctrl-\x1b[31m-\x07", b"new\nline", b"tab\ttab", b" leading", b"trailing ",
                 b"-rf", b"*", b"quote'\"", b"back\\slash", b"comma,colon:equals=", "emoji-🛶".encode(), b"\xff\xff",
                 b"wh.not-a-whiteout", b".wh", b"...", b"a.wh.b"):
        t.add(b"names/" + name, data=name)
    t.dir(b"names/dir-\xfe:,\\")
    t.add(b"names/dir-\xfe:,\\/file", data=b"x")
    made.append((t, "gzip"))

    # 7: extended attributes and file capabilities.
    t = Tar("pax")
    t.dir("xattr", pax={b"SCHILY.xattr.user.dir": b"on a directory"})
    t.add("xattr/text", data=b"x", pax={b"SCHILY.xattr.user.text": b"hello"})
    t.add("xattr/binary", data=b"x", pax={b"SCHILY.xattr.user.binary": b"\x00\x01=\n\xff\xfe" * 20})
    t.add("xattr/readonly", mode=0o444, data=b"x", pax={b"SCHILY.xattr.user.text": b"read-only file"})
    t.add("xattr/caps", mode=0o755, data=b"x", pax={b"SCHILY.xattr.security.capability": CAP_NET_RAW})
    t.add("xattr/zero-mode", mode=0o000, data=b"x", pax={b"SCHILY.xattr.user.text": b"mode 000"})
    made.append((t, "plain"))

    # 8: special files.
    t = Tar("pax")
    t.dir("special")
    t.fifo("special/fifo", 0o622, uid=1, gid=1)
    t.char("special/null", 1, 3, 0o666)
    t.char("special/big", 300, 70000, 0o600, uid=33)
    t.add("special/block", b"4", 0o660, dev=(7, 0), gid=6)
    t.add("special/old-style-file", b"\0", data=b"typeflag NUL\n")
    made.append((t, "gzip"))

    # 9, 10: sparse files, old GNU and PAX 1.0.
    t = Tar("gnu")
    t.dir("sparse")
    t.raw(gnu_sparse(tmp, "gnu", sparse=old_gnu))
    made.append((t, "gzip"))
    t = Tar("pax")
    t.dir("sparse")
    t.raw(gnu_sparse(tmp, "posix", "1.0"))
    made.append((t, "zstd"))

    # 11: the ground that 12 and 13 change.
    t = Tar("pax")
    for d in ("change", "change/dir-to-link", "change/dir-to-file", "change/opaque", "change/opaque/sub",
              "change/opaque-last", "change/removed-dir", "change/removed-dir/sub", "change/kept",
              "change/replaced-by-dir", "change/target", "change/emptied"):
        t.dir(d, mtime=1100000000)
    for f in ("change/dir-to-link/old", "change/dir-to-file/old", "change/opaque/old", "change/opaque/sub/old",
              "change/opaque-last/old", "change/removed-dir/old", "change/removed-dir/sub/old", "change/kept/old",
              "change/kept/gone", "change/target/file", "change/file-to-dir", "change/file-to-link",
              "change/file-to-fifo", "change/rewritten", "change/removed", "change/replaced-by-dir/old",
              "change/emptied/a", "change/emptied/b", "change/removed-then-back"):
        t.add(f, data=b"layer 11: " + f.encode() + b"\n", mtime=1100000001)
    t.symlink("change/link-to-dir", "target", mtime=1100000002)
    t.symlink("change/link-to-file", "target/file", mtime=1100000002)
    made.append((t, "gzip"))

    # 12: whiteouts, opaque directories, and every change of type.
    t = Tar("pax")
    t.dir("change", mtime=1100000100)
    t.symlink("change/dir-to-link", "target", mtime=1100000101)
    t.add("change/dir-to-file", data=b"now a file\n", mtime=1100000101)
    t.dir("change/link-to-dir", 0o711, mtime=1100000102)
    t.add("change/link-to-dir/new", data=b"new\n", mtime=1100000102)
    t.add("change/link-to-file", data=b"no longer a link\n", mtime=1100000102)
    t.dir("change/file-to-dir", mtime=1100000103)
    t.add("change/file-to-dir/new", data=b"new\n", mtime=1100000103)
    t.symlink("change/file-to-link", "rewritten", mtime=1100000103)
    t.fifo("change/file-to-fifo", 0o600, mtime=1100000103)
    t.add("change/rewritten", mode=0o600, data=b"layer 12\n", uid=33, mtime=1100000104)
    t.add("change/.wh.removed", mode=0)
    t.add("change/.wh.removed-dir", mode=0)
    t.add("change/.wh.never-existed", mode=0)
    t.dir("change/opaque", 0o750, mtime=1100000105)
    t.add("change/opaque/.wh..wh..opq", mode=0)
    t.add("change/opaque/new", data=b"new\n", mtime=1100000105)
    t.dir("change/opaque/sub", mtime=1100000105)
    t.add("change/opaque/sub/new", data=b"new\n", mtime=1100000105)
    # The opaque mark may also come after the entries of its own layer, which it must spare.
    t.dir("change/opaque-last", mtime=1100000106)
    t.add("change/opaque-last/new", data=b"new\n", mtime=1100000106)
    t.add("change/opaque-last/.wh..wh..opq", mode=0)
    t.dir("change/kept", mtime=1100000107)
    t.add("change/kept/.wh.gone", mode=0)
    t.dir("change/emptied", mtime=1100000108)
    t.add("change/emptied/.wh.a", mode=0)
    t.add("change/emptied/.wh.b", mode=0)
    t.add("change/.wh.replaced-by-dir", mode=0)
    t.add("change/.wh.removed-then-back", mode=0)
    made.append((t, "zstd"))

    # 13: an empty layer, as `docker build` writes for metadata steps.
    made.append((Tar("pax"), "gzip"))

    # 14: things come back, entries occur twice (the last wins), leading "./" and "/".
    t = Tar("pax")
    t.dir("./", mtime=1000000000)
    t.dir("./change", mtime=1100000200)
    t.add("./change/removed", mode=0o640, data=b"back in 14\n", mtime=1100000201)
    t.add("change/removed-then-back", data=b"back too\n", mtime=1100000201)
    t.dir("change/replaced-by-dir", mtime=1100000202)
    t.add("change/replaced-by-dir/new", data=b"only this\n", mtime=1100000202)
    t.dir("dup", 0o700, mtime=900000000)
    t.add("dup/file", data=b"first\n", mtime=900000000)
    t.add("dup/file", mode=0o600, data=b"second, longer\n", mtime=900000001)
    t.add("dup/type", data=b"a file first\n")
    t.symlink("dup/type", "file", mtime=900000002)
    t.dir("dup", 0o711, mtime=900000003)
    t.add("/absolute", data=b"a leading slash is dropped\n", mtime=900000004)
    made.append((t, "plain"))

    assert len(made) == 14
    return [(t.bytes(), how) for t, how in made]


CONFIG = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin:/usr/bin"], "WorkingDir": "/"}


def write(out, name, parts):
    layout = Layout(os.path.join(out, name))
    layout.image([layout.layer(data, how) for data, how in parts], CONFIG)
    layout.close()


def main():
    out = sys.argv[1]
    with tempfile.TemporaryDirectory(dir=out) as tmp:
        write(out, "nasty14", layers(tmp))
        write(out, "nasty14-gzip", [(data, "gzip") for data, _ in layers(tmp, old_gnu=False)])

        lower = base()
        lower.dir("implicit", 0o700, mtime=1111111111)
        lower.dir("implicit/sub", 0o711, mtime=1111111112, uid=33)
        lower.add("implicit/sub/old", data=b"old\n")
        upper = Tar("pax")
        upper.global_pax({b"comment": b"0123456789abcdef0123456789abcdef01234567"})
        upper.add("contiguous", b"7", data=b"typeflag 7\n")
        upper.add("implicit/sub/new", data=b"no entry for the parents in this layer\n")
        upper.add("implicit/new/deep/file", data=b"parents that exist nowhere\n")
        write(out, "nasty-more", [(lower.bytes(), "gzip"), (upper.bytes(), "gzip")])

        lower = base()
        lower.dir("implied", 0o750, uid=33, gid=77,
                  pax={b"mtime": b"1111111111.25", b"SCHILY.xattr.user.note": b"lower \0 note"})
        lower.dir("implied/sub", 0o1777, pax={b"mtime": b"-2.5"})
        lower.dir("implied/sub/deep", 0o500, mtime=1111111113)
        lower.add("implied/sub/deep/old", data=b"old\n")
        lower.dir("shut", 0o000, mtime=1111111114, uid=1000)
        lower.dir("hidden", 0o700, mtime=1111111115)
        lower.add("hidden/gone", data=b"gone\n")
        middle = Tar("pax")
        middle.dir("implied/sub", 0o711, uid=7, pax={b"mtime": b"1111111116.5"})
        middle.dir("hidden", 0o705, mtime=1111111117)
        middle.add("hidden/.wh..wh..opq")
        middle.add("implied/new", data=b"new\n")
        upper = Tar("pax")
        upper.add("implied/sub/deep/new", data=b"no entry for the parents in this layer\n")
        upper.add("implied/sub/deep/.wh.old")
        upper.add("shut/file", data=b"in a directory that nobody may read\n")
        upper.add("hidden/file", data=b"beside nothing\n")
        upper.add("tmp/file", data=b"the sticky bit stays\n")
        write(out, "nasty-implied", [(t.bytes(), "gzip") for t in (lower, middle, upper)])

        sparse = base()
        sparse.dir("sparse")
        for version in ("0.0", "0.1"):
            sparse.raw(gnu_sparse(tmp, "posix", version))
        write(out, "nasty-sparse0", [(sparse.bytes(), "gzip")])


if __name__ == "__main__":
    main()
