//! Flags of every verb that brings images in.

use std::path::PathBuf;

use crate::layer::Limits;
use crate::oci::Platform;
use crate::ops::{self, Access, IntakeOptions, Keep};

/// How images are chosen and bounded.
#[derive(Debug, Default, clap::Args)]
pub(super) struct IntakeArgs {
    /// Platform to choose from an image index
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(super) platform: Option<String>,
    /// Architecture to choose, in place of this machine's
    #[arg(long, value_name = "ARCH", conflicts_with = "platform")]
    arch: Option<String>,
    /// Operating system to choose
    #[arg(long, value_name = "OS", conflicts_with = "platform")]
    os: Option<String>,
    /// Variant of the architecture to choose
    #[arg(long, value_name = "VARIANT", conflicts_with = "platform")]
    variant: Option<String>,
    /// Refuse a layer that unpacks to more than this
    #[arg(
        long,
        value_name = "BYTES",
        env = "CORACLE_MAX_LAYER_SIZE",
        hide_env_values = true
    )]
    pub(super) max_layer_size: Option<u64>,
    /// Policy of who must have signed an image [default: ~/.config/containers/policy.json, else /etc/containers/policy.json]
    #[arg(long, value_name = "FILE")]
    pub(super) signature_policy: Option<PathBuf>,
    /// Keep the compressed layers as well, which run does not need
    #[arg(long, env = "CORACLE_KEEP_BLOBS", hide_env_values = true, value_name = "BOOL", value_parser = clap::builder::FalseyValueParser::new(), hide_possible_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = clap::ArgAction::Set)]
    pub(super) keep_blobs: bool,
}

/// How registries are reached.
#[derive(Debug, Default, clap::Args)]
pub(super) struct RegistryArgs {
    /// Require HTTPS with a valid certificate, except from loopback addresses [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = super::filters::truth,
        action = clap::ArgAction::Set
    )]
    tls_verify: Option<bool>,
    /// The one file of logins [default: $REGISTRY_AUTH_FILE, else those of podman and docker]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Directory of certificates for the registry: *.crt to trust, *.cert and *.key to show
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
}

impl RegistryArgs {
    pub(super) fn access(&self) -> Access {
        Access {
            tls_verify: self.tls_verify,
            authfile: self.authfile.clone(),
            cert_dir: self.cert_dir.clone(),
            logins: Vec::new(),
        }
    }
}

impl IntakeArgs {
    /// What `--platform` would say.
    fn wanted(&self) -> Option<String> {
        if self.platform.is_some()
            || [&self.arch, &self.os, &self.variant]
                .iter()
                .all(|o| o.is_none())
        {
            return self.platform.clone();
        }
        let host = Platform::host();
        let os = self.os.as_ref().unwrap_or(&host.os);
        let arch = self.arch.as_ref().unwrap_or(&host.architecture);
        let variant = self.variant.iter().map(|v| format!("/{v}"));
        Some(
            [os.clone(), format!("/{arch}")]
                .into_iter()
                .chain(variant)
                .collect(),
        )
    }

    pub(super) fn options(&self) -> Result<IntakeOptions, ops::Error> {
        let platform = self.wanted().as_deref().map(str::parse::<Platform>);
        let mut limits = Limits::default();
        if let Some(max) = self.max_layer_size {
            limits.max_bytes = max;
        }
        Ok(IntakeOptions {
            platform: platform.transpose()?,
            limits,
            signature_policy: self.signature_policy.clone(),
            keep: if self.keep_blobs {
                Keep::Blob
            } else {
                Keep::Nothing
            },
            ..IntakeOptions::default()
        })
    }
}
