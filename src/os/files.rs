//! Files for one account alone, and what they lie on.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{Code, Error, Result};

/// What a path lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its name, where it is one on which locks and shared memory between machines cannot be trusted.
    pub network: Option<&'static str>,
    pub read_only: bool,
}

/// File-system numbers of `statfs(2)`.
const NETWORK: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x517B, "SMB"),
    (0x0102_1997, "9p"),
    (0x5346_414F, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00C3_6400, "Ceph"),
    (0x0BD0_0BD0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x1983_0326, "FhGFS"),
];

/// Kinds of FUSE, as `/proc/self/mountinfo` names them.
const NETWORK_FUSE: &[(&str, &str)] = &[
    ("fuse.sshfs", "SSHFS"),
    ("fuse.glusterfs", "GlusterFS"),
    ("fuse.ceph-fuse", "Ceph"),
    ("fuse.s3fs", "s3fs"),
    ("fuse.rclone", "rclone"),
    ("fuse.juicefs", "JuiceFS"),
    ("fuse", "a FUSE file system of no known kind"),
];

/// `FUSE_SUPER_MAGIC`.
const FUSE: u32 = 0x6573_5546;

/// `CKR_DEVICE_ERROR` with the system's reason, or the code for a full disk or a missing permission.
pub fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    let (code, advice) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (Code::DeviceMemory, "; make room on the disk"),
        io::ErrorKind::PermissionDenied => (Code::TokenWriteProtected, "; let this account write there (chown, chmod)"),
        io::ErrorKind::ReadOnlyFilesystem => (Code::TokenWriteProtected, "; it lies on a medium that can only be read"),
        _ => (Code::DeviceError, ""),
    };
    code.because(format!("cannot {what} {}: {error}{advice}", path.display()))
}

/// A new file, 0600 whatever the umask, open to read and write. An existing one is an error: `AlreadyExists`.
pub fn create_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// A file's length, in a third of the time.
pub fn length(file: &File) -> io::Result<u64> {
    let mut file = file;
    file.seek(SeekFrom::End(0))
}

/// A file's length and how many names it has. Its times are not asked for: since Linux 6.13 the next write to a file whose
/// times somebody has seen stamps it anew and journals that, which costs more than the write itself.
pub fn length_and_names(file: &File) -> io::Result<(u64, u64)> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let (flags, wanted) = (libc::AT_EMPTY_PATH, libc::STATX_SIZE | libc::STATX_NLINK);
    // SAFETY: an open descriptor, an empty string that ends, and room for the answer, which is all zeros before.
    let asked = unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, wanted, found.as_mut_ptr()) };
    // SAFETY: numbers alone, which zeros are too.
    let found = unsafe { found.assume_init() };
    if asked == 0 && found.stx_mask & wanted == wanted {
        return Ok((found.stx_size, u64::from(found.stx_nlink)));
    }
    // A kernel before 4.11, or a sandbox that does not know the call.
    file.metadata().map(|found| (found.len(), found.nlink()))
}

/// The file, open to read and write; made, as [`create_private`] does, where it is missing.
pub fn open_private(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).write(true).open(path);
    match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => match create_private(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => open(),
            made => made,
        },
        opened => opened,
    }
}

/// Sees to it that writing the `len` bytes from `start` on finds room, where the file system can promise that. The file's
/// length stays.
pub fn reserve(file: &File, start: u64, len: u64) -> io::Result<()> {
    let (Ok(start), Ok(len)) = (i64::try_from(start), i64::try_from(len)) else { return Ok(()) };
    // SAFETY: an open descriptor and plain numbers.
    if unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, start, len) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}

/// The directory and its missing parents, each made 0700. Existing ones stay as they are.
pub fn create_private_dirs(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_private_dirs(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(|e| failed("set the permissions of", path, &e)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(failed("make the directory", path, &e)),
    }
}

/// Writes a file, 0600, that appears under its name whole and durable or not at all.
/// `Ok(false)`: the name is taken, and nothing was changed.
pub fn write_private_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let suffix = super::random_array::<8>()?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{:016x}", u64::from_be_bytes(suffix)));
    let temporary = Path::new(&name);
    let written = create_private(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::hard_link(temporary, path));
    let _ = fs::remove_file(temporary);
    match placed {
        Ok(()) => sync_dir(path).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(failed("write", path, &e)),
    }
}

/// Makes the name of `file` durable: flushes the directory that it stands in.
pub fn sync_dir(file: &Path) -> Result<()> {
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| failed("flush the directory", dir, &e))
}

