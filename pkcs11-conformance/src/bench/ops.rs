//! The operations: a row each, with how to prepare it and what one operation is.

use cryptoki_sys::*;

use super::{Plan, scale};
use crate::check::keys::{ED448, ED25519, Keys, Kind, P256, P384, P521, SECP256K1, X448, X25519};
use crate::context::{Env, RW, Stop, T, fail};
use crate::data::{Hash, Mech, Template};
use crate::ffi::{Api, Call, Refused, Session};
use crate::functions::F;

use Per::{Objects, Once, Size};

/// One operation, again and again.
pub type Step = Box<dyn FnMut() -> Result<(), Stop>>;

/// Makes a thread's step: it has its own session, and keys and data that all share.
type Maker = fn(&Shared, Session) -> Result<Step, Stop>;

/// What all threads of a job use.
#[derive(Clone)]
pub struct Shared {
    pub kind: Kind,
    pub keys: Keys,
    pub data: Vec<u8>,
    /// Output of the operation that this one undoes: a signature, a ciphertext.
    pub made: Vec<u8>,
    pub mech: Mech,
    /// Objects in the token, for searches.
    pub objects: usize,
}

/// What is measured.
pub struct Case {
    pub name: String,
    /// Whether several threads or processes make sense.
    pub parallel: bool,
    size: usize,
    row: &'static Row,
    objects: usize,
}

