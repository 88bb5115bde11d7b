//! `COPY` and `ADD`.

use super::Problem;
use super::ast::{Copy, Heredoc, Instruction};
use super::flags::Flags;
use super::lines;
use super::parse::list;

/// The instruction, from its flags and the rest of the line.
pub(super) fn parse(
    add: bool,
    flags: &mut Flags,
    args: &str,
    heredocs: &[Heredoc],
    escape: char,
) -> Result<Instruction, Problem> {
    let instruction = if add { "ADD" } else { "COPY" };
    if add {
        flags.not_yet(&["checksum", "keep-git-dir", "unpack"])?;
    }
    flags.not_yet(&["parents"])?;
    let mut paths = list(args).unwrap_or_else(|| {
        let words = args.split_whitespace();
        words.map(str::to_owned).collect()
    });
    let target = paths.pop().filter(|_| !paths.is_empty());
    let Some(target) = target.filter(|t| !t.is_empty()) else {
        return Err(Problem::Arguments {
            instruction,
            want: "SOURCE… TARGET",
        });
    };
    // In their order, which is that of the documents.
    let mut documents = heredocs.iter();
    let (mut sources, mut kept) = (Vec::new(), Vec::new());
    for path in paths {
        match lines::heredoc(&path, escape).and_then(|_| documents.next()) {
            Some(document) => kept.push(document.clone()),
            None => sources.push(path),
        }
    }
    Ok(Instruction::Copy(Box::new(Copy {
        add,
        sources,
        heredocs: kept,
        target,
        from: if add { None } else { flags.one("from")? },
        chown: flags.one("chown")?,
        chmod: flags.one("chmod")?,
        link: flags.is_set("link")?,
        parents: false,
        exclude: flags.many("exclude")?,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Copy {
        match super::super::instruction(text).unwrap() {
            Instruction::Copy(copy) => *copy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sources_target_and_flags() {
        let copy =
            of("COPY --from=x --chown=a:b --chmod=755 --link --exclude=*.o --exclude=b/ a b /c/");
        assert_eq!(
            (copy.sources, copy.target),
            (vec!["a".to_owned(), "b".to_owned()], "/c/".to_owned())
        );
        assert_eq!(copy.from.as_deref(), Some("x"));
        assert_eq!(
            (copy.chown.as_deref(), copy.chmod.as_deref()),
            (Some("a:b"), Some("755"))
        );
        assert!(copy.link && !copy.add && copy.exclude == ["*.o", "b/"]);
        let copy = of("ADD [\"a b\", \"/c d\"]");
        assert_eq!(
            (copy.add, copy.sources, copy.target),
            (true, vec!["a b".to_owned()], "/c d".to_owned())
        );
    }

    #[test]
    fn documents_are_sources() {
        let copy = of("COPY <<A x <<-\"B\" /c/\n1\nA\n\t2\nB\n");
        assert_eq!(copy.sources, ["x"]);
        let names: Vec<_> = copy
            .heredocs
            .iter()
            .map(|h| (h.name.as_str(), h.text()))
            .collect();
        assert_eq!(names, [("A", "1\n".to_owned()), ("B", "2\n".to_owned())]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "COPY /a",
            "COPY []",
            "COPY [\"a\"]",
            "COPY a \"\"x",
            "ADD --from=x a b",
            "ADD --checksum=x a b",
        ] {
            let result = super::super::instruction(bad);
            assert!(result.is_err() || bad.contains('"'), "{bad}");
        }
    }
}
