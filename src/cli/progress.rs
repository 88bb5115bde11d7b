//! Shows what a pull, load or push is doing: bars on a terminal, else a line a layer, on stderr.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{human, text};
use crate::oci::Digest;
use crate::ops::progress::{Planned, Progress, Silent};

/// What suits stderr.
pub(super) fn new(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        return Box::new(Quiet);
    }
    let bars = Bars::default();
    // No terminal, or one that cannot move its cursor.
    if bars.all.is_hidden() {
        return Box::new(Lines::default());
    }
    Box::new(bars)
}

/// Warnings only.
struct Quiet;

impl Progress for Quiet {
    fn warn(&self, message: &str) {
        Silent.warn(message);
        warn(message);
    }
}

fn note(message: &str) {
    text::stderr(&text::printable(message));
}

fn warn(message: &str) {
    text::stderr(&format!("coracle: warning: {}", text::printable(message)));
}

#[derive(Default)]
struct Lines {
    sizes: Mutex<HashMap<Digest, u64>>,
}

impl Progress for Lines {
    fn plan(&self, layers: &[Planned]) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in layers {
            if layer.present {
                text::stderr(&format!("{}: already exists", layer.digest.short()));
            }
            sizes.insert(layer.digest.clone(), layer.size);
        }
    }

    fn begin(&self, layer: &Digest, have: u64) {
        if have > 0 {
            let have = human::size(have);
            text::stderr(&format!("{}: resuming after {have}", layer.short()));
        }
    }

    fn partly(&self, layer: &Digest, have: u64) {
        let have = human::size(have);
        text::stderr(&format!("{}: {have} of it are here already", layer.short()));
    }

    fn skip(&self, layer: &Digest) {
        text::stderr(&format!("{}: already exists", layer.short()));
    }

    fn done(&self, layer: &Digest) {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let size = human::size(sizes.get(layer).copied().unwrap_or(0));
        text::stderr(&format!("{}: done, {size}", layer.short()));
    }

    fn note(&self, message: &str) {
        note(message);
    }

    fn warn(&self, message: &str) {
        warn(message);
    }
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn with(&self, layer: &Digest, f: impl FnOnce(&ProgressBar)) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.get(layer) {
            f(bar);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

const WAITING: &str = "{prefix}: waiting";
const RUNNING: &str = "{prefix}: [{bar:30}] {decimal_bytes}/{decimal_total_bytes}";
const DONE: &str = "{prefix}: {msg}";

impl Progress for Bars {
    fn plan(&self, layers: &[Planned]) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in layers {
            let bar = self.all.add(ProgressBar::new(layer.size));
            bar.set_prefix(layer.digest.short().to_owned());
            if layer.present {
                bar.set_style(style(DONE));
                bar.finish_with_message("already exists");
            } else {
                bar.set_style(style(WAITING));
                bar.tick();
            }
            bars.insert(layer.digest.clone(), bar);
        }
    }

    fn begin(&self, layer: &Digest, _have: u64) {
        self.with(layer, |bar| {
            // What is on disk is read as well: it counts from 0 in any case.
            bar.set_position(0);
            bar.set_style(style(RUNNING));
        });
    }

    fn partly(&self, layer: &Digest, have: u64) {
        self.with(layer, |bar| {
            bar.set_position(have);
            bar.set_style(style(RUNNING));
        });
    }

    fn advance(&self, layer: &Digest, bytes: u64) {
        self.with(layer, |bar| bar.inc(bytes));
    }

    fn skip(&self, layer: &Digest) {
        self.with(layer, |bar| {
            bar.set_style(style(DONE));
            bar.finish_with_message("already exists");
        });
    }

    fn done(&self, layer: &Digest) {
        self.with(layer, |bar| {
            bar.set_style(style(DONE));
            bar.finish_with_message(format!("done, {}", human::size(bar.length().unwrap_or(0))));
        });
    }

    fn note(&self, message: &str) {
        self.all.suspend(|| note(message));
    }

    fn warn(&self, message: &str) {
        self.all.suspend(|| warn(message));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // Bars of a failed pull stay where they stopped; the error goes below them.
        for bar in self
            .bars
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            if !bar.is_finished() {
                bar.abandon();
            }
        }
    }
}
