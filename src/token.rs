//! The one joint: what the C boundary asks of a token, whatever stands behind it.
//!
//! Nothing crosses it that could not be sent to another process: owned parameters, bytes in, bytes out. No C pointer, no
//! callback. `soft` and `forward` implement [`Token`]; `guard` decorates it; `module` and `session` are its only callers.

mod derivation;
mod life;
mod message;

use std::sync::Arc;

use cryptoki_sys::*;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::error::{Code, Result};
pub use derivation::*;
pub use life::*;
pub use message::*;

/// Short bytes (IVs, labels, points) that usually need no allocation.
pub type Bytes = SmallVec<[u8; 64]>;

/// An object as its token names it: at most [`ObjectId::BITS`] bits, never 0, never given to another object of the
/// same token within this process. `module` adds the slot to make a `CK_OBJECT_HANDLE` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u64);

impl ObjectId {
    pub const BITS: u32 = 52;
}

/// A session as `module` numbers it; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Who asks: the session, and whether it may write token objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub session: SessionId,
    pub read_write: bool,
}

/// `CKU_`. Context-specific login is [`Token::reauthenticate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum User {
    SecurityOfficer,
    User,
}

/// What a key is asked to do, one per `C_*Init` family (and `Random`, which needs no key and lasts as long as its session).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Use {
    Encrypt,
    Decrypt,
    Digest,
    Sign,
    SignRecover,
    Verify,
    VerifyRecover,
    MessageEncrypt,
    MessageDecrypt,
    MessageSign,
    MessageVerify,
    VerifySignature,
    Random,
}

impl Use {
    pub const COUNT: usize = 13;
}

/// `CK_MECHANISM`, owned.
#[derive(Clone, Debug, PartialEq)]
pub struct Mechanism {
    pub ty: CK_MECHANISM_TYPE,
    pub params: Params,
}

