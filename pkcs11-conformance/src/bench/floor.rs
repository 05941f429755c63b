//! The floor: the same operations straight on AWS-LC, with everything prepared that can be. What a module takes beyond
//! this is its own.

use std::ptr::{null, null_mut};

use aws_lc_sys::*;

use super::ops::Step;
use crate::context::{Stop, fail, skip};

/// An operation of the floor, by the name of its row.
pub struct Floor {
    name: &'static str,
    data: Vec<u8>,
}

impl Floor {
    pub fn new(name: &'static str, data: Vec<u8>) -> Result<Self, Stop> {
        let floor = Floor { name, data };
        floor.step().map(drop)?;
        Ok(floor)
    }

    /// A step with a context of its own; contexts live as long as the process.
    pub fn step(&self) -> Result<Step, Stop> {
        let data = self.data.clone();
        // SAFETY: each maker passes AWS-LC contexts that it made itself, and buffers with their lengths.
        unsafe {
            match self.name {
                "RSA-2048 PKCS#1 sign" => rsa(data, Rsa::Sign),
                "RSA-2048 PKCS#1 verify" => rsa(data, Rsa::Verify),
                "RSA-2048 PKCS#1 decrypt" => rsa(data, Rsa::Decrypt),
                "P-256 sign" => ec(NID_X9_62_prime256v1, data, false),
                "P-256 verify" => ec(NID_X9_62_prime256v1, data, true),
                "P-384 sign" => ec(NID_secp384r1, data, false),
                "P-384 verify" => ec(NID_secp384r1, data, true),
                "P-521 sign" => ec(NID_secp521r1, data, false),
                "P-521 verify" => ec(NID_secp521r1, data, true),
                "P-256 ECDH" => ecdh(NID_X9_62_prime256v1),
                "P-384 ECDH" => ecdh(NID_secp384r1),
                "X25519" => x25519(),
                "Ed25519 sign" => ed25519(data, false),
                "Ed25519 verify" => ed25519(data, true),
                "AES-256-GCM encrypt" => gcm(data, true),
                "AES-256-GCM decrypt" => gcm(data, false),
                "AES-256-CBC encrypt" => cbc(data, true),
                "AES-256-CBC decrypt" => cbc(data, false),
                "SHA-256" => digest(EVP_sha256(), data),
                "SHA-512" => digest(EVP_sha512(), data),
                "HMAC-SHA256" => hmac(data),
                "random" => random(data),
                "generate P-256" => generate_ec(NID_X9_62_prime256v1),
                "generate RSA-2048" => generate_rsa(),
                _ => skip("has no floor"),
            }
        }
    }
}

/// A step of calls that return 1.
fn stepping(mut f: impl FnMut() -> bool + 'static) -> Result<Step, Stop> {
    Ok(Box::new(move || if f() { Ok(()) } else { fail("AWS-LC refused") }))
}

enum Rsa {
    Sign,
    Verify,
    Decrypt,
}

unsafe fn new_rsa() -> *mut RSA {
    // SAFETY: a fresh key and exponent; both live on.
    unsafe {
        let (key, e) = (RSA_new(), BN_new());
        BN_set_word(e, 65537);
        RSA_generate_key_ex(key, 2048, e, null_mut());
        BN_free(e);
        key
    }
}

