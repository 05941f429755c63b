//! What goes into calls: templates and mechanisms, owned, and laid out for C only while a call lasts.

use std::cell::Cell;

use cryptoki_sys::*;

thread_local! {
    static LAST: Cell<Option<CK_MECHANISM_TYPE>> = const { Cell::new(None) };
}

/// The mechanism that this thread has laid out last, since it was asked for.
pub fn last_mechanism() -> Option<CK_MECHANISM_TYPE> {
    LAST.take()
}

/// A value in a template.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Bytes(Vec<u8>),
    Array(Template),
    /// A length without bytes: a NULL pointer that claims this many.
    Null(CK_ULONG),
}

/// Attributes for a call, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template(Vec<(CK_ATTRIBUTE_TYPE, Value)>);

impl Template {
    pub fn new() -> Self {
        Self::default()
    }

    /// A template that starts with the class.
    pub fn of(class: CK_OBJECT_CLASS) -> Self {
        Self::new().ulong(CKA_CLASS, class)
    }

    /// A template that starts with class and key type.
    pub fn key(class: CK_OBJECT_CLASS, kind: CK_KEY_TYPE) -> Self {
        Self::of(class).ulong(CKA_KEY_TYPE, kind)
    }

    pub fn bytes(mut self, ty: CK_ATTRIBUTE_TYPE, v: &[u8]) -> Self {
        self.0.push((ty, Value::Bytes(v.to_vec())));
        self
    }

    pub fn text(self, ty: CK_ATTRIBUTE_TYPE, v: &str) -> Self {
        self.bytes(ty, v.as_bytes())
    }

    pub fn ulong(self, ty: CK_ATTRIBUTE_TYPE, v: CK_ULONG) -> Self {
        self.bytes(ty, &v.to_ne_bytes())
    }

    pub fn flag(self, ty: CK_ATTRIBUTE_TYPE, v: bool) -> Self {
        self.bytes(ty, &[u8::from(v)])
    }

    /// Several boolean attributes, all true.
    pub fn yes(self, types: &[CK_ATTRIBUTE_TYPE]) -> Self {
        types.iter().fold(self, |t, ty| t.flag(*ty, true))
    }

    pub fn array(mut self, ty: CK_ATTRIBUTE_TYPE, v: Template) -> Self {
        self.0.push((ty, Value::Array(v)));
        self
    }

    /// An attribute with a NULL pointer and this length.
    pub fn null(mut self, ty: CK_ATTRIBUTE_TYPE, length: CK_ULONG) -> Self {
        self.0.push((ty, Value::Null(length)));
        self
    }

    /// All attributes of both; one that both have keeps the other's value.
    pub fn with(mut self, other: &Template) -> Self {
        self.0.retain(|(ty, _)| !other.0.iter().any(|(o, _)| o == ty));
        self.0.extend(other.0.iter().cloned());
        self
    }

    /// Without this attribute.
    pub fn without(mut self, ty: CK_ATTRIBUTE_TYPE) -> Self {
        self.0.retain(|(t, _)| *t != ty);
        self
    }

    pub fn types(&self) -> Vec<CK_ATTRIBUTE_TYPE> {
        self.0.iter().map(|(t, _)| *t).collect()
    }

    /// The bytes of an attribute, if it is here and is no array.
    pub fn value(&self, ty: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.0.iter().find_map(|(t, v)| match v {
            Value::Bytes(b) if *t == ty => Some(b.as_slice()),
            _ => None,
        })
    }

    /// The C layout; it borrows this template.
    pub fn raw(&self) -> RawTemplate<'_> {
        let mut nested: Vec<RawTemplate<'_>> = Vec::new();
        let attributes = self
            .0
            .iter()
            .map(|(ty, v)| {
                let (place, len) = match v {
                    Value::Bytes(b) if b.is_empty() => (std::ptr::null_mut(), 0),
                    Value::Bytes(b) => (b.as_ptr().cast_mut().cast(), b.len()),
                    Value::Null(n) => (std::ptr::null_mut(), *n as usize),
                    Value::Array(t) => {
                        let raw = t.raw();
                        let place = (raw.pointer() as *mut CK_ATTRIBUTE).cast();
                        let len = raw.count() * size_of::<CK_ATTRIBUTE>();
                        nested.push(raw);
                        (place, len)
                    }
                };
                CK_ATTRIBUTE { type_: *ty, pValue: place, ulValueLen: len as CK_ULONG }
            })
            .collect();
        RawTemplate { attributes, _nested: nested, _owner: std::marker::PhantomData }
    }
}