/// A mechanism's parameters, owned and checked for form (lengths, known enumerators of the structure itself), not for
/// meaning: that is the mechanism row's.
#[derive(Clone, Debug, PartialEq)]
pub enum Params {
    None,
    /// A bare IV, nonce or block: CBC, CFB, OFB, key wrap.
    Iv(Bytes),
    /// `CK_AES_CTR_PARAMS` and its kin.
    Ctr {
        counter_bits: u64,
        block: [u8; 16],
    },
    /// `CK_GCM_PARAMS`, in both layouts.
    Gcm {
        iv: Bytes,
        aad: Bytes,
        tag_bits: u64,
    },
    /// `CK_GCM_MESSAGE_PARAMS`, `CK_GCM_WRAP_PARAMS` and their kin: what a message-based operation is begun with, and how a
    /// key is wrapped with a tag of its own.
    Message {
        message: MessageParams,
        aad: Bytes,
    },
    /// `CK_CCM_PARAMS`, and `CK_CCM_WRAP_PARAMS` with a nonce of the caller's.
    Ccm {
        data_len: u64,
        nonce: Bytes,
        aad: Bytes,
        mac_len: u64,
    },
    /// `CK_CHACHA20_PARAMS` and `CK_SALSA20_PARAMS`: the first block's number.
    Salsa {
        block: u64,
        nonce: Bytes,
    },
    /// `CK_SALSA20_CHACHA20_POLY1305_PARAMS`.
    SalsaAead {
        nonce: Bytes,
        aad: Bytes,
    },
    /// `CK_MAC_GENERAL_PARAMS`: length of the MAC in bytes.
    MacLength(u64),
    /// `CK_RSA_PKCS_PSS_PARAMS`.
    Pss(PssParams),
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    Oaep(OaepParams),
    /// `CK_ECDH1_DERIVE_PARAMS`.
    Ecdh {
        kdf: u64,
        shared: Bytes,
        public: Bytes,
    },
    /// `CK_EDDSA_PARAMS`; without parameters the plain scheme is meant and [`Params::None`] stands.
    Eddsa {
        prehash: bool,
        context: Bytes,
    },
    /// `CK_SIGN_ADDITIONAL_CONTEXT`, and `CK_HASH_SIGN_ADDITIONAL_CONTEXT` with its hash (a `CKM_`).
    SignContext {
        hedge: CK_HEDGE_TYPE,
        context: Bytes,
        hash: Option<CK_MECHANISM_TYPE>,
    },
    /// `CK_RSA_AES_KEY_WRAP_PARAMS`.
    RsaAesWrap {
        aes_bits: u64,
        oaep: OaepParams,
    },
    /// `CK_ECDH_AES_KEY_WRAP_PARAMS`.
    EcdhAesWrap {
        aes_bits: u64,
        kdf: u64,
        shared: Bytes,
    },
    /// A bare `CK_OBJECT_HANDLE`, e.g. of `CKM_CONCATENATE_BASE_AND_KEY`.
    Object(ObjectId),
    /// `CK_KEY_DERIVATION_STRING_DATA`: bytes to mix in.
    Data(Bytes),
    /// `CK_AES_CBC_ENCRYPT_DATA_PARAMS` and its kin.
    CbcData {
        iv: Bytes,
        data: Bytes,
    },
    /// A bare `CK_ULONG` that is no length of a MAC, e.g. `CK_EXTRACT_PARAMS`.
    Number(u64),
    Hkdf(Box<HkdfParams>),
    Pbkdf2(Box<Pbkdf2Params>),
    /// `CK_SP800_108_KDF_PARAMS`, `CK_SP800_108_FEEDBACK_KDF_PARAMS`.
    Kbkdf(Box<KbkdfParams>),
    /// `CK_TLS12_MASTER_KEY_DERIVE_PARAMS`, `CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS`.
    TlsMaster(Box<TlsMasterParams>),
    TlsKeyMaterial(Box<TlsKeyMaterialParams>),
    TlsKdf(Box<TlsKdfParams>),
    TlsMac(TlsMacParams),
    IkePrf(Box<IkePrfParams>),
    Ike1Prf(Box<Ike1PrfParams>),
    /// `CK_IKE1_EXTENDED_DERIVE_PARAMS`, `CK_IKE2_PRF_PLUS_DERIVE_PARAMS`.
    IkeExpand(Box<IkeExpandParams>),
    Otp(Box<OtpParams>),
    /// A vendor mechanism that only a forwarded module understands.
    Opaque(Bytes),
}

impl Params {
    /// For wrapping a key of `len` bytes: CCM takes its length from the key, whatever the parameters say (PKCS#11 3.2,
    /// AES-CCM Authenticated Wrap / Unwrap).
    pub fn for_wrapping(&self, len: usize) -> Params {
        let mut params = self.clone();
        match &mut params {
            Params::Ccm { data_len, .. } => *data_len = len as u64,
            Params::Message { message, .. } => message.data_len = message.data_len.map(|_| len as u64),
            _ => {}
        }
        params
    }

    /// For unwrapping so many bytes, the MAC among them unless it has its own place.
    pub fn for_unwrapping(&self, len: usize) -> Params {
        match self {
            Params::Ccm { mac_len, .. } => {
                self.for_wrapping(len.saturating_sub(usize::try_from(*mac_len).unwrap_or(usize::MAX)))
            }
            Params::Message { .. } => self.for_wrapping(len),
            _ => self.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PssParams {
    pub hash: CK_MECHANISM_TYPE,
    pub mgf: CK_RSA_PKCS_MGF_TYPE,
    pub salt_len: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OaepParams {
    pub hash: CK_MECHANISM_TYPE,
    pub mgf: CK_RSA_PKCS_MGF_TYPE,
    pub label: Bytes,
}

/// `CK_OTP_PARAMS`, as far as HOTP goes: of a PIN, a challenge and a time only that they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtpParams {
    pub counter: Option<u64>,
    pub pin: bool,
    pub challenge: bool,
    pub time: bool,
    /// `CK_OTP_FLAGS`
    pub flags: CK_FLAGS,
    pub length: Option<CK_ULONG>,
    pub format: Option<CK_ULONG>,
}

/// One attribute of a template. The value may be a key's: it is wiped on drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub ty: CK_ATTRIBUTE_TYPE,
    pub value: Value,
}

/// An attribute's value in the form of the C ABI (`CK_BBOOL` one byte, `CK_ULONG` native), but for arrays of attributes.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    Bytes(Zeroizing<Vec<u8>>),
    /// `CKA_WRAP_TEMPLATE` and its kin.
    Template(Vec<Attribute>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Bytes(bytes) => write!(f, "[{} bytes]", bytes.len()),
            Value::Template(template) => f.debug_list().entries(template).finish(),
        }
    }
}