struct Row {
    name: &'static str,
    /// `Size` cases come once per size asked for, `Objects` cases (of data of that length) once per number of objects.
    per: Per,
    key: Kind,
    mech: fn() -> Mech,
    kind: What,
    parallel: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Per {
    Once(usize),
    Size,
    Objects(usize),
}

/// The shapes that operations have.
#[derive(Clone, Copy, PartialEq)]
enum What {
    /// Init and the one-call function; no key for a digest.
    One(F, F),
    /// Init, updates of 4 KiB, and the end.
    Parts(F, F, F),
    /// Verification of a signature made before.
    Verify,
    /// Decryption of what was encrypted before.
    Decrypt,
    Derive,
    Generate,
    Wrap,
    Unwrap,
    Encapsulate,
    Decapsulate,
    Random,
    Initialize,
    Login,
    OpenSession,
    Open,
    FindLabel,
    FindId,
    List,
    ReadAttribute,
    CreateSession,
    CreateToken,
}

const SIGN: What = What::One(F::C_SignInit, F::C_Sign);
const ENCRYPT: What = What::One(F::C_EncryptInit, F::C_Encrypt);
const DIGEST: What = What::One(F::C_DigestInit, F::C_Digest);

fn gcm() -> Mech {
    Mech::gcm(&[7; 12], b"", 128)
}

fn cbc() -> Mech {
    Mech::bytes(CKM_AES_CBC, &[7; 16])
}

fn oaep() -> Mech {
    Mech::oaep(CKM_SHA256, Hash::SHA256, b"")
}

fn oaep_sha1() -> Mech {
    Mech::oaep(CKM_SHA_1, Hash::SHA1, b"")
}

fn pss() -> Mech {
    Mech::pss(CKM_SHA256_RSA_PKCS_PSS, Hash::SHA256, Hash::SHA256, 32)
}

macro_rules! rows {
    ($($name:literal $per:expr, $key:expr, $mech:expr, $what:expr, $parallel:literal;)*) => {
        static ROWS: &[Row] = &[$(Row {
            name: $name, per: $per, key: $key, mech: || $mech, kind: $what, parallel: $parallel,
        }),*];
    };
}

// Columns: name, per, key, mechanism, shape, in parallel too.
rows! {
    "initialize+finalize" Once(0), Kind::None, Mech::new(0), What::Initialize, false;
    "login+logout" Once(0), Kind::None, Mech::new(0), What::Login, false;
    "open+close session" Once(0), Kind::None, Mech::new(0), What::OpenSession, true;
    "initialize, open a session, finalize" Objects(0), Kind::None, Mech::new(0), What::Open, false;
    "find by label" Objects(0), Kind::None, Mech::new(0), What::FindLabel, true;
    "find by ID" Objects(0), Kind::None, Mech::new(0), What::FindId, true;
    "list all" Objects(0), Kind::None, Mech::new(0), What::List, false;
    "P-256 sign by a token key" Objects(32), Kind::Ec(P256), Mech::new(CKM_ECDSA), SIGN, true;
    "create+destroy a token key" Objects(0), Kind::None, Mech::new(0), What::CreateToken, true;
    "read one attribute" Once(0), Kind::Aes(32), Mech::new(0), What::ReadAttribute, true;
    "create+destroy session object" Once(0), Kind::None, Mech::new(0), What::CreateSession, true;
    "create+destroy token object" Once(0), Kind::None, Mech::new(0), What::CreateToken, true;
    "RSA-2048 PKCS#1 sign" Once(32), Kind::Rsa, Mech::new(CKM_SHA256_RSA_PKCS), SIGN, true;
    "RSA-2048 PKCS#1 verify" Once(32), Kind::Rsa, Mech::new(CKM_SHA256_RSA_PKCS), What::Verify, true;
    "RSA-2048 PSS sign" Once(32), Kind::Rsa, pss(), SIGN, true;
    "RSA-2048 PKCS#1 decrypt" Once(32), Kind::Rsa, Mech::new(CKM_RSA_PKCS), What::Decrypt, true;
    "RSA-2048 OAEP-SHA1 decrypt" Once(32), Kind::Rsa, oaep_sha1(), What::Decrypt, true;
    "RSA-2048 OAEP-SHA256 decrypt" Once(32), Kind::Rsa, oaep(), What::Decrypt, true;
    "P-256 sign" Once(32), Kind::Ec(P256), Mech::new(CKM_ECDSA), SIGN, true;
    "P-256 verify" Once(32), Kind::Ec(P256), Mech::new(CKM_ECDSA), What::Verify, true;
    "P-384 sign" Once(48), Kind::Ec(P384), Mech::new(CKM_ECDSA), SIGN, true;
    "P-384 verify" Once(48), Kind::Ec(P384), Mech::new(CKM_ECDSA), What::Verify, true;
    "P-521 sign" Once(64), Kind::Ec(P521), Mech::new(CKM_ECDSA), SIGN, true;
    "P-521 verify" Once(64), Kind::Ec(P521), Mech::new(CKM_ECDSA), What::Verify, true;
    "secp256k1 sign" Once(32), Kind::Ec(SECP256K1), Mech::new(CKM_ECDSA), SIGN, true;
    "P-384 ECDH" Once(0), Kind::Ec(P384), Mech::new(CKM_ECDH1_DERIVE), What::Derive, true;
    "P-256 ECDH" Once(0), Kind::Ec(P256), Mech::new(CKM_ECDH1_DERIVE), What::Derive, true;
    "X25519" Once(0), Kind::Montgomery(X25519), Mech::new(CKM_ECDH1_DERIVE), What::Derive, true;
    "X448" Once(0), Kind::Montgomery(X448), Mech::new(CKM_ECDH1_DERIVE), What::Derive, true;
    "Ed25519 sign" Once(32), Kind::Edwards(ED25519), Mech::new(CKM_EDDSA), SIGN, true;
    "Ed25519 verify" Once(32), Kind::Edwards(ED25519), Mech::new(CKM_EDDSA), What::Verify, true;
    "Ed448 sign" Once(32), Kind::Edwards(ED448), Mech::new(CKM_EDDSA), SIGN, true;
    "Ed448 verify" Once(32), Kind::Edwards(ED448), Mech::new(CKM_EDDSA), What::Verify, true;
    "SLH-DSA-SHA2-128f sign" Once(32), Kind::SlhDsa(CKP_SLH_DSA_SHA2_128F), Mech::new(CKM_SLH_DSA), SIGN, true;
    "SLH-DSA-SHA2-128f verify" Once(32), Kind::SlhDsa(CKP_SLH_DSA_SHA2_128F), Mech::new(CKM_SLH_DSA), What::Verify, true;
    "ML-DSA-65 sign" Once(32), Kind::MlDsa(CKP_ML_DSA_65), Mech::new(CKM_ML_DSA), SIGN, true;
    "ML-DSA-65 verify" Once(32), Kind::MlDsa(CKP_ML_DSA_65), Mech::new(CKM_ML_DSA), What::Verify, true;
    "ML-KEM-768 encapsulate" Once(0), Kind::MlKem(CKP_ML_KEM_768), Mech::new(CKM_ML_KEM), What::Encapsulate, true;
    "ML-KEM-768 decapsulate" Once(0), Kind::MlKem(CKP_ML_KEM_768), Mech::new(CKM_ML_KEM), What::Decapsulate, true;
    "AES-256-GCM encrypt" Size, Kind::Aes(32), gcm(), ENCRYPT, true;
    "AES-256-GCM decrypt" Size, Kind::Aes(32), gcm(), What::Decrypt, true;
    "AES-256-CBC encrypt" Size, Kind::Aes(32), cbc(), ENCRYPT, true;
    "AES-256-CBC decrypt" Size, Kind::Aes(32), cbc(), What::Decrypt, true;
    "AES-256-CTR encrypt" Size, Kind::Aes(32), Mech::ctr(128, [7; 16]), ENCRYPT, true;
    "AES-256-CBC encrypt in parts" Size, Kind::Aes(32), cbc(),
        What::Parts(F::C_EncryptInit, F::C_EncryptUpdate, F::C_EncryptFinal), true;
    "AES-256-GCM encrypt in parts" Size, Kind::Aes(32), gcm(),
        What::Parts(F::C_EncryptInit, F::C_EncryptUpdate, F::C_EncryptFinal), true;
    "SHA-256" Size, Kind::None, Mech::new(CKM_SHA256), DIGEST, true;
    "SHA-512" Size, Kind::None, Mech::new(CKM_SHA512), DIGEST, true;
    "SHA-256 in parts" Size, Kind::None, Mech::new(CKM_SHA256),
        What::Parts(F::C_DigestInit, F::C_DigestUpdate, F::C_DigestFinal), true;
    "HMAC-SHA256" Size, Kind::Generic(32), Mech::new(CKM_SHA256_HMAC), SIGN, true;
    "HMAC-SHA256 in parts" Size, Kind::Generic(32), Mech::new(CKM_SHA256_HMAC),
        What::Parts(F::C_SignInit, F::C_SignUpdate, F::C_SignFinal), true;
    "AES-256-CMAC" Size, Kind::Aes(32), Mech::new(CKM_AES_CMAC), SIGN, true;
    "random" Size, Kind::None, Mech::new(0), What::Random, true;
    "generate AES-256" Once(0), Kind::Aes(32), Mech::new(CKM_AES_KEY_GEN), What::Generate, true;
    "generate P-256" Once(0), Kind::Ec(P256), Mech::new(CKM_EC_KEY_PAIR_GEN), What::Generate, true;
    "generate Ed25519" Once(0), Kind::Edwards(ED25519), Mech::new(CKM_EC_EDWARDS_KEY_PAIR_GEN), What::Generate, true;
    "generate ML-DSA-65" Once(0), Kind::MlDsa(CKP_ML_DSA_65), Mech::new(CKM_ML_DSA_KEY_PAIR_GEN), What::Generate, true;
    "generate ML-KEM-768" Once(0), Kind::MlKem(CKP_ML_KEM_768), Mech::new(CKM_ML_KEM_KEY_PAIR_GEN), What::Generate, true;
    "generate RSA-2048" Once(0), Kind::Rsa, Mech::new(CKM_RSA_PKCS_KEY_PAIR_GEN), What::Generate, true;
    "AES-KW wrap" Once(0), Kind::Aes(32), Mech::new(CKM_AES_KEY_WRAP), What::Wrap, true;
    "AES-KW unwrap" Once(0), Kind::Aes(32), Mech::new(CKM_AES_KEY_WRAP), What::Unwrap, true;
    "RSA-2048 OAEP-SHA1 wrap" Once(0), Kind::Rsa, oaep_sha1(), What::Wrap, true;
    "RSA-2048 OAEP-SHA1 unwrap" Once(0), Kind::Rsa, oaep_sha1(), What::Unwrap, true;
}

/// The cases of a plan.
pub fn cases(plan: &Plan) -> Vec<Case> {
    let mut cases = Vec::new();
    for row in ROWS {
        let mut add = |name: String, size: usize, objects: usize| {
            if plan.only.is_empty() || plan.only.iter().any(|o| name.contains(o.as_str())) {
                cases.push(Case { name, parallel: row.parallel, size, row, objects });
            }
        };
        match row.per {
            Per::Once(size) => add(row.name.to_owned(), size, 0),
            Per::Size => plan.sizes.iter().for_each(|n| add(format!("{} {}", row.name, bytes(*n)), *n, 0)),
            Per::Objects(size) => plan.objects.iter().for_each(|n| add(format!("{} among {n}", row.name), size, *n)),
        }
    }
    // So that the token fills and is never emptied.
    cases.sort_by_key(|case| case.objects);
    cases
}

fn bytes(n: usize) -> String {
    match n {
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n >= 1024 && n % 1024 == 0 => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}

/// A case ready to run.
pub enum Job {
    Module {
        api: &'static Api,
        slot: CK_SLOT_ID,
        shared: Shared,
        make: Maker,
    },
    Whole {
        api: &'static Api,
        init_args: Option<String>,
        /// Where a session is opened too.
        slot: Option<CK_SLOT_ID>,
    },
    #[cfg(feature = "floor")]
    Floor(super::floor::Floor),
}

impl Job {
    /// One thread's step.
    pub fn thread(&self) -> Result<Step, Stop> {
        match self {
            Job::Module { api, slot, shared, make } => {
                let s = Session { api, h: api.open_session(*slot, RW)? };
                make(shared, s)
            }
            Job::Whole { api, init_args, slot: Some(slot) } => scale::open(api, *slot, init_args.clone()),
            Job::Whole { api, init_args, slot: None } => {
                let (api, args) = (*api, init_args.clone());
                Ok(Box::new(move || {
                    api.initialize(args.as_deref())?;
                    Ok(api.finalize()?)
                }))
            }
            #[cfg(feature = "floor")]
            Job::Floor(floor) => floor.step(),
        }
    }
}

impl Case {
    /// Loads the module, logs in, and makes keys and data; the floor where there is no module. Also says what there is to
    /// say of it, mostly nothing.
    pub fn prepare(&self, env: Option<&Env>) -> Result<(Job, String), Stop> {
        let data = vec![0x5Au8; self.size];
        let Some(env) = env else { return Ok((self.floor(data)?, String::new())) };
        let mut t = T::new(env)?;
        let slot = t.slot()?;
        let whole = |api, slot| Job::Whole { api, init_args: env.init_args.clone(), slot };
        if self.row.kind == What::Initialize {
            t.release()?;
            return Ok((whole(t.api, None), String::new()));
        }
        let mech = (self.row.mech)();
        if mech.ty != 0 {
            t.mechanism(mech.ty, 0)?;
        }
        let s = if self.row.kind == What::Login { t.session()? } else { t.user()? };
        let said = if self.objects > 0 { scale::fill(env, s, self.objects)? } else { String::new() };
        if self.row.kind == What::Open {
            t.release()?;
            return Ok((whole(t.api, Some(slot)), said));
        }
        let keys = match (self.row.kind, self.row.key) {
            (What::Generate, _) | (_, Kind::None) => Keys { private: 0, public: 0 },
            (_, kind) if self.objects > 0 => scale::signer(s, kind)?,
            (_, kind) => kind.make(s)?,
        };
        let mut shared = Shared { kind: self.row.key, keys, data, made: Vec::new(), mech, objects: self.objects };
        self.row.kind.before(s, &mut shared, t.env)?;
        Ok((Job::Module { api: t.api, slot, shared, make: self.row.kind.maker()? }, said))
    }

    #[cfg(feature = "floor")]
    fn floor(&self, data: Vec<u8>) -> Result<Job, Stop> {
        super::floor::Floor::new(self.row.name, data).map(Job::Floor)
    }

    #[cfg(not(feature = "floor"))]
    fn floor(&self, _: Vec<u8>) -> Result<Job, Stop> {
        fail("built without the feature `floor`")
    }
}

fn session_secret() -> Template {
    Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).flag(CKA_TOKEN, false).flag(CKA_PRIVATE, true)
}

fn object(on_token: bool) -> Template {
    Template::key(CKO_SECRET_KEY, CKK_AES)
        .flag(CKA_TOKEN, on_token)
        .text(CKA_LABEL, "bench, one")
        .bytes(CKA_VALUE, &[9; 32])
}

impl What {
    /// What must exist before the first operation.
    fn before(self, s: Session, shared: &mut Shared, env: &Env) -> Result<(), Stop> {
        let Keys { private, public } = shared.keys;
        match self {
            What::Verify => {
                s.init(F::C_SignInit, &shared.mech, private)?;
                shared.made = s.run(F::C_Sign, &shared.data)?;
            }
            What::Decrypt => {
                s.init(F::C_EncryptInit, &shared.mech, public)?;
                shared.made = s.run(F::C_Encrypt, &shared.data)?;
            }
            What::Derive => {
                let der = s.get(public, CKA_EC_POINT)?;
                let raw = der.strip_prefix(&[4, (der.len() - 2) as u8]).unwrap_or(&der);
                shared.mech = Mech::ecdh(CKD_NULL, b"", raw);
            }
            What::Wrap | What::Unwrap => {
                let target = s.create(&object(false).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true))?;
                shared.made = s.wrap(&shared.mech, public, target)?;
                shared.keys.private = if self == What::Wrap { target } else { private };
            }
            What::Decapsulate => shared.made = s.encapsulate(&shared.mech, public, &session_secret())?.0,
            What::Login => shared.data = env.user_pin.clone().unwrap_or_default().into_bytes(),
            _ => {}
        }
        Ok(())
    }

