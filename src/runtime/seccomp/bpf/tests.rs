use super::*;

/// A machine for the instructions above, as the kernel would run them.
fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let load = |k: u32| match k {
        NUMBER => number,
        ARCH => arch,
        k => {
            let a = arguments[((k - ARGUMENTS) / 8) as usize];
            if (k - ARGUMENTS) % 8 == 4 {
                (a >> 32) as u32
            } else {
                a as u32
            }
        }
    };
    let (mut pc, mut a) = (0usize, 0u32);
    loop {
        let i = program[pc];
        pc += 1;
        let jump = |holds: bool| if holds { i.jt } else { i.jf } as usize;
        match i.code {
            LOAD => a = load(i.k),
            AND => a &= i.k,
            JUMP => pc += i.k as usize,
            IF_EQ => pc += jump(a == i.k),
            IF_GT => pc += jump(a > i.k),
            IF_GE => pc += jump(a >= i.k),
            RETURN => return i.k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

const A0: [u64; 6] = [0; 6];

fn native() -> Arch {
    Arch::NATIVE[0]
}

fn number(name: &str) -> u32 {
    let all = native().syscalls();
    all.iter().find(|(_, n)| *n == name).unwrap().0
}

proptest::proptest! {
    #[test]
    fn comparisons_are_those_of_64_bit_integers(
        argument: u64, value: u64, mask: u64, near: bool, which in 0usize..6, slot in 0u8..6
    ) {
        type Holds = fn(&u64, &u64) -> bool;
        let operators: [(Operator, Holds); 6] = [
            (Operator::NotEqual, u64::ne), (Operator::Less, u64::lt),
            (Operator::LessOrEqual, u64::le), (Operator::Equal, u64::eq),
            (Operator::GreaterOrEqual, u64::ge), (Operator::Greater, u64::gt),
        ];
        let (operator, holds) = operators[which];
        // Half of the time values that differ in few bits, where the edges are.
        let (value, mask) = if near { (argument ^ (value & 0x1_0000_0001), u64::MAX) } else { (value, mask) };
        let rule = Rule::when("read", Action::Allow, Condition { argument: slot, mask, operator, value });
        let program = compile(|_| Profile::new(Action::Errno(1), vec![rule.clone()]));
        let mut arguments = A0;
        arguments[slot as usize] = argument;
        let got = run(&program, native().audit(), number("read"), arguments);
        let want = if holds(&(argument & mask), &(value & mask)) { Action::Allow } else { Action::Errno(1) };
        proptest::prop_assert_eq!(got, want.value());
    }
}

#[test]
fn every_call_gets_the_verdict_of_its_rules() {
    // Every third call allowed: the worst case for ranges, and jumps beyond 255.
    for &arch in Arch::NATIVE {
        let all = arch.syscalls();
        let allowed = |i: usize| i.is_multiple_of(3);
        let program = compile(|a| {
            Profile::new(
                Action::Errno(1),
                a.syscalls()
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| allowed(*i))
                    .map(|(_, (_, name))| Rule::always(name, Action::Allow))
                    .collect(),
            )
        });
        for (i, (number, name)) in all.iter().enumerate() {
            let got = run(&program, arch.audit(), *number, A0);
            let last_allowed = (all.len() - 1) / 3 * 3;
            let want = match i {
                _ if allowed(i) => Action::Allow,
                _ if i > last_allowed => Action::Errno(libc::ENOSYS as u16),
                _ => Action::Errno(1),
            };
            assert_eq!(got, want.value(), "{name}");
        }
    }
}

#[test]
fn foreign_callers_do_not_pass() {
    let program =
        compile(|_| Profile::new(Action::Errno(1), vec![Rule::always("read", Action::Allow)]));
    assert_eq!(
        run(&program, 0xc000_0015, 0, A0),
        Action::KillProcess.value()
    );
    if native() == Arch::X86_64 {
        let x32 = run(&program, native().audit(), X32_BIT | number("read"), A0);
        assert_eq!(x32, Action::Errno(libc::ENOSYS as u16).value());
    }
}

#[test]
fn the_first_of_several_conditional_rules_that_holds_decides() {
    let rules = vec![
        Rule::when("read", Action::Allow, Condition::new(0, Operator::Less, 38)),
        Rule::when(
            "read",
            Action::Allow,
            Condition::new(0, Operator::Equal, 39),
        ),
        Rule::when(
            "read",
            Action::Errno(5),
            Condition::new(0, Operator::Greater, 40),
        ),
    ];
    let program = compile(|_| Profile::new(Action::Errno(1), rules.clone()));
    for (a, want) in [
        (0, Action::Allow),
        (37, Action::Allow),
        (38, Action::Errno(1)),
        (39, Action::Allow),
        (40, Action::Errno(1)),
        (41, Action::Errno(5)),
        (u64::MAX, Action::Errno(5)),
    ] {
        assert_eq!(
            run(
                &program,
                native().audit(),
                number("read"),
                [a, 0, 0, 0, 0, 0]
            ),
            want.value(),
            "{a}"
        );
    }
}

#[test]
fn values_of_one_argument_share_a_look() {
    let values: Vec<u64> = (0..300).map(|v| v * 7).collect();
    let rules = || {
        let is = |v: &u64| Condition::new(1, Operator::Equal, *v);
        let high = Condition::new(1, Operator::Equal, 7 << 32);
        let all = values.iter().map(is).chain([high]);
        all.map(|c| Rule::when("read", Action::Allow, c)).collect()
    };
    for &arch in Arch::NATIVE {
        let program = compile(|_| Profile::new(Action::Errno(1), rules()));
        let read = arch
            .syscalls()
            .iter()
            .find(|(_, n)| *n == "read")
            .unwrap()
            .0;
        let ask = |value: u64| run(&program, arch.audit(), read, [0, value, 0, 0, 0, 0]);
        for v in 0..2200 {
            let want = if values.contains(&v) {
                Action::Allow
            } else {
                Action::Errno(1)
            };
            assert_eq!(ask(v), want.value(), "{v}");
        }
        assert_eq!(ask(7 << 32), Action::Allow.value());
        if arch != Arch::X86 {
            assert_eq!(ask(8 << 32), Action::Errno(1).value());
        }
    }
    let one = |n: u64| Rule::when("read", Action::Allow, Condition::new(1, Operator::Equal, n));
    let length = |n| compile(|_| Profile::new(Action::Errno(1), (0..n).map(one).collect())).len();
    assert_eq!(length(10) - length(9), Arch::NATIVE.len());
}

/// By `int $0x80` a program of 64 bits makes calls of i386 with whatever it likes in the upper halves,
/// and the kernel looks at the lower ones only.
#[test]
fn upper_halves_of_i386_count_for_nothing() {
    if native() != Arch::X86_64 {
        return;
    }
    let only = |c| Profile::new(Action::Errno(1), vec![Rule::when("read", Action::Allow, c)]);
    let read = Arch::X86
        .syscalls()
        .iter()
        .find(|(_, n)| *n == "read")
        .unwrap()
        .0;
    for (operator, value, refused) in [
        (Operator::Greater, 38, 38),
        (Operator::GreaterOrEqual, 38, 37),
        (Operator::NotEqual, 38, 38),
    ] {
        let program = compile(|_| only(Condition::new(0, operator, value)));
        for high in [0, 1 << 32, u64::MAX << 32] {
            let arguments = [high | refused, 0, 0, 0, 0, 0];
            let got = run(&program, Arch::X86.audit(), read, arguments);
            assert_eq!(got, Action::Errno(1).value(), "{operator:?} {high:#x}");
        }
    }
}

#[test]
fn what_is_allowed_is_asked_about_and_what_is_refused_stays_refused() {
    let notify = Action::Notify.value();
    let allow = Action::Allow.value();
    let refuse = Action::Errno(1).value();
    let creates = |argument| Condition::masked(argument, 0o100, 0o100);
    let profile = Profile {
        default: Action::Errno(1),
        rules: vec![
            Rule::always("openat", Action::Allow),
            Rule::always("fchownat", Action::Allow),
            Rule::when(
                "prctl",
                Action::Allow,
                Condition::new(0, Operator::Less, 30),
            ),
            Rule::when(
                "prctl",
                Action::Errno(7),
                Condition::new(0, Operator::Less, 40),
            ),
        ],
        instead: vec![
            Rule::when("openat", Action::Notify, creates(2)),
            Rule::always("fchownat", Action::Notify),
            Rule::always("setuid", Action::Notify),
            Rule::when(
                "prctl",
                Action::Notify,
                Condition::masked(0, 0xffff_ffff, 8),
            ),
            Rule::when(
                "prctl",
                Action::Notify,
                Condition::masked(0, 0xffff_ffff, 38),
            ),
        ],
    };
    let program = compile(|_| profile.clone());
    let answer = |name: &str, argument: usize, value: u64| {
        let mut arguments = A0;
        arguments[argument] = value;
        run(&program, native().audit(), number(name), arguments)
    };
    for (name, argument, value, want) in [
        ("openat", 2, 0, allow),
        ("openat", 2, 0o102, notify),
        // The upper half of an int's register is anybody's.
        ("openat", 2, 0xdead_0000_0000_0100 | 0o100, notify),
        ("fchownat", 0, 0, notify),
        ("setuid", 0, 0, refuse),
        ("prctl", 0, 8, notify),
        ("prctl", 0, 9, allow),
        ("prctl", 0, 38, Action::Errno(7).value()),
        ("prctl", 0, 50, refuse),
    ] {
        assert_eq!(answer(name, argument, value), want, "{name} {value:#x}");
    }
    // Where the profile allows by default, so does the merged one, but for these.
    let open = compile(|_| Profile {
        default: Action::Allow,
        rules: Vec::new(),
        ..profile.clone()
    });
    let arch = native().audit();
    for (name, want) in [("setuid", notify), ("read", allow), ("openat", allow)] {
        assert_eq!(run(&open, arch, number(name), A0), want, "{name}");
    }
}
