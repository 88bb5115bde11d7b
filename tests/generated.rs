//! What is made from the definition of the command line: man pages and completions.
//!
//! A page is `man/src/NAME.roff` (prose, by hand) with title, name, synopsis and options made from
//! clap. `man/NAME.1` is committed; it fails here when it is stale, and `scripts/update-generated`
//! writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap_mangen::Man;

/// Where the options go, in the prose.
const OPTIONS: &str = ".\\\" OPTIONS\n";
/// Where the list of verbs goes, in the prose of coracle(1).
const COMMANDS: &str = ".\\\" COMMANDS\n";
/// Sections that a page must have.
const SECTIONS: [&str; 6] = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "EXIT STATUS",
    "SEE ALSO",
];
/// Options in the prose that are not ours: docker's, for which we say what there is instead, and other
/// programs'.
const FOREIGN: [&str; 28] = [
    "--cgroups",
    "--runc-binary",
    "--runtime",
    "--cpus",
    "--detach",
    "--gpus",
    "--health-cmd",
    "--memory",
    "--pids-limit",
    "--publish",
    "--restart",
    "--volumes-from",
    "--cgroup-parent",
    "--device-cgroup-rule",
    "--security-opt",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include",
    // Of instructions.
    "--chmod",
    "--chown",
    "--exclude",
    "--from",
    "--link",
    "--parents",
    "--retries",
    "--security",
    "--start-interval",
    "--start-period",
];

fn man_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man")
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some_and(|v| v != "0" && !v.is_empty())
}

/// The program, its verbs and the verbs of its nouns, each with the name of its page. A noun's verb that is
/// also a verb of its own (`image ls` is `images`) has no page but that.
fn commands() -> Vec<(String, clap::Command)> {
    let mut root = coracle::cli::command();
    root.build();
    let mut all = vec![("coracle".to_owned(), root.clone())];
    for verb in shown(&root) {
        let name = format!("coracle-{}", verb.get_name());
        for below in shown(verb) {
            if page_of(&root, verb, below).is_none() {
                all.push((format!("{name}-{}", below.get_name()), below.clone()));
            }
        }
        all.push((name, verb.clone()));
    }
    all
}

fn shown(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    let visible = |c: &&clap::Command| !c.is_hide_set() && c.get_name() != "help";
    command.get_subcommands().filter(visible)
}

/// The page of the verb that `below`, a verb of `noun`, is another name for: the one with the same words.
fn page_of(root: &clap::Command, noun: &clap::Command, below: &clap::Command) -> Option<String> {
    let about = |c: &clap::Command| c.get_about().map(ToString::to_string);
    let twin = shown(root).find(|c| c.get_name() != noun.get_name() && about(c) == about(below));
    twin.map(|c| format!("coracle-{}", c.get_name()))
}

fn prose(name: &str) -> Option<String> {
    fs::read_to_string(man_dir().join(format!("src/{name}.roff"))).ok()
}

/// A page. Without prose it says what `--help` says.
fn page(name: &str, command: &clap::Command) -> String {
    let prose = prose(name).unwrap_or_else(|| {
        let about = command
            .get_long_about()
            .or(command.get_about())
            .map(ToString::to_string);
        let about = escape(&about.unwrap_or_default());
        format!(".SH DESCRIPTION\n{about}\n{OPTIONS}.SH SEE ALSO\n.BR coracle (1)\n")
    });
    assert_eq!(
        prose.matches(OPTIONS).count(),
        1,
        "{name}: where the options go"
    );
    let about = command.get_about().map(ToString::to_string);
    let head = format!(
        ".\\\" Made by scripts/update-generated from man/src/{name}.roff and src/cli: do not edit.\n\
         .ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n\
         .TH {} 1 \"\" \"coracle {}\" \"Coracle manual\"\n.nh\n.ad l\n\
         .SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}\n",
        escape(&name.to_uppercase()),
        env!("CARGO_PKG_VERSION"),
        escape(name),
        escape(&about.unwrap_or_default()),
        synopsis(command),
    );
    let page = head + &prose.replace(OPTIONS, &options(command));
    page.replace(COMMANDS, &verbs(name, command))
}