/// A template laid out for C.
pub struct RawTemplate<'a> {
    attributes: Vec<CK_ATTRIBUTE>,
    _nested: Vec<RawTemplate<'a>>,
    _owner: std::marker::PhantomData<&'a Template>,
}

impl RawTemplate<'_> {
    /// Address of the first attribute; NULL for an empty template.
    pub fn pointer(&self) -> usize {
        if self.attributes.is_empty() { 0 } else { self.attributes.as_ptr() as usize }
    }

    pub fn count(&self) -> usize {
        self.attributes.len()
    }
}

/// One member of a parameter structure. All structures of PKCS#11 for 64-bit systems are made of these.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// A number of a word's size.
    Word(CK_ULONG),
    /// A pointer to bytes of our own; NULL when there are none.
    Pointer(Vec<u8>),
    /// Bytes within the structure, such as booleans, padded to whole words.
    Inline(Vec<u8>),
}

/// A pointer to bytes and then their number, as most structures have them.
fn sized(v: &[u8]) -> [Field; 2] {
    [Field::Pointer(v.to_vec()), Field::Word(v.len() as CK_ULONG)]
}

/// A mechanism with its parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Mech {
    pub ty: CK_MECHANISM_TYPE,
    parameter: Parameter,
}

#[derive(Clone, Debug, PartialEq)]
enum Parameter {
    None,
    Bytes(Vec<u8>),
    Fields(Vec<Field>),
    /// NULL that claims a length.
    Null(CK_ULONG),
}

impl Mech {
    /// A mechanism without parameter.
    pub fn new(ty: CK_MECHANISM_TYPE) -> Self {
        Mech { ty, parameter: Parameter::None }
    }

    /// A mechanism whose parameter is plain bytes: an IV.
    pub fn bytes(ty: CK_MECHANISM_TYPE, p: &[u8]) -> Self {
        Mech { ty, parameter: Parameter::Bytes(p.to_vec()) }
    }

    pub fn ulong(ty: CK_MECHANISM_TYPE, p: CK_ULONG) -> Self {
        Self::bytes(ty, &p.to_ne_bytes())
    }

    /// A mechanism whose parameter is NULL but claims a length.
    pub fn null(ty: CK_MECHANISM_TYPE, length: CK_ULONG) -> Self {
        Mech { ty, parameter: Parameter::Null(length) }
    }

    pub fn fields(ty: CK_MECHANISM_TYPE, f: Vec<Field>) -> Self {
        Mech { ty, parameter: Parameter::Fields(f) }
    }

    /// `CK_GCM_PARAMS`; the tag's length in bits.
    pub fn gcm(iv: &[u8], aad: &[u8], tag_bits: CK_ULONG) -> Self {
        let [p, n] = sized(iv);
        let [a, an] = sized(aad);
        let bits = Field::Word(8 * iv.len() as CK_ULONG);
        Self::fields(CKM_AES_GCM, vec![p, n, bits, a, an, Field::Word(tag_bits)])
    }

    /// `CK_CCM_PARAMS`; lengths in bytes.
    pub fn ccm(data_len: usize, nonce: &[u8], aad: &[u8], mac_len: CK_ULONG) -> Self {
        let [p, n] = sized(nonce);
        let [a, an] = sized(aad);
        Self::fields(CKM_AES_CCM, vec![Field::Word(data_len as CK_ULONG), p, n, a, an, Field::Word(mac_len)])
    }

    /// `CK_AES_CTR_PARAMS`.
    pub fn ctr(bits: CK_ULONG, block: [u8; 16]) -> Self {
        Self::fields(CKM_AES_CTR, vec![Field::Word(bits), Field::Inline(block.to_vec())])
    }

    /// `CK_SALSA20_CHACHA20_POLY1305_PARAMS`.
    pub fn chacha20_poly1305(nonce: &[u8], aad: &[u8]) -> Self {
        let [p, n] = sized(nonce);
        let [a, an] = sized(aad);
        Self::fields(CKM_CHACHA20_POLY1305, vec![p, n, a, an])
    }

