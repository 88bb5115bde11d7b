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
    let groups = rules.chunk_by(|a, b| are_values_of_one(a, b));
    for group in groups.flat_map(|g| g.chunks(VALUES_MAX)) {
        // Each condition falls through when it holds and else skips to the next rule.
        let block = match group {
            [one] => one.conditions.iter().flat_map(|c| condition(*c)).collect(),
            several => one_of(several),
        };
        let mut after = block.len() + 1;
        for instruction in block {
            after -= 1;
            out.push(resolve(instruction, after));
        }
        out.push(op(RETURN, group[0].action.value()));
    }
    out.push(op(RETURN, default.value()));
    out
}

/// Whether two rules do the same for two values of one argument: lists of commands and flags, the most
/// frequent ones, look at it once.
fn are_values_of_one(a: &Rule<'_>, b: &Rule<'_>) -> bool {
    match (&a.conditions[..], &b.conditions[..]) {
        ([a1], [b1]) => {
            let low = |c: &Condition| c.value & c.mask <= u64::from(u32::MAX);
            let equal = Operator::Equal;
            a.action == b.action
                && (a1.operator, b1.operator) == (equal, equal)
                && (a1.argument, a1.mask) == (b1.argument, b1.mask)
                && low(a1)
                && low(b1)
        }
        _ => false,
    }
}

/// Values that are compared in one go, so that all jumps are short.
const VALUES_MAX: usize = 128;

/// One look at an argument that may have one of several values: the first comparisons jump over the later
/// ones, the last falls through or fails.
fn one_of(rules: &[Cow<'_, Rule<'_>>]) -> Vec<Instruction> {
    let mut out = condition(rules[0].conditions[0]);
    out.pop();
    for (left, rule) in (0..rules.len()).rev().zip(rules) {
        let c = rule.conditions[0];
        out.push(Instruction {
            jt: left as u8,
            jf: if left == 0 { FAIL } else { 0 },
            ..op(IF_EQ, (c.value & c.mask) as u32)
        });
    }
    out
}

/// Placeholder jump target: the end of the rule.
const FAIL: u8 = u8::MAX;

/// Replace the placeholder by the distance to the instruction after the rule. At most six conditions
/// of seven instructions each, or as many values as a profile lists for one argument (see
/// [`VALUES_MAX`]): the distance fits.
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
    if mask >> 32 == 0 {
        let (code, when_true, when_false) = match c.operator {
            Operator::Equal => (IF_EQ, 0, FAIL),
            Operator::NotEqual => (IF_EQ, FAIL, 0),
            Operator::Greater => (IF_GT, 0, FAIL),
            Operator::GreaterOrEqual => (IF_GE, 0, FAIL),
            Operator::Less => (IF_GE, FAIL, 0),
            Operator::LessOrEqual => (IF_GT, FAIL, 0),
        };
        let mut out = low_half;
        out.push(branch(code, value_low, when_true, when_false));
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
mod tests;
