//! Containerfiles and ignore files: whatever stands there, the answer comes soon and is a value or an error.
#![no_main]

use coracle::build::{Containerfile, Glob, Ignore, Instruction, Quoting, expand, expand_words};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let scope = |name: &str| (name.len() < 3).then(|| format!("a b/{name}*?[$'\\"));
    for quoting in [Quoting::Words, Quoting::Text] {
        let _ = expand(text, '\\', quoting, &scope);
    }
    let _ = expand_words(text, '`', &scope);
    if let Ok(ignore) = Ignore::parse(text) {
        let _ = ignore.ignores(b"a/b/c");
    }
    if let Ok(glob) = Glob::deep(text) {
        let _ = glob.matches(text.as_bytes());
    }
    let Ok(file) = Containerfile::parse(text) else {
        return;
    };
    assert!(!file.stages.is_empty(), "a file has a stage");
    let target = file.target(None).expect("the last one");
    if let Ok(needed) = file.needed(target, &|word| expand(word, file.directives.escape, Quoting::Words, &scope)) {
        assert_eq!(needed.last(), Some(&target), "itself the last");
    }
    for step in file.stages.iter().flat_map(|s| &s.steps) {
        if let Instruction::OnBuild(text) = &step.instruction {
            coracle::build::instruction(text).expect("what is kept for later can be read later");
        }
    }
});
