"""archive.py FILE: an archive of 300 owners, with everything that a tar can hold; the same bytes each time.
Prints what is in it, as `find -printf '%p %y %m %U:%G'` has it, by path.
"""

import io
import struct
import sys
import tarfile

OWNERS = 300
MODES = (0o644, 0o4755, 0o2755, 0o6711, 0, 0o444, 0o1600, 0o7777)
DIRECTORIES = (0o755, 0o2775, 0o1777, 0o700, 0o3771, 0o4750)
# Of linux/capability.h: cap_chown, cap_net_bind_service, cap_net_raw
CAPABILITIES = (1 << 0, 1 << 10, 1 << 13, 1 << 10 | 1 << 13)
LETTERS = {tarfile.DIRTYPE: "d", tarfile.REGTYPE: "f", tarfile.SYMTYPE: "l", tarfile.FIFOTYPE: "p",
           tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b"}

tar = tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT)
listing = []


def owner(i):
    # Small ones, those on the edges, and those that need more than a tar header's field.
    edges = ((0, 0), (0, 7), (7, 0), (65534, 65534), (65535, 65535), (65536, 65537), (2097152, 1), (1, 2**31), (2**32 - 2, 2**32 - 2))
    return edges[i] if i < len(edges) else (i * 11 % 1009 + 100, i * 7 % 997 + 200000)


def add(i, name, kind, mode, data=b"", link="", device=(0, 0), **records):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size = kind, mode, link, len(data)
    info.uid, info.gid = owner(i)
    info.devmajor, info.devminor = device
    info.mtime = 1700000000 + i
    info.pax_headers = {"SCHILY." + key.replace("_", "."): value for key, value in records.items()}
    tar.addfile(info, io.BytesIO(data))
    if kind == tarfile.LNKTYPE:
        first = next(line for line in listing if line.startswith(f"./{link} "))
        listing.append(first.replace(link, name, 1))
    else:
        shown = 0o777 if kind == tarfile.SYMTYPE else mode
        listing.append(f"./{name} {LETTERS[kind]} {shown:o} {info.uid}:{info.gid}")


for i in range(OWNERS):
    d, data = f"d{i:03}", b"%d\n" % i
    acl = f"user::rwx,user:{i}:r-x,user:{100000 + i}:rw-,group::r--,group:{i + 1}:-wx,mask::rwx,other::--x"
    mode = DIRECTORIES[i % 6]
    if i % 9 == 0:
        # The middle bits of a mode are the mask, where there is an ACL.
        add(i, d, tarfile.DIRTYPE, mode & 0o7000 | 0o771, acl_access=acl, acl_default=acl)
    else:
        add(i, d, tarfile.DIRTYPE, mode)
    more = {}
    if i % 6 == 0:
        # VFS_CAP_REVISION_2, effective; ASCII, as these records are text.
        words = struct.pack("<5I", 0x02000001, CAPABILITIES[i // 6 % 4], 0, 0, 0)
        more["xattr_security.capability"] = words.decode("ascii")
    if i % 8 == 0:
        more["xattr_user.note"] = f"of {i}"
    mode = MODES[i % 8]
    if i % 4 == 1:
        mode = mode & 0o7000 | 0o771
        more["acl_access"] = acl
    add(i, f"{d}/file", tarfile.REGTYPE, mode, data, **more)
    add(i, f"{d}/hard", tarfile.LNKTYPE, mode, link=f"{d}/file")
    if i % 2 == 0:
        add(i, f"{d}/link", tarfile.SYMTYPE, 0o777, link=("file", "/nowhere", "../..")[i % 3])
    if i % 3 == 0:
        add(i, f"{d}/pipe", tarfile.FIFOTYPE, MODES[i // 3 % 8])
    if i % 5 == 0:
        add(i, f"{d}/char", tarfile.CHRTYPE, MODES[i // 5 % 8], device=((1, 3), (4095, 1048575), (10, 229))[i % 3])
    if i % 7 == 0:
        add(i, f"{d}/block", tarfile.BLKTYPE, MODES[i // 7 % 8], device=((8, 17), (259, 65537))[i % 2])
tar.close()
print("\n".join(sorted(listing)))