    /// `CK_CHACHA20_PARAMS` with a 32-bit counter.
    pub fn chacha20(counter: u32, nonce: &[u8]) -> Self {
        let [p, _] = sized(nonce);
        let counter = Field::Pointer(counter.to_le_bytes().to_vec());
        Self::fields(CKM_CHACHA20, vec![counter, Field::Word(32), p, Field::Word(8 * nonce.len() as CK_ULONG)])
    }

    /// `CK_RSA_PKCS_PSS_PARAMS` for any of the PSS mechanisms; the salt's length in bytes.
    pub fn pss(ty: CK_MECHANISM_TYPE, hash: Hash, mgf: Hash, salt: usize) -> Self {
        let fields = vec![Field::Word(hash.ty), Field::Word(mgf.mgf), Field::Word(salt as CK_ULONG)];
        Self::fields(ty, fields)
    }

    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    pub fn oaep(hash: CK_MECHANISM_TYPE, mgf: Hash, label: &[u8]) -> Self {
        let [p, n] = sized(label);
        let head = [hash, mgf.mgf, CKZ_DATA_SPECIFIED].map(Field::Word);
        Self::fields(CKM_RSA_PKCS_OAEP, [head.as_slice(), &[p, n]].concat())
    }

    /// `CK_ECDH1_DERIVE_PARAMS`; `kdf` is one of `CKD_`.
    pub fn ecdh(kdf: CK_EC_KDF_TYPE, shared: &[u8], public: &[u8]) -> Self {
        let [s, sn] = sized(shared);
        let [p, pn] = sized(public);
        Self::fields(CKM_ECDH1_DERIVE, vec![Field::Word(kdf), sn, s, pn, p])
    }

    /// `CK_HKDF_PARAMS`, extract and expand, the salt as bytes.
    pub fn hkdf(ty: CK_MECHANISM_TYPE, extract: bool, expand: bool, hash: Hash, salt: &[u8], info: &[u8]) -> Self {
        let flags = Field::Inline(vec![extract.into(), expand.into(), 0, 0, 0, 0, 0, 0]);
        let salt_type = if salt.is_empty() { CKF_HKDF_SALT_NULL } else { CKF_HKDF_SALT_DATA };
        let [s, sn] = sized(salt);
        let [i, n] = sized(info);
        let head = [flags, Field::Word(hash.ty), Field::Word(salt_type)];
        Self::fields(ty, [head.as_slice(), &[s, sn, Field::Word(0), i, n]].concat())
    }

    /// `CK_KEY_DERIVATION_STRING_DATA`.
    pub fn string_data(ty: CK_MECHANISM_TYPE, data: &[u8]) -> Self {
        Self::fields(ty, sized(data).to_vec())
    }

    /// `CK_AES_CBC_ENCRYPT_DATA_PARAMS`.
    pub fn cbc_encrypt_data(iv: [u8; 16], data: &[u8]) -> Self {
        let [p, n] = sized(data);
        Self::fields(CKM_AES_CBC_ENCRYPT_DATA, vec![Field::Inline(iv.to_vec()), p, n])
    }

    /// `CK_EDDSA_PARAMS`.
    pub fn eddsa(prehash: bool, context: &[u8]) -> Self {
        let [p, n] = sized(context);
        Self::fields(CKM_EDDSA, vec![Field::Inline(vec![prehash.into()]), n, p])
    }

    /// `CK_SIGN_ADDITIONAL_CONTEXT`.
    pub fn context(ty: CK_MECHANISM_TYPE, hedge: CK_ULONG, context: &[u8]) -> Self {
        let [p, n] = sized(context);
        Self::fields(ty, vec![Field::Word(hedge), p, n])
    }

    /// `CK_PKCS5_PBKD2_PARAMS2` with the salt given.
    pub fn pbkdf2(prf: CK_ULONG, salt: &[u8], iterations: CK_ULONG, password: &[u8]) -> Self {
        let [s, sn] = sized(salt);
        let [p, pn] = sized(password);
        let prf = [Field::Word(prf), Field::Pointer(Vec::new()), Field::Word(0)];
        let head = [Field::Word(CKZ_SALT_SPECIFIED), s, sn, Field::Word(iterations)];
        Self::fields(CKM_PKCS5_PBKD2, [head.as_slice(), &prf, &[p, pn]].concat())
    }

