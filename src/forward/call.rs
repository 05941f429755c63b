//! What is asked of an HSM's module: one variant per C function or family of them, with owned or borrowed arguments and the
//! HSM's own handles. Nothing in it could not be sent to another process.

use std::borrow::Cow;

use cryptoki_sys::*;

use crate::token::{Answers, Attribute, Mechanism, MechanismInfo, MessageParams, Step, TokenInfo, Use};

/// The HSM's own code, as it came. `Err(CKR_OK)` does not occur.
pub type Rv<T> = Result<T, CK_RV>;

/// In a [`Call`] an `ObjectId` among the parameters of a mechanism is the HSM's handle.
#[derive(Debug)]
pub enum Call<'a> {
    /// `C_GetSlotList`, of the slots with a token.
    Slots,
    Token {
        slot: CK_SLOT_ID,
    },
    Mechanisms {
        slot: CK_SLOT_ID,
    },
    Mechanism {
        slot: CK_SLOT_ID,
        ty: CK_MECHANISM_TYPE,
    },
    /// `C_InitToken`.
    Initialize {
        slot: CK_SLOT_ID,
        pin: Cow<'a, [u8]>,
        label: Cow<'a, str>,
    },
    Open {
        slot: CK_SLOT_ID,
        read_write: bool,
    },
    Close {
        session: CK_SESSION_HANDLE,
    },
    /// `C_SessionCancel`.
    Cancel {
        session: CK_SESSION_HANDLE,
        flags: CK_FLAGS,
    },
    /// Without a PIN the HSM asks for it by its own means; with a name `C_LoginUser`.
    Login {
        session: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        pin: Option<Cow<'a, [u8]>>,
        name: Option<Cow<'a, str>>,
    },
    Logout {
        session: CK_SESSION_HANDLE,
    },
    /// `C_GetSessionInfo`: the state, which says who is logged in.
    State {
        session: CK_SESSION_HANDLE,
    },
    /// `C_GetSessionValidationFlags` for `CKS_LAST_VALIDATION_OK`.
    Validation {
        session: CK_SESSION_HANDLE,
    },
    InitPin {
        session: CK_SESSION_HANDLE,
        pin: Cow<'a, [u8]>,
    },
    SetPin {
        session: CK_SESSION_HANDLE,
        old: Cow<'a, [u8]>,
        new: Cow<'a, [u8]>,
    },
    Create {
        session: CK_SESSION_HANDLE,
        template: Cow<'a, [Attribute]>,
    },
    Copy {
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: Cow<'a, [Attribute]>,
    },
    Destroy {
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
    },
    Size {
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
    },
    Get {
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        types: Cow<'a, [CK_ATTRIBUTE_TYPE]>,
    },
    Set {
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: Cow<'a, [Attribute]>,
    },
    Find {
        session: CK_SESSION_HANDLE,
        template: Cow<'a, [Attribute]>,
    },
    Found {
        session: CK_SESSION_HANDLE,
        max: usize,
    },
    FindEnd {
        session: CK_SESSION_HANDLE,
    },
    /// `C_*Init`.
    Begin {
        session: CK_SESSION_HANDLE,
        what: Use,
        mechanism: Cow<'a, Mechanism>,
        key: Option<CK_OBJECT_HANDLE>,
    },
    /// The functions with output; without a buffer they tell the length.
    Run {
        session: CK_SESSION_HANDLE,
        what: Use,
        step: Step,
        input: Cow<'a, [u8]>,
    },
    /// The updates without output.
    Feed {
        session: CK_SESSION_HANDLE,
        what: Use,
        input: Cow<'a, [u8]>,
    },
    /// `C_Verify`, and without input `C_VerifyFinal`.
    Verify {
        session: CK_SESSION_HANDLE,
        what: Use,
        input: Option<Cow<'a, [u8]>>,
        signature: Cow<'a, [u8]>,
    },
    DigestKey {
        session: CK_SESSION_HANDLE,
        key: CK_OBJECT_HANDLE,
    },
    /// `C_GetOperationState`.
    Save {
        session: CK_SESSION_HANDLE,
    },
    Restore {
        session: CK_SESSION_HANDLE,
        state: Cow<'a, [u8]>,
    },
    /// The functions of a message to encrypt or to decrypt.
    Message {
        session: CK_SESSION_HANDLE,
        what: Use,
        part: MessagePart,
        ty: CK_MECHANISM_TYPE,
        params: Cow<'a, MessageParams>,
        aad: Cow<'a, [u8]>,
        input: Cow<'a, [u8]>,
    },
    /// The functions of a message to sign or to verify.
    SignedMessage {
        session: CK_SESSION_HANDLE,
        what: Use,
        part: MessagePart,
        input: Cow<'a, [u8]>,
        signature: Cow<'a, [u8]>,
    },
    /// `C_Message*Final`.
    MessagesEnd {
        session: CK_SESSION_HANDLE,
        what: Use,
    },
    Random {
        session: CK_SESSION_HANDLE,
    },
    Seed {
        session: CK_SESSION_HANDLE,
        seed: Cow<'a, [u8]>,
    },
    Generate {
        session: CK_SESSION_HANDLE,
        mechanism: Cow<'a, Mechanism>,
        template: Cow<'a, [Attribute]>,
    },
    GeneratePair {
        session: CK_SESSION_HANDLE,
        mechanism: Cow<'a, Mechanism>,
        public: Cow<'a, [Attribute]>,
        private: Cow<'a, [Attribute]>,
    },
    /// `C_WrapKey`; `ask` for the length alone.
    Wrap {
        session: CK_SESSION_HANDLE,
        mechanism: Cow<'a, Mechanism>,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        ask: bool,
    },
    /// `C_WrapKeyAuthenticated`.
    WrapAuthenticated {
        session: CK_SESSION_HANDLE,
        mechanism: Cow<'a, Mechanism>,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        ask: bool,
    },
    /// `C_UnwrapKey`; with the parameters of a message `C_UnwrapKeyAuthenticated`.
    Unwrap {
        session: CK_SESSION_HANDLE,
        mechanism: Cow<'a, Mechanism>,
        unwrapping: CK_OBJECT_HANDLE,
        wrapped: Cow<'a, [u8]>,
        template: Cow<'a, [Attribute]>,
    },
    Derive {
        session: CK_SESSION_HANDLE,
        mechanism: Cow<'a, Mechanism>,
        base: CK_OBJECT_HANDLE,
        template: Cow<'a, [Attribute]>,
    },
    Encapsulate {
        session: CK_SESSION_HANDLE,
        mechanism: Cow<'a, Mechanism>,
        public: CK_OBJECT_HANDLE,
        template: Cow<'a, [Attribute]>,
        ask: bool,
    },
    Decapsulate {
        session: CK_SESSION_HANDLE,
        mechanism: Cow<'a, Mechanism>,
        private: CK_OBJECT_HANDLE,
        ciphertext: Cow<'a, [u8]>,
        template: Cow<'a, [Attribute]>,
    },
}

