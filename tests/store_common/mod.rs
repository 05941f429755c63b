//! What the tests of the slot file share.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keyward::config::KdfPreset;
use keyward::secret::SecretBytes;
use keyward::store::*;

pub const LABEL: u64 = 3;
pub const ID: u64 = 0x102;
pub const RULES: Rules = Rules { kdf: KdfPreset::Standard, max_failures: 4 };
pub const SO: &[u8] = b"so-pin";
pub const PIN: &[u8] = b"user-pin";
pub const SERIAL: &str = "00112233445566aa";

/// Of each format of the tables, the present one last.
pub const SAMPLES: [&str; 4] = ["format-1.slot.gz", "format-2.slot.gz", "format-3.slot.gz", "format-4.slot.gz"];

/// A directory of one test's own, removed at its end.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("keyward-store-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Place(dir)
    }

    pub fn slot(&self) -> PathBuf {
        self.0.join("t.slot")
    }

    pub fn create(&self) -> SlotFile {
        SlotFile::create(&self.slot(), device(), RULES, SERIAL, "a label", SO).unwrap()
    }

    /// Puts a sample here: a user PIN `user-pin`, an SO PIN `so-pin` and eight objects of which one was deleted again.
    pub fn sample(&self, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        let packed = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut bytes).unwrap();
        std::fs::write(self.slot(), bytes).unwrap();
        std::fs::set_permissions(self.slot(), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A token with a user PIN, and the user's keys.
    pub fn ready(&self) -> (SlotFile, Arc<Keys>) {
        let file = self.create();
        let so = file.unlock(Role::SecurityOfficer, SO).unwrap();
        file.init_user_pin(&so, PIN).unwrap();
        let keys = file.unlock(Role::User, PIN).unwrap();
        (file, keys)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn device() -> Arc<DeviceSecret> {
    Arc::new(DeviceSecret::from_bytes([42; 32]))
}

pub fn open(path: &Path) -> SlotFile {
    SlotFile::open(path, device(), RULES).unwrap()
}

/// An object found by label and id; its secret is the label reversed.
pub fn insert(private: bool, label: &str, id: &str) -> Change {
    Change::Insert {
        private,
        attrs: format!("{label}/{id}").into_bytes(),
        secret: Some(SecretBytes::new(label.bytes().rev().collect())),
        index: vec![(LABEL, label.into()), (ID, id.into())],
    }
}

pub fn find(file: &SlotFile, keys: &Keys, index: &[(u64, &[u8])]) -> Vec<u64> {
    file.find(keys, index, 0, 1000).unwrap().into_iter().map(|e| e.id).collect()
}

/// Runs the test `name` of this same program again as another process, with `setting` in KEYWARD_TEST_CHILD.
pub fn again(name: &str, setting: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env("KEYWARD_TEST_CHILD", setting)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What [`again`] set; `None` in the first process.
pub fn setting() -> Option<Vec<String>> {
    let setting = std::env::var("KEYWARD_TEST_CHILD").ok()?;
    Some(setting.split('|').map(str::to_owned).collect())
}

/// The processor's time that this thread has used: figures by it are the same on a busy machine.
pub fn processor_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live timespec, and a clock that is always there.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) }, 0);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
