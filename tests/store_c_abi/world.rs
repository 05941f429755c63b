//! A directory of tokens for one test, which this process and its children reach by `KEYWARD_CONF`.

use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;

use crate::harness::*;
use crate::store_common::Place;
use crate::{c, ok};

pub const SO_PIN: &[u8] = b"12345678";
pub const USER_PIN: &[u8] = b"123456";

/// The module is one for the process: one test at a time has it.
pub struct World {
    place: Place,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    /// Without any token, and the module not initialised.
    pub fn new() -> World {
        static ONE: Mutex<()> = Mutex::new(());
        let world = World { _alone: ONE.lock().unwrap_or_else(PoisonError::into_inner), place: Place::new() };
        let conf = world.configuration("keyward.toml", "auto");
        // SAFETY: behind the tests' one lock, before any other thread of the module's reads it.
        unsafe { std::env::set_var("KEYWARD_CONF", conf) };
        world
    }

    /// With one token that has a user PIN; the module is initialised.
    pub fn with_token() -> (World, CK_SLOT_ID) {
        let world = World::new();
        ok!(C_Initialize, null_mut());
        let slot = make_token(*slots(CK_TRUE).last().unwrap());
        (world, slot)
    }

    /// A configuration file over this directory; its path.
    pub fn configuration(&self, name: &str, free_slot: &str) -> PathBuf {
        let conf = self.path(name);
        let text = format!(
            "tokens = '{0}/tokens'\ndevice_secret = '{0}/device'\nfree_slot = '{free_slot}'\n",
            self.place.0.display()
        );
        std::fs::write(&conf, text).unwrap();
        conf
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.0.join(name)
    }

    /// The slot file of the only token.
    pub fn slot_file(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.path("tokens")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|end| end == "slot")).collect();
        assert_eq!(files.len(), 1);
        files.remove(0)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        c!(C_Finalize, null_mut());
    }
}

pub fn slots(with_token: CK_BBOOL) -> Vec<CK_SLOT_ID> {
    let mut count = 0;
    ok!(C_GetSlotList, with_token, null_mut(), &raw mut count);
    let mut slots = vec![0; count as usize];
    ok!(C_GetSlotList, with_token, slots.as_mut_ptr(), &raw mut count);
    slots.truncate(count as usize);
    slots
}

/// Initialises the token of a free slot.
pub fn make_token(slot: CK_SLOT_ID) -> CK_SLOT_ID {
    ok!(C_InitToken, slot, ptr(SO_PIN), len(SO_PIN), ptr(&[b' '; 32]));
    let session = open(slot);
    ok!(C_Login, session, CKU_SO, ptr(SO_PIN), len(SO_PIN));
    ok!(C_InitPIN, session, ptr(USER_PIN), len(USER_PIN));
    ok!(C_Logout, session);
    ok!(C_CloseSession, session);
    slot
}

/// A session of a user who is logged in.
pub fn logged_in(slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
    let session = open(slot);
    ok!(C_Login, session, CKU_USER, ptr(USER_PIN), len(USER_PIN));
    session
}

/// In a child process: the module initialised, and a session on the only token, logged in.
pub fn attach() -> CK_SESSION_HANDLE {
    ok!(C_Initialize, null_mut());
    logged_in(slots(CK_TRUE)[0])
}

/// A P-256 pair on the token with this CKA_ID; the handles of its public and its private key.
pub fn key_pair(session: CK_SESSION_HANDLE, id: &[u8]) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let template = |uses| Template::new().yes(CKA_TOKEN).bytes(CKA_ID, id).yes(uses);
    pair(session, CKM_EC_KEY_PAIR_GEN, template(CKA_VERIFY).bytes(CKA_EC_PARAMS, P256), template(CKA_SIGN))
}

pub fn try_sign(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, hash: &[u8]) -> Result<[u8; 64], CK_RV> {
    let (mechanism, mut signature, mut length) = ([mechanism(CKM_ECDSA)], [0; 64], 64);
    match c!(C_SignInit, session, ptr(&mechanism), key) {
        CKR_OK => {}
        rv => return Err(rv),
    }
    match c!(C_Sign, session, ptr(hash), len(hash), signature.as_mut_ptr(), &raw mut length) {
        CKR_OK => Ok(signature),
        rv => Err(rv),
    }
}

pub fn verifies(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, hash: &[u8], signature: &[u8]) -> bool {
    let mechanism = [mechanism(CKM_ECDSA)];
    ok!(C_VerifyInit, session, ptr(&mechanism), key);
    c!(C_Verify, session, ptr(hash), len(hash), ptr(signature), len(signature)) == CKR_OK
}

/// A private generic secret on the token.
pub fn kept(id: &[u8], label: &str) -> Template {
    secret(CKK_GENERIC_SECRET)
        .yes(CKA_TOKEN)
        .yes(CKA_PRIVATE)
        .bytes(CKA_VALUE, &[7; 24])
        .bytes(CKA_ID, id)
        .bytes(CKA_LABEL, label.as_bytes())
}

pub fn by(ty: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Template {
    Template::new().bytes(ty, value)
}
