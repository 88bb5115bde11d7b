//! From verdicts to a classic BPF program.
//!
//! Calls with equal verdicts and adjacent numbers become ranges, and the ranges a binary search tree:
//! some ten instructions for any call. Short matters twice: the kernel runs the filter for every
//! number once when it is installed (to learn which are always allowed), and then for the rest.

use std::borrow::Cow;

use super::profile::{Action, Arch, Condition, Operator, Profile, Rule, Verdict};
use crate::sys::seccomp::Instruction;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const IF_EQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_GT: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const IF_GE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Set in the number of an x32 call, which no distribution's kernel serves any more.
const X32_BIT: u32 = 0x4000_0000;

fn op(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// The program for callers of the native and compatible instruction sets; `profile` gives the rules
/// of each. Callers of any other set are killed.
pub(crate) fn compile<'a>(profile: impl Fn(Arch) -> Profile<'a>) -> Vec<Instruction> {
    compile_for(Arch::NATIVE, profile)
}

/// The same for the callers that another machine may have.
pub(super) fn compile_for<'a>(
    arches: &[Arch],
    profile: impl Fn(Arch) -> Profile<'a>,
) -> Vec<Instruction> {
    let mut program = vec![op(LOAD, ARCH)];
    for &arch in arches {
        let section = section(&profile(arch), arch);
        program.push(Instruction {
            jt: 1,
            ..op(IF_EQ, arch.audit())
        });
        program.push(op(JUMP, section.len() as u32));
        program.extend(section);
    }
    program.push(op(RETURN, Action::KillProcess.value()));
    program
}

