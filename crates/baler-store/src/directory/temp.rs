//! Finds and removes temporary files, for `gc`.

use baler_model::Key;
use rustix::fs::{AtFlags, Dir, FileType};

use super::publish::TAKEN;
use super::stage::is_temp;
use super::tree::{TEMP, Tree, is_nothing, split};
use super::version::FileVersion;
use crate::{Meter, Result, StagedListing};

/// Where the proof of a store stages: what comes out of an exchange there is its own.
const PROOFS: &str = ".baler-tmp/baler/proof/";

impl Tree {
    /// Lists temporary files whose path begins with `prefix`. Those that a publisher took are left out: what lies there
    /// may be an object that came out of an exchange, and publishing again deals with it.
    pub(super) fn list_temps(&self, prefix: &str) -> Result<Vec<StagedListing>> {
        Meter::add(&self.meter.list, 1);
        let mut found = Vec::new();
        let mut waiting = vec![TEMP.to_owned()];
        while let Some(path) = waiting.pop() {
            let Some(dir) = self.open_directory(&path)? else { continue };
            let fail = |e| self.fail(e, "list", &path);
            for entry in Dir::read_from(&dir).map_err(fail)? {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(e) if is_nothing(e) => break,
                    Err(e) => return Err(fail(e)),
                };
                // Every temporary file of ours has a name in UTF-8.
                let Ok(name) = entry.file_name().to_str() else { continue };
                if name == "." || name == ".." {
                    continue;
                }
                let below = format!("{path}/{name}");
                let related = below.starts_with(prefix) || prefix.starts_with(&below);
                if !related || name.contains(TAKEN) && !below.starts_with(PROOFS) {
                    continue;
                }
                let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat,
                    Err(e) if is_nothing(e) => continue,
                    Err(e) => return Err(fail(e)),
                };
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => waiting.push(below),
                    FileType::RegularFile if below.starts_with(prefix) => {
                        let started = FileVersion::of(&stat).modified();
                        found.push(StagedListing { key: Key::from_listed(below.clone()), handle: below, started });
                    }
                    _ => {}
                }
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// Removes a temporary file found by a listing; nothing there is fine.
    pub(super) fn remove_temp(&self, path: &str) -> Result<()> {
        Meter::add(&self.meter.delete, 1);
        if !is_temp(path) {
            let detail = "it is no temporary file".into();
            return Err(self.unsupported(format!("remove `{path}`"), detail, None));
        }
        let (parent, name) = split(path);
        let Some(dir) = self.open_directory(parent)? else { return Ok(()) };
        self.unlink(&dir, name).map_err(|e| self.fail(e, "remove", path))?;
        drop(dir);
        self.remove_empty(parent, TEMP);
        Ok(())
    }
}
