//! What the program asks of a token beyond PKCS#11: changes in the life of keys (docs/lifecycle.md), and the vendor
//! attributes that show it (include/keyward.h).

use cryptoki_sys::{CK_ATTRIBUTE_TYPE, CK_ULONG};

use super::ObjectId;
use crate::lifecycle::{Dates, Event};

/// The vendor bit, then "KW".
pub const KEYWARD_BASE: CK_ULONG = 0x8000_0000 | 0x4b57_0000;

macro_rules! vendor {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        $($(#[$doc])* pub const $name: CK_ATTRIBUTE_TYPE = KEYWARD_BASE | $number;)*

        /// Every vendor attribute with its name.
        pub const VENDOR_ATTRIBUTES: &[(CK_ATTRIBUTE_TYPE, &str)] = &[$(($name, stringify!($name)),)*];
    };
}

vendor! {
    /// `CK_ULONG`, a [`crate::lifecycle::State`]. A search or a look that names it also sees keys that are to be destroyed
    /// and the tombstones of those that are.
    CKA_KEYWARD_STATE = 1;
    /// `CK_ULONG`, from 1.
    CKA_KEYWARD_VERSION = 2;
    /// Text: what all versions of a logical key have in common, the unique ID of the first. Absent before the first rotation.
    CKA_KEYWARD_LOGICAL_KEY = 3;
    /// Text: the class of the policy that the key was put into by name.
    CKA_KEYWARD_CLASS = 4;
    /// This and the other dates: `CK_ULONG`, seconds since 1970, UTC.
    CKA_KEYWARD_ACTIVATION_DATE = 5;
    CKA_KEYWARD_PROTECT_STOP_DATE = 6;
    CKA_KEYWARD_PROCESS_STOP_DATE = 7;
    CKA_KEYWARD_DEACTIVATION_DATE = 8;
    CKA_KEYWARD_COMPROMISE_DATE = 9;
    CKA_KEYWARD_DESTRUCTION_DATE = 10;
    /// When the key was made or came into the token.
    CKA_KEYWARD_CREATION_DATE = 11;
    /// When the state last changed, why and by whom.
    CKA_KEYWARD_STATE_DATE = 12;
    CKA_KEYWARD_STATE_REASON = 13;
    CKA_KEYWARD_STATE_ACTOR = 14;
    /// `CK_ULONG`: the state before a pending destruction.
    CKA_KEYWARD_STATE_BEFORE = 15;
    /// Of the policy: `CK_ULONG`, one more with each that is applied.
    CKA_KEYWARD_POLICY_NUMBER = 16;
    /// Of the policy: the Ed25519 key that the security officer's login gives, and the signature under it.
    CKA_KEYWARD_POLICY_KEY = 17;
    CKA_KEYWARD_POLICY_SIGNATURE = 18;
    /// `CK_ULONG`: how many uses have been taken out of the limit that the key's class sets.
    CKA_KEYWARD_USES = 19;
}

/// The class of the object that holds the token's policy.
pub const CKO_KEYWARD_POLICY: CK_ULONG = KEYWARD_BASE | 1;

/// A policy as the security officer signed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedPolicy {
    /// TOML, as it was given.
    pub text: String,
    /// One more with each that is applied.
    pub number: u64,
    /// Seconds since 1970.
    pub at: u64,
    /// Ed25519.
    pub key: Vec<u8>,
    pub signature: Vec<u8>,
}

impl SignedPolicy {
    /// What is signed: bound to the token as it was initialised.
    pub fn message(token: &[u8; 16], number: u64, at: u64, text: &str) -> Vec<u8> {
        [b"keyward policy 1", token.as_slice(), &number.to_be_bytes(), &at.to_be_bytes(), text.as_bytes()].concat()
    }
}

/// A change of state. Both halves of a pair change together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub key: ObjectId,
    pub event: Event,
    /// Those that are to be set; the others stay.
    pub dates: Dates,
    pub by: Authority,
    /// Of the one object alone, whatever half of a pair it is: `C_DestroyObject`.
    pub alone: bool,
    /// The texts of the approvals that go with it.
    pub approvals: Vec<String>,
    /// After a purge nothing is kept, not even the metadata.
    pub leave_nothing: bool,
}

/// Who changes a key, when and why: it is kept with the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub actor: String,
    pub reason: String,
    /// Seconds since 1970.
    pub at: u64,
}

/// The next version of a logical key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub key: ObjectId,
    /// Pairs: the new version is pre-active, and takes the label only with [`Token::take_over`](super::Token::take_over).
    pub stage: bool,
    pub by: Authority,
}

/// What a rotation made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The secret key, or the private one.
    pub key: ObjectId,
    pub public: Option<ObjectId>,
    pub version: u64,
}

/// A staged version takes the place of the one in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeOver {
    pub key: ObjectId,
    /// Seconds for which the old version still protects: servers hold its handle.
    pub overlap: u64,
    pub by: Authority,
}