impl Attribute {
    pub fn bytes(ty: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Attribute {
        Attribute { ty, value: Value::Bytes(Zeroizing::new(value.to_vec())) }
    }

    pub fn bool(ty: CK_ATTRIBUTE_TYPE, value: bool) -> Attribute {
        Attribute::bytes(ty, &[if value { CK_TRUE } else { CK_FALSE }])
    }

    pub fn ulong(ty: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Attribute {
        Attribute::bytes(ty, &value.to_ne_bytes())
    }
}

/// The answer for one attribute of `C_GetAttributeValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Value(Value),
    /// The object has it, and it may not leave in clear: `CKR_ATTRIBUTE_SENSITIVE`.
    Sensitive,
    /// The object has no such attribute: `CKR_ATTRIBUTE_TYPE_INVALID`.
    Absent,
}

/// One for each attribute asked for. Most callers ask for one or two; room for more would be moved through each layer.
pub type Answers = SmallVec<[Answer; 2]>;

/// `CK_TOKEN_INFO` but for what the process itself counts (sessions), and the slot's own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    pub label: String,
    pub manufacturer: String,
    pub model: String,
    pub serial: String,
    pub flags: CK_FLAGS,
    /// 0: no limit.
    pub max_sessions: u64,
    pub pin_len: std::ops::RangeInclusive<u64>,
    pub hardware: (u8, u8),
    pub firmware: (u8, u8),
}

/// The flag of `CKA_OBJECT_VALIDATION_FLAGS` and `C_GetSessionValidationFlags` for what the approved mode
/// (`mechanisms = "approved"`) has let pass.
pub const APPROVED_FLAG: CK_FLAGS = 1;

/// `CK_MECHANISM_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MechanismInfo {
    pub min_key: u64,
    pub max_key: u64,
    pub flags: CK_FLAGS,
}

/// Which call is about to be made of an [`Operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The one-call function: `C_Encrypt`, `C_Sign`, `C_Digest` ...
    Whole,
    /// `C_*Update`.
    Update,
    /// `C_*Final`.
    Finish,
}

/// How many bytes a step will write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Exactly(usize),
    /// The true length is known only once the step is done (padding, decryption).
    AtMost(usize),
}

impl Size {
    pub fn bound(self) -> usize {
        match self {
            Size::Exactly(n) | Size::AtMost(n) => n,
        }
    }
}

/// How a step went that [`Operation::convey`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conveyed {
    Wrote(usize),
    /// So many bytes would be written, or the buffer is too small for them; the operation goes on.
    Needs(usize),
}

/// One running cryptographic operation. `session` keeps the rule of when it ends; an operation only works.
///
/// The caller gives `out` at least as long as [`Operation::size`] said for the same step and input; the operation
/// returns how much it wrote. After an error other than from `size` the operation is not used again.
pub trait Operation: Send {
    /// What `step` will write for `input` further bytes. Changes nothing.
    fn size(&mut self, step: Step, input: usize) -> Result<Size>;