unsafe fn rsa(data: Vec<u8>, what: Rsa) -> Result<Step, Stop> {
    // SAFETY: the key lives on; buffers are as long as the modulus.
    unsafe {
        let key = new_rsa();
        let mut sealed = vec![0u8; 256];
        RSA_public_encrypt(data.len(), data.as_ptr(), sealed.as_mut_ptr(), key, RSA_PKCS1_PADDING);
        let mut hash = [0u8; 32];
        let mut signature = vec![0u8; 256];
        let mut len = 0;
        SHA256(data.as_ptr(), data.len(), hash.as_mut_ptr());
        RSA_sign(NID_sha256, hash.as_ptr(), 32, signature.as_mut_ptr(), &raw mut len, key);
        stepping(move || match what {
            Rsa::Sign => {
                SHA256(data.as_ptr(), data.len(), hash.as_mut_ptr());
                RSA_sign(NID_sha256, hash.as_ptr(), 32, signature.as_mut_ptr(), &raw mut len, key) == 1
            }
            Rsa::Verify => {
                SHA256(data.as_ptr(), data.len(), hash.as_mut_ptr());
                RSA_verify(NID_sha256, hash.as_ptr(), 32, signature.as_ptr(), signature.len(), key) == 1
            }
            Rsa::Decrypt => {
                let (place, room) = (signature.as_mut_ptr(), signature.len());
                let mut n = 0;
                RSA_decrypt(key, &raw mut n, place, room, sealed.as_ptr(), sealed.len(), RSA_NO_PADDING) == 1
            }
        })
    }
}

unsafe fn ec(nid: i32, data: Vec<u8>, verify: bool) -> Result<Step, Stop> {
    // SAFETY: the key lives on; the signature's buffer is longer than any signature on these curves.
    unsafe {
        let key = EC_KEY_new_by_curve_name(nid);
        EC_KEY_generate_key(key);
        let mut signature = vec![0u8; 256];
        let mut len = 0;
        ECDSA_sign(0, data.as_ptr(), data.len(), signature.as_mut_ptr(), &raw mut len, key);
        stepping(move || {
            if verify {
                return ECDSA_verify(0, data.as_ptr(), data.len(), signature.as_ptr(), len as usize, key) == 1;
            }
            ECDSA_sign(0, data.as_ptr(), data.len(), signature.as_mut_ptr(), &raw mut len, key) == 1
        })
    }
}

unsafe fn ecdh(nid: i32) -> Result<Step, Stop> {
    // SAFETY: both keys live on; the buffer has its length.
    unsafe {
        let (ours, theirs) = (EC_KEY_new_by_curve_name(nid), EC_KEY_new_by_curve_name(nid));
        EC_KEY_generate_key(ours);
        EC_KEY_generate_key(theirs);
        let mut out = vec![0u8; 66];
        stepping(move || {
            let point = EC_KEY_get0_public_key(theirs);
            ECDH_compute_key(out.as_mut_ptr().cast(), out.len(), point, ours, None) > 0
        })
    }
}

unsafe fn x25519() -> Result<Step, Stop> {
    let (mut public, mut private, mut out) = ([0u8; 32], [0u8; 32], [0u8; 32]);
    // SAFETY: arrays of the lengths that the functions take.
    unsafe {
        X25519_keypair(public.as_mut_ptr(), private.as_mut_ptr());
        stepping(move || X25519(out.as_mut_ptr(), private.as_ptr(), public.as_ptr()) == 1)
    }
}

unsafe fn ed25519(data: Vec<u8>, verify: bool) -> Result<Step, Stop> {
    let (mut public, mut private, mut signature) = ([0u8; 32], [0u8; 64], [0u8; 64]);
    // SAFETY: arrays of the lengths that the functions take.
    unsafe {
        ED25519_keypair(public.as_mut_ptr(), private.as_mut_ptr());
        ED25519_sign(signature.as_mut_ptr(), data.as_ptr(), data.len(), private.as_ptr());
        stepping(move || {
            if verify {
                return ED25519_verify(data.as_ptr(), data.len(), signature.as_ptr(), public.as_ptr()) == 1;
            }
            ED25519_sign(signature.as_mut_ptr(), data.as_ptr(), data.len(), private.as_ptr()) == 1
        })
    }
}

