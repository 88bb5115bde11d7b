//! A seccomp profile as data: rules by system call name, for one architecture at a time.
//! OCI runtime-spec, config-linux.md "Seccomp"; seccomp_rule_add(3) for what several rules for one
//! call mean.

use std::borrow::Cow;

/// Instruction sets whose callers a filter tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    X86,
    Aarch64,
}

impl Arch {
    /// What a kernel on this machine may run: the native set first.
    pub(crate) const NATIVE: &'static [Self] = if cfg!(target_arch = "x86_64") {
        &[Self::X86_64, Self::X86]
    } else {
        &[Self::Aarch64]
    };

    /// `AUDIT_ARCH_*` of linux/audit.h.
    pub(crate) fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Every system call of this set: number and name, ascending by number.
    pub(crate) fn syscalls(self) -> Vec<(u32, &'static str)> {
        match self {
            Self::X86_64 => syscalls::x86_64::Sysno::iter()
                .map(|s| (s.id() as u32, s.name()))
                .collect(),
            Self::X86 => syscalls::x86::Sysno::iter()
                .map(|s| (s.id() as u32, s.name()))
                .collect(),
            Self::Aarch64 => syscalls::aarch64::Sysno::iter()
                .map(|s| (s.id() as u32, s.name()))
                .collect(),
        }
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Log,
    Trap,
    Errno(u16),
    KillThread,
    KillProcess,
    Trace(u16),
    /// Ask the supervisor.
    Notify,
}

impl Action {
    /// The filter's return value, `SECCOMP_RET_*` of seccomp(2).
    pub(crate) fn value(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Log => 0x7ffc_0000,
            Self::Trap => 0x0003_0000,
            Self::Errno(e) => 0x0005_0000 | u32::from(e),
            Self::KillThread => 0,
            Self::KillProcess => 0x8000_0000,
            Self::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Self::Notify => 0x7fc0_0000,
        }
    }
}

/// Comparison of a 64-bit argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

/// `(argument & mask) operator value`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub argument: u8,
    pub mask: u64,
    pub operator: Operator,
    pub value: u64,
}

impl Condition {
    pub(crate) fn new(argument: u8, operator: Operator, value: u64) -> Self {
        Self {
            argument,
            mask: u64::MAX,
            operator,
            value,
        }
    }

    pub(crate) fn masked(argument: u8, mask: u64, value: u64) -> Self {
        Self {
            argument,
            mask,
            operator: Operator::Equal,
            value,
        }
    }
}

/// One rule: all conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule<'a> {
    pub name: &'a str,
    pub action: Action,
    pub conditions: Vec<Condition>,
}

impl<'a> Rule<'a> {
    pub(crate) fn always(name: &'a str, action: Action) -> Self {
        Self {
            name,
            action,
            conditions: Vec::new(),
        }
    }

    pub(crate) fn when(name: &'a str, action: Action, condition: Condition) -> Self {
        Self {
            name,
            action,
            conditions: vec![condition],
        }
    }
}

impl Rule<'_> {
    /// The kernel takes the lower halves of the registers of a 32-bit caller, and so must the conditions: by
    /// `int $0x80` a program of 64 bits can have anything in the upper ones.
    fn seen_by(&self, arch: Arch) -> Cow<'_, Self> {
        if arch != Arch::X86 {
            return Cow::Borrowed(self);
        }
        let lower = |c: &Condition| Condition {
            mask: c.mask & u64::from(u32::MAX),
            ..*c
        };
        Cow::Owned(Self {
            conditions: self.conditions.iter().map(lower).collect(),
            ..self.clone()
        })
    }
}

/// What a container may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile<'a> {
    /// For a call without a matching rule.
    pub default: Action,
    pub rules: Vec<Rule<'a>>,
    /// Instead of allowing it: the first rule that holds decides, before the profile's own. What the
    /// profile refuses stays refused.
    pub instead: Vec<Rule<'a>>,
}

/// What to do with one system call number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    Always(Action),
    /// The first rule that holds decides, else the profile's default.
    Ask(Vec<Cow<'a, Rule<'a>>>),
}

impl<'a> Profile<'a> {
    /// A profile by itself.
    pub(crate) fn new(default: Action, rules: Vec<Rule<'a>>) -> Self {
        Self {
            default,
            rules,
            instead: Vec::new(),
        }
    }

    /// Verdicts for the calls that have rules, ascending by number; names that this instruction set
    /// lacks are left out, as libseccomp does. A rule without conditions beats those with.
    pub(crate) fn verdicts(&self, arch: Arch) -> Vec<(u32, Verdict<'_>)> {
        let by_name = sorted(&self.rules);
        let instead = sorted(&self.instead);
        let mut out = Vec::with_capacity(by_name.len());
        for (number, name) in arch.syscalls() {
            let rules = named(&by_name, name);
            let instead = named(&instead, name);
            if rules.is_empty() && instead.is_empty() {
                continue;
            }
            let verdict = match rules.iter().find(|r| r.conditions.is_empty()) {
                Some(r) => Verdict::Always(r.action),
                None if rules.is_empty() => Verdict::Always(self.default),
                None => Verdict::Ask(rules.iter().map(|r| r.seen_by(arch)).collect()),
            };
            out.push((number, replaced(verdict, instead)));
        }
        out
    }
}

fn sorted<'r, 'a>(rules: &'r [Rule<'a>]) -> Vec<&'r Rule<'a>> {
    let mut by_name: Vec<&Rule<'_>> = rules.iter().collect();
    by_name.sort_by_key(|r| r.name);
    by_name
}

fn named<'s, 'r, 'a>(by_name: &'s [&'r Rule<'a>], name: &str) -> &'s [&'r Rule<'a>] {
    let start = by_name.partition_point(|r| r.name < name);
    let rest = &by_name[start..];
    &rest[..rest.partition_point(|r| r.name == name)]
}

/// Put other actions where a verdict is to allow.
fn replaced<'a>(verdict: Verdict<'a>, instead: &[&'a Rule<'a>]) -> Verdict<'a> {
    let allows = |action| matches!(action, Action::Allow | Action::Log);
    match verdict {
        Verdict::Always(action) if allows(action) && !instead.is_empty() => {
            let decided = instead.iter().position(|r| r.conditions.is_empty());
            if decided == Some(0) {
                return Verdict::Always(instead[0].action);
            }
            let before = decided.map_or(instead.len(), |last| last + 1);
            let mut rules: Vec<_> = instead[..before]
                .iter()
                .map(|r| Cow::Borrowed(*r))
                .collect();
            if decided.is_none() {
                rules.push(Cow::Owned(Rule::always(instead[0].name, action)));
            }
            Verdict::Ask(rules)
        }
        Verdict::Ask(rules) if !instead.is_empty() => {
            let mut all = Vec::new();
            for rule in rules {
                if allows(rule.action) {
                    // Both must hold.
                    all.extend(instead.iter().map(|i| {
                        let conditions = rule.conditions.iter().chain(&i.conditions);
                        Cow::Owned(Rule {
                            name: i.name,
                            action: i.action,
                            conditions: conditions.copied().collect(),
                        })
                    }));
                }
                all.push(rule);
            }
            Verdict::Ask(all)
        }
        verdict => verdict,
    }
}
