//! What all objects, and all storage objects, have.

use crate::object::row::note::COPY;
use crate::object::row::{Compute, Row, rows};

pub const OBJECT: &[Row] = rows! {
    CKA_CLASS: Ulong, [1];
    CKA_UNIQUE_ID: Text, [2, 4, 6] = Computed(Compute::UniqueId);
};

/// Section 4.4. `C_CopyObject` may change `CKA_TOKEN`, `CKA_PRIVATE`, `CKA_MODIFIABLE` and `CKA_DESTROYABLE` (4.1.3).
/// A copy may become private, never public: 11. `CKA_COPYABLE` may only fall, also in place.
pub const STORAGE: &[Row] = rows! {
    CKA_TOKEN: Bool, [COPY] = False;
    CKA_PRIVATE: Bool, [COPY, 11] = False;
    CKA_MODIFIABLE: Bool, [COPY] = True;
    CKA_LABEL: Text, [8] = Empty;
    CKA_COPYABLE: Bool, [8, 12] = True;
    CKA_DESTROYABLE: Bool, [COPY] = True;
};

/// Keys that must stay hidden are private unless the template says otherwise (4.4: the default is the token's).
pub const PRIVATE_BY_DEFAULT: &[Row] = rows! {
    CKA_PRIVATE: Bool, [COPY, 11] = True;
};

/// What the token itself shows (profiles, mechanisms): token objects that nobody changes, copies or destroys.
pub const BUILT_IN: &[Row] = rows! {
    CKA_TOKEN: Always(true), [] = True;
    CKA_PRIVATE: Always(false), [] = False;
    CKA_MODIFIABLE: Always(false), [] = False;
    CKA_LABEL: Text, [] = Empty;
    CKA_COPYABLE: Always(false), [] = False;
    CKA_DESTROYABLE: Always(false), [] = False;
};