/// What it is in place of a regular file; `None`: it is one. To be asked before such a path is opened: opening a named pipe
/// waits for whoever is to write into it.
pub fn not_a_file(meta: &fs::Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a named pipe"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

/// Refuses a file that others may read or write, or that another account owns: `CKR_GENERAL_ERROR`, with the command
/// that mends it. Asks by path: to open a database file and close it again would drop the engine's own locks on it.
pub fn check_private(path: &Path) -> Result<()> {
    let meta = fs::metadata(path).map_err(|e| failed("look at", path, &e))?;
    let shown = path.display();
    if let Some(kind) = not_a_file(&meta) {
        return Err(Code::GeneralError.because(format!("{shown} is {kind}, expected a regular file")));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let why = format!("{shown} has mode {mode:04o}, expected 0600: others could read it; run: chmod 600 '{shown}'");
        return Err(Code::GeneralError.because(why));
    }
    // SAFETY: no argument, cannot fail.
    let me = unsafe { libc::geteuid() };
    if meta.uid() != me && meta.uid() != 0 && me != 0 {
        let why = format!("{shown} belongs to user {}, expected {me}: it is not this account's", meta.uid());
        return Err(Code::GeneralError.because(why));
    }
    Ok(())
}

/// What the existing `path` lies on.
pub fn file_system(path: &Path) -> Result<FileSystem> {
    let name = c_path(path)?;
    // SAFETY: plain data, for which zeros are a value.
    let (mut kind, mut flags): (libc::statfs, libc::statvfs) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: a live NUL-terminated string and live structures.
    if unsafe { libc::statfs(name.as_ptr(), &mut kind) != 0 || libc::statvfs(name.as_ptr(), &mut flags) != 0 } {
        return Err(failed("look at the file system of", path, &io::Error::last_os_error()));
    }
    let network = match kind.f_type as u32 {
        FUSE => {
            let device = fs::metadata(path).map_err(|e| failed("look at", path, &e))?.dev();
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            network_fuse(&mounts, (libc::major(device), libc::minor(device)))
        }
        magic => NETWORK.iter().find(|row| row.0 == magic).map(|row| row.1),
    };
    Ok(FileSystem { network, read_only: flags.f_flag & libc::ST_RDONLY != 0 })
}

/// What kind of FUSE the device is, where it is one between machines (`proc_pid_mountinfo(5)`: the third field, and the
/// first after the hyphen).
fn network_fuse(mounts: &str, (major, minor): (u32, u32)) -> Option<&'static str> {
    let device = format!("{major}:{minor}");
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let kind = mount.split(" - ").nth(1)?.split(' ').next()?;
    NETWORK_FUSE.iter().find(|row| row.0 == kind).map(|row| row.1)
}

/// Whether this account, as it now acts, may write there.
pub fn is_writable(path: &Path) -> bool {
    let Ok(name) = c_path(path) else { return false };
    // SAFETY: a live NUL-terminated string.
    unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::W_OK, libc::AT_EACCESS) == 0 }
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Code::GeneralError.because(format!("the path {} holds a NUL", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_or_loses_its_name_shows() {
        let path = std::env::temp_dir().join(format!("keyward-length-{}", std::process::id()));
        let file = create_private(&path).unwrap();
        assert_eq!(length_and_names(&file).unwrap(), (0, 1));
        fs::write(&path, b"five.").unwrap();
        assert_eq!(length_and_names(&file).unwrap(), (5, 1));
        fs::remove_file(&path).unwrap();
        assert_eq!(length_and_names(&file).unwrap(), (5, 0));
    }

    #[test]
    fn private_files_appear_once_and_looser_ones_are_refused() {
        let dir = std::env::temp_dir().join(format!("keyward-files-{}", std::process::id()));
        create_private_dirs(&dir.join("a/b")).unwrap();
        assert_eq!(fs::metadata(dir.join("a")).unwrap().mode() & 0o777, 0o700);
        let path = dir.join("a/b/secret");
        assert!(write_private_new(&path, b"one").unwrap());
        assert!(!write_private_new(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.join("a/b")).unwrap().count(), 1, "no temporary file is left");
        check_private(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = check_private(&path).unwrap_err();
        assert!(refused.why().unwrap().contains("chmod 600"), "{refused}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn kinds_of_fuse_between_machines_are_known_by_their_mount() {
        let mounts = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                      41 22 0:37 / /home/ada/far rw,nosuid shared:9 - fuse.sshfs ada@host: rw,user_id=1000\n\
                      42 22 0:38 / /mnt/ntfs rw shared:10 master:2 - fuseblk /dev/sdb1 rw\n\
                      43 22 0:39 / /mnt/x rw - fuse none rw\n";
        assert_eq!(network_fuse(mounts, (0, 37)), Some("SSHFS"));
        assert_eq!(network_fuse(mounts, (0, 38)), None, "a local disk");
        assert!(network_fuse(mounts, (0, 39)).is_some());
        assert_eq!(network_fuse(mounts, (8, 1)), None);
        assert_eq!(network_fuse("nonsense\n\n", (0, 37)), None);
    }

    #[test]
    fn the_kind_of_file_system_is_known() {
        let proc = file_system(Path::new("/proc")).unwrap();
        assert_eq!(proc.network, None);
        assert!(file_system(Path::new("/nowhere/at/all")).is_err());
    }
}
