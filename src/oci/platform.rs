//! Platforms: `os/architecture[/variant]`, and which entry of an image index fits one.
//! OCI image-spec, image-index.md "platform".

use std::fmt;
use std::str::FromStr;

use oci_spec::image::Descriptor;

/// Operating system, architecture and variant in GOOS/GOARCH words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// `v8`, `v7` …
    pub variant: Option<String>,
}

/// Why a platform string was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform: want OS/ARCH[/VARIANT], for example linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// The machine that this binary was built for.
    pub fn host() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: normal_arch(std::env::consts::ARCH).to_owned(),
            variant: None,
        }
    }

    /// Index of the descriptor that fits best: an exact variant first, then one that names no
    /// variant, then any of the right architecture, in the order of the index. Attestation entries
    /// (`unknown/unknown`) never fit.
    pub fn choose(&self, entries: &[Descriptor]) -> Option<usize> {
        let rank = |d: &Descriptor| -> Option<u8> {
            let p = d.platform().as_ref()?;
            if p.os().to_string() != self.os
                || normal_arch(&p.architecture().to_string()) != self.architecture
            {
                return None;
            }
            match (&self.variant, p.variant()) {
                (want, have) if want == have => Some(0),
                (Some(_), Some(_)) => None,
                (Some(_), None) => Some(1),
                // Nothing asked: v8 is what every arm64 machine runs, newer variants may not start.
                (None, Some(v)) if v == "v8" || v == "v1" => Some(1),
                (None, _) => Some(2),
            }
        };
        let mut best: Option<(u8, usize)> = None;
        for (i, d) in entries.iter().enumerate() {
            if let Some(r) = rank(d)
                && best.is_none_or(|(b, _)| r < b)
            {
                best = Some((r, i));
            }
        }
        best.map(|(_, i)| i)
    }
}

/// Kernel and Debian names of architectures to Go's names, which the specification uses.
fn normal_arch(s: &str) -> &str {
    match s {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i386" | "i686" => "386",
        "powerpc64le" => "ppc64le",
        other => other,
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = s.split('/').collect();
        let word = |p: &&str| {
            !p.is_empty()
                && p.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_' || b == b'-')
        };
        if !parts.iter().all(word) {
            return Err(PlatformError(s.to_owned()));
        }
        match parts[..] {
            [arch] => Ok(Self {
                os: "linux".to_owned(),
                architecture: normal_arch(arch).to_owned(),
                variant: None,
            }),
            [os, arch] => Ok(Self {
                os: os.to_owned(),
                architecture: normal_arch(arch).to_owned(),
                variant: None,
            }),
            [os, arch, variant] => Ok(Self {
                os: os.to_owned(),
                architecture: normal_arch(arch).to_owned(),
                variant: Some(variant.to_owned()),
            }),
            _ => Err(PlatformError(s.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if let Some(v) = &self.variant {
            write!(f, "/{v}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        platforms
            .iter()
            .map(|p| {
                let p: Platform = p.parse().unwrap();
                let mut json = serde_json::json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": format!("sha256:{}", "0".repeat(64)),
                    "size": 1,
                    "platform": {"os": p.os, "architecture": p.architecture},
                });
                if let Some(v) = p.variant {
                    json["platform"]["variant"] = v.into();
                }
                serde_json::from_value(json).unwrap()
            })
            .collect()
    }

    #[test]
    fn the_best_entry_is_chosen() {
        for (want, have, got) in [
            (
                "linux/amd64",
                &["linux/arm64/v8", "linux/amd64"][..],
                Some(1),
            ),
            ("linux/x86_64", &["linux/amd64"], Some(0)),
            (
                "linux/arm64",
                &["linux/arm64/v9", "linux/arm64/v8"],
                Some(1),
            ),
            ("linux/arm/v7", &["linux/arm/v6", "linux/arm/v7"], Some(1)),
            ("linux/arm/v7", &["linux/arm/v6"], None),
            ("arm/v7/x", &["linux/arm/v6"], None),
            ("linux/amd64", &["unknown/unknown", "windows/amd64"], None),
        ] {
            let p: Platform = want.parse().unwrap();
            assert_eq!(p.choose(&index(have)), got, "{want} in {have:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/am\u{1b}d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
        }
    }
}
