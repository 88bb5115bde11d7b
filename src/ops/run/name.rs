//! Names for containers that the user gave none: easier to say and to type than an id.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::ops::Error;

const MANNERS: [&str; 64] = [
    "able", "amber", "ample", "azure", "bold", "brave", "brisk", "broad", "calm", "candid",
    "civil", "clear", "clever", "cosy", "deft", "dry", "eager", "early", "easy", "fair", "fine",
    "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "green", "hale",
    "handy", "happy", "hardy", "humble", "jolly", "keen", "kind", "light", "lively", "loyal",
    "lucky", "mellow", "merry", "mild", "nimble", "noble", "patient", "plain", "proud", "quick",
    "quiet", "ready", "rosy", "sage", "serene", "sober", "spry", "steady", "sunny", "swift",
    "tidy", "warm", "wise",
];

const VESSELS: [&str; 64] = [
    "ark",
    "barge",
    "bark",
    "barque",
    "boat",
    "brig",
    "buoy",
    "canoe",
    "caravel",
    "catamaran",
    "clipper",
    "cog",
    "coracle",
    "corvette",
    "currach",
    "cutter",
    "dhow",
    "dinghy",
    "dory",
    "dugout",
    "ferry",
    "felucca",
    "frigate",
    "galleon",
    "galley",
    "gig",
    "gondola",
    "hooker",
    "hulk",
    "junk",
    "kayak",
    "keel",
    "ketch",
    "knarr",
    "launch",
    "lighter",
    "longship",
    "lugger",
    "nutshell",
    "outrigger",
    "packet",
    "pinnace",
    "pirogue",
    "pontoon",
    "prau",
    "punt",
    "raft",
    "rowboat",
    "sampan",
    "schooner",
    "scow",
    "scull",
    "shallop",
    "skiff",
    "sloop",
    "smack",
    "tender",
    "trawler",
    "trimaran",
    "tub",
    "tug",
    "wherry",
    "yacht",
    "yawl",
];

/// A name such as `calm_skiff`. After `attempts` names that were taken there is a number behind it,
/// from a range that grows.
pub(super) fn random(attempts: u32) -> Result<String, Error> {
    let mut bytes = [0u8; 4];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| Error::Prepare(e.into()))?;
    let pick = |words: &[&'static str; 64], byte: u8| words[usize::from(byte) % words.len()];
    let name = format!("{}_{}", pick(&MANNERS, bytes[0]), pick(&VESSELS, bytes[1]));
    if attempts < 4 {
        return Ok(name);
    }
    let number = u32::from(u16::from_ne_bytes([bytes[2], bytes[3]]));
    let range = 10u32.saturating_pow(attempts.min(8));
    Ok(format!("{name}_{}", number % range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_many_and_well_formed() {
        let all: std::collections::HashSet<_> = (0..200).map(|_| random(0).unwrap()).collect();
        assert!(all.len() > 150, "{}", all.len());
        for name in &all {
            assert!(
                name.split('_').count() == 2
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            );
        }
        assert_eq!(random(5).unwrap().split('_').count(), 3);
        for words in [MANNERS, VESSELS] {
            let different: std::collections::HashSet<_> = words.iter().collect();
            assert_eq!(different.len(), words.len());
        }
    }
}
