//! A slot file that is none, or no longer whole: it costs its own token, and no other.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::place::*;
use crate::world::*;
use crate::{c, ok};

/// Puts something into a file's place.
type Make = fn(&Path);

/// Two tokens, at rest: one to be spoiled, with its slot file, and one that must not be touched by that.
struct Two {
    told: Told,
    spoiled: CK_SLOT_ID,
    sound: CK_SLOT_ID,
    file: PathBuf,
    whole: Vec<u8>,
}

impl Two {
    fn new() -> Two {
        let told = Told::new();
        ok!(C_Initialize, null_mut());
        let spoiled = make_token(*slots(CK_TRUE).last().unwrap());
        let session = logged_in(spoiled);
        create(session, kept(b"kept", "kept"));
        ok!(C_Finalize, null_mut());
        let file = told.slot_file();
        let whole = std::fs::read(&file).unwrap();
        told.configuration("keyward.toml", "always");
        ok!(C_Initialize, null_mut());
        let sound = make_token(*slots(CK_TRUE).iter().find(|slot| **slot != spoiled).unwrap());
        ok!(C_Finalize, null_mut());
        told.configuration("keyward.toml", "auto");
        Two { told, spoiled, sound, file, whole }
    }

    fn clear(&self) {
        for suffix in ["", "-wal", "-shm", "-lock"] {
            let path = PathBuf::from(format!("{}{suffix}", self.file.display()));
            let _ = std::fs::remove_dir(&path);
            let _ = std::fs::remove_file(&path);
        }
    }

    /// What each function says of the spoiled token, with the file as it now is.
    #[track_caller]
    fn refused(&self, what: &str, code: CK_RV, words: &[&str]) {
        let before = self.told.files();
        self.told.said();
        within(60, || {
            ok!(C_Initialize, null_mut());
            let mut info = CK_TOKEN_INFO::default();
            assert_eq!(c!(C_GetTokenInfo, self.spoiled, &raw mut info), code, "{what}");
            let mut session = 0;
            let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
            let rv = c!(C_OpenSession, self.spoiled, flags, null_mut(), None, &raw mut session);
            assert_eq!((rv, session), (code, 0), "{what}");
            let init = c!(C_InitToken, self.spoiled, ptr(SO_PIN), len(SO_PIN), ptr(&[b' '; 32]));
            assert_eq!(init, code, "{what}: nothing is made over what may be mended");
        });
        let file = self.file.display().to_string();
        let mut all = vec!["warn: C_GetTokenInfo: ", &file];
        all.extend(words);
        self.told.says(&all);
        // The other one does not even notice.
        assert!(slots(CK_TRUE).contains(&self.sound), "{what}");
        let session = logged_in(self.sound);
        create(session, kept(b"other", "other"));
        ok!(C_CloseAllSessions, self.sound);
        ok!(C_Finalize, null_mut());
        let changed: Vec<_> =
            self.told.files().into_iter().filter(|file| before.get(&file.0) != Some(&file.1)).collect();
        assert!(changed.iter().all(|(path, _)| *path != self.file), "{what}: the file is as it was");
        self.by_the_program(what, words);
    }

    #[track_caller]
    fn by_the_program(&self, what: &str, words: &[&str]) {
        let (exit, said) = self.told.exit("token list");
        assert!(exit == Some(0) && said.contains("damaged: see keyward doctor"), "{what}: {exit:?} {said}");
        for line in ["token info", "token verify", "object list"] {
            let (exit, said) = self.told.exit(&format!("{line} --slot {}", self.spoiled));
            assert_eq!(exit, Some(1), "{what}: {line}: {said}");
            assert!(words.iter().all(|word| said.contains(word)), "{what}: {line}: {said}");
        }
        let (exit, said) = self.told.exit("doctor");
        assert!(exit == Some(7) && words.iter().all(|word| said.contains(word)), "{what}: {exit:?} {said}");
        assert_eq!(self.told.exit(&format!("token info --slot {}", self.sound)).0, Some(0), "{what}");
    }

