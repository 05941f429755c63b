//! AES-GCM.

#![allow(unsafe_code)]

use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;

use aws_lc_sys::{
    EVP_AEAD, EVP_AEAD_CTX, EVP_AEAD_CTX_free, EVP_AEAD_CTX_new, EVP_AEAD_CTX_open_gather, EVP_AEAD_CTX_seal_scatter,
    EVP_CIPHER, EVP_CIPHER_CTX, EVP_CIPHER_CTX_copy, EVP_CIPHER_CTX_ctrl, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new,
    EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_IVLEN, EVP_CTRL_AEAD_SET_TAG, EVP_CipherFinal_ex, EVP_CipherInit_ex,
    EVP_CipherUpdate, EVP_aead_aes_128_gcm, EVP_aead_aes_192_gcm, EVP_aead_aes_256_gcm, EVP_aes_128_gcm,
    EVP_aes_192_gcm, EVP_aes_256_gcm,
};

use super::{Refused, Result, done};
use crate::crypto::aes::Direction;
use crate::crypto::gcm::MAX_TAG;

/// The library counts a call's bytes in a C `int`; whole blocks, so that a piece never ends inside one.
const PIECE: usize = 1 << 30;

/// A key's schedule and GHASH table, to be copied into each new [`Message`].
pub(in crate::crypto) struct Key {
    parts: Context,
    whole: Arc<Whole>,
}

// SAFETY: after `new` the context is only read, by `EVP_CIPHER_CTX_copy`.
unsafe impl Sync for Key {}

/// The same for messages that come whole: the library does each in one call, and keeps nothing of it.
struct Whole(NonNull<EVP_AEAD_CTX>);

// SAFETY: heap memory that only this value points to; the library ties it to no thread.
unsafe impl Send for Whole {}
// SAFETY: sealing and opening only read it.
unsafe impl Sync for Whole {}

impl Drop for Whole {
    fn drop(&mut self) {
        // SAFETY: ours alone, and not used after. The library wipes what it frees.
        unsafe { EVP_AEAD_CTX_free(self.0.as_ptr()) }
    }
}

impl Key {
    /// Refused unless `key` has 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Key> {
        type Get<T> = unsafe extern "C" fn() -> *const T;
        let (cipher, aead): (Get<EVP_CIPHER>, Get<EVP_AEAD>) = match key.len() {
            16 => (EVP_aes_128_gcm, EVP_aead_aes_128_gcm),
            24 => (EVP_aes_192_gcm, EVP_aead_aes_192_gcm),
            32 => (EVP_aes_256_gcm, EVP_aead_aes_256_gcm),
            _ => return Err(Refused),
        };
        let context = Context::new()?;
        // SAFETY: a fresh context; the key has the cipher's length; no engine, no IV yet. GCM's tables are the same for
        // both directions.
        done(unsafe { EVP_CipherInit_ex(context.at(), cipher(), null_mut(), key.as_ptr(), null(), 1) })?;
        // SAFETY: the key has the algorithm's length.
        let whole = super::made(unsafe { EVP_AEAD_CTX_new(aead(), key.as_ptr(), key.len(), MAX_TAG) })?;
        Ok(Key { parts: context, whole: Arc::new(Whole(whole)) })
    }

    /// Allocates, and is the only thing here that does (but for IVs longer than 16 bytes).
    pub fn begin(&self, direction: Direction) -> Result<Message> {
        let context = Context::new()?;
        // SAFETY: two contexts, the first fresh, the second only read.
        done(unsafe { EVP_CIPHER_CTX_copy(context.at(), self.parts.at()) })?;
        let encrypt = i32::from(direction == Direction::Encrypt);
        // SAFETY: a context with its key; nothing else changes than its direction.
        done(unsafe { EVP_CipherInit_ex(context.at(), null(), null_mut(), null(), null(), encrypt) })?;
        Ok(Message(context, self.whole.clone()))
    }
}

/// Owns the library's context.
struct Context(NonNull<EVP_CIPHER_CTX>);

// SAFETY: heap memory that only this value points to; the library ties it to no thread.
unsafe impl Send for Context {}

impl Context {
    fn new() -> Result<Context> {
        // SAFETY: takes nothing; NULL on lack of memory.
        super::made(unsafe { EVP_CIPHER_CTX_new() }).map(Context)
    }

    fn at(&self) -> *mut EVP_CIPHER_CTX {
        self.0.as_ptr()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours alone, and not used after. The library wipes what it frees.
        unsafe { EVP_CIPHER_CTX_free(self.at()) }
    }
}

/// One message after the other under one key in one direction: `start`, `authenticate`s, `update`s, then `tag` or `check`.
pub(in crate::crypto) struct Message(Context, Arc<Whole>);

