//! Numbers and checksum of a tar header block. Pure.
//!
//! The `tar` crate gives the layout of the fields. Reading them is done here, because hostile
//! numbers must be refused: the crate takes the low 64 bits of a base-256 number and drops its sign.

/// Verify the checksum: the sum of all bytes with the checksum field as spaces, unsigned, or signed
/// as some historic implementations wrote it.
pub(super) fn checksum_ok(block: &[u8]) -> bool {
    let Some(want) = number(&block[148..156]) else {
        return false;
    };
    let (mut unsigned, mut signed) = (0u32, 0i64);
    for (i, b) in block.iter().enumerate() {
        let b = if (148..156).contains(&i) { b' ' } else { *b };
        unsigned += u32::from(b);
        signed += i64::from(b.cast_signed());
    }
    want == i64::from(unsigned) || want == signed
}

/// A numeric field: octal digits between spaces and NULs, or base-256 (GNU) with the top bit set.
/// `None` when it is neither or does not fit; an empty field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if field.first()? & 0x80 != 0 {
        return base256(field);
    }
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let digits = field[..end].trim_ascii();
    let mut n: i64 = 0;
    for d in digits {
        if !(b'0'..=b'7').contains(d) {
            return None;
        }
        n = n.checked_mul(8)?.checked_add(i64::from(d - b'0'))?;
    }
    Some(n)
}

/// Two's complement, big endian, the top bit being a mark and the next one the sign.
fn base256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let mut n = i128::from(first & 0x3f);
    if first & 0x40 != 0 {
        n -= 0x40;
    }
    for b in rest {
        n = n.checked_mul(256)?.checked_add(i128::from(*b))?;
    }
    i64::try_from(n).ok()
}

/// A time in a PAX header: decimal seconds, perhaps negative, perhaps with a fraction, to seconds
/// and nanoseconds (0 to 999,999,999, counted forward from the seconds).
pub(super) fn pax_time(text: &[u8]) -> Option<(i64, i64)> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match digits.iter().position(|b| *b == b'.') {
        Some(i) => (&digits[..i], &digits[i + 1..]),
        None => (digits, &[][..]),
    };
    let secs = i64::try_from(decimal(whole)?).ok()?;
    let mut nanos = 0i64;
    for i in 0..9 {
        let digit = fraction.get(i).copied().unwrap_or(b'0');
        nanos = nanos * 10 + i64::from(digit.checked_sub(b'0')?);
    }
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(match (negative, nanos) {
        (false, _) => (secs, nanos),
        (true, 0) => (-secs, 0),
        (true, _) => ((-secs).checked_sub(1)?, 1_000_000_000 - nanos),
    })
}

/// Decimal digits, at least one, no sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut n: u64 = 0;
    for d in text {
        if !d.is_ascii_digit() {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(u64::from(d - b'0'))?;
    }
    Some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"00000000"), Some(0));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777777\0"), Some(0o77777777777));
        assert_eq!(number(b"-0000644"), None);
        assert_eq!(number(b"0000689\0"), None);
        assert_eq!(number(b"0x1f\0\0\0\0"), None);
    }

    #[test]
    fn base256_fields() {
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x01\0\0\0\0"), Some(1 << 32));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(
            number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            Some(i64::MAX)
        );
        assert_eq!(number(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"\x80\x01\0\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(
            number(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            None
        );
    }

    #[test]
    fn pax_times() {
        assert_eq!(pax_time(b"12"), Some((12, 0)));
        assert_eq!(pax_time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(pax_time(b"12.0000000019"), Some((12, 1)));
        assert_eq!(pax_time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(pax_time(b"-1"), Some((-1, 0)));
        for bad in [
            &b""[..],
            b"x",
            b"1.x",
            b"1e9",
            b"99999999999999999999",
            b"--1",
            b"1.0000000000x",
        ] {
            assert_eq!(pax_time(bad), None, "{}", bad.escape_ascii());
        }
    }
}