    fn maker(self) -> Result<Maker, Stop> {
        Ok(match self {
            What::One(F::C_SignInit, _) => |c, s| one(c, s, F::C_SignInit, F::C_Sign, c.keys.private, &c.data),
            What::One(F::C_DigestInit, _) => |c, s| one(c, s, F::C_DigestInit, F::C_Digest, 0, &c.data),
            What::One(..) => |c, s| one(c, s, F::C_EncryptInit, F::C_Encrypt, c.keys.public, &c.data),
            What::Decrypt => |c, s| one(c, s, F::C_DecryptInit, F::C_Decrypt, c.keys.private, &c.made),
            What::Parts(F::C_DigestInit, ..) => {
                |c, s| parts(c, s, F::C_DigestInit, F::C_DigestUpdate, F::C_DigestFinal)
            }
            What::Parts(F::C_SignInit, ..) => |c, s| parts(c, s, F::C_SignInit, F::C_SignUpdate, F::C_SignFinal),
            What::Parts(..) => |c, s| parts(c, s, F::C_EncryptInit, F::C_EncryptUpdate, F::C_EncryptFinal),
            What::Verify => verify,
            What::Derive => derive,
            What::Generate => |c, s| generate(s, c.kind),
            What::Wrap => wrap,
            What::Unwrap => unwrap,
            What::Encapsulate => encapsulate,
            What::Decapsulate => decapsulate,
            What::Random => random,
            What::Login => login,
            What::OpenSession => |_, s| session(s),
            What::FindLabel => |c, s| scale::search(c, s, true),
            What::FindId => |c, s| scale::search(c, s, false),
            What::List => scale::list,
            What::ReadAttribute => read_attribute,
            What::CreateSession => |_, s| create(s, false),
            What::CreateToken => |_, s| create(s, true),
            What::Initialize | What::Open => return fail("has no session"),
        })
    }
}