    /// A step by the whole convention of output (PKCS#11 3.2, 5.2), where the other side keeps it itself: without a buffer
    /// it asks for the length. `None`: the step is made by the methods below, and the caller keeps the convention.
    fn convey(&mut self, step: Step, input: &[u8], out: Option<&mut [u8]>) -> Option<Result<Conveyed>> {
        let _ = (step, input, out);
        None
    }

    /// Whether `C_*Update` and `C_*Final` are offered.
    fn multi_part(&self) -> bool {
        true
    }

    /// Takes further input; ciphers write what is ready.
    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize>;

    /// Ends a multi-part operation: the last block, the digest, the signature.
    fn finish(&mut self, out: &mut [u8]) -> Result<usize>;

    /// The whole operation in one call.
    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let done = self.update(input, out)?;
        let rest = out.get_mut(done..).ok_or(Code::GeneralError)?;
        Ok(done.saturating_add(self.finish(rest)?))
    }

    /// Ends a verification. `input` is the whole message for `C_Verify`, `None` after updates for `C_VerifyFinal`.
    /// `CKR_SIGNATURE_INVALID`, or `CKR_SIGNATURE_LEN_RANGE` where the length alone shows it.
    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        let _ = (input, signature);
        Err(Code::FunctionNotSupported.into())
    }

    /// Begins a message of a message-based operation, whatever became of the one before. Makes the IV where the parameters
    /// ask for that, and writes it back to them. Signatures have no parameters.
    fn start_message(&mut self, params: Option<&mut MessageParams>, aad: &[u8]) -> Result<()> {
        let _ = (params, aad);
        Err(Code::FunctionNotSupported.into())
    }

    /// Ends an encrypted message with its last part, or the whole of it; [`Operation::size`] of [`Step::Finish`] or
    /// [`Step::Whole`] says how much it writes. Encryption writes the tag back to the parameters, decryption checks it:
    /// `CKR_AEAD_DECRYPT_FAILED`. Messages that are signed end as other signatures do.
    fn end_message(&mut self, params: &mut MessageParams, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let _ = (params, input, out);
        Err(Code::FunctionNotSupported.into())
    }

    /// `C_DigestKey`: a key's value as further input. `CKR_KEY_INDIGESTIBLE` where the digest would give it away.
    fn digest_key(&mut self, value: &[u8]) -> Result<()> {
        self.update(value, &mut []).map(drop)
    }

    /// Makes an operation that has ended ready for new parameters under the same key, without allocating.
    /// `false`: it cannot, build a new one.
    fn restart(&mut self, params: &Params) -> bool {
        let _ = params;
        false
    }

    /// Whether its output has places, as distances from its beginning, where the C ABI has pointers.
    fn has_distances(&self) -> bool {
        false
    }

    /// The state for `C_GetOperationState`.
    fn save(&self) -> Result<Vec<u8>> {
        Err(Code::StateUnsaveable.into())
    }
}

/// An operation together with what its session must know of its key.
pub struct Begun {
    pub operation: Box<dyn Operation>,
    /// `CKA_ALWAYS_AUTHENTICATE`: a context-specific login must come before the result.
    pub reauthenticate: bool,
    /// On a private object: ends with the login.
    pub private: bool,
    /// What the operation was begun for; lets the token restart it (see [`Token::begin`]).
    pub stamp: Stamp,
    /// The gate's own: until when (seconds since 1970) this very use is allowed while the stamp holds; 0: it was not asked.
    pub cleared_until: u64,
}

/// What an operation was begun for: the same stamp means that beginning anew would give the same answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub mechanism: CK_MECHANISM_TYPE,
    pub key: Option<ObjectId>,
    /// The token's own count of everything that could change the answer (logins, objects, rules).
    pub state: (u64, u64),
}

/// A running search (`C_FindObjects`). It streams: no list in proportion to the token is kept.
pub trait Search: Send {
    /// The next objects, at most `max`; fewer only at the end.
    fn next(&mut self, max: usize) -> Result<Vec<ObjectId>>;
}

