//! The library as an application sees it: loaded, initialised, logged in. Nothing of Keyward is linked.

use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use cryptoki_sys::*;

#[path = "../gcm/mod.rs"]
pub mod gcm;
#[path = "../through_slot/mod.rs"]
mod through_slot;

/// One token in a directory of its own, and a read-write user session.
pub struct Module {
    pub api: Pkcs11,
    pub session: CK_SESSION_HANDLE,
}

/// An attribute of a template.
pub type Attr = (CK_ATTRIBUTE_TYPE, Vec<u8>);

pub fn ulong(ty: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Attr {
    (ty, value.to_ne_bytes().to_vec())
}

pub fn yes(ty: CK_ATTRIBUTE_TYPE) -> Attr {
    (ty, vec![CK_TRUE])
}

pub fn no(ty: CK_ATTRIBUTE_TYPE) -> Attr {
    (ty, vec![CK_FALSE])
}

pub fn bytes(ty: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Attr {
    (ty, value.to_vec())
}

/// A mechanism with its parameter, which must outlive the call.
pub fn mechanism<P>(ty: CK_MECHANISM_TYPE, parameter: &mut P) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: ty,
        pParameter: std::ptr::from_mut(parameter).cast(),
        ulParameterLen: size_of::<P>() as CK_ULONG,
    }
}

pub fn plain(ty: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: ty, pParameter: null_mut(), ulParameterLen: 0 }
}

fn library() -> PathBuf {
    let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let built = |path: PathBuf| path.metadata().and_then(|m| m.modified()).ok().map(|at| (at, path));
    let places = [beside.join("libkeyward.so"), beside.parent().unwrap().join("libkeyward.so")];
    places.into_iter().filter_map(built).max().expect("cargo builds libkeyward.so with the tests").1
}