/// A call with prepared words; nothing is allocated.
fn call(s: Session, f: F, words: &[usize]) -> Call<()> {
    // SAFETY: the words were made from buffers that the step owns.
    unsafe { s.api.ok(f, words) }
}

fn stepping(mut f: impl FnMut() -> Result<(), Refused> + 'static) -> Result<Step, Stop> {
    Ok(Box::new(move || Ok(f()?)))
}

fn one(c: &Shared, s: Session, init: F, f: F, key: CK_OBJECT_HANDLE, data: &[u8]) -> Result<Step, Stop> {
    let (mut mech, data, h) = (c.mech.raw(), data.to_vec(), s.h as usize);
    let mut out = vec![0u8; data.len() + (1 << 15)];
    stepping(move || {
        let start = [h, mech.pointer(), key as usize];
        call(s, init, if init == F::C_DigestInit { &start[..2] } else { &start })?;
        let mut len = out.len() as CK_ULONG;
        let place = &raw mut len as usize;
        call(s, f, &[h, data.as_ptr() as usize, data.len(), out.as_mut_ptr() as usize, place])
    })
}

fn parts(c: &Shared, s: Session, init: F, update: F, end: F) -> Result<Step, Stop> {
    let (mut mech, data, h, key) = (c.mech.raw(), c.data.clone(), s.h as usize, c.keys.public as usize);
    let mut out = vec![0u8; 1 << 15];
    stepping(move || {
        let start = [h, mech.pointer(), key];
        call(s, init, if init == F::C_DigestInit { &start[..2] } else { &start })?;
        let mut len = out.len() as CK_ULONG;
        for part in data.chunks(4096) {
            len = out.len() as CK_ULONG;
            let place = &raw mut len as usize;
            let words = [h, part.as_ptr() as usize, part.len(), out.as_mut_ptr() as usize, place];
            call(s, update, if init == F::C_EncryptInit { &words } else { &words[..3] })?;
        }
        len = len.max(out.len() as CK_ULONG);
        call(s, end, &[h, out.as_mut_ptr() as usize, &raw mut len as usize])
    })
}