    /// Put back, it is the token that it was.
    fn mended(&self) {
        self.clear();
        std::fs::write(&self.file, &self.whole).unwrap();
        mode(&self.file, 0o600);
        ok!(C_Initialize, null_mut());
        let session = logged_in(self.spoiled);
        assert_eq!(find(session, by(CKA_LABEL, b"kept")).len(), 1);
        ok!(C_Finalize, null_mut());
    }
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let two = Two::new();
    let all = two.whole.len();
    for len in
        [0, 1, 15, 16, 99, 100, 512, 4096, 8192, all / 2 + 5, all / 16384 * 8192, all - 8192, all - 4096, all - 1]
    {
        two.clear();
        std::fs::write(&two.file, &two.whole[..len]).unwrap();
        mode(&two.file, 0o600);
        let words: &[&str] = match len {
            0 => &["is empty", "backup"],
            _ if len % 8192 != 0 => &["is cut off", "backup"],
            _ => &["damaged", "backup"],
        };
        two.refused(&format!("{len} of {all} bytes"), CKR_TOKEN_NOT_RECOGNIZED, words);
    }
    two.mended();
}

#[test]
fn what_is_no_file_is_no_slot_file_and_nobody_waits_for_it() {
    let two = Two::new();
    let kinds: [(&str, Make, &[&str]); 6] = [
        ("a directory", |path| std::fs::create_dir(path).unwrap(), &["is a directory", "move it out"]),
        ("a named pipe", fifo, &["is a named pipe", "move it out"]),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap()), &["is a socket", "move it out"]),
        ("a device", |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(), &["is a device", "move it out"]),
        ("a text", |path| std::fs::write(path, [b'x'; 9000]).unwrap(), &["no slot file", "backup"]),
        ("another program's database", foreign, &["no slot file", "backup"]),
    ];
    for (what, make, words) in kinds {
        two.clear();
        make(&two.file);
        if two.file.is_file() && !two.file.is_symlink() {
            mode(&two.file, 0o600);
        }
        two.refused(what, CKR_TOKEN_NOT_RECOGNIZED, words);
    }
    two.clear();
    std::fs::write(&two.file, &two.whole).unwrap();
    mode(&two.file, 0o644);
    two.refused("open to others", CKR_GENERAL_ERROR, &["0644", "chmod 600"]);
    two.mended();
}

fn foreign(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA page_size = 8192; CREATE TABLE theirs(a); INSERT INTO theirs VALUES (1);")
        .unwrap();
}

/// The device secret: without it every token is closed, and what must be done is said.
#[test]
fn a_device_secret_that_is_none_is_named() {
    let two = Two::new();
    let secret = two.told.path("device");
    let good = std::fs::read(&secret).unwrap();
    let kinds: [(&str, Make, &str); 6] = [
        ("nothing", |_| {}, "Restore the secret from its own backup"),
        ("a directory", |path| std::fs::create_dir(path).unwrap(), "a directory, expected a file of 32 bytes"),
        ("a named pipe", fifo, "a named pipe, expected a file of 32 bytes"),
        ("empty", |path| std::fs::write(path, b"").unwrap(), "0 bytes, expected 32"),
        ("too short", |path| std::fs::write(path, [7; 31]).unwrap(), "31 bytes, expected 32"),
        ("too long", |path| std::fs::write(path, [7; 33]).unwrap(), "33 bytes, expected 32"),
    ];
    for (what, make, words) in kinds {
        let _ = std::fs::remove_dir(&secret);
        let _ = std::fs::remove_file(&secret);
        make(&secret);
        if secret.is_file() {
            mode(&secret, 0o600);
        }
        let before = two.told.files();
        two.told.said();
        within(20, || {
            ok!(C_Initialize, null_mut());
            let mut info = CK_TOKEN_INFO::default();
            for slot in [two.spoiled, two.sound] {
                assert_eq!(c!(C_GetTokenInfo, slot, &raw mut info), CKR_GENERAL_ERROR, "{what}");
            }
            ok!(C_Finalize, null_mut());
        });
        two.told.says(&["warn: C_GetTokenInfo: the device secret", words]);
        let (exit, said) = two.told.exit(&format!("token info --slot {}", two.sound));
        assert!(exit == Some(1) && said.contains(words), "{what}: {exit:?} {said}");
        let (exit, said) = two.told.exit("token init --label new --so-pin-env SO --no-user-pin");
        assert!(exit == Some(1) && said.contains(words), "{what}: {exit:?} {said}");
        assert_eq!(two.told.files(), before, "{what}: no new one is made beside tokens of the old one");
    }
    let _ = std::fs::remove_file(&secret);
    std::fs::write(&secret, good).unwrap();
    mode(&secret, 0o600);
    two.mended();
}