impl Call<'_> {
    /// For people: the C function, or the first of its family.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Slots => "C_GetSlotList",
            Call::Token { .. } => "C_GetTokenInfo",
            Call::Mechanisms { .. } => "C_GetMechanismList",
            Call::Mechanism { .. } => "C_GetMechanismInfo",
            Call::Initialize { .. } => "C_InitToken",
            Call::Open { .. } => "C_OpenSession",
            Call::Close { .. } => "C_CloseSession",
            Call::Cancel { .. } => "C_SessionCancel",
            Call::Login { name: None, .. } => "C_Login",
            Call::Login { .. } => "C_LoginUser",
            Call::Logout { .. } => "C_Logout",
            Call::State { .. } => "C_GetSessionInfo",
            Call::Validation { .. } => "C_GetSessionValidationFlags",
            Call::InitPin { .. } => "C_InitPIN",
            Call::SetPin { .. } => "C_SetPIN",
            Call::Create { .. } => "C_CreateObject",
            Call::Copy { .. } => "C_CopyObject",
            Call::Destroy { .. } => "C_DestroyObject",
            Call::Size { .. } => "C_GetObjectSize",
            Call::Get { .. } => "C_GetAttributeValue",
            Call::Set { .. } => "C_SetAttributeValue",
            Call::Find { .. } => "C_FindObjectsInit",
            Call::Found { .. } => "C_FindObjects",
            Call::FindEnd { .. } => "C_FindObjectsFinal",
            Call::Begin { what, .. } => operation(*what, true),
            Call::Run { what, .. } | Call::Feed { what, .. } => operation(*what, false),
            Call::Verify { .. } => "C_Verify",
            Call::DigestKey { .. } => "C_DigestKey",
            Call::Save { .. } => "C_GetOperationState",
            Call::Restore { .. } => "C_SetOperationState",
            Call::Message { what, .. } | Call::SignedMessage { what, .. } | Call::MessagesEnd { what, .. } => {
                operation(*what, false)
            }
            Call::Random { .. } => "C_GenerateRandom",
            Call::Seed { .. } => "C_SeedRandom",
            Call::Generate { .. } => "C_GenerateKey",
            Call::GeneratePair { .. } => "C_GenerateKeyPair",
            Call::Wrap { .. } => "C_WrapKey",
            Call::WrapAuthenticated { .. } => "C_WrapKeyAuthenticated",
            Call::Unwrap { .. } => "C_UnwrapKey",
            Call::Derive { .. } => "C_DeriveKey",
            Call::Encapsulate { .. } => "C_EncapsulateKey",
            Call::Decapsulate { .. } => "C_DecapsulateKey",
        }
    }

    /// Whether it may alter what the session's validation flags say: those of its last operation.
    pub fn is_work(&self) -> bool {
        matches!(
            self,
            Call::Run { .. }
                | Call::Feed { .. }
                | Call::Verify { .. }
                | Call::DigestKey { .. }
                | Call::Message { .. }
                | Call::SignedMessage { .. }
                | Call::MessagesEnd { .. }
                | Call::Cancel { .. }
                | Call::Random { .. }
                | Call::Seed { .. }
                | Call::Restore { .. }
                | Call::Create { .. }
                | Call::Copy { .. }
                | Call::Generate { .. }
                | Call::GeneratePair { .. }
                | Call::Wrap { .. }
                | Call::WrapAuthenticated { .. }
                | Call::Unwrap { .. }
                | Call::Derive { .. }
                | Call::Encapsulate { .. }
                | Call::Decapsulate { .. }
        )
    }
}

