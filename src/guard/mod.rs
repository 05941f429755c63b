//! What stands around a token: is this use allowed now, and is it on record? Decorators of `Token`; `module` puts them there.

mod audit;
mod delegate;
mod gate;
mod limits;
mod policy;
mod process;
mod rules;

pub use audit::Audited;
pub use policy::Governed;
pub use rules::Rules;

/// What gives a key away when it is read.
const VALUES: [cryptoki_sys::CK_ATTRIBUTE_TYPE; 8] = [
    cryptoki_sys::CKA_VALUE,
    cryptoki_sys::CKA_PRIVATE_EXPONENT,
    cryptoki_sys::CKA_PRIME_1,
    cryptoki_sys::CKA_PRIME_2,
    cryptoki_sys::CKA_EXPONENT_1,
    cryptoki_sys::CKA_EXPONENT_2,
    cryptoki_sys::CKA_COEFFICIENT,
    cryptoki_sys::CKA_SEED,
];
