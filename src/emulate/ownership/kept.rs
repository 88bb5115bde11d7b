//! Volumes, whose owners are recorded where they rest: other containers have them at the same time, and later
//! ones find what this one leaves.

use std::sync::Mutex;

use rustix::fs::FileType as Kind;
use rustix::io::Errno;

use super::{Object, Ownership, errno, lock};
use crate::owners::{Node, Record, View};

/// A volume that is mounted in the container.
pub(in crate::emulate) struct KeptVolume {
    mount: u64,
    /// Where it is in the container, without the leading slash.
    prefix: Vec<u8>,
    view: Mutex<View>,
}

impl KeptVolume {
    pub(in crate::emulate) fn new(mount: u64, prefix: Vec<u8>, view: View) -> Self {
        Self {
            mount,
            prefix,
            view: Mutex::new(view),
        }
    }

    pub(super) fn has_owner_of_files(&self) -> bool {
        lock(&self.view).has_owner_of_files().unwrap_or(false)
    }

    /// The path of a file in the volume.
    fn path(&self, object: &Object) -> Option<Vec<u8>> {
        let path = object.path()?;
        let rest = path.strip_prefix(self.prefix.as_slice())?;
        Some(rest.strip_prefix(b"/").unwrap_or(rest).to_vec())
    }

    pub(super) fn record(&self, object: &Object) -> Option<Record> {
        let path = self.path(object)?;
        let links = object.stat.stx_nlink > 1 && object.kind() != Kind::Directory;
        let mut view = lock(&self.view);
        view.refresh();
        let record = view.get(&path, Node::of(&object.stat), links).ok()?;
        record.map(std::borrow::Cow::into_owned)
    }

    pub(super) fn set_record(&self, object: &Object, record: Record) -> Result<(), Errno> {
        let path = self.path(object).ok_or(Errno::NOENT)?;
        let node = Some(Node::of(&object.stat)).filter(|n| n.birth != 0 || !object.carries());
        let mut view = lock(&self.view);
        view.refresh();
        view.set(&path, node, record).map_err(|e| errno(&e))
    }
}

impl Ownership {
    /// The volume that a file is on.
    pub(super) fn kept(&self, object: &Object) -> Option<&KeptVolume> {
        let mount = object.stat.stx_mnt_id;
        self.kept.iter().find(|v| v.mount == mount)
    }
}