/// What `C_DeriveKey` made. Most mechanisms make `key` alone.
#[derive(Debug, Default)]
pub struct Derived {
    pub key: Option<ObjectId>,
    /// Further keys, in the order of the parameters.
    pub further: Vec<ObjectId>,
    /// Bytes that go back into the parameters (IVs, versions), in the order of the parameters.
    pub bytes: Vec<Vec<u8>>,
}

/// A token. Every method may be called by several threads at once; none holds a lock across cryptography that another
/// session needs. Errors are the codes that the specification lists for the C function named.
pub trait Token: Send + Sync {
    /// `C_GetTokenInfo`; `CKR_TOKEN_NOT_RECOGNIZED` where the token is damaged beyond reading.
    fn info(&self) -> Result<TokenInfo>;

    /// `C_GetMechanismList`.
    fn mechanisms(&self) -> Vec<CK_MECHANISM_TYPE>;

    /// `C_GetMechanismInfo`; `CKR_MECHANISM_INVALID`.
    fn mechanism_info(&self, ty: CK_MECHANISM_TYPE) -> Result<MechanismInfo>;

    /// Whether the parameters of this vendor mechanism are to be passed on as they are ([`Params::Opaque`]).
    fn takes_opaque(&self, ty: CK_MECHANISM_TYPE) -> bool {
        let _ = ty;
        false
    }

    /// Whether it lets pass only what is approved (`mechanisms = "approved"`).
    fn approved_only(&self) -> bool {
        false
    }

    /// `C_InitToken`: all objects go, the SO's PIN and the label are set. The caller has checked that no session is open.
    fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()>;

    fn open_session(&self, caller: Caller) -> Result<()>;

    /// Its session objects die with it.
    fn close_session(&self, session: SessionId);

    /// `C_Login`. PIN states and codes are the token's; session states (a read-only session forbids the SO) the caller's.
    fn login(&self, caller: Caller, user: User, pin: &[u8]) -> Result<()>;

    /// `C_LoginUser` with a name. `CKR_USER_TYPE_INVALID` where the token has no named users.
    fn login_named(&self, caller: Caller, user: User, name: &str, pin: &[u8]) -> Result<()> {
        let _ = (caller, user, name, pin);
        Err(Code::UserTypeInvalid.because("the token's users have no names; log in without one"))
    }

    /// The name of the user who is logged in in this process, if they have one.
    fn login_name(&self) -> Option<Arc<str>> {
        None
    }

    /// The named user whose PIN the caller of [`Token::login`] means, by the name before the colon of `NAME:PIN`.
    fn name_before(&self, pin: &[u8]) -> Option<String> {
        let _ = pin;
        None
    }

    /// Whether this PIN lacks the code of a second factor that its account has: `PIN:123456`.
    fn wants_code(&self, user: User, pin: &[u8]) -> bool {
        let _ = (user, pin);
        false
    }

    /// `C_Login` with `CKU_CONTEXT_SPECIFIC`: is this the PIN of who is logged in?
    fn reauthenticate(&self, caller: Caller, pin: &[u8]) -> Result<()>;

    /// `C_Logout`, and the closing of the last session: private session objects die, handles of private objects end.
    fn logout(&self) -> Result<()>;

    /// `C_GetSessionValidationFlags`, where another module knows it of the session's last operation. `None`: the session knows itself.
    fn validation_flags(&self, caller: Caller) -> Result<Option<CK_FLAGS>> {
        let _ = caller;
        Ok(None)
    }

    /// Who is logged in, in this process.
    fn logged_in(&self) -> Option<User>;

    /// `C_InitPIN`, by the SO.
    fn init_pin(&self, caller: Caller, pin: &[u8]) -> Result<()>;

    /// `C_SetPIN`: of who is logged in, or the user's.
    fn set_pin(&self, caller: Caller, old: &[u8], new: &[u8]) -> Result<()>;

    fn create(&self, caller: Caller, template: Vec<Attribute>) -> Result<ObjectId>;