fn verify(c: &Shared, s: Session) -> Result<Step, Stop> {
    let (mut mech, c, h) = (c.mech.raw(), c.clone(), s.h as usize);
    stepping(move || {
        call(s, F::C_VerifyInit, &[h, mech.pointer(), c.keys.public as usize])?;
        let words = [h, c.data.as_ptr() as usize, c.data.len(), c.made.as_ptr() as usize, c.made.len()];
        call(s, F::C_Verify, &words)
    })
}

fn derive(c: &Shared, s: Session) -> Result<Step, Stop> {
    let (mech, key) = (c.mech.clone(), c.keys.private);
    let t = session_secret().ulong(CKA_VALUE_LEN, 32);
    stepping(move || s.destroy(s.derive(&mech, key, &t)?))
}

fn generate(s: Session, kind: Kind) -> Result<Step, Stop> {
    let m = Mech::new(kind.generator());
    let (public, private) = kind.pair_templates();
    let secret = kind.secret_template();
    stepping(move || {
        if kind.is_pair() {
            let (a, b) = s.generate_pair(&m, &public, &private)?;
            s.destroy(a)?;
            s.destroy(b)
        } else {
            s.destroy(s.generate(&m, &secret)?)
        }
    })
}

fn wrap(c: &Shared, s: Session) -> Result<Step, Stop> {
    let (mut mech, keys, h) = (c.mech.raw(), c.keys, s.h as usize);
    let mut out = vec![0u8; 4096];
    stepping(move || {
        let mut len = out.len() as CK_ULONG;
        let (with, key) = (keys.public as usize, keys.private as usize);
        call(s, F::C_WrapKey, &[h, mech.pointer(), with, key, out.as_mut_ptr() as usize, &raw mut len as usize])
    })
}