unsafe fn gcm(data: Vec<u8>, encrypt: bool) -> Result<Step, Stop> {
    // SAFETY: the context lives on; the output has room for the tag.
    unsafe {
        let context = EVP_AEAD_CTX_new(EVP_aead_aes_256_gcm(), [7u8; 32].as_ptr(), 32, 16);
        let (nonce, mut sealed, mut opened) = ([7u8; 12], vec![0u8; data.len() + 16], vec![0u8; data.len() + 16]);
        let mut n = 0;
        let (room, len) = (sealed.len(), data.len());
        let seal = move |out: &mut [u8], n: *mut usize, data: &[u8]| {
            EVP_AEAD_CTX_seal(context, out.as_mut_ptr(), n, room, nonce.as_ptr(), 12, data.as_ptr(), len, null(), 0)
                == 1
        };
        seal(&mut sealed, &raw mut n, &data);
        stepping(move || {
            if encrypt {
                return seal(&mut sealed, &raw mut n, &data);
            }
            let (out, iv) = (opened.as_mut_ptr(), nonce.as_ptr());
            EVP_AEAD_CTX_open(context, out, &raw mut n, room, iv, 12, sealed.as_ptr(), room, null(), 0) == 1
        })
    }
}

unsafe fn cbc(data: Vec<u8>, encrypt: bool) -> Result<Step, Stop> {
    // SAFETY: a fresh key schedule, and buffers of the data's length.
    unsafe {
        let mut key: AES_KEY = std::mem::zeroed();
        let (secret, mut out) = ([7u8; 32], vec![0u8; data.len()]);
        let direction = if encrypt { AES_ENCRYPT } else { AES_DECRYPT };
        if encrypt {
            AES_set_encrypt_key(secret.as_ptr(), 256, &raw mut key);
        } else {
            AES_set_decrypt_key(secret.as_ptr(), 256, &raw mut key);
        }
        stepping(move || {
            let mut iv = [7u8; 16];
            AES_cbc_encrypt(data.as_ptr(), out.as_mut_ptr(), data.len(), &raw const key, iv.as_mut_ptr(), direction);
            true
        })
    }
}

unsafe fn digest(hash: *const EVP_MD, data: Vec<u8>) -> Result<Step, Stop> {
    let (mut out, mut n) = ([0u8; 64], 0);
    // SAFETY: the output holds the longest digest.
    unsafe {
        stepping(move || {
            EVP_Digest(data.as_ptr().cast(), data.len(), out.as_mut_ptr(), &raw mut n, hash, null_mut()) == 1
        })
    }
}

unsafe fn hmac(data: Vec<u8>) -> Result<Step, Stop> {
    // SAFETY: the context lives on; the output holds the longest MAC.
    unsafe {
        let context = HMAC_CTX_new();
        HMAC_Init_ex(context, [7u8; 32].as_ptr().cast(), 32, EVP_sha256(), null_mut());
        let (mut out, mut n) = ([0u8; 64], 0);
        stepping(move || {
            HMAC_Init_ex(context, null(), 0, null(), null_mut()) == 1
                && HMAC_Update(context, data.as_ptr(), data.len()) == 1
                && HMAC_Final(context, out.as_mut_ptr(), &raw mut n) == 1
        })
    }
}

unsafe fn random(mut data: Vec<u8>) -> Result<Step, Stop> {
    // SAFETY: the buffer has its length.
    unsafe { stepping(move || RAND_bytes(data.as_mut_ptr(), data.len()) == 1) }
}

unsafe fn generate_ec(nid: i32) -> Result<Step, Stop> {
    // SAFETY: a key made and freed.
    unsafe {
        stepping(move || {
            let key = EC_KEY_new_by_curve_name(nid);
            let ok = EC_KEY_generate_key(key) == 1;
            EC_KEY_free(key);
            ok
        })
    }
}

unsafe fn generate_rsa() -> Result<Step, Stop> {
    // SAFETY: a key made and freed.
    unsafe {
        stepping(move || {
            let key = new_rsa();
            RSA_free(key);
            true
        })
    }
}
