//! What single makers' modules do otherwise than the specification says: one row per maker.

use cryptoki_sys::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// As the configuration names it.
    pub name: &'static str,
    /// How the name of the module's file gives the maker away.
    signs: &'static [&'static str],
    /// Takes `CK_GCM_PARAMS` without `ulIvBits`.
    pub short_gcm: bool,
    /// May be called by one thread at a time only.
    pub one_at_a_time: bool,
    /// Codes by which this module, beside the usual ones, says that the HSM is lost.
    pub lost: &'static [CK_RV],
    /// Sessions that it is good to have open at most; 0: as many as the token says.
    pub sessions: usize,
}

pub const NONE: Quirks =
    Quirks { name: "none", signs: &[], short_gcm: false, one_at_a_time: false, lost: &[], sessions: 0 };

const ROWS: &[Quirks] = &[
    NONE,
    Quirks { name: "softhsm", signs: &["softhsm"], ..NONE },
    // Its network errors are codes of its own.
    Quirks { name: "luna", signs: &["libcryptoki2", "safenet", "gemalto"], lost: &[0x8000_0124, 0x8000_0136], ..NONE },
    Quirks { name: "cloudhsm", signs: &["libcloudhsm_pkcs11"], lost: &[CKR_GENERAL_ERROR], sessions: 256, ..NONE },
    Quirks { name: "nshield", signs: &["libcknfast"], lost: &[CKR_FUNCTION_FAILED], ..NONE },
    Quirks { name: "yubihsm", signs: &["yubihsm_pkcs11"], lost: &[CKR_FUNCTION_FAILED], sessions: 15, ..NONE },
    // Smart cards: one session's state is the card's.
    Quirks { name: "opensc", signs: &["opensc-pkcs11"], one_at_a_time: true, ..NONE },
    Quirks { name: "nss", signs: &["libsoftokn3"], short_gcm: true, ..NONE },
];

/// The row of a name; `None` where there is none.
pub fn named(name: &str) -> Option<Quirks> {
    ROWS.iter().copied().find(|row| row.name == name)
}

/// The row of a module by its file's name.
pub fn of_module(path: &std::path::Path) -> Quirks {
    let file = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    ROWS.iter().copied().find(|row| row.signs.iter().any(|sign| file.contains(sign))).unwrap_or(NONE)
}

pub fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

/// Whether the code says that the HSM, or this application's connection with it, is gone.
pub fn lost(quirks: Quirks, rv: CK_RV) -> bool {
    matches!(
        rv,
        CKR_DEVICE_REMOVED
            | CKR_DEVICE_ERROR
            | CKR_TOKEN_NOT_PRESENT
            | CKR_SESSION_HANDLE_INVALID
            | CKR_SESSION_CLOSED
            | CKR_CRYPTOKI_NOT_INITIALIZED
    ) || quirks.lost.contains(&rv)
}