fn operation(what: Use, begins: bool) -> &'static str {
    match (what, !begins) {
        (Use::Encrypt, true) => "C_Encrypt",
        (Use::Encrypt, false) => "C_EncryptInit",
        (Use::Decrypt, true) => "C_Decrypt",
        (Use::Decrypt, false) => "C_DecryptInit",
        (Use::Digest, true) => "C_Digest",
        (Use::Digest, false) => "C_DigestInit",
        (Use::Sign, true) => "C_Sign",
        (Use::Sign, false) => "C_SignInit",
        (Use::SignRecover, true) => "C_SignRecover",
        (Use::SignRecover, false) => "C_SignRecoverInit",
        (Use::Verify | Use::VerifySignature, true) => "C_Verify",
        (Use::Verify | Use::VerifySignature, false) => "C_VerifyInit",
        (Use::VerifyRecover, true) => "C_VerifyRecover",
        (Use::VerifyRecover, false) => "C_VerifyRecoverInit",
        (Use::MessageEncrypt, true) => "C_EncryptMessage",
        (Use::MessageEncrypt, false) => "C_MessageEncryptInit",
        (Use::MessageDecrypt, true) => "C_DecryptMessage",
        (Use::MessageDecrypt, false) => "C_MessageDecryptInit",
        (Use::MessageSign, true) => "C_SignMessage",
        (Use::MessageSign, false) => "C_MessageSignInit",
        (Use::MessageVerify, true) => "C_VerifyMessage",
        (Use::MessageVerify, false) => "C_MessageVerifyInit",
        (Use::Random, _) => "C_GenerateRandom",
    }
}

/// Which function of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessagePart {
    Whole,
    First,
    Next,
    Last,
}