    /// All of them or none; a token that can makes them in one durable transaction.
    fn create_all(&self, caller: Caller, templates: Vec<Vec<Attribute>>) -> Result<Vec<ObjectId>> {
        let mut made = Vec::with_capacity(templates.len());
        for template in templates {
            match self.create(caller, template) {
                Ok(object) => made.push(object),
                Err(error) => {
                    made.into_iter().for_each(|object| drop(self.destroy(caller, object)));
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    fn copy(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<ObjectId>;
    fn destroy(&self, caller: Caller, object: ObjectId) -> Result<()>;

    /// `C_GetObjectSize`, in bytes.
    fn size(&self, caller: Caller, object: ObjectId) -> Result<u64>;

    /// One answer per type asked, in order.
    fn get(&self, caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers>;

    fn set(&self, caller: Caller, object: ObjectId, template: Vec<Attribute>) -> Result<()>;

    fn find(&self, caller: Caller, template: Vec<Attribute>) -> Result<Box<dyn Search>>;

    /// `C_*Init`. `spare` is the session's last operation of the same use, ended but kept: where its stamp says that
    /// it is the one asked for again, it is restarted and given back; else dropped.
    fn begin(
        &self,
        caller: Caller,
        what: Use,
        mechanism: &Mechanism,
        key: Option<ObjectId>,
        spare: Option<Begun>,
    ) -> Result<Begun>;

    /// `C_DigestKey`: feeds the key's value to a digest begun here.
    fn digest_key(&self, caller: Caller, digest: &mut dyn Operation, key: ObjectId) -> Result<()>;

    /// `C_SetOperationState`.
    fn restore(&self, caller: Caller, what: Use, state: &[u8]) -> Result<Begun> {
        let _ = (caller, what, state);
        Err(Code::SavedStateInvalid.into())
    }

    fn generate_key(&self, caller: Caller, mechanism: &Mechanism, template: Vec<Attribute>) -> Result<ObjectId>;

    /// The public key and the private key.
    fn generate_key_pair(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: Vec<Attribute>,
        private: Vec<Attribute>,
    ) -> Result<(ObjectId, ObjectId)>;

    fn wrap(&self, caller: Caller, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>>;

    /// The length of what [`Token::wrap`] or [`Token::wrap_authenticated`] will give, in bytes; `None` where only the
    /// wrapping itself shows it. The codes are theirs.
    fn wrapped_len(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<Option<usize>> {
        let _ = (caller, mechanism, wrapping, key);
        Ok(None)
    }

    /// `C_WrapKeyAuthenticated`, with [`Params::Message`]: the wrapped key, and the parameters with the IV and the tag.
    /// (`C_UnwrapKeyAuthenticated` is [`Token::unwrap`] with such parameters.)
    fn wrap_authenticated(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        wrapping: ObjectId,
        key: ObjectId,
    ) -> Result<(Vec<u8>, MessageParams)> {
        let _ = (caller, mechanism, wrapping, key);
        Err(Code::FunctionNotSupported.into())
    }

    fn unwrap(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId>;

    fn derive(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        base: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<Derived>;

    /// The length of the ciphertext that [`Token::encapsulate`] will give: the answer to a length query.
    fn encapsulated_len(&self, caller: Caller, mechanism: &Mechanism, public: ObjectId) -> Result<usize> {
        let _ = (caller, mechanism, public);
        Err(Code::FunctionNotSupported.into())
    }

    /// `C_EncapsulateKey`: the ciphertext, and the new secret key.
    fn encapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        public: ObjectId,
        template: Vec<Attribute>,
    ) -> Result<(Vec<u8>, ObjectId)> {
        let _ = (caller, mechanism, public, template);
        Err(Code::FunctionNotSupported.into())
    }

    /// `C_DecapsulateKey`.
    fn decapsulate(
        &self,
        caller: Caller,
        mechanism: &Mechanism,
        private: ObjectId,
        ciphertext: &[u8],
        template: Vec<Attribute>,
    ) -> Result<ObjectId> {
        let _ = (caller, mechanism, private, ciphertext, template);
        Err(Code::FunctionNotSupported.into())
    }

    /// Whether the token keeps the life of its keys (`CKA_KEYWARD_STATE` and its kin). Others are not governed.
    fn keeps_life(&self) -> bool {
        false
    }

    /// Changes the state of a key, durably, all or nothing. `CKR_ACTION_PROHIBITED` where the table of transitions has no
    /// such way, `CKR_OBJECT_HANDLE_INVALID`, and those of writing.
    fn change_life(&self, caller: Caller, order: &Order) -> Result<()> {
        let _ = (caller, order);
        Err(Code::FunctionNotSupported.into())
    }

    /// The policy in force; `None`: there is none. `CKR_DEVICE_ERROR` where it was altered.
    fn policy(&self) -> Result<Option<Arc<SignedPolicy>>> {
        Ok(None)
    }

    /// Signs a policy and puts it into force, `at` seconds since 1970. `CKR_ACTION_PROHIBITED` where the present one asks for
    /// more `approvals`, `CKR_USER_NOT_LOGGED_IN` but for the security officer, `CKR_ARGUMENTS_BAD` for a policy that is broken.
    fn apply_policy(&self, caller: Caller, text: &str, at: u64, approvals: &[String]) -> Result<()> {
        let _ = (caller, text, at, approvals);
        Err(Code::FunctionNotSupported.into())
    }

    /// Approvals for what is asked of the token next, in this process. `CKR_FUNCTION_NOT_SUPPORTED` where nothing asks for any.
    fn present(&self, approvals: Vec<String>) -> Result<()> {
        let _ = approvals;
        Err(Code::FunctionNotSupported.into())
    }

    /// Marks approvals as used, durably: 16 bytes that name each, and until when it would count. `CKR_ACTION_PROHIBITED` where one
    /// has been used already, and where the token cannot keep that.
    fn spend(&self, approvals: &[([u8; 16], u64)], now: u64) -> Result<()> {
        let _ = (approvals, now);
        Err(Code::ActionProhibited.because("this token does not keep which approvals have been used"))
    }

    /// Whether a key is in a backup that was verified; session objects, which no backup holds, count as such.
    fn backed_up(&self, key: ObjectId) -> Result<bool> {
        let _ = key;
        Ok(false)
    }

    /// Takes up to `uses` further uses out of a key's `limit`, durably; how many it got. 0: the limit is reached.
    fn reserve_uses(&self, caller: Caller, key: ObjectId, uses: u64, limit: u64) -> Result<u64> {
        let _ = (caller, key, uses, limit);
        Err(Code::FunctionNotSupported.into())
    }

    /// Makes the next version of a logical key, in one durable transaction. `CKR_ACTION_PROHIBITED` for a key that is not
    /// active, and for a pair that is not to be staged; the codes of generating a key.
    fn rotate(&self, caller: Caller, rotation: &Rotation) -> Result<Rotated> {
        let _ = (caller, rotation);
        Err(Code::FunctionNotSupported.into())
    }

    /// Signs a certificate request (DER of a `CertificationRequestInfo`, RFC 2986) by the private key that it is for, which
    /// may be pre-active: so a certificate can be there before the key is in force. `CKR_DATA_INVALID` for anything else,
    /// `CKR_KEY_FUNCTION_NOT_PERMITTED` where the key neither is nor will be active, and the codes of `C_Sign`.
    fn prove(&self, caller: Caller, key: ObjectId, mechanism: &Mechanism, request: &[u8]) -> Result<Vec<u8>> {
        let _ = (caller, key, mechanism, request);
        Err(Code::FunctionNotSupported.into())
    }

    /// Puts a staged version into force, in one durable transaction. `CKR_ACTION_PROHIBITED` where it is not staged.
    fn take_over(&self, caller: Caller, order: &TakeOver) -> Result<()> {
        let _ = (caller, order);
        Err(Code::FunctionNotSupported.into())
    }
}
