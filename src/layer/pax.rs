//! PAX extended headers: records `LENGTH KEY=VALUE\n` (POSIX pax, "pax Extended Header"). Pure.
//!
//! Records are cut by their length. The iterator of the `tar` crate cuts at newlines instead, which
//! breaks paths and binary xattrs (`security.capability`, for one) that contain a newline byte.

use std::borrow::Cow;

/// Iterator over the records of one header; stops after the first error.
pub(super) struct Records<'a>(&'a [u8]);

pub(super) fn records(data: &[u8]) -> Records<'_> {
    Records(data)
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        // Some writers pad with NULs inside the stated size.
        if self.0.is_empty() || self.0[0] == 0 {
            return None;
        }
        let record = self.take();
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    fn take(&mut self) -> Result<(&'a [u8], &'a [u8]), &'static str> {
        // 20 digits hold any 64-bit length.
        let space =
            (self.0.iter().take(21).position(|b| *b == b' ')).ok_or("record has no length")?;
        let len = super::header::decimal(&self.0[..space])
            .and_then(|n| usize::try_from(n).ok())
            .ok_or("record length is not a number")?;
        if len > self.0.len() {
            return Err("record is longer than the header");
        }
        let body = self
            .0
            .get(space + 1..len)
            .ok_or("record length is too small")?;
        let body = body
            .strip_suffix(b"\n")
            .ok_or("record does not end in a newline")?;
        let eq = (body.iter().position(|b| *b == b'=')).ok_or("record has no equals sign")?;
        self.0 = &self.0[len..];
        Ok((&body[..eq], &body[eq + 1..]))
    }
}

/// The name in `LIBARCHIVE.xattr.NAME`, which libarchive percent-encodes.
pub(super) fn percent_decode(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'%') {
        return Cow::Borrowed(name);
    }
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((b, tail)) = rest.split_first() {
        let hex = (*b == b'%' && tail.len() >= 2).then(|| (hex(tail[0]), hex(tail[1])));
        if let Some((Some(hi), Some(lo))) = hex {
            out.push(hi << 4 | lo);
            rest = &tail[2..];
        } else {
            out.push(*b);
            rest = tail;
        }
    }
    Cow::Owned(out)
}

/// Value of a hex digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

/// Base64 (RFC 4648, padding optional), as libarchive writes xattr values.
pub(super) fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let text = text
        .strip_suffix(b"==")
        .or(text.strip_suffix(b"="))
        .unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for c in group {
            let v = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(v);
        }
        bits <<= 6 * (4 - group.len());
        let bytes = bits.to_be_bytes();
        let n = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        out.extend_from_slice(&bytes[1..=n]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair<'a> = (&'a [u8], &'a [u8]);

    fn all(data: &[u8]) -> Result<Vec<Pair<'_>>, &'static str> {
        records(data).collect()
    }

    #[test]
    fn records_are_cut_by_length() {
        let got = all(b"9 path=a\n11 path=\nb\nx").map(|_| ());
        assert!(got.is_err(), "the stray x must be noticed");
        let got = all(b"9 path=a\n10 path=\n\n\0\0").unwrap();
        assert_eq!(got, [(&b"path"[..], &b"a"[..]), (b"path", b"\n")]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"path=a\n"[..],
            b"8 path=a\n",
            b"11 path=a\n",
            b"99999999999999999999999 path=a\n",
            b"-9 path=a\n",
            b"0 path=a\n",
            b"1 path=a\n",
            b"2 path=a\n",
            b"7 path\n",
            b" 9 path=a\n",
        ] {
            assert!(all(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn libarchive_encodings() {
        assert_eq!(&*percent_decode(b"user.a%20b%"), b"user.a b%");
        assert_eq!(base64_decode(b"AQAAAg==").unwrap(), [1, 0, 0, 2]);
        assert_eq!(base64_decode(b"AQAAAg").unwrap(), [1, 0, 0, 2]);
        assert_eq!(base64_decode(b"").unwrap(), b"");
        assert!(base64_decode(b"A").is_none());
        assert!(base64_decode(b"A*==").is_none());
    }
}
