//! Calls of i386, which every x86_64 kernel has beside its own: they are asked about and refused as all others,
//! from a program of 64 bits as from one of 32.

use crate::harness::{Done, Env, Skip};

suite!(calls_of_i386_are_emulated_and_refused_as_others);

fn calls_of_i386_are_emulated_and_refused_as_others(e: &Env) -> Done {
    if cfg!(not(target_arch = "x86_64")) {
        return Err(Skip("not x86_64".to_owned()));
    }
    let out = e.python(&[], include_str!("i386.py"));
    let refused = "-1, -1, -1, -38, -1, -1, -1, -1, -1, -1";
    let want = |name: &str, fd: u32| {
        let root = format!("{fd}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0");
        format!(
            "{name} [{root}, 33, 33, 33, -1, -1, -1, {}, {refused}]\n\
             0o100644 5 70000 0\n0o120777 7 8 0\n0o20600 0 0 259\n33 33 0o100640\n",
            fd + 1
        )
    };
    let all = [
        want("interrupt", 3),
        want("rubbish", 3),
        want("program", 3),
        format!("native [{refused}]\nx32 -1 38\n"),
    ];
    assert_eq!(out, all.concat());
    Ok(())
}
