//! One RSA-2048 key of the tests' own, so that not every test generates one. It protects nothing.

use cryptoki_sys::*;

use super::keys::Keys;
use crate::data::Template;
use crate::ffi::{Call, Session};

const MODULUS: &str = concat!(
    "b752ed12ad46ed0f29dd67ca020488cc84d3138004f7d71e97883965bb4a45461c2d2ec90903768753edb20bfceb6d46408a",
    "04711e6aa226c78a5af9d51a673953f5f0a1ef7f5013c32db4dc094b5b1b9068dd548507b0a3198b5ea8f32431be07ab8df6",
    "6824de3a283780cd9b1c5a5d05ea35e814485aaad1f44b6050d036f29087683ec5391c6a60f463b1ee47d6d7d77505804f50",
    "0956bc2264689380520866510876541769cccb63d359edd68042559d235b491225e9cf17b94f30b36480186079984b5a793c",
    "97b5bd0514da6883e8c317415eafb24953ce6b01fb10449ca631ce96c524b2cc5a076e227f21405e0705712e5020ee870813",
    "68d82e6e72db",
);
const PRIVATE_EXPONENT: &str = concat!(
    "134810914f524f6ab1df8ca40d94468324514312caf2fa58485dd693a1a04d2af399b8fb020cb031c99d0d85ff430fca3ccd",
    "876c1263eacc235ea4f4f3fa03f35ea65679e1c3c53b5ee2f6cbd1da7029b505a289da3815d701bfcbe3ff36c658935bf2e1",
    "80d0a7e2fc09e26d3dac3cc0ddf7655614940b9d3dd9f0f79f6856eefcba0092464a096f1dc9ecdf32b8b7f56f4945979fd7",
    "79d3778ac659daa4a915e6a787fb67a80a42dae4d05886130bd5957e36b6ffb21dadc341c3077972637ee4cdb419e8f92f1e",
    "dc45a94109da440e8cb16e11f66b7158cbcc8379144abfcf203325353b1ff8e0f860ee38e6075840ae4ea66e788ec999b577",
    "61f425087341",
);
const PRIME_1: &str = concat!(
    "dd14a651826c4e59e4f94e2751e4b711a1869eedc0faf4e7d65901405327a015114bc8b42106a996e29f63a9998654234212",
    "5f148f166a24c980170a3cfcc81ecd9f509015260e01c4c210f04ca2a2d32aaf18ae39b6194b55beefd67e831a924cd2697e",
    "f9ca1774bb0ad0e1bef1369b98082b9a6e25ba8655b681f65ea633fb",
);
const PRIME_2: &str = concat!(
    "d447973e60c27d9405d6f5db70d37b5a8905ba82c1781d4640f44978825c58469b919c7f5349218e5e6fb689a6e3b13de3c0",
    "634c51bac3633ca671169f3093f060c17f819de4ca01d688f3b252833e072caddee16a5f7a9a7dc53adc2a84784c15c4f48c",
    "238d43b2319da0908dab5de0f0ed46476064ac211de094e57d29a6a1",
);
const EXPONENT_1: &str = concat!(
    "387a1bfada9c9c6f6e8519a805cdadcebd3accc2e3f7b834b99747308d8da3e17de7a4400fe7c9cf17d9abf619982d4a4c88",
    "b0ed69984a495788775a50362b516329fdc4b10265b5a1f409abb9881a9c635d13aafe673c92f836acc258d3592862a3a5fb",
    "a0083671c58e7fca0ba34755fc42aa10eb6e8bf5e1539c63b9ce2f9d",
);
const EXPONENT_2: &str = concat!(
    "b0c35c6188d8eb10d33c0845ce518ba9fbe75543842eacd1cf4c9bd1495bf3f5f79cec9fe98e3feef91c34f7b28c6f0e8613",
    "b19bdf829128955c5356eeffd87095610af7b7aec7b778195a33e7197a11275730fcab430e288f0a28d52462627998b7049b",
    "9d0f088bdd5cd0530e64e02b6af3694e0e2a465add32214a674ac381",
);
const COEFFICIENT: &str = concat!(
    "24edc77e27e27441a322bf3a46495178d87c4447ba4b4ac671882704968a728d73683fe5019dbf7b0be38e65d65f4c05b95a",
    "4f916b0d6e1d76e0b63665c49e0cae2e6d00964094867a3838b670bb311d6aea8b4c5b3d5f564197dd66af2c5685e4442285",
    "d2cad85190b3650cb9027e8737ce5b5b9b4a7c5ce915348a38a38978",
);

/// Bytes of a string of hexadecimal digits.
pub fn unhex(s: &str) -> Vec<u8> {
    (0..s.len() / 2).filter_map(|i| u8::from_str_radix(s.get(2 * i..2 * i + 2)?, 16).ok()).collect()
}

/// The private key's template, with all uses, in the session.
pub fn private_template() -> Template {
    Template::key(CKO_PRIVATE_KEY, CKK_RSA)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true)
        .yes(&[CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_UNWRAP])
        .bytes(CKA_MODULUS, &unhex(MODULUS))
        .bytes(CKA_PUBLIC_EXPONENT, &[1, 0, 1])
        .bytes(CKA_PRIVATE_EXPONENT, &unhex(PRIVATE_EXPONENT))
        .bytes(CKA_PRIME_1, &unhex(PRIME_1))
        .bytes(CKA_PRIME_2, &unhex(PRIME_2))
        .bytes(CKA_EXPONENT_1, &unhex(EXPONENT_1))
        .bytes(CKA_EXPONENT_2, &unhex(EXPONENT_2))
        .bytes(CKA_COEFFICIENT, &unhex(COEFFICIENT))
}

pub fn public_template() -> Template {
    Template::key(CKO_PUBLIC_KEY, CKK_RSA)
        .flag(CKA_TOKEN, false)
        .yes(&[CKA_ENCRYPT, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP])
        .bytes(CKA_MODULUS, &unhex(MODULUS))
        .bytes(CKA_PUBLIC_EXPONENT, &[1, 0, 1])
}

/// Imports both halves, each with more attributes.
pub fn import_with(s: Session, public: &Template, private: &Template) -> Call<Keys> {
    let private = s.create(&private_template().with(private))?;
    let public = s.create(&public_template().with(public))?;
    Ok(Keys { private, public })
}

/// Imports both halves with the same attributes added.
pub fn import(s: Session, extra: &Template) -> Call<Keys> {
    import_with(s, extra, extra)
}
