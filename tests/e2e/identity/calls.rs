//! Calls in all their forms: other instruction sets, old and new numbers, interrupted ones.

use crate::harness::{Done, Env, Skip};

suite!(
    keepcaps_and_capset,
    limits_show_no_tag,
    calls_of_i386,
    stat_in_all_forms,
    signals_repeat_nothing,
);

fn keepcaps_and_capset(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import ctypes, os, struct
c = ctypes.CDLL(None, use_errno=True)
def caps():
    h = struct.pack('Ii', 0x20080522, 0); d = ctypes.create_string_buffer(24)
    assert c.capget(h, d) == 0
    return [hex(x) for x in struct.unpack('6I', d.raw)[:3]]
print(caps(), c.prctl(8, 1, 0, 0, 0), c.prctl(7, 0, 0, 0, 0))
os.setresuid(33, 33, 33); print(caps())
h = struct.pack('Ii', 0x20080522, 0)
print(c.capset(h, struct.pack('6I', 64, 64, 0, 0, 0, 0)), caps()); os.setgid(33)
print(c.capset(h, struct.pack('6I', 192, 192, 0, 0, 0, 0)), ctypes.get_errno())
print(c.prctl(39, 0, 0, 0, 0), c.prctl(38, 1, 0, 0, 0), c.prctl(39, 0, 0, 0, 0))",
    );
    assert_eq!(
        out,
        "['0xa80425fb', '0xa80425fb', '0x0'] 0 1\n['0x0', '0xa80425fb', '0x0']\n\
         0 ['0x40', '0x40', '0x0']\n-1 1\n0 0 1\n"
    );
    Ok(())
}

fn limits_show_no_tag(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, resource, ctypes
os.setuid(33); c = ctypes.CDLL(None)
a = (ctypes.c_ulong * 2)(5, 5)
print(c.getrlimit(10, a), a[0] == a[1] == 2**64 - 1, c.setrlimit(10, (ctypes.c_ulong * 2)(5, 5)), os.getuid())
print(c.prlimit(0, 10, None, a), a[0] == 2**64 - 1, c.prlimit(0, 7, None, a), a[0] < 2**64 - 1)",
    );
    assert_eq!(out, "0 True 0 33\n0 True 0 True\n");
    Ok(())
}

/// The other instruction set's calls, by `int $0x80` from memory that 32 bits can name.
const I386: &str = r#"
import ctypes, mmap, os, struct
c = ctypes.CDLL(None)
c.mmap.restype = ctypes.c_void_p
c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
mem = c.mmap(None, 8192, 7, 0x62, -1, 0)  # private, anonymous, MAP_32BIT
# int call(int *nr_and_args): push rbx, rbp; load eax ebx ecx edx esi edi; int 0x80; pop; ret
code = bytes.fromhex('5355 89fd 4889fd 8b4500 8b5d04 8b4d08 8b550c 8b7510 8b7d14 cd80 5d5b c3'.replace(' ', ''))
ctypes.memmove(mem, code, len(code))
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(mem)
at = lambda i: mem + 1024 + i * 512
def put(i, data): ctypes.memmove(at(i), data, len(data)); return at(i)
def get(i, n): return ctypes.string_at(at(i), n)
def i386(*a):
    put(0, struct.pack('6I', *[x & 0xffffffff for x in a] + [0] * (6 - len(a)))); return call(at(0))
"#;

fn calls_of_i386(e: &Env) -> Done {
    if cfg!(not(target_arch = "x86_64")) {
        return Err(Skip("not x86_64".to_owned()));
    }
    let script = "open('/tmp/f', 'w').write('abc'); p = put(1, b'/tmp/f\\0')
print(i386(182, p, 5, 6), os.stat('/tmp/f')[4:6], i386(212, p, 70000, -1), os.stat('/tmp/f')[4:6], i386(182, p, 0xffff, 9))
print(i386(106, p, at(2)), struct.unpack_from('<HHHH', get(2, 64), 8)[2:], struct.unpack_from('<I', get(2, 64), 20))
print(i386(195, p, at(2)), struct.unpack_from('<II', get(2, 96), 24), struct.unpack_from('<Q', get(2, 96), 44))
print(i386(300, -100, p, at(2), 0), struct.unpack_from('<II', get(2, 96), 24))
put(3, struct.pack('<HH', 4, 3)); print(i386(81, 2, at(3)), i386(80, 8, at(4)), struct.unpack('<HH', get(4, 4)))
print(i386(208, 1, 70000, 3), i386(24), i386(49), i386(201), i386(165, at(2), at(3), at(4)))
print([struct.unpack('<H', get(i, 2))[0] for i in (2, 3, 4)], i386(23, 0))";
    let out = e.python(&[], &format!("{I386}\n{script}"));
    assert_eq!(
        out,
        "0 (5, 6) 0 (70000, 6) 0\n0 (65534, 9) (3,)\n0 (70000, 9) (3,)\n0 (70000, 9)\n\
         0 2 (3, 4)\n0 1 65534 70000 0\n[1, 65534, 3] -1\n"
    );
    Ok(())
}

fn stat_in_all_forms(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, ctypes, struct
os.chdir('/tmp'); os.mkdir('d'); open('d/f', 'w').write('abcd'); os.chown('d/f', 5, 6); os.symlink('d/f', 'l')
d = os.open('d', os.O_RDONLY); f = os.open('d/f', os.O_RDONLY); o = os.open('d/f', os.O_PATH)
ids = lambda s: (s.st_uid, s.st_gid, s.st_size)
print(ids(os.stat('d/f')), ids(os.stat('l')), ids(os.lstat('l'))[:2], ids(os.fstat(f)), ids(os.fstat(o)))
print(ids(os.stat('f', dir_fd=d)), ids(os.stat('/proc/self/fd/%d' % f)), ids(os.stat('../tmp/./d//f')))
c = ctypes.CDLL(None); b = ctypes.create_string_buffer(256)
for a in ((d, b'f', 0), (f, b'', 0x1000), (-100, b'l', 0), (-100, b'l', 0x100)):
    print(c.statx(a[0], a[1], a[2], 0xfff, b), struct.unpack_from('II', b.raw, 20), end=' ')
c.syscall.restype = ctypes.c_long
print(c.syscall(5, f, b), struct.unpack_from('II', b.raw, 28))",
    );
    assert_eq!(
        out,
        "(5, 6, 4) (5, 6, 4) (0, 0) (5, 6, 4) (5, 6, 4)\n(5, 6, 4) (5, 6, 4) (5, 6, 4)\n\
         0 (5, 6) 0 (5, 6) 0 (5, 6) 0 (0, 0) 0 (5, 6)\n"
    );
    Ok(())
}

fn signals_repeat_nothing(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, signal, stat
n = [0]
def tick(*a): n[0] += 1
signal.signal(signal.SIGALRM, tick); signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
bad = 0
for i in range(2000):
    try: os.mknod('/tmp/n', stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except FileExistsError: bad += 1
    os.unlink('/tmp/n')
signal.setitimer(signal.ITIMER_REAL, 0)
print(bad, n[0] > 100)",
    );
    assert_eq!(out, "0 True\n");
    Ok(())
}
