//! What one message of a message-based operation is told, and tells.

use super::Bytes;

/// How the IV of a message comes about (`CKG_`; PKCS#11 3.2, "AES-GCM Authenticated Encryption / Decryption").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generator {
    /// `CKG_NO_GENERATE`: the caller gives it.
    #[default]
    Given,
    /// `CKG_GENERATE`: the token's way.
    Any,
    Counter,
    Random,
    CounterXor,
}

/// `CK_GCM_MESSAGE_PARAMS` and its kin. Encryption writes the IV that it made and the tag back; decryption is given both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageParams {
    /// The IV or nonce, of the length wanted. Where it is generated, its leading `fixed_bits` stay.
    pub iv: Bytes,
    pub fixed_bits: u64,
    pub generator: Generator,
    /// Length of the tag in bytes.
    pub tag_len: usize,
    /// The tag: before decryption the one to check, or empty if not known yet; after encryption the one made.
    pub tag: Bytes,
    /// Length of the message in bytes, where the mechanism must know it at its start.
    pub data_len: Option<u64>,
}