    /// `CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS` without a version, for `..._DH`.
    pub fn extended_master(hash: CK_MECHANISM_TYPE, session_hash: &[u8]) -> Self {
        let [p, n] = sized(session_hash);
        let fields = vec![Field::Word(hash), p, n, Field::Pointer(Vec::new())];
        Self::fields(CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE_DH, fields)
    }

    /// `CK_TLS_KDF_PARAMS` without context: the PRF of TLS 1.2 over label, first and second random.
    pub fn tls_kdf(hash: CK_MECHANISM_TYPE, label: &[u8], first: &[u8], second: &[u8]) -> Self {
        let sized = |v: &[u8]| [Field::Pointer(v.to_vec()), Field::Word(v.len() as CK_ULONG)];
        let parts = [sized(label), sized(first), sized(second), sized(b"")].concat();
        Self::fields(CKM_TLS12_KDF, [&[Field::Word(hash)], parts.as_slice()].concat())
    }

    /// The C layout, with copies of everything.
    pub fn raw(&self) -> RawMech {
        LAST.set(Some(self.ty));
        let mut buffers = Vec::new();
        let mut words: Vec<u64> = Vec::new();
        let len = match &self.parameter {
            Parameter::None => 0,
            Parameter::Null(n) => *n as usize,
            Parameter::Bytes(b) => {
                words = b.chunks(8).map(word).collect();
                b.len()
            }
            Parameter::Fields(fields) => {
                for f in fields {
                    match f {
                        Field::Word(v) => words.push(*v),
                        Field::Inline(b) => words.extend(b.chunks(8).map(word)),
                        Field::Pointer(b) if b.is_empty() => words.push(0),
                        Field::Pointer(b) => {
                            buffers.push(b.clone());
                            words.push(buffers.last().map_or(0, |b| b.as_ptr() as u64));
                        }
                    }
                }
                words.len() * 8
            }
        };
        let parameter = if words.is_empty() { std::ptr::null_mut() } else { words.as_mut_ptr().cast() };
        let c = CK_MECHANISM { mechanism: self.ty, pParameter: parameter, ulParameterLen: len as CK_ULONG };
        RawMech { c: Box::new(c), words, buffers }
    }
}

fn word(chunk: &[u8]) -> u64 {
    let mut w = [0u8; 8];
    w[..chunk.len()].copy_from_slice(chunk);
    u64::from_ne_bytes(w)
}

/// A mechanism laid out for C.
pub struct RawMech {
    c: Box<CK_MECHANISM>,
    words: Vec<u64>,
    buffers: Vec<Vec<u8>>,
}

impl RawMech {
    pub fn pointer(&mut self) -> usize {
        &raw mut *self.c as usize
    }

    /// Address and length of the parameter alone, as the message functions take it.
    pub fn parameter(&mut self) -> [usize; 2] {
        [self.c.pParameter as usize, self.c.ulParameterLen as usize]
    }

    /// A pointed-to buffer, by its order among the [`Field::Pointer`]s that are not empty.
    pub fn buffer(&self, i: usize) -> Option<&[u8]> {
        self.buffers.get(i).map(Vec::as_slice)
    }

    /// Number of words that the parameter takes.
    pub fn words(&self) -> usize {
        self.words.len()
    }
}

/// A hash function by the names that PKCS#11 has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    pub name: &'static str,
    pub ty: CK_MECHANISM_TYPE,
    pub mgf: CK_RSA_PKCS_MGF_TYPE,
    pub hmac: CK_MECHANISM_TYPE,
    /// Digest length in bytes.
    pub len: usize,
}

macro_rules! hashes {
    ($($id:ident $name:literal $ty:ident $mgf:ident $hmac:ident $len:literal)*) => {
        impl Hash {
            $(pub const $id: Hash = Hash { name: $name, ty: $ty, mgf: $mgf, hmac: $hmac, len: $len };)*
            pub const ALL: &[Hash] = &[$(Hash::$id),*];
        }
    };
}