/// The usage line in the fonts of man-pages(7): what is typed bold, what stands for something italic.
fn synopsis(command: &clap::Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let name = command.get_bin_name().unwrap_or_default();
    let mut out = format!("\\fB{}\\fR", escape(name));
    let placeholder = |c: char| c.is_ascii_uppercase() || c == '_';
    let mut rest = usage.strip_prefix(name).unwrap_or(usage);
    while let Some(c) = rest.chars().next() {
        let length = rest.find(|c| !placeholder(c)).unwrap_or(rest.len());
        if length > 0 {
            out += &format!("\\fI{}\\fR", &rest[..length]);
            rest = &rest[length..];
        } else {
            if !matches!(c, '<' | '>') {
                out += &escape(&c.to_string());
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// clap_mangen's OPTIONS, with the headings of `--help` as subsections. Positional arguments are in
/// the synopsis and explained by the prose.
fn options(command: &clap::Command) -> String {
    let headings: BTreeSet<String> = command
        .get_arguments()
        .filter_map(|a| a.get_help_heading().map(str::to_owned))
        .collect();
    let command = command
        .clone()
        .mut_args(|a| if a.is_positional() { a.hide(true) } else { a });
    let mut text = Vec::new();
    Man::new(command)
        .render_options_section(&mut text)
        .expect("a vector can be written to");
    let mut text = String::from_utf8(text).expect("it is text");
    for heading in headings {
        let upper = heading.to_uppercase();
        for section in [format!(".SH \"{upper}\"\n"), format!(".SH {upper}\n")] {
            text = text.replace(&section, &format!(".SS {heading}\n"));
        }
    }
    // The definition of the apostrophe that comes first is in the head of the page.
    let start = text.find(".SH OPTIONS").unwrap_or(0);
    text.split_off(start)
}

fn verbs(name: &str, command: &clap::Command) -> String {
    let root = coracle::cli::command();
    shown(command)
        .map(|c| {
            let about = c.get_about().map(ToString::to_string).unwrap_or_default();
            let about = escape(&about);
            let own = format!("{name}-{}", c.get_name());
            match name {
                "coracle" => format!(".TP\n.BR {} (1)\n{about}\n", escape(&own)),
                _ => {
                    let page = page_of(&root, command, c).unwrap_or(own);
                    let (verb, page) = (escape(c.get_name()), escape(&page));
                    format!(".TP\n.B {verb}\n{about}:\n.BR {page} (1)\n")
                }
            }
        })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn pages() -> BTreeMap<PathBuf, String> {
    commands()
        .iter()
        .map(|(name, c)| (man_dir().join(format!("{name}.1")), page(name, c)))
        .collect()
}

fn files(dir: &Path, extension: &str) -> BTreeSet<PathBuf> {
    fs::read_dir(dir)
        .expect("man can be read")
        .map(|e| e.expect("man can be read").path())
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect()
}

#[test]
fn man_pages_are_fresh() {
    let pages = pages();
    let strays: Vec<PathBuf> = files(&man_dir(), "1")
        .into_iter()
        .filter(|f| !pages.contains_key(f))
        .collect();
    if updating() {
        for (path, text) in &pages {
            fs::write(path, text).expect("man can be written");
        }
        for stray in strays {
            fs::remove_file(stray).expect("man can be written");
        }
        return;
    }
    let stale: Vec<_> = pages
        .iter()
        .filter(|(path, text)| fs::read_to_string(path).ok().as_ref() != Some(text))
        .map(|(path, _)| path)
        .chain(&strays)
        .collect();
    assert!(stale.is_empty(), "run scripts/update-generated: {stale:?}");
}

#[test]
fn every_verb_has_prose_and_every_section() {
    let commands = commands();
    for (name, command) in &commands {
        assert!(prose(name).is_some(), "write man/src/{name}.roff");
        let page = page(name, command);
        for section in SECTIONS {
            assert!(
                page.contains(&format!(".SH {section}\n")),
                "{name}: no {section}"
            );
        }
    }
    for file in files(&man_dir().join("src"), "roff") {
        let stem = file
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        assert!(
            commands.iter().any(|(n, _)| n == stem),
            "{stem} is no command"
        );
    }
}

/// The options that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let text = text.replace("\\-", "-");
    text.match_indices("--")
        .map(|(at, _)| {
            let word = &text[at + 2..];
            let end = word
                .find(|c: char| !c.is_ascii_lowercase() && c != '-')
                .unwrap_or(word.len());
            format!("--{}", word[..end].trim_end_matches('-'))
        })
        .filter(|w| w.len() > 2)
        .collect()
}

#[test]
fn prose_names_no_option_that_is_not_there() {
    let known: BTreeSet<String> = commands()
        .iter()
        .flat_map(|(_, c)| c.get_arguments().cloned().collect::<Vec<_>>())
        .flat_map(|a| {
            a.get_long_and_visible_aliases()
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .map(|long| format!("--{long}"))
        .chain(FOREIGN.map(str::to_owned))
        .collect();
    for (name, _) in commands() {
        let text = prose(&name).unwrap_or_default();
        let unknown: Vec<_> = named(&text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
    // The check itself.
    let found = named("a \\fB\\-\\-no\\-such\\fR, --rm and \\-\\-read\\-only=x --");
    let want = ["--no-such", "--read-only", "--rm"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(want));
}

/// groff's own opinion, where man(1) is there to ask.
#[test]
fn man_has_no_complaint() {
    if updating() {
        return;
    }
    let pages = files(&man_dir(), "1").into_iter();
    for path in pages.chain(files(&man_dir(), "7")) {
        let Ok(out) = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l"])
            .arg(&path)
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "80")
            .env("MANPAGER", "cat")
            .stdin(Stdio::null())
            .output()
        else {
            return;
        };
        let complaint = String::from_utf8_lossy(&out.stderr);
        assert!(complaint.is_empty(), "{}: {complaint}", path.display());
        assert!(out.status.success(), "{}", path.display());
        assert!(out.stdout.len() > 500, "{} is empty", path.display());
    }
}

#[test]
fn completions_know_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let out = Command::new(env!("CARGO_BIN_EXE_coracle"))
            .args(["completion", shell])
            .output()
            .expect("coracle starts");
        assert!(out.status.success(), "{shell}");
        let script = String::from_utf8_lossy(&out.stdout);
        for (name, command) in commands().iter().skip(1) {
            let verb = command.get_name();
            // As a word: `run` is also part of other words.
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let there = script.split(|c| !is_word(c)).any(|w| w == verb);
            assert!(there, "{shell}: no {name}");
        }
        assert!(script.contains("network"), "{shell}: no option of run");
    }
}
