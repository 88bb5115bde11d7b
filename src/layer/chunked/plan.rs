//! Which parts of a blob are to be fetched. Pure.

use std::ops::Range;

/// Gaps that are tried to be fetched along, in bytes, the largest first: each one spares a request. The smallest is
/// less than the heads of a request and its reply, and always fetched along.
pub const GAPS: [u64; 8] = [
    64 << 10,
    32 << 10,
    16 << 10,
    8 << 10,
    4 << 10,
    2 << 10,
    1 << 10,
    512,
];
/// Of what is missing, this part may come along.
const ALONG: u64 = 16;

/// Ranges that hold all of `missing`, which is in ascending order: as few as can be had for a sixteenth more bytes.
pub fn wanted(missing: &[Range<u64>]) -> Vec<Range<u64>> {
    let needed: u64 = missing.iter().map(|r| r.end - r.start).sum();
    let mut ranges = Vec::new();
    for gap in GAPS {
        ranges = merged(missing, gap);
        let all: u64 = ranges.iter().map(|r| r.end - r.start).sum();
        if all - needed <= needed / ALONG {
            break;
        }
    }
    ranges
}

fn merged(missing: &[Range<u64>], gap: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for next in missing {
        match ranges.last_mut() {
            Some(last) if next.start - last.end <= gap => last.end = next.end,
            _ => ranges.push(next.clone()),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same with pairs.
    fn of(missing: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let missing: Vec<_> = missing.iter().map(|(from, to)| *from..*to).collect();
        wanted(&missing).iter().map(|r| (r.start, r.end)).collect()
    }

    #[test]
    fn small_gaps_are_fetched_along() {
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[(5, 9)]), [(5, 9)]);
        // What costs less than a request.
        assert_eq!(of(&[(0, 10), (500, 510)]), [(0, 510)]);
        assert_eq!(of(&[(0, 10), (600, 610)]), [(0, 10), (600, 610)]);
        // A large gap for large parts, none for small ones.
        assert_eq!(
            of(&[(0, 1 << 20), (1_100_000, 3_000_000)]),
            [(0, 3_000_000)]
        );
        let spread: Vec<_> = (0..100).map(|n| (n * 60_000, n * 60_000 + 6_000)).collect();
        assert_eq!(of(&spread), spread);
        let near: Vec<_> = (0..100)
            .map(|n| (n * 40_000, n * 40_000 + 38_500))
            .collect();
        assert_eq!(of(&near), [(0, 99 * 40_000 + 38_500)]);
    }
}