hashes! {
    SHA1 "SHA-1" CKM_SHA_1 CKG_MGF1_SHA1 CKM_SHA_1_HMAC 20
    SHA224 "SHA-224" CKM_SHA224 CKG_MGF1_SHA224 CKM_SHA224_HMAC 28
    SHA256 "SHA-256" CKM_SHA256 CKG_MGF1_SHA256 CKM_SHA256_HMAC 32
    SHA384 "SHA-384" CKM_SHA384 CKG_MGF1_SHA384 CKM_SHA384_HMAC 48
    SHA512 "SHA-512" CKM_SHA512 CKG_MGF1_SHA512 CKM_SHA512_HMAC 64
    SHA3_224 "SHA3-224" CKM_SHA3_224 CKG_MGF1_SHA3_224 CKM_SHA3_224_HMAC 28
    SHA3_256 "SHA3-256" CKM_SHA3_256 CKG_MGF1_SHA3_256 CKM_SHA3_256_HMAC 32
    SHA3_384 "SHA3-384" CKM_SHA3_384 CKG_MGF1_SHA3_384 CKM_SHA3_384_HMAC 48
    SHA3_512 "SHA3-512" CKM_SHA3_512 CKG_MGF1_SHA3_512 CKM_SHA3_512_HMAC 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_layout_is_that_of_the_c_structure() {
        let mut raw = Mech::gcm(&[1; 12], b"aad", 128).raw();
        assert_eq!(raw.parameter()[1], size_of::<CK_GCM_PARAMS>());
        // SAFETY: the parameter was just laid out with the size of this structure.
        let p = unsafe { *(raw.parameter()[0] as *const CK_GCM_PARAMS) };
        assert_eq!((p.ulIvLen, p.ulIvBits, p.ulAADLen, p.ulTagBits), (12, 96, 3, 128));
        let sizes = [
            (Mech::ctr(128, [0; 16]), size_of::<CK_AES_CTR_PARAMS>()),
            (Mech::ccm(1, &[0; 7], b"", 8), size_of::<CK_CCM_PARAMS>()),
            (Mech::pss(CKM_RSA_PKCS_PSS, Hash::SHA256, Hash::SHA256, 32), size_of::<CK_RSA_PKCS_PSS_PARAMS>()),
            (Mech::oaep(CKM_SHA_1, Hash::SHA1, b""), size_of::<CK_RSA_PKCS_OAEP_PARAMS>()),
            (Mech::ecdh(CKD_NULL, b"", &[4; 65]), size_of::<CK_ECDH1_DERIVE_PARAMS>()),
            (Mech::hkdf(CKM_HKDF_DERIVE, true, true, Hash::SHA256, b"s", b"i"), size_of::<CK_HKDF_PARAMS>()),
            (Mech::cbc_encrypt_data([0; 16], &[0; 16]), size_of::<CK_AES_CBC_ENCRYPT_DATA_PARAMS>()),
            (Mech::eddsa(true, b"c"), size_of::<CK_EDDSA_PARAMS>()),
            (Mech::context(CKM_ML_DSA, 0, b"c"), size_of::<CK_SIGN_ADDITIONAL_CONTEXT>()),
            (Mech::chacha20(0, &[0; 12]), size_of::<CK_CHACHA20_PARAMS>()),
            (Mech::pbkdf2(CKP_PKCS5_PBKD2_HMAC_SHA1, b"s", 1, b"p"), size_of::<CK_PKCS5_PBKD2_PARAMS2>()),
            (Mech::extended_master(CKM_SHA256, b"h"), size_of::<CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS>()),
            (Mech::tls_kdf(CKM_SHA256, b"l", b"c", b"s"), size_of::<CK_TLS_KDF_PARAMS>()),
        ];
        for (m, size) in sizes {
            assert_eq!(m.raw().parameter()[1], size, "{m:?}");
        }
    }

    #[test]
    fn templates_merge() {
        let a = Template::of(CKO_DATA).text(CKA_LABEL, "a");
        let b = a.clone().with(&Template::new().text(CKA_LABEL, "b"));
        assert_eq!(b.types(), [CKA_CLASS, CKA_LABEL]);
        assert_eq!(b.value(CKA_LABEL), Some(&b"b"[..]));
        assert_eq!(b.raw().count(), 2);
    }
}
