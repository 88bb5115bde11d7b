//! Overlays among the mounts of a configuration whose options are more than mount(2) takes, which is a page: an image
//! of many layers. Then the kernel gets the layers one by one (`lowerdir+`, Linux 6.8).

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::mounts::place;
use crate::sys::mount::MountAttr;

/// What fits in mount(2)'s page with its end.
pub(super) const OPTIONS_MAX: usize = 4095;

/// Mount an overlay with these options at `target`.
pub(super) fn mount(data: &str, attr: MountAttr, target: &OwnedFd) -> io::Result<()> {
    let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in split(data, ',') {
        match option.split_once('=') {
            Some(("lowerdir", layers)) => {
                for layer in split(layers, ':') {
                    fsconfig_set_string(&fs, c"lowerdir+", plain(layer))?;
                }
            }
            Some((name, value)) => fsconfig_set_string(&fs, name, plain(value))?,
            None => fsconfig_set_flag(&fs, option)?,
        }
    }
    fsconfig_create(&fs)?;
    let attr = u32::try_from(attr.bits()).map_err(|_| Errno::INVAL)?;
    let attr = MountAttrFlags::from_bits_retain(attr);
    place(&fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attr)?, target)
}

/// At a separator that no backslash protects.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut protected) = (0, false);
    for (at, c) in text.char_indices() {
        if c == separator && !protected {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
        protected = c == '\\' && !protected;
    }
    parts.push(&text[start..]);
    parts
}

/// Without the backslashes that protect.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_separators_are_part_of_a_path() {
        assert_eq!(split("a,b=c,d", ','), ["a", "b=c", "d"]);
        assert_eq!(split(r"/a\:b:/c\\:/d", ':'), [r"/a\:b", r"/c\\", "/d"]);
        assert_eq!(plain(r"/a\:b\,c\\d"), r"/a:b,c\d");
        let odd = std::path::Path::new("/a:b,c\\d");
        let options = crate::rootfs::overlay_options(&[odd, std::path::Path::new("/e")], Some(odd));
        let joined = options.join(",");
        let values: Vec<Vec<String>> = split(&joined, ',')
            .into_iter()
            .filter_map(|o| o.split_once('='))
            .map(|(_, v)| split(v, ':').into_iter().map(plain).collect())
            .collect();
        assert_eq!(values[0], ["/a:b,c\\d", "/e"]);
    }
}
