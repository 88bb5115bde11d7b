"""hung.py DIRECTORY CMD...: run a command where DIRECTORY, in namespaces of our own, is a file system that
does not answer when it is asked for a name, until it is asked for its attribute user.end. Ends with the
command's code.
"""

import ctypes
import os
import struct
import sys

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
PR_SET_PDEATHSIG, SIGKILL = 1, 9
ENOSYS, ENODATA = 38, 61
# linux/fuse.h
LOOKUP, FORGET, GETATTR, GETXATTR, INIT, OPENDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 1, 2, 3, 22, 26, 27, 29, 36, 42

libc = ctypes.CDLL(None, use_errno=True)


def done(result):
    if result != 0:
        sys.exit(f"hung.py: {os.strerror(ctypes.get_errno())}")


def write(name, text):
    with open(f"/proc/self/{name}", "w") as f:
        f.write(text)


def serve(fd):
    attributes = struct.pack("<6Q3I7I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40777, 2, 0, 0, 0, 4096, 0)
    while True:
        request = os.read(fd, 1 << 20)
        _, operation, unique, _ = struct.unpack_from("<IIQQ", request)
        if operation in (LOOKUP, FORGET, BATCH_FORGET, INTERRUPT):
            continue
        error, answer = 0, b""
        if operation == INIT:
            answer = struct.pack("<4I2H2I2H", 7, 31, 0, 0, 64, 48, 4096, 1, 0, 0) + bytes(28)
        elif operation == GETATTR:
            answer = struct.pack("<QII", 0, 0, 0) + attributes
        elif operation == OPENDIR:
            answer = struct.pack("<QII", 1, 0, 0)
        elif operation == GETXATTR and request[48:] == b"user.end\0":
            # The kernel fails all that waits.
            os._exit(0)
        elif operation == GETXATTR:
            error = -ENODATA
        elif operation != RELEASEDIR:
            error = -ENOSYS
        os.write(fd, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)


uid, gid = os.getuid(), os.getgid()
done(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
write("setgroups", "deny")
write("uid_map", f"0 {uid} 1")
write("gid_map", f"0 {gid} 1")
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
done(libc.mount(b"hung", sys.argv[1].encode(), b"fuse", 0, options))
server = os.fork()
if server == 0:
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    serve(fd)
os.close(fd)
code = os.spawnvp(os.P_WAIT, sys.argv[2], sys.argv[2:])
os.kill(server, SIGKILL)
# What still waits for the file system does so no longer, now that nobody serves it.
os.waitpid(server, 0)
sys.exit(code)
