//! Records of the image that a file has by its path alone: a copy that overlay has made is still what the
//! image has there ([`View`](crate::owners::View)). So what is new at such a path must be told from it, and
//! what leaves it takes its record along.

use rustix::fs::FileType as Kind;
use rustix::io::Errno;

use super::{Object, Ownership, lock};
use crate::owners::{CAPABILITY, Node, Record};

impl Ownership {
    /// Whether [`Self::would_inherit`] may say yes of a file of this name, in any directory. Of nearly all
    /// names it may not, at no cost.
    pub(in crate::emulate) fn may_inherit(&self, name: &[u8]) -> bool {
        !self.is_quiet() && lock(&self.view).knows_name(name).unwrap_or(false)
    }

    /// Whether a record is about the path of what is made in `dir` under this name.
    pub(in crate::emulate) fn would_inherit(&self, dir: &Object, name: &[u8]) -> bool {
        let path = self.inside(dir, name);
        path.is_some_and(|path| lock(&self.view).knows_path(&path).unwrap_or(false))
    }

    /// The path of what is in `dir` under this name, on the root file system.
    pub(in crate::emulate) fn inside(&self, dir: &Object, name: &[u8]) -> Option<Vec<u8>> {
        let mut path = dir.path().filter(|_| self.on_root(dir))?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(name);
        Some(path)
    }

    /// It is new: nothing that was recorded is about it.
    pub(in crate::emulate) fn disinherit(&self, object: &Object) -> Result<(), Errno> {
        self.set_record(object, Record::default())
    }

    /// It gets another name, of which a record may be about another file; the kernel will copy it up for
    /// that, and knows nothing of any record. `may_inherit`: of the last component of `to`.
    pub(in crate::emulate) fn take_along(
        &self,
        object: &Object,
        may_inherit: bool,
        to: impl FnOnce() -> Option<Vec<u8>>,
    ) {
        if !self.on_root(object) {
            return;
        }
        let node = Node::of(&object.stat);
        let lasts = node.birth != 0;
        let Some(path) = object.path() else {
            return;
        };
        if object.kind() == Kind::Directory {
            // One of the image keeps its name: EXDEV.
            if !lasts && let Some(to) = to() {
                let _ = lock(&self.view).move_tree(&path, &to);
            }
            return;
        }
        if lasts && lock(&self.view).is_own(&path, node).unwrap_or(true) {
            return;
        }
        let record = self.record(object);
        let to = if may_inherit || (record.is_some() && !lasts) {
            to()
        } else {
            None
        };
        let replaces = |to: &Vec<u8>| lock(&self.view).knows_path(to).unwrap_or(false);
        if record.is_some() || (may_inherit && to.as_ref().is_some_and(replaces)) {
            // Where it cannot be recorded it belongs to root, as the kernel says.
            let _ = self.set_record_moving(object, record.unwrap_or_default(), to);
        }
    }

    /// Whether some file of the image has an attribute of this name in its record.
    pub(in crate::emulate) fn may_record(&self, attribute: &[u8]) -> bool {
        let names = || lock(&self.view).xattr_names().unwrap_or_default();
        !self.is_quiet() && self.attributes.get_or_init(names).contains(attribute)
    }

    /// Its recorded capabilities.
    pub(in crate::emulate) fn capability(&self, object: &Object) -> Option<Vec<u8>> {
        let name = CAPABILITY.as_bytes();
        if !self.may_record(name) {
            return None;
        }
        let mut all = self.record(object)?.xattrs.into_iter();
        all.find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// It has none any more. The kernel sees to those on the inode.
    pub(in crate::emulate) fn drop_capability(&self, object: &Object) -> Result<(), Errno> {
        if self.capability(object).is_none() {
            return Ok(());
        }
        let mut record = self.record(object).unwrap_or_default();
        record
            .xattrs
            .retain(|(name, _)| name != CAPABILITY.as_bytes());
        self.set_record(object, record)
    }
}
