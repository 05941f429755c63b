//! A slot file that was damaged in any way: it opens, or is refused; what can still be read is read.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use keyward::config::KdfPreset;
use keyward::secret::SecretBytes;
use keyward::store::{Change, DeviceSecret, Keys, Role, Rules, SlotFile};

use crate::words::Words;

const PIN: &[u8] = b"user-pin";
const LABEL: u64 = 3;
const RULES: Rules = Rules { kdf: KdfPreset::Standard, max_failures: 10 };

/// A sound file of a few objects, and the keys that its user's login gives.
struct Sound {
    folder: PathBuf,
    bytes: Vec<u8>,
    keys: Arc<Keys>,
}

fn device() -> Arc<DeviceSecret> {
    Arc::new(DeviceSecret::from_bytes([42; 32]))
}

impl Sound {
    fn make() -> Result<Sound, Box<dyn std::error::Error>> {
        let folder = std::env::temp_dir().join(format!("keyward-fuzz-{}-slots", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("sound.slot");
        let file = SlotFile::create(&path, device(), RULES, "00112233445566aa", "sound", b"so-pin")?;
        let so = file.unlock(Role::SecurityOfficer, b"so-pin")?;
        file.init_user_pin(&so, PIN)?;
        let keys = file.unlock(Role::User, PIN)?;
        let object = |n: u8| Change::Insert {
            private: n.is_multiple_of(2),
            attrs: vec![n; 100],
            secret: Some(SecretBytes::new(vec![n; 32])),
            index: vec![(LABEL, vec![n])],
        };
        file.commit(&keys, (0..6).map(object).collect())?;
        // As one file, without a log beside it.
        let copy = folder.join("copy.slot");
        file.backup(&copy)?;
        let bytes = std::fs::read(&copy)?;
        Ok(Sound { folder, bytes, keys })
    }
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| Sound::make().expect("a slot file"))
}

/// The input says what to change: places with bytes for them, and a length.
pub fn run(data: &[u8]) {
    let sound = sound();
    let mut words = Words::new(data);
    let mut bytes = sound.bytes.clone();
    if words.once_in(8) {
        bytes.truncate(words.below(bytes.len().min(1 << 16)));
    }
    while !words.is_empty() && !bytes.is_empty() {
        let page = words.below(bytes.len().div_ceil(512)) * 512;
        let at = (page + words.below(512)) % bytes.len();
        let n = 1 + words.below(16);
        let patch = words.bytes(n);
        let end = (at + patch.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&patch[..end - at]);
    }
    let path = sound.folder.join("damaged.slot");
    let beside = |suffix: &str| sound.folder.join(format!("damaged.slot{suffix}"));
    std::fs::write(&path, &bytes).expect("a scratch file");
    keep_private(&path);
    visit(&path, sound);
    for suffix in ["", "-wal", "-shm", "-lock", "-journal"] {
        let _ = std::fs::remove_file(beside(suffix));
    }
}

/// Others may not read it, or it is refused for that alone.
fn keep_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
}

fn visit(path: &std::path::Path, sound: &Sound) {
    let Ok(file) = SlotFile::open(path, device(), RULES) else { return };
    let _ = file.header();
    let _ = file.public_keys();
    let keys = &sound.keys;
    for entry in file.find(keys, &[], 0, 100).unwrap_or_default() {
        if let Ok(Some(record)) = file.read(keys, entry.id) {
            let _ = file.secret(keys, &record);
        }
    }
    for n in 0..6u8 {
        let _ = file.find(keys, &[(LABEL, &[n])], 0, 10);
    }
    let _ = file.verify(keys);
    let _ = file.commit(keys, vec![Change::Delete { id: 3 }]);
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![vec![0], vec![0, 0, 0, 0, 0, 15, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], vec![7, 0, 32]]
}
