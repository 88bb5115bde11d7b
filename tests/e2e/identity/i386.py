"""The same calls of i386 in three ways, each by a process of its own: `int $0x80` in this program of 64 bits, the same
with rubbish in the upper halves of all arguments, and a program of 32 bits, which is written here. Prints what each
got. A list of calls that the filter refuses is beside it, as the kernel answers a program of 64 bits.
"""

import ctypes
import os
import stat
import struct
import subprocess

SIZE = 0x4000
FIRST = 0x100000000  # beyond what 32 bits can say
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
ALL = 0xFFFFFFFF


class Memory:
    """What the calls point to, from an address on: a word, the calls, and from the middle on data."""

    def __init__(self, base):
        self.base, self.data, self.calls = base, bytearray(), []

    def put(self, data):
        at = self.base + SIZE // 2 + len(self.data)
        self.data += data + bytes(-len(data) % 8)
        return at

    def call(self, number, *args):
        self.calls.append([number & ALL, *(a & ALL for a in args), *[0] * (5 - len(args))])

    def image(self):
        head = struct.pack("<I", len(self.calls)) + b"".join(struct.pack("<6I", *c) for c in self.calls)
        return (head.ljust(SIZE // 2, b"\0") + self.data).ljust(SIZE, b"\0")


def script(m, place):
    """Root's files, then those of somebody else, then what nobody may."""
    path = lambda name: m.put(f"{place}/{name}".encode() + b"\0")
    file, link, null, new = path("f"), path("l"), path("c"), path("new")
    answers = [m.put(bytes(96)) for _ in range(3)]
    m.call(5, file, os.O_CREAT | os.O_WRONLY, 0o644)
    m.call(83, m.put(b"nowhere\0"), link)
    m.call(212, file, 5, 70000)  # chown32
    m.call(198, link, 7, 8)  # lchown32
    m.call(14, null, stat.S_IFCHR | 0o600, 0x103)  # mknod
    m.call(195, file, answers[0])  # stat64
    m.call(196, link, answers[1])
    m.call(195, null, answers[2])
    m.call(206, 1, m.put(struct.pack("<I", 50)))  # setgroups32
    m.call(210, 33, 33, 33)  # setresgid32
    m.call(213, 33)  # setuid32
    m.call(75, 10, m.put(struct.pack("<II", 5, 5)))  # setrlimit: where the credentials travel
    m.call(340, 0, 10, m.put(struct.pack("<QQ", 5, 5)), 0)  # prlimit64
    m.call(199)  # getuid32
    m.call(202)  # getegid32
    m.call(24)  # getuid
    m.call(212, file, 33, 33)
    m.call(14, null, stat.S_IFCHR | 0o600, 0x105)
    m.call(213, 0)
    m.call(8, new, 0o640)  # creat
    for number, _, *args in REFUSED:
        m.call(number, *args)
    return answers


NEWUSER, SIGCHLD = 0x10000000, 17
# In i386, in this program, and the arguments.
REFUSED = [
    (21, 165, 0, 0, 0, 0, 0),  # mount
    (310, 272, NEWUSER),  # unshare
    (120, 56, NEWUSER | SIGCHLD, 0, 0, 0, 0),  # clone
    (435, 435, 0, 0),  # clone3
    (136, 135, 0x40000),  # personality
    (288, 250, 0, 0, 0),  # keyctl
    (357, 321, 0, 0, 0),  # bpf
    (342, 304, 0, 0, 0),  # open_by_handle_at
    (425, 425, 1, 0),  # io_uring_setup
    (283, 246, 0, 0, 0, 0),  # kexec_load
]


def by_interrupt(rubbish):
    """Registers are loaded whole, so that the upper halves hold what is wanted."""
    mem = libc.mmap(None, SIZE + 4096, 7, 0x62, -1, 0)  # private, anonymous, MAP_32BIT

    def run(m):
        # push rbx, rbp; mov rbp, rdi; mov rax, [rbp]; rbx 8, rcx 16, rdx 24, rsi 32, rdi 40; int 0x80; pop, ret
        code = bytes.fromhex("53554889fd488b4500488b5d08488b4d10488b5518488b7520488b7d28cd805d5bc3")
        ctypes.memmove(mem + SIZE, code, len(code))
        ctypes.memmove(m.base, m.image(), SIZE)
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(mem + SIZE)
        results = []
        for number, *args in m.calls:
            words = (ctypes.c_uint64 * 6)(number, *(a + (FIRST * 0xDEADBEEF if rubbish else 0) for a in args))
            results.append(function(ctypes.addressof(words)))
        return results, ctypes.string_at(m.base, SIZE)

    return mem, run


def by_program():
    base, buffer = 0x100000, 0x101000
    le = lambda n: struct.pack("<I", n)
    code = b"\xb8" + le(3) + b"\x31\xdb\xb9" + le(buffer) + b"\xba" + le(SIZE) + b"\xcd\x80"  # read(0, buffer, SIZE)
    code += b"\xbd" + le(buffer + 4)  # mov ebp, first call
    # again: eax, ebx, ecx, edx, esi, edi from [ebp]; int 0x80; mov [ebp], eax; add ebp, 24; dec [buffer]; jnz again
    loop = bytes.fromhex("8b45008b5d048b4d088b550c8b75108b7d14cd8089450083c518ff0d") + le(buffer)
    code += loop + b"\x75" + struct.pack("b", -len(loop) - 2)
    code += b"\xb8" + le(4) + b"\xbb" + le(1) + b"\xb9" + le(buffer) + b"\xba" + le(SIZE) + b"\xcd\x80"  # write(1, ...)
    code += b"\xb8" + le(1) + b"\x31\xdb\xcd\x80"  # exit(0)
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    # A program for i386, one segment that may do all.
    head = ident + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    head += struct.pack("<8I", 1, 0, base, base, 84 + len(code), 0x1000 + SIZE, 7, 0x1000)
    with open("/tmp/program", "wb") as f:
        f.write(head + code)
    os.chmod("/tmp/program", 0o755)

    def run(m):
        with open("/tmp/input", "wb") as f:
            f.write(m.image())
        with open("/tmp/input") as given:
            out = subprocess.run(["/tmp/program"], stdin=given, stdout=subprocess.PIPE, check=True).stdout
        assert len(out) == SIZE, len(out)
        return [struct.unpack_from("<i", out, 4 + 24 * i)[0] for i in range(len(m.calls))], out

    return buffer, run


def show(name, way):
    place = f"/tmp/of-{name}"
    os.mkdir(place)
    os.chmod(place, 0o777)
    base, run = way
    m = Memory(base)
    answers = script(m, place)
    results, memory = run(m)
    print(name, results)
    for at in answers:
        # struct stat64: mode 16, uid 24, gid 28, rdev 32
        mode, uid, gid = (struct.unpack_from("<I", memory, at - base + field)[0] for field in (16, 24, 28))
        print(oct(mode), uid, gid, struct.unpack_from("<Q", memory, at - base + 32)[0])
    new = os.stat(f"{place}/new")
    print(new.st_uid, new.st_gid, oct(new.st_mode), flush=True)


for name, way in (("interrupt", lambda: by_interrupt(False)), ("rubbish", lambda: by_interrupt(True)), ("program", by_program)):
    if not os.fork():
        show(name, way())
        os._exit(0)
    assert os.wait()[1] == 0, name
native = []
for _, number, *args in REFUSED:
    result = libc.syscall(number, *args, 0)
    native.append(-ctypes.get_errno() if result < 0 else result)
    if result == 0 and number == 56:
        os._exit(0)
print("native", native)
# The third way into the kernel, with pointers of 32 bits and registers of 64.
result = libc.syscall(0x40000000 + 105, 0)
print("x32", result, ctypes.get_errno())
