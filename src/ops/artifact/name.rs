//! Names of files: in an artifact they are whatever its maker wrote into an annotation. Pure.

use super::ArtifactError;

/// Bytes of a name, and of one part of it (`PATH_MAX`, `NAME_MAX`).
const NAME_MAX: usize = 4095;
const PART_MAX: usize = 255;

/// The parts of a relative path that stays below where it starts, and can be shown as it is.
pub(super) fn parts(name: &str) -> Result<Vec<&str>, ArtifactError> {
    let is_odd = |c: char| {
        c.is_control()
            // They reorder or hide what is around them.
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let parts: Vec<&str> = name.split('/').collect();
    let is_part = |p: &&str| !p.is_empty() && *p != "." && *p != ".." && p.len() <= PART_MAX;
    match name.len() <= NAME_MAX && !name.contains(is_odd) && parts.iter().all(is_part) {
        true => Ok(parts),
        false => Err(ArtifactError::Name(name.to_owned())),
    }
}

/// `TYPE/SUBTYPE` (RFC 6838, 4.2).
pub fn is_media_type(s: &str) -> bool {
    let is_word = |w: &str| {
        let rest = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        w.len() <= 127
            && w.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && w.bytes().all(rest)
    };
    s.split_once('/')
        .is_some_and(|(a, b)| is_word(a) && is_word(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_and_can_be_shown() {
        let long = "x".repeat(256);
        let deep = "x/".repeat(2048) + "x";
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "../a",
            "a/..",
            ".",
            "./a",
            "a//b",
            "a/",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            "a\u{7f}",
            "a\u{85}b",
            "gpj.\u{202e}exe",
            "a\u{2028}b",
            "\u{feff}a",
            &long,
            &deep,
        ] {
            assert!(parts(bad).is_err(), "{bad:?}");
        }
        for (good, n) in [
            ("a", 1),
            ("a/b c/ü.txt", 3),
            ("..a", 1),
            ("...", 1),
            (".hidden", 1),
        ] {
            assert_eq!(parts(good).unwrap().len(), n, "{good:?}");
        }
    }

    #[test]
    fn media_types() {
        for good in ["text/plain", "application/vnd.x.y+json", "a/b"] {
            assert!(is_media_type(good), "{good}");
        }
        let long = format!("a/{}", "b".repeat(128));
        for bad in [
            "", "text", "text/", "/plain", "a/b/c", "a b/c", "a/b;c=d", "../x", &long,
        ] {
            assert!(!is_media_type(bad), "{bad}");
        }
    }
}
