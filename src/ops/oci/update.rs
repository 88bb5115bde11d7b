//! `update ID`: other limits.

use serde_json::{Map, Value};

use super::{Error, Runtime, Status, state};

/// One of the options, as a path in the runtime-spec's resources.
pub type Limit = (&'static [&'static str], Value);

/// Set what a document says (`linux.resources` of the runtime-spec), then what options say.
pub fn update(
    runtime: &Runtime,
    id: &str,
    document: Option<&[u8]>,
    limits: &[Limit],
) -> Result<(), Error> {
    let mut resources = match document {
        Some(text) => serde_json::from_slice(text).map_err(Error::Resources)?,
        None => Value::Object(Map::new()),
    };
    for (path, value) in limits {
        let mut place = &mut resources;
        for part in *path {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[*part];
        }
        *place = value.clone();
    }
    let container = runtime.containers.open(id)?;
    container.lock()?;
    let record = container.known()?;
    if state::current(&container, Some(&record)) == Status::Stopped {
        return Err(Error::NotRunning(id.to_owned()));
    }
    let group = record.cgroup.as_deref();
    let group = group.ok_or_else(|| Error::NoCgroup(id.to_owned(), "update"))?;
    Ok(crate::cgroup::update(group, &resources)?)
}