fn unwrap(c: &Shared, s: Session) -> Result<Step, Stop> {
    let c = c.clone();
    let t = Template::key(CKO_SECRET_KEY, CKK_AES).flag(CKA_TOKEN, false);
    stepping(move || s.destroy(s.unwrap(&c.mech, c.keys.private, &c.made, &t)?))
}

fn encapsulate(c: &Shared, s: Session) -> Result<Step, Stop> {
    let (mech, key) = (c.mech.clone(), c.keys.public);
    stepping(move || s.destroy(s.encapsulate(&mech, key, &session_secret())?.1))
}

fn decapsulate(c: &Shared, s: Session) -> Result<Step, Stop> {
    let c = c.clone();
    stepping(move || s.destroy(s.decapsulate(&c.mech, c.keys.private, &c.made, &session_secret())?))
}

fn random(c: &Shared, s: Session) -> Result<Step, Stop> {
    let mut out = c.data.clone();
    stepping(move || call(s, F::C_GenerateRandom, &[s.h as usize, out.as_mut_ptr() as usize, out.len()]))
}

fn login(c: &Shared, s: Session) -> Result<Step, Stop> {
    let pin = c.data.clone();
    stepping(move || {
        s.feed(F::C_Login, &[CKU_USER as usize], &pin)?;
        s.logout()
    })
}

fn session(s: Session) -> Result<Step, Stop> {
    let (api, slot) = (s.api, s.info()?.slotID);
    stepping(move || Session { api, h: api.open_session(slot, RW)? }.close())
}

fn read_attribute(c: &Shared, s: Session) -> Result<Step, Stop> {
    let (key, h) = (c.keys.private as usize, s.h as usize);
    let mut value = vec![0u8; 64];
    stepping(move || {
        let mut a = CK_ATTRIBUTE {
            type_: CKA_KEY_TYPE,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as CK_ULONG,
        };
        call(s, F::C_GetAttributeValue, &[h, key, &raw mut a as usize, 1])
    })
}

fn create(s: Session, on_token: bool) -> Result<Step, Stop> {
    let t = object(on_token);
    stepping(move || s.destroy(s.create(&t)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_multiplies_rows_by_sizes_and_objects() {
        let plan = Plan {
            only: vec!["SHA-256".into(), "find by label".into()],
            sizes: vec![16, 16384],
            objects: vec![1000, 10],
            threads: vec![1],
            processes: vec![],
            rounds: 1,
            slice: 1,
            floor: false,
        };
        let names: Vec<String> = cases(&plan).into_iter().map(|c| c.name).collect();
        let want = [
            "SHA-256 16 B",
            "SHA-256 16 KiB",
            "SHA-256 in parts 16 B",
            "SHA-256 in parts 16 KiB",
            "find by label among 10",
            "find by label among 1000",
        ];
        assert_eq!(names, want);
    }
}
