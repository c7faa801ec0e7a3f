//! Recognises network file systems, on which two machines may disagree about what a directory holds.

use std::path::Path;

/// Magic numbers of `statfs`. Source: `statfs(2)`, `linux/magic.h`, and the file systems' own sources.
const NETWORK: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB2"),
    (0xff53_4d42, "CIFS"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x2003_0528, "OrangeFS"),
    (0xaad7_aaea, "PanFS"),
    (0x7a6c_6c79, "VirtualBox shared folder"),
    (0x786f_4256, "VirtualBox shared folder"),
];

/// The kind of network file system under `root`, or under its nearest ancestor that exists; `None` for a local one.
pub(super) fn network_filesystem(root: &Path) -> Option<&'static str> {
    let found = root.ancestors().find_map(|place| rustix::fs::statfs(place).ok())?;
    // The field is signed on some architectures; magic numbers have 32 bits.
    name_of(found.f_type as u64 & 0xffff_ffff)
}

fn name_of(magic: u64) -> Option<&'static str> {
    NETWORK.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nfs_and_smb_are_network_file_systems_and_ext4_is_not() {
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(0xff53_4d42), Some("CIFS"));
        assert_eq!(name_of(0xef53), None);
    }

    #[test]
    fn a_root_that_does_not_exist_is_judged_by_its_ancestor() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(network_filesystem(&directory.path().join("a/b/c")), network_filesystem(directory.path()));
    }
}