#[derive(Debug)]
pub enum Reply {
    Done,
    /// A handle, a size, a state, or flags.
    Number(u64),
    Pair(u64, u64),
    Numbers(Vec<u64>),
    Bytes(Vec<u8>),
    Answers(Answers),
    /// So many bytes are in the buffer.
    Wrote(usize),
    /// So many bytes would be, or the buffer is too small for them.
    Needs(usize),
    Token(Box<TokenInfo>),
    Mechanism(MechanismInfo),
    /// A message's parameters as they are after the call, and how many bytes are in the buffer.
    Message(Box<MessageParams>, usize),
    Wrapped(Vec<u8>, Box<MessageParams>),
    /// `key`, the further keys, and bytes of the parameters.
    Derived {
        key: Option<u64>,
        further: Vec<u64>,
        bytes: Vec<Vec<u8>>,
    },
    /// The ciphertext and the new key.
    Encapsulated(Vec<u8>, u64),
}

/// A reply of another kind than the call has.
const MIXED_UP: CK_RV = CKR_GENERAL_ERROR;

impl Reply {
    pub fn number(self) -> Rv<u64> {
        if let Reply::Number(number) = self { Ok(number) } else { Err(MIXED_UP) }
    }

    pub fn numbers(self) -> Rv<Vec<u64>> {
        if let Reply::Numbers(numbers) = self { Ok(numbers) } else { Err(MIXED_UP) }
    }

    pub fn pair(self) -> Rv<(u64, u64)> {
        if let Reply::Pair(one, two) = self { Ok((one, two)) } else { Err(MIXED_UP) }
    }

    pub fn bytes(self) -> Rv<Vec<u8>> {
        if let Reply::Bytes(bytes) = self { Ok(bytes) } else { Err(MIXED_UP) }
    }

    pub fn answers(self) -> Rv<Answers> {
        if let Reply::Answers(answers) = self { Ok(answers) } else { Err(MIXED_UP) }
    }

    pub fn token(self) -> Rv<TokenInfo> {
        if let Reply::Token(token) = self { Ok(*token) } else { Err(MIXED_UP) }
    }

    pub fn mechanism(self) -> Rv<MechanismInfo> {
        if let Reply::Mechanism(info) = self { Ok(info) } else { Err(MIXED_UP) }
    }

    /// How many bytes the call would write.
    pub fn needs(self) -> Rv<usize> {
        if let Reply::Needs(len) = self { Ok(len) } else { Err(MIXED_UP) }
    }

    /// How many bytes the call wrote; `CKR_BUFFER_TOO_SMALL` where it needs more.
    pub fn wrote(self) -> Rv<usize> {
        match self {
            Reply::Wrote(len) => Ok(len),
            Reply::Needs(_) => Err(CKR_BUFFER_TOO_SMALL),
            _ => Err(MIXED_UP),
        }
    }

    pub fn message(self) -> Rv<(MessageParams, usize)> {
        match self {
            Reply::Message(params, wrote) => Ok((*params, wrote)),
            Reply::Needs(_) => Err(CKR_BUFFER_TOO_SMALL),
            _ => Err(MIXED_UP),
        }
    }

    pub fn wrapped(self) -> Rv<(Vec<u8>, MessageParams)> {
        if let Reply::Wrapped(bytes, params) = self { Ok((bytes, *params)) } else { Err(MIXED_UP) }
    }

    pub fn encapsulated(self) -> Rv<(Vec<u8>, u64)> {
        if let Reply::Encapsulated(bytes, key) = self { Ok((bytes, key)) } else { Err(MIXED_UP) }
    }
}

/// A module that can be called.
pub trait Driver: Send + Sync {
    /// `C_Initialize`.
    fn start(&self) -> crate::error::Result<()>;

    /// `C_Finalize`, if it was ours to initialise.
    fn stop(&self);

    /// Whether it can still be called once started; what is dead has to be started anew.
    fn alive(&self) -> bool {
        true
    }

    fn call(&self, call: &Call<'_>, out: Option<&mut [u8]>) -> Rv<Reply>;
}
