//! Which devices a group may use: a small program for the kernel, since version 2 has no file for it. The rules are
//! those of the runtime-spec, the last that fits decides, and what none fits is refused. bpf(2), and the kernel's
//! admin-guide/cgroup-v2.rst "Device controller".
//!
//! It is made for root of the machine alone: elsewhere the kernel lets nobody make a device in the first place.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Deserialize;
use serde_json::Value;

use crate::sys::bpf::{self, Instruction};

/// `BPF_DEVCG_*`: kinds, and what may be done.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ALL: i32 = MKNOD | READ | WRITE;

/// Devices that each container has (runtime-spec, "Default Devices", and its terminals): kind, major and minor.
const USUAL: [(i32, i64, i64); 10] = [
    (CHARACTER, 1, 3),
    (CHARACTER, 1, 5),
    (CHARACTER, 1, 7),
    (CHARACTER, 1, 8),
    (CHARACTER, 1, 9),
    (CHARACTER, 5, 0),
    (CHARACTER, 5, 1),
    (CHARACTER, 5, 2),
    (CHARACTER, 136, -1),
    (CHARACTER, 10, 200),
];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    allow: bool,
    #[serde(rename = "type")]
    kind: String,
    major: Option<i64>,
    minor: Option<i64>,
    access: String,
}

/// One rule, as the kernel counts. -1 is any.
#[derive(Clone, Copy, Debug)]
struct Decided {
    allow: bool,
    kind: i32,
    major: i64,
    minor: i64,
    access: i32,
}

/// What the configuration says; `None` if it says nothing.
pub(super) fn program(
    resources: Option<&Value>,
) -> Result<Option<Vec<Instruction>>, serde_json::Error> {
    let list = resources.and_then(|r| r.get("devices")).cloned();
    let rules: Vec<Rule> = match list {
        Some(list) => serde_json::from_value(list)?,
        None => return Ok(None),
    };
    if rules.is_empty() {
        return Ok(None);
    }
    let mut decided: Vec<Decided> = rules.iter().map(decide).collect();
    // To make a node alone harms nobody: it is the opening that is decided on.
    for kind in [BLOCK, CHARACTER] {
        decided.push(Decided {
            allow: true,
            kind,
            major: -1,
            minor: -1,
            access: MKNOD,
        });
    }
    decided.extend(USUAL.map(|(kind, major, minor)| Decided {
        allow: true,
        kind,
        major,
        minor,
        access: ALL,
    }));
    Ok(Some(compile(&decided)))
}

fn decide(rule: &Rule) -> Decided {
    let bit = |c| match c {
        'r' => READ,
        'w' => WRITE,
        'm' => MKNOD,
        _ => 0,
    };
    let access = rule.access.chars().map(bit).fold(0, |all, b| all | b);
    Decided {
        allow: rule.allow,
        kind: match rule.kind.as_str() {
            "b" => BLOCK,
            "c" | "u" => CHARACTER,
            _ => -1,
        },
        major: rule.major.unwrap_or(-1),
        minor: rule.minor.unwrap_or(-1),
        access: if access == 0 { ALL } else { access },
    }
}

/// Put it on a group.
pub(super) fn attach(group: &Path, program: &[Instruction]) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, group, flags, Mode::empty())?;
    bpf::attach_device_filter(&dir, program)
}

/// Registers: 2 kind, 3 access, 4 major, 5 minor of who asks; 6 to compute with.
fn compile(rules: &[Decided]) -> Vec<Instruction> {
    use bpf::{and, exit, jump_if_equal, jump_if_not, load, mov, mov_from, shift_right};
    let mut program = vec![
        load(2, 1, 0),
        mov_from(3, 2),
        and(2, 0xffff),
        shift_right(3, 16),
        load(4, 1, 4),
        load(5, 1, 8),
    ];
    // The last one first: it decides.
    for rule in rules.iter().rev() {
        let mut tests = Vec::new();
        if rule.kind >= 0 {
            tests.push(jump_if_not(2, rule.kind));
        }
        if rule.access != ALL {
            tests.push(mov_from(6, 3));
            if rule.allow {
                // All that is asked for, or it is not allowed by this one.
                tests.push(and(6, !rule.access & ALL));
                tests.push(jump_if_not(6, 0));
            } else {
                tests.push(and(6, rule.access));
                tests.push(jump_if_equal(6, 0));
            }
        }
        for (register, number) in [(4, rule.major), (5, rule.minor)] {
            if let Ok(number) = i32::try_from(number)
                && number >= 0
            {
                tests.push(jump_if_not(register, number));
            }
        }
        let length = tests.len();
        for (at, mut test) in tests.into_iter().enumerate() {
            if test.is_jump() {
                // Over the rest of the tests and the answer.
                test.offset = i16::try_from(length - at - 1 + 2).unwrap_or(i16::MAX);
            }
            program.push(test);
        }
        program.push(mov(0, i32::from(rule.allow)));
        program.push(exit());
        if length == 0 {
            // It fits always, and the kernel takes no program with a part that is never reached.
            return program;
        }
    }
    program.push(mov(0, 0));
    program.push(exit());
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The few instructions that are used, run here.
    fn ask(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0i64; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            let (to, from) = ((i.registers & 15) as usize, (i.registers >> 4) as usize);
            at += 1;
            match i.code {
                0x61 => r[to] = i64::from(context[i.offset as usize / 4]),
                0xbf => r[to] = r[from],
                0xb7 => r[to] = i64::from(i.immediate),
                0x57 => r[to] &= i64::from(i.immediate),
                0x77 => r[to] >>= i.immediate,
                0x15 if r[to] == i64::from(i.immediate) => at += i.offset as usize,
                0x55 if r[to] != i64::from(i.immediate) => at += i.offset as usize,
                0x15 | 0x55 => {}
                0x95 => return r[0] == 1,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        let json = serde_json::json!({ "devices": [
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
            { "allow": true, "type": "b", "major": 8, "access": "r" },
            { "allow": false, "type": "b", "major": 8, "minor": 1, "access": "r" },
        ] });
        let p = program(Some(&json)).unwrap().unwrap();
        for (what, want) in [
            ((CHARACTER, READ | WRITE, 10, 229), true),
            ((CHARACTER, READ | WRITE | MKNOD, 10, 229), false),
            ((CHARACTER, READ, 10, 228), false),
            ((BLOCK, READ, 8, 0), true),
            ((BLOCK, WRITE, 8, 0), false),
            ((BLOCK, READ, 8, 1), false),
            ((BLOCK, MKNOD, 8, 1), true),
            ((BLOCK, MKNOD | READ, 7, 1), false),
            ((CHARACTER, ALL, 1, 3), true),
            ((CHARACTER, ALL, 136, 44), true),
        ] {
            let (kind, access, major, minor) = what;
            assert_eq!(ask(&p, kind, access, major, minor), want, "{what:?}");
        }
        assert!(
            program(Some(&serde_json::json!({ "devices": [] })))
                .unwrap()
                .is_none()
        );
    }
}