type Produce = unsafe fn(&Pkcs11, CK_SESSION_HANDLE, *mut u8, CK_ULONG, *mut u8, *mut CK_ULONG) -> CK_RV;
type Start = unsafe fn(&Pkcs11, CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
type More = unsafe fn(&Pkcs11, CK_SESSION_HANDLE, *mut u8, CK_ULONG) -> CK_RV;
type Last = unsafe fn(&Pkcs11, CK_SESSION_HANDLE, *mut u8, *mut CK_ULONG) -> CK_RV;

/// The functions of one direction of a cipher.
pub struct Way {
    start: Start,
    whole: Produce,
    part: Produce,
    last: Last,
}

pub const ENCRYPT: Way = Way {
    start: Pkcs11::C_EncryptInit,
    whole: Pkcs11::C_Encrypt,
    part: Pkcs11::C_EncryptUpdate,
    last: Pkcs11::C_EncryptFinal,
};
pub const DECRYPT: Way = Way {
    start: Pkcs11::C_DecryptInit,
    whole: Pkcs11::C_Decrypt,
    part: Pkcs11::C_DecryptUpdate,
    last: Pkcs11::C_DecryptFinal,
};

// SAFETY of all calls below: every pointer is to a live Rust value whose length is passed with it.
impl Module {
    /// With all mechanisms.
    pub fn new(directory: &Path) -> Module {
        Module::with(directory, "all")
    }

    /// With those that this word of the configuration names.
    pub fn with(directory: &Path, mechanisms: &str) -> Module {
        let config = directory.join("keyward.toml");
        let text = format!(
            "tokens = {:?}\ndevice_secret = {:?}\nmechanisms = {mechanisms:?}\n",
            directory.join("tokens"),
            directory.join("device.secret")
        );
        std::fs::write(&config, text).unwrap();
        let outer = through_slot::in_front_of(&config, &library(), "87654321", "123456");
        // SAFETY: the only thread that touches the environment, before the library is loaded.
        unsafe { std::env::set_var("KEYWARD_CONF", outer.as_ref().unwrap_or(&config)) };
        // SAFETY: see above.
        unsafe {
            let api = Pkcs11::new(library()).unwrap();
            ok(api.C_Initialize(null_mut()));
            let mut slots = [0; 4];
            let mut count = 4;
            ok(api.C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &mut count));
            assert_eq!(count, 1, "one free slot");
            let mut label = [b' '; 32];
            label[..4].copy_from_slice(b"test");
            if outer.is_none() {
                ok(api.C_InitToken(slots[0], b"87654321".as_ptr().cast_mut(), 8, label.as_mut_ptr()));
            }
            let mut session = 0;
            let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
            ok(api.C_OpenSession(slots[0], flags, null_mut(), None, &mut session));
            if outer.is_none() {
                ok(api.C_Login(session, CKU_SO, b"87654321".as_ptr().cast_mut(), 8));
                ok(api.C_InitPIN(session, b"123456".as_ptr().cast_mut(), 6));
                ok(api.C_Logout(session));
            }
            ok(api.C_Login(session, CKU_USER, b"123456".as_ptr().cast_mut(), 6));
            Module { api, session }
        }
    }

    /// The same token, with another line in the configuration.
    #[allow(dead_code)] // Each test that has this file uses its part.
    pub fn restarted(self, directory: &Path, line: &str) -> Module {
        let config = directory.join("keyward.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text + line + "\n").unwrap();
        let Module { api, mut session } = self;
        // SAFETY: see above.
        unsafe {
            ok(api.C_Finalize(null_mut()));
            ok(api.C_Initialize(null_mut()));
            let (mut slot, mut count) = (0, 1);
            ok(api.C_GetSlotList(CK_TRUE, &mut slot, &mut count));
            ok(api.C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, null_mut(), None, &mut session));
            ok(api.C_Login(session, CKU_USER, b"123456".as_ptr().cast_mut(), 6));
        }
        Module { api, session }
    }

    pub fn create(&self, template: &[Attr]) -> CK_OBJECT_HANDLE {
        let (mut attributes, mut handle) = (attributes(template), 0);
        // SAFETY: see above.
        ok(unsafe {
            self.api.C_CreateObject(self.session, attributes.as_mut_ptr(), attributes.len() as CK_ULONG, &mut handle)
        });
        handle
    }

    pub fn generate_pair(
        &self,
        ty: CK_MECHANISM_TYPE,
        public: &[Attr],
        private: &[Attr],
    ) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
        let (mut public_t, mut private_t) = (attributes(public), attributes(private));
        let (mut public, mut private) = (0, 0);
        // SAFETY: see above.
        ok(unsafe {
            self.api.C_GenerateKeyPair(
                self.session,
                &mut plain(ty),
                public_t.as_mut_ptr(),
                public_t.len() as CK_ULONG,
                private_t.as_mut_ptr(),
                private_t.len() as CK_ULONG,
                &mut public,
                &mut private,
            )
        });
        (public, private)
    }

    pub fn value(&self, object: CK_OBJECT_HANDLE, ty: CK_ATTRIBUTE_TYPE) -> Vec<u8> {
        let mut attribute = CK_ATTRIBUTE { type_: ty, pValue: null_mut(), ulValueLen: 0 };
        // SAFETY: see above.
        ok(unsafe { self.api.C_GetAttributeValue(self.session, object, &mut attribute, 1) });
        let mut value = vec![0; attribute.ulValueLen as usize];
        attribute.pValue = value.as_mut_ptr().cast();
        // SAFETY: see above.
        ok(unsafe { self.api.C_GetAttributeValue(self.session, object, &mut attribute, 1) });
        value
    }

    /// The result of a cipher in one call.
    pub fn cipher_once(&self, way: &Way, mut mechanism: CK_MECHANISM, key: CK_OBJECT_HANDLE, input: &[u8]) -> Vec<u8> {
        // SAFETY: see above.
        unsafe {
            ok((way.start)(&self.api, self.session, &mut mechanism, key));
            self.produce(way.whole, input)
        }
    }

    /// The same; its parts, cut at odd places, must give the same where the mechanism takes parts.
    pub fn cipher(&self, way: &Way, mut mechanism: CK_MECHANISM, key: CK_OBJECT_HANDLE, input: &[u8]) -> Vec<u8> {
        // SAFETY: see above.
        unsafe {
            let out = self.cipher_once(way, mechanism, key, input);
            ok((way.start)(&self.api, self.session, &mut mechanism, key));
            if let Some(parts) = self.parts(way, input) {
                assert_eq!(parts, out, "{:#x} in parts", mechanism.mechanism);
            }
            out
        }
    }

    /// `None`: a mechanism of one call.
    unsafe fn parts(&self, way: &Way, input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for part in input.chunks(7) {
            let mut buffer = vec![0; input.len() + 64];
            let mut len = buffer.len() as CK_ULONG;
            // SAFETY: see above.
            let rv = unsafe {
                let data = part.as_ptr().cast_mut();
                (way.part)(&self.api, self.session, data, part.len() as CK_ULONG, buffer.as_mut_ptr(), &mut len)
            };
            if rv == CKR_FUNCTION_NOT_SUPPORTED {
                return None;
            }
            ok(rv);
            out.extend_from_slice(&buffer[..len as usize]);
        }
        let mut buffer = vec![0; input.len() + 64];
        let mut len = buffer.len() as CK_ULONG;
        // SAFETY: see above.
        ok(unsafe { (way.last)(&self.api, self.session, buffer.as_mut_ptr(), &mut len) });
        out.extend_from_slice(&buffer[..len as usize]);
        Some(out)
    }

    /// By the convention of PKCS#11 3.2, 5.2: ask the length, then call.
    unsafe fn produce(&self, function: Produce, input: &[u8]) -> Vec<u8> {
        let (data, len) = (input.as_ptr().cast_mut(), input.len() as CK_ULONG);
        let mut size = 0;
        // SAFETY: see above.
        ok(unsafe { function(&self.api, self.session, data, len, null_mut(), &mut size) });
        let mut out = vec![0; size as usize];
        // SAFETY: see above.
        ok(unsafe { function(&self.api, self.session, data, len, out.as_mut_ptr(), &mut size) });
        out.truncate(size as usize);
        out
    }

    pub fn digest(&self, ty: CK_MECHANISM_TYPE, input: &[u8]) -> Vec<u8> {
        self.digest_by(plain(ty), input)
    }

    pub fn digest_by(&self, mut mechanism: CK_MECHANISM, input: &[u8]) -> Vec<u8> {
        // SAFETY: see above.
        unsafe {
            ok(self.api.C_DigestInit(self.session, &mut mechanism));
            self.produce(Pkcs11::C_Digest, input)
        }
    }

    pub fn sign(&self, mut mechanism: CK_MECHANISM, key: CK_OBJECT_HANDLE, input: &[u8]) -> Vec<u8> {
        // SAFETY: see above.
        unsafe {
            ok(self.api.C_SignInit(self.session, &mut mechanism, key));
            self.produce(Pkcs11::C_Sign, input)
        }
    }

    /// The same in parts.
    pub fn sign_parts(&self, mut mechanism: CK_MECHANISM, key: CK_OBJECT_HANDLE, input: &[u8]) -> Vec<u8> {
        let update: More = Pkcs11::C_SignUpdate;
        // SAFETY: see above.
        unsafe {
            ok(self.api.C_SignInit(self.session, &mut mechanism, key));
            for part in input.chunks(11) {
                ok(update(&self.api, self.session, part.as_ptr().cast_mut(), part.len() as CK_ULONG));
            }
            let mut out = vec![0; 1024];
            let mut len = out.len() as CK_ULONG;
            ok(self.api.C_SignFinal(self.session, out.as_mut_ptr(), &mut len));
            out.truncate(len as usize);
            out
        }
    }

    /// By the functions of one init for many messages.
    #[allow(dead_code)] // As above.
    pub fn sign_messages(&self, mut mechanism: CK_MECHANISM, key: CK_OBJECT_HANDLE, inputs: &[&[u8]]) -> Vec<Vec<u8>> {
        // SAFETY: see above.
        unsafe {
            ok(self.api.C_MessageSignInit(self.session, &mut mechanism, key));
            let one = |input: &&[u8]| {
                let (mut out, mut len) = (vec![0; 1024], 1024);
                let (data, data_len) = (input.as_ptr().cast_mut(), input.len() as CK_ULONG);
                ok(self.api.C_SignMessage(self.session, null_mut(), 0, data, data_len, out.as_mut_ptr(), &mut len));
                out.truncate(len as usize);
                out
            };
            let signatures = inputs.iter().map(one).collect();
            ok(self.api.C_MessageSignFinal(self.session));
            signatures
        }
    }

    /// `CKR_` of `C_Verify`.
    pub fn verify(&self, mut mechanism: CK_MECHANISM, key: CK_OBJECT_HANDLE, input: &[u8], signature: &[u8]) -> CK_RV {
        // SAFETY: see above.
        unsafe {
            ok(self.api.C_VerifyInit(self.session, &mut mechanism, key));
            let (data, tag) = (input.as_ptr().cast_mut(), signature.as_ptr().cast_mut());
            self.api.C_Verify(self.session, data, input.len() as CK_ULONG, tag, signature.len() as CK_ULONG)
        }
    }

    pub fn wrap(&self, mut mechanism: CK_MECHANISM, wrapping: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE) -> Vec<u8> {
        let mut out = vec![0; 8192];
        let mut len = out.len() as CK_ULONG;
        // SAFETY: see above.
        ok(unsafe { self.api.C_WrapKey(self.session, &mut mechanism, wrapping, key, out.as_mut_ptr(), &mut len) });
        out.truncate(len as usize);
        out
    }

    pub fn unwrap(
        &self,
        mut mechanism: CK_MECHANISM,
        unwrapping: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: &[Attr],
    ) -> CK_OBJECT_HANDLE {
        let (mut attributes, mut handle) = (attributes(template), 0);
        // SAFETY: see above.
        ok(unsafe {
            self.api.C_UnwrapKey(
                self.session,
                &mut mechanism,
                unwrapping,
                wrapped.as_ptr().cast_mut(),
                wrapped.len() as CK_ULONG,
                attributes.as_mut_ptr(),
                attributes.len() as CK_ULONG,
                &mut handle,
            )
        });
        handle
    }

    #[allow(dead_code)] // As below.
    pub fn decapsulate(
        &self,
        mut mechanism: CK_MECHANISM,
        private: CK_OBJECT_HANDLE,
        ciphertext: &[u8],
        template: &[Attr],
    ) -> CK_OBJECT_HANDLE {
        let (mut attributes, mut handle) = (attributes(template), 0);
        // SAFETY: see above.
        ok(unsafe {
            self.api.C_DecapsulateKey(
                self.session,
                &mut mechanism,
                private,
                attributes.as_mut_ptr(),
                attributes.len() as CK_ULONG,
                ciphertext.as_ptr().cast_mut(),
                ciphertext.len() as CK_ULONG,
                &mut handle,
            )
        });
        handle
    }

    /// `CKR_` of `C_DeriveKey`, the handle wherever it is to go.
    #[allow(dead_code)] // Each test that has this file uses its part.
    pub fn try_derive(
        &self,
        mut mechanism: CK_MECHANISM,
        base: CK_OBJECT_HANDLE,
        template: &[Attr],
        handle: *mut CK_OBJECT_HANDLE,
    ) -> CK_RV {
        let mut attributes = attributes(template);
        let count = attributes.len() as CK_ULONG;
        // SAFETY: see above; the handle's place is NULL or the caller's own.
        unsafe { self.api.C_DeriveKey(self.session, &mut mechanism, base, attributes.as_mut_ptr(), count, handle) }
    }

    #[allow(dead_code)] // As above.
    pub fn generate(&self, mut mechanism: CK_MECHANISM, template: &[Attr]) -> CK_OBJECT_HANDLE {
        let (mut attributes, mut handle) = (attributes(template), 0);
        let count = attributes.len() as CK_ULONG;
        // SAFETY: see above.
        ok(unsafe {
            self.api.C_GenerateKey(self.session, &mut mechanism, attributes.as_mut_ptr(), count, &mut handle)
        });
        handle
    }

    pub fn derive(&self, mut mechanism: CK_MECHANISM, base: CK_OBJECT_HANDLE, template: &[Attr]) -> CK_OBJECT_HANDLE {
        let (mut attributes, mut handle) = (attributes(template), 0);
        let count = attributes.len() as CK_ULONG;
        // SAFETY: see above.
        ok(unsafe {
            self.api.C_DeriveKey(self.session, &mut mechanism, base, attributes.as_mut_ptr(), count, &mut handle)
        });
        handle
    }
}

#[track_caller]
fn ok(rv: CK_RV) {
    assert_eq!(rv, CKR_OK, "CKR {rv:#x}");
}

pub fn attributes(template: &[Attr]) -> Vec<CK_ATTRIBUTE> {
    let attribute = |(ty, value): &Attr| CK_ATTRIBUTE {
        type_: *ty,
        pValue: value.as_ptr().cast_mut().cast(),
        ulValueLen: value.len() as CK_ULONG,
    };
    template.iter().map(attribute).collect()
}
