//! The stub that [`exec`](super::exec) runs first: a complete ELF program of a few hundred bytes that
//! marks its report descriptor close-on-exec, executes the real program with its own argv and envp,
//! and reports the errno if that fails. elf(5), execve(2).

use std::ffi::CStr;

/// Where the single segment is mapped: any page-aligned place that is free in an empty process.
const BASE: u64 = 0x40_0000;
const HEADER: usize = 64 + 2 * 56;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

// On entry the stack holds argc, argv[0..argc], 0, envp[0..], 0. The code is position-independent and
// reads what follows it in the file: first the descriptor (4 bytes, then 4 of padding), then the path.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.coracle_stub, \"a\"",
    ".balign 16",
    "coracle_stub_start:",
    "mov edi, dword ptr [rip + coracle_stub_end]", // fcntl(fd, F_SETFD, FD_CLOEXEC)
    "mov esi, 2",
    "mov edx, 1",
    "mov eax, 72",
    "syscall",
    "test eax, eax", // never execute with the descriptor left open
    "js 2f",
    "lea rdi, [rip + coracle_stub_end + 8]", // execve(path, argv, envp)
    "lea rsi, [rsp + 8]",
    "mov rcx, qword ptr [rsp]",
    "lea rdx, [rsp + rcx*8 + 16]",
    "mov eax, 59",
    "syscall",
    "2:",
    "neg eax", // write(fd, &errno, 4)
    "push rax",
    "mov edi, dword ptr [rip + coracle_stub_end]",
    "mov rsi, rsp",
    "mov edx, 4",
    "mov eax, 1",
    "syscall",
    "mov edi, 127", // exit_group(127)
    "mov eax, 231",
    "syscall",
    "ud2",
    ".balign 8",
    "coracle_stub_end:",
    ".quad 0", // so that the symbol lies inside the section
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .rodata.coracle_stub, \"a\"",
    ".balign 16",
    "coracle_stub_start:",
    "adr x20, coracle_stub_end",
    "ldr w0, [x20]", // fcntl(fd, F_SETFD, FD_CLOEXEC)
    "mov x1, #2",
    "mov x2, #1",
    "mov x8, #25",
    "svc #0",
    "tbnz x0, #63, 2f",
    "add x0, x20, #8", // execve(path, argv, envp)
    "add x1, sp, #8",
    "ldr x3, [sp]",
    "add x2, sp, x3, lsl #3",
    "add x2, x2, #16",
    "mov x8, #221",
    "svc #0",
    "2:",
    "neg w0, w0", // write(fd, &errno, 4)
    "str x0, [sp, #-16]!",
    "ldr w0, [x20]",
    "mov x1, sp",
    "mov x2, #4",
    "mov x8, #64",
    "svc #0",
    "mov x0, #127", // exit_group(127)
    "mov x8, #94",
    "svc #0",
    "brk #0",
    ".balign 8",
    "coracle_stub_end:",
    ".quad 0",
    ".popsection",
);

unsafe extern "C" {
    static coracle_stub_start: u8;
    static coracle_stub_end: u8;
}

fn code() -> &'static [u8] {
    let start = &raw const coracle_stub_start;
    let end = &raw const coracle_stub_end;
    // SAFETY: both symbols bound one read-only object that the assembler laid out above, end after
    // start, and it lives as long as the program.
    unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// The bytes of the program: ELF header, one loadable segment, a non-executable stack, code, data.
pub(super) fn image(path: &CStr, report: i32) -> Vec<u8> {
    let code = code();
    let path = path.to_bytes_with_nul();
    let size = (HEADER + code.len() + 8 + path.len()) as u64;
    let mut out = Vec::with_capacity(size as usize);
    // e_ident: class 64, little-endian, version 1
    out.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.extend_from_slice(&2u16.to_le_bytes()); // ET_EXEC
    out.extend_from_slice(&MACHINE.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&(BASE + HEADER as u64).to_le_bytes()); // e_entry
    out.extend_from_slice(&64u64.to_le_bytes()); // e_phoff
    out.extend_from_slice(&[0; 12]); // e_shoff, e_flags
    for half in [64u16, 56, 2, 64, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes()); // sizes and counts
    }
    let mut segment = |kind: u32, flags: u32, address: u64, size: u64, align: u64| {
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        for word in [0, address, address, size, size, align] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    };
    segment(1, 5, BASE, size, 0x1_0000); // PT_LOAD, read and execute
    segment(0x6474_e551, 6, 0, 0, 16); // PT_GNU_STACK, read and write
    out.extend_from_slice(code);
    out.extend_from_slice(&report.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(path);
    out
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::process::{Command, Stdio};

    /// Runs the stub as a file, with stdout as its report descriptor.
    fn run(path: &std::ffi::CStr, args: &[&str]) -> (Option<i32>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("stub");
        // A duplicate of stderr is the report: stdout must survive exec for the test to see it.
        let mut f = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(&file)
            .unwrap();
        f.write_all(&super::image(path, 2)).unwrap();
        drop(f);
        let mut command = Command::new(&file);
        command
            .args(args)
            .env_clear()
            .env("SEEN", "yes")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // What another test forked while the file was open for writing has it open until it executes.
        let mut child = loop {
            match command.spawn() {
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                child => break child.unwrap(),
            }
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        child.stderr.take().unwrap().read_to_end(&mut err).unwrap();
        out.extend(err);
        (child.wait().unwrap().code(), out)
    }

    #[test]
    fn arguments_and_environment_arrive() {
        let (code, out) = run(c"/bin/sh", &["-c", "echo $SEEN $1; exit 7", "sh", "x y"]);
        assert_eq!((code, out.as_slice()), (Some(7), &b"yes x y\n"[..]));
    }

    #[test]
    fn failure_is_reported_as_errno() {
        for (path, errno) in [
            (c"/nonexistent", libc::ENOENT),
            (c"/etc/passwd", libc::EACCES),
        ] {
            let (code, out) = run(path, &[]);
            assert_eq!((code, out), (Some(127), errno.to_ne_bytes().to_vec()));
        }
    }

    #[test]
    fn the_report_descriptor_does_not_survive() {
        let (_, out) = run(c"/bin/sh", &["-c", "echo x >&2"]);
        assert!(!out.contains(&b'x'), "{}", String::from_utf8_lossy(&out));
    }
}