impl Message {
    /// Refused where the IV is empty or longer than 2^31 - 1 bytes.
    pub fn start(&mut self, iv: &[u8]) -> Result<()> {
        let len = i32::try_from(iv.len()).ok().filter(|&len| len > 0).ok_or(Refused)?;
        self.control(EVP_CTRL_AEAD_SET_IVLEN, len, null_mut())?;
        // SAFETY: a context with its key set; the IV has the length just announced; -1 keeps the direction.
        done(unsafe { EVP_CipherInit_ex(self.0.at(), null(), null_mut(), null(), iv.as_ptr(), -1) })
    }

    /// A whole message at once, whatever was started; its tag. Refused unless `out` is as long as `input`, and where the IV is
    /// empty.
    pub fn seal(&mut self, iv: &[u8], aad: &[u8], input: &[u8], out: &mut [u8]) -> Result<[u8; MAX_TAG]> {
        if input.len() != out.len() {
            return Err(Refused);
        }
        let (mut tag, mut len) = ([0; MAX_TAG], 0);
        // SAFETY: a context with its key; all slices have the lengths that go with them, and `out` and `tag` as much room.
        done(unsafe {
            EVP_AEAD_CTX_seal_scatter(
                self.1.0.as_ptr(),
                out.as_mut_ptr(),
                tag.as_mut_ptr(),
                &mut len,
                MAX_TAG,
                iv.as_ptr(),
                iv.len(),
                input.as_ptr(),
                input.len(),
                null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        })?;
        Ok(tag)
    }

    /// The reverse, with the whole tag. Refused also unless that is the message's; `out` then holds zeros.
    pub fn open(&mut self, iv: &[u8], aad: &[u8], input: &[u8], tag: &[u8; MAX_TAG], out: &mut [u8]) -> Result<()> {
        if input.len() != out.len() {
            return Err(Refused);
        }
        // SAFETY: as in `seal`.
        done(unsafe {
            EVP_AEAD_CTX_open_gather(
                self.1.0.as_ptr(),
                out.as_mut_ptr(),
                iv.as_ptr(),
                iv.len(),
                input.as_ptr(),
                input.len(),
                tag.as_ptr(),
                MAX_TAG,
                aad.as_ptr(),
                aad.len(),
            )
        })
    }

    /// Further additional data, while no other data has come.
    pub fn authenticate(&mut self, aad: &[u8]) -> Result<()> {
        aad.chunks(PIECE).try_for_each(|piece| self.feed(piece, null_mut()))
    }

    /// Refused unless `out` is as long as `input`.
    pub fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<()> {
        if input.len() != out.len() {
            return Err(Refused);
        }
        input.chunks(PIECE).zip(out.chunks_mut(PIECE)).try_for_each(|(from, to)| self.feed(from, to.as_mut_ptr()))
    }

    /// Ends an encryption: the leading bytes of the tag, at most 16.
    pub fn tag(&mut self, tag: &mut [u8]) -> Result<()> {
        done(self.finish())?;
        self.control(EVP_CTRL_AEAD_GET_TAG, tag_len(tag)?, tag.as_mut_ptr())
    }

    /// Ends a decryption: refused unless `tag`, of at most 16 bytes, is the message's. The comparison takes constant time.
    pub fn check(&mut self, tag: &[u8]) -> Result<()> {
        // The library only reads from the pointer for this control.
        self.control(EVP_CTRL_AEAD_SET_TAG, tag_len(tag)?, tag.as_ptr().cast_mut())?;
        done(self.finish())
    }

    /// Additional data where `out` is NULL. At most [`PIECE`] bytes.
    fn feed(&mut self, input: &[u8], out: *mut u8) -> Result<()> {
        let len = i32::try_from(input.len()).map_err(|_| Refused)?;
        let mut written = 0;
        // SAFETY: a context with key and IV; `out` is NULL or has room for `len` bytes, as both callers see to.
        done(unsafe { EVP_CipherUpdate(self.0.at(), out, &mut written, input.as_ptr(), len) })
    }

    fn finish(&mut self) -> i32 {
        let (mut nothing, mut written) = ([0; MAX_TAG], 0);
        // SAFETY: GCM writes nothing here; the room is a block's all the same.
        unsafe { EVP_CipherFinal_ex(self.0.at(), nothing.as_mut_ptr(), &mut written) }
    }

    fn control(&mut self, what: i32, len: i32, data: *mut u8) -> Result<()> {
        // SAFETY: for the controls used here `data` is NULL or has `len` bytes.
        done(unsafe { EVP_CIPHER_CTX_ctrl(self.0.at(), what, len, data.cast()) })
    }
}

fn tag_len(tag: &[u8]) -> Result<i32> {
    i32::try_from(tag.len()).map_err(|_| Refused)
}
