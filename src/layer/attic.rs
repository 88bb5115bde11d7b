//! What a tar makes and then replaces by a later entry of the same name: kept beside the tree, since the tar
//! cannot be made again without its content.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdir, openat, renameat, statat};

use super::dirs::make_accessible;
use super::unpack::Before;
use super::{Error, recipe};

/// The directory of what was replaced, made when it is needed.
pub(super) struct Attic {
    path: PathBuf,
    dir: Option<OwnedFd>,
}

impl Attic {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            dir: None,
        }
    }

    /// Move what is in the way here, if it has content. `None`: it has none, or nothing is recorded any more;
    /// it is still there.
    pub(super) fn keep(
        &mut self,
        recipe: &mut recipe::Writer,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Option<Before>, Error> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(Error::sys("fstatat", path))?;
        let before = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_size > 0 => Before::Hiding,
            FileType::Directory => Before::Nothing,
            _ => return Ok(None),
        };
        let Some(number) = recipe.replaced(path)? else {
            return Ok(None);
        };
        if before == Before::Nothing && stat.st_mode & 0o700 != 0o700 {
            // A directory that gets another parent is written to.
            make_accessible(dir, name).map_err(Error::sys("chmod", path))?;
        }
        let attic = match &self.dir {
            Some(attic) => attic,
            None => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let made = mkdir(&self.path, Mode::RWXU)
                    .and_then(|()| openat(CWD, &self.path, flags, Mode::empty()));
                self.dir.insert(made.map_err(Error::sys("mkdir", path))?)
            }
        };
        let to = number.to_string();
        renameat(dir, name, attic, to.as_str()).map_err(Error::sys("rename", path))?;
        Ok(Some(before))
    }
}
