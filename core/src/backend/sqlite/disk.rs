//! Where the file lies: on a disk of this machine alone, in one piece with its
//! directory. SQLite finds the log and the index by the name of the database,
//! so a database that can be reached by two names is two databases at once.

use std::path::{Path, PathBuf};

use super::file::{Failure, directory, refused};

/// What lies beside the database, by the ending of its name.
pub(super) const LOG: &str = "-wal";
pub(super) const INDEX: &str = "-shm";
pub(super) const BELLS: &str = "-bells";

/// What of this ending lies beside the database at `path`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Another hard link has a log of its own, and knows nothing of the one here.
pub(super) fn refuse_linked(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() && found.nlink() > 1 => Err(refused(format!(
            "the database {path:?} has {} names (hard links), and who uses another name would not \
             see the locks made here; remove all but one",
            found.nlink()
        ))),
        _ => Ok(()),
    }
}

/// A bind mount of the file alone, as `docker run -v x.db:/x.db` makes it, has
/// neither the log nor the sockets of those who use the file elsewhere.
pub(super) fn refuse_mounted(path: &Path) -> Result<(), Failure> {
    let here = mount(directory(path));
    for ending in ["", LOG, INDEX, BELLS] {
        let part = beside(path, ending);
        let there = mount(&part);
        if here.is_some() && there.is_some() && here != there {
            return Err(refused(format!(
                "{part:?} is mounted without the directory it lies in, so that others may use the \
                 database with another log and other sockets; mount the whole directory"
            )));
        }
    }
    Ok(())
}

/// The mount of a file, where the system tells.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn mount(path: &Path) -> Option<u64> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    // PATH: closing any other descriptor of the database would end SQLite's locks.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let id = told.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    id.trim().parse().ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn mount(_: &Path) -> Option<u64> {
    None
}

/// Two machines on one file would each take the other's leases for those of an
/// earlier boot.
pub(super) fn refuse_shared(path: &Path) -> Result<(), Failure> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let shared = |found: rustix::fs::StatFs| {
        is_shared(found.f_type as u32).then(|| format!("type {:#x}", found.f_type))
    };
    #[cfg(target_vendor = "apple")]
    let shared = |found: rustix::fs::StatFs| {
        const LOCAL: u32 = 0x1000; // MNT_LOCAL
        (found.f_flags & LOCAL == 0).then(|| "not local".to_owned())
    };
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    if let Ok(found) = rustix::fs::statfs(path)
        && let Some(why) = shared(found)
    {
        return Err(refused(format!(
            "{path:?} is on a network or shared file system ({why}), where two machines could hold \
             one lock; put the database on a local disk"
        )));
    }
    Ok(())
}

/// Whether another machine may have a file system of this type mounted too; the
/// numbers are those of statfs(2) and, for what is not in the kernel, of coreutils.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_shared(file_system: u32) -> bool {
    const NETWORK: [u32; 9] = [
        0x6969,      // NFS
        0x517b,      // SMB
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB2
        0x564c,      // NCP
        0x7375_7245, // Coda
        0x5346_414f, // AFS
        0x6b41_4653, // AFS of the kernel
        0x6573_5546, // FUSE: sshfs, virtiofs, GlusterFS and more
    ];
    const CLUSTER: [u32; 13] = [
        0x00c3_6400, // Ceph
        0x0bd0_0bd0, // Lustre
        0x7461_636f, // OCFS2
        0x0116_1970, // GFS2
        0x4750_4653, // GPFS
        0x1983_0326, // BeeGFS
        0xaad7_aaea, // PanFS
        0x2003_0528, // OrangeFS
        0x6163_6673, // ACFS
        0xbeef_dead, // StorNext
        0x0131_11a8, // Ibrix
        0xa501_fcf5, // VxFS, which may be a cluster's
        0x5346_314d, // M1FS
    ];
    const OF_A_VIRTUAL_MACHINE: [u32; 4] = [
        0x0102_1997, // 9P
        0x786f_4256, // VirtualBox
        0xbacb_acbc, // VMware
        0x7c7c_6673, // Parallels
    ];
    NETWORK.contains(&file_system)
        || CLUSTER.contains(&file_system)
        || OF_A_VIRTUAL_MACHINE.contains(&file_system)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_system_that_other_machines_may_have_is_told_from_a_local_one() {
        for (name, number) in [
            ("nfs", 0x6969),
            ("cifs", 0xff53_4d42),
            ("virtiofs", 0x6573_5546),
            ("gpfs", 0x4750_4653),
            ("beegfs", 0x1983_0326),
            ("panfs", 0xaad7_aaea),
            ("orangefs", 0x2003_0528),
            ("vmhgfs", 0xbacb_acbc),
        ] {
            assert!(super::is_shared(number), "{name}");
        }
        let local = [("ext4", 0xef53), ("tmpfs", 0x0102_1994), ("btrfs", 0x9123_683e)];
        for (name, number) in
            local.into_iter().chain([("overlay", 0x794c_7630), ("xfs", 0x5846_5342)])
        {
            assert!(!super::is_shared(number), "{name}");
        }
    }
}