fn section(profile: &Profile<'_>, arch: Arch) -> Vec<Instruction> {
    let default = Verdict::Always(profile.default);
    // Beyond the newest call of the profile a program must see "no such call", not "forbidden".
    let unknown = match profile.default {
        Action::Errno(_) => Verdict::Always(Action::Errno(libc::ENOSYS as u16)),
        _ => default.clone(),
    };
    let mut ranges: Vec<(u32, &Verdict<'_>)> = Vec::new();
    let mut push = |start: u32, verdict| match ranges.last() {
        Some((_, last)) if *last == verdict => {}
        _ => ranges.push((start, verdict)),
    };
    let verdicts = profile.verdicts(arch);
    let mut next = 0;
    for (number, verdict) in &verdicts {
        if *number > next {
            push(next, &default);
        }
        push(*number, verdict);
        next = number + 1;
    }
    push(
        next,
        if verdicts.is_empty() {
            &default
        } else {
            &unknown
        },
    );
    if arch == Arch::X86_64 {
        push(X32_BIT, &unknown);
    }
    let mut code = Backwards::default();
    let entry = code.tree(&ranges, profile.default);
    code.fall_into(entry);
    code.0.push(op(LOAD, NUMBER));
    code.0.reverse();
    code.0
}

/// A program under construction from its end to its start, so that every jump, which can only lead
/// forward, knows its target: the index of an instruction counted from the end.
#[derive(Default)]
struct Backwards(Vec<Instruction>);

impl Backwards {
    fn push(&mut self, i: Instruction) -> usize {
        self.0.push(i);
        self.0.len() - 1
    }

    /// How far the next instruction would have to jump.
    fn distance(&self, target: usize) -> usize {
        self.0.len() - 1 - target
    }

    /// The next instruction is to be followed by `target`.
    fn fall_into(&mut self, target: usize) {
        if self.distance(target) > 0 {
            self.push(op(JUMP, self.distance(target) as u32));
        }
    }

    /// Conditional jumps reach 255 instructions, unconditional ones any distance.
    fn near(&mut self, target: usize) -> usize {
        // One more may still be put between.
        if self.distance(target) < 255 {
            return target;
        }
        self.push(op(JUMP, self.distance(target) as u32))
    }

    /// A shared return: one an action.
    fn ret(&mut self, action: Action) -> usize {
        let ret = op(RETURN, action.value());
        match self.0.iter().rposition(|i| *i == ret) {
            Some(index) => index,
            None => self.push(ret),
        }
    }

    /// A binary search over ranges, each given by its first number; the first starts at 0.
    fn tree(&mut self, ranges: &[(u32, &Verdict<'_>)], default: Action) -> usize {
        match ranges {
            [] => self.ret(default),
            [(_, Verdict::Always(action))] => self.ret(*action),
            [(_, Verdict::Ask(rules))] => {
                let code = ask(rules, default);
                code.into_iter().rev().for_each(|i| self.0.push(i));
                self.0.len() - 1
            }
            _ => {
                let (left, right) = ranges.split_at(ranges.len() / 2);
                let (less, more) = (self.tree(left, default), self.tree(right, default));
                let (less, more) = (self.near(less), self.near(more));
                let branch = Instruction {
                    jt: self.distance(more) as u8,
                    jf: self.distance(less) as u8,
                    ..op(IF_GE, right[0].0)
                };
                self.push(branch)
            }
        }
    }
}

/// The first rule that holds decides.
fn ask(rules: &[Cow<'_, Rule<'_>>], default: Action) -> Vec<Instruction> {
    let mut out = Vec::new();
    for rule in rules {
        // Each condition falls through when it holds and else skips to the next rule.
        let blocks: Vec<Vec<Instruction>> = rule.conditions.iter().map(|c| condition(*c)).collect();
        let mut after: usize = blocks.iter().map(Vec::len).sum::<usize>() + 1;
        for instruction in blocks.into_iter().flatten() {
            after -= 1;
            out.push(resolve(instruction, after));
        }
        out.push(op(RETURN, rule.action.value()));
    }
    out.push(op(RETURN, default.value()));
    out
}

/// Placeholder jump target: the end of the rule.
const FAIL: u8 = u8::MAX;

/// Replace the placeholder by the distance to the instruction after the rule. At most six conditions
/// of seven instructions each: the distance fits.
fn resolve(i: Instruction, after: usize) -> Instruction {
    let target = |j: u8| if j == FAIL { after as u8 } else { j };
    if i.code & 0x07 == 0x05 && i.code != JUMP {
        Instruction {
            jt: target(i.jt),
            jf: target(i.jf),
            ..i
        }
    } else {
        i
    }
}

/// Compare a 64-bit argument in two halves, high first: fall through if the condition holds, else
/// jump to FAIL.
fn condition(c: Condition) -> Vec<Instruction> {
    let low = ARGUMENTS + 8 * u32::from(c.argument);
    let (value, mask) = (c.value & c.mask, c.mask);
    let half = |offset: u32, mask: u32| {
        let mut v = vec![op(LOAD, offset)];
        if mask != u32::MAX {
            v.push(op(AND, mask));
        }
        v
    };
    let branch = |code, k: u64, jt, jf| Instruction {
        jt,
        jf,
        ..op(code, k as u32)
    };
    let (value_high, value_low) = (value >> 32, value & 0xffff_ffff);
    let high_half = half(low + 4, (mask >> 32) as u32);
    let low_half = half(low, mask as u32);
    let skip_low = low_half.len() as u8;
    // What is masked away needs no look.
    if c.operator == Operator::Equal && mask >> 32 == 0 {
        let mut out = low_half;
        out.push(branch(IF_EQ, value_low, 0, FAIL));
        return out;
    }
    let mut out = high_half;
    match c.operator {
        Operator::Equal => {
            out.push(branch(IF_EQ, value_high, 0, FAIL));
            out.extend(low_half);
            out.push(branch(IF_EQ, value_low, 0, FAIL));
        }
        Operator::NotEqual => {
            out.push(branch(IF_EQ, value_high, 0, skip_low + 1));
            out.extend(low_half);
            out.push(branch(IF_EQ, value_low, FAIL, 0));
        }
        // A high half that is greater decides at once; one that is not equal then is less.
        Operator::Greater | Operator::GreaterOrEqual => {
            out.push(branch(IF_GT, value_high, skip_low + 2, 0));
            out.push(branch(IF_EQ, value_high, 0, FAIL));
            out.extend(low_half);
            let code = if c.operator == Operator::Greater {
                IF_GT
            } else {
                IF_GE
            };
            out.push(branch(code, value_low, 0, FAIL));
        }
        Operator::Less | Operator::LessOrEqual => {
            out.push(branch(IF_GT, value_high, FAIL, 0));
            out.push(branch(IF_EQ, value_high, 0, skip_low + 1));
            out.extend(low_half);
            let code = if c.operator == Operator::Less {
                IF_GE
            } else {
                IF_GT
            };
            out.push(branch(code, value_low, FAIL, 0));
        }
    }
    out
}

#[cfg(test)]
mod tests {
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
}
