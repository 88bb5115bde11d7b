//! `inspect`: all that is known about an image, in docker's shape. docker-image-inspect(1).

use serde_json::{Value, json};

use super::{Error, IntakeError, stored};
use crate::oci::Reference;
use crate::store::Store;

/// The image called `name` (name or id) as a JSON object.
pub fn inspect(store: &Store, name: &str) -> Result<Value, Error> {
    let image = stored::find(store, name)?;
    let bytes = stored::config(store, &image.id)?;
    let config: Value = serde_json::from_slice(&bytes).map_err(IntakeError::Config)?;
    let records = store.images().list()?;
    // It may be in another store.
    let other = records.iter().all(|r| r.id != image.id).then_some(&image);
    let same = || records.iter().chain(other).filter(|r| r.id == image.id);
    let tags: Vec<String> = same()
        .filter_map(|r| r.reference.as_ref())
        .filter(|r| r.digest().is_none())
        .map(Reference::to_string)
        .collect();
    let mut digests: Vec<String> = same()
        .flat_map(|r| {
            r.repositories
                .iter()
                .map(|repo| format!("{repo}@{}", r.repo_digest()))
        })
        .collect();
    digests.sort();
    digests.dedup();
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let layers: Vec<String> = image.diff_ids().map(ToString::to_string).collect();
    let inner = config.get("config").cloned().unwrap_or_else(|| json!({}));
    let labels = inner.get("Labels").cloned().unwrap_or(Value::Null);
    Ok(json!({
        "Id": image.id,
        "Digest": image.repo_digest(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": last_comment(&config),
        "Created": config.get("created").cloned().unwrap_or(Value::Null),
        "Author": text("author"),
        "Config": inner,
        "Labels": labels,
        "Architecture": text("architecture"),
        "Variant": text("variant"),
        "Os": text("os"),
        "Size": image.size(),
        "RootFS": { "Type": "layers", "Layers": layers },
        "History": config.get("history").cloned().unwrap_or_else(|| json!([])),
    }))
}

fn last_comment(config: &Value) -> &str {
    let history = config.get("history").and_then(Value::as_array);
    history
        .and_then(|h| h.last()?.get("comment")?.as_str())
        .unwrap_or_default()
}
