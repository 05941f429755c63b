//! C_WrapKey and C_UnwrapKey: the same properties for every mechanism that wraps.

use cryptoki_sys::*;

use super::keys::{Keys, Kind, P256};
use super::{Need, Test};
use crate::context::{Outcome, Stop, T, ensure, equal, one_of, refused, same_bytes, skip};
use crate::data::{Hash, Mech, Template};
use crate::ffi::{Room, Session};
use crate::functions::F;
use crate::names::name_of;

/// A mechanism that wraps: with which key, and what it takes.
#[derive(Clone, Copy)]
struct Case {
    ty: CK_MECHANISM_TYPE,
    section: &'static str,
    key: Kind,
    mech: fn(CK_MECHANISM_TYPE) -> Mech,
    /// Length in bytes that a wrapped value must be a multiple of.
    block: usize,
    /// Whether it takes the longer private keys.
    private: bool,
    /// Whether a changed wrapped key is detected.
    authentic: bool,
}

fn plain(ty: CK_MECHANISM_TYPE) -> Mech {
    Mech::new(ty)
}

fn iv16(ty: CK_MECHANISM_TYPE) -> Mech {
    Mech::bytes(ty, &[0x3C; 16])
}

fn gcm(_: CK_MECHANISM_TYPE) -> Mech {
    Mech::gcm(&[5; 12], b"wrapped", 128)
}

fn oaep(_: CK_MECHANISM_TYPE) -> Mech {
    Mech::oaep(CKM_SHA_1, Hash::SHA1, b"")
}

macro_rules! cases {
    ($($ty:ident $section:literal ($key:expr) $mech:ident $block:literal $private:literal $authentic:literal)*) => {
        static CASES: &[Case] = &[$(Case {
            ty: $ty, section: $section, key: $key, mech: $mech, block: $block, private: $private,
            authentic: $authentic,
        }),*];
    };
}

// Columns: mechanism, section, wrapping key, parameter, block, takes private keys, authentic.
cases! {
    CKM_AES_KEY_WRAP "6.16" (Kind::Aes(32)) plain 8 false true
    CKM_AES_KEY_WRAP_PAD "6.16" (Kind::Aes(32)) plain 1 true true
    CKM_AES_KEY_WRAP_KWP "6.16" (Kind::Aes(32)) plain 1 true true
    CKM_AES_ECB "6.10.4" (Kind::Aes(32)) plain 16 false false
    CKM_AES_CBC "6.10.5" (Kind::Aes(32)) iv16 16 false false
    CKM_AES_CBC_PAD "6.10.6" (Kind::Aes(32)) iv16 1 true false
    CKM_AES_GCM "6.13" (Kind::Aes(32)) gcm 1 true true
    CKM_RSA_PKCS "6.1.6" (Kind::Rsa) plain 1 false false
    CKM_RSA_PKCS_OAEP "6.1.8" (Kind::Rsa) oaep 1 false true
}

pub fn tests(mechanisms: &[CK_MECHANISM_TYPE]) -> Vec<Test> {
    let mut tests = Vec::new();
    for case in CASES.iter().filter(|c| mechanisms.contains(&c.ty)) {
        let name = name_of("CKM_", case.ty);
        let mut add = |what: &str, f: F, run: fn(&mut T<'_>, Case) -> Outcome| {
            let id = format!("wrap/{}/{what}", name.trim_start_matches("CKM_"));
            let section = format!("{}, {}", f.section(), case.section);
            let needs = [Need::User, Need::Mech(case.ty, CKF_WRAP | CKF_UNWRAP)];
            tests.push(Test::new(id, &section, &needs, move |t| run(t, *case)));
        };
        add("secret-key-round-trip", F::C_UnwrapKey, secret_round_trip);
        add("unwrapped-attributes", F::C_UnwrapKey, unwrapped_attributes);
        add("output-convention", F::C_WrapKey, output_convention);
        add("unextractable", F::C_WrapKey, unextractable);
        add("wrap-with-trusted", F::C_WrapKey, with_trusted);
        add("no-permission", F::C_WrapKey, not_permitted);
        add("template-conflicts", F::C_UnwrapKey, template_conflicts);
        add("garbage", F::C_UnwrapKey, garbage);
        add("public-key", F::C_WrapKey, public_key);
        if case.private {
            add("private-key-round-trip", F::C_UnwrapKey, private_round_trip);
        }
        if case.authentic {
            add("changed", F::C_UnwrapKey, changed);
        }
        if case.block > 1 {
            add("zero-padding", F::C_UnwrapKey, zero_padding);
        }
    }
    tests
}

struct Bench {
    s: Session,
    keys: Keys,
    mech: Mech,
}

impl Bench {
    fn new(t: &mut T<'_>, case: Case) -> Result<Self, Stop> {
        let s = t.user()?;
        Ok(Bench { s, keys: case.key.make(s)?, mech: (case.mech)(case.ty) })
    }

    fn secret(&self, kind: CK_KEY_TYPE, len: usize, extra: &Template) -> Result<CK_OBJECT_HANDLE, Stop> {
        let value: Vec<u8> = (0..len).map(|i| (i * 3 + 1) as u8).collect();
        Ok(self.s.create(&target(kind).bytes(CKA_VALUE, &value).with(extra))?)
    }

    fn wrap(&self, key: CK_OBJECT_HANDLE) -> crate::ffi::Call<Vec<u8>> {
        self.s.wrap(&self.mech, self.keys.public, key)
    }

    fn unwrap(&self, data: &[u8], t: &Template) -> crate::ffi::Call<CK_OBJECT_HANDLE> {
        self.s.unwrap(&self.mech, self.keys.private, data, t)
    }
}

/// A readable session key of this type.
fn target(kind: CK_KEY_TYPE) -> Template {
    Template::key(CKO_SECRET_KEY, kind).flag(CKA_TOKEN, false).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true)
}

fn secret_round_trip(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let lengths: &[(CK_KEY_TYPE, usize)] =
        &[(CKK_AES, 16), (CKK_AES, 32), (CKK_GENERIC_SECRET, 48), (CKK_GENERIC_SECRET, 33), (CKK_GENERIC_SECRET, 1)];
    for (kind, len) in lengths.iter().filter(|(_, n)| n % case.block == 0) {
        let key = b.secret(*kind, *len, &Template::new())?;
        let wrapped = b.wrap(key)?;
        let template = match case.mech {
            // Without padding of its own the mechanism cannot tell the length.
            _ if case.block == 16 => target(*kind).ulong(CKA_VALUE_LEN, *len as CK_ULONG),
            _ => target(*kind),
        };
        let back = match b.unwrap(&wrapped, &template) {
            Err(r) if case.block == 16 && r.rv.0 != CKR_OK => b.unwrap(&wrapped, &target(*kind))?,
            handle => handle?,
        };
        same_bytes(&format!("value of {len} bytes"), &b.s.get(back, CKA_VALUE)?, &b.s.get(key, CKA_VALUE)?)?;
    }
    Ok(())
}

fn unwrapped_attributes(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let wrapped = b.wrap(b.secret(CKK_AES, 32, &Template::new())?)?;
    let hard = Template::key(CKO_SECRET_KEY, CKK_AES)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SENSITIVE, true)
        .flag(CKA_EXTRACTABLE, false)
        .text(CKA_LABEL, "unwrapped")
        .flag(CKA_ENCRYPT, true);
    let key = b.unwrap(&wrapped, &hard)?;
    for (ty, want) in [
        (CKA_LOCAL, false),
        (CKA_ALWAYS_SENSITIVE, false),
        (CKA_NEVER_EXTRACTABLE, false),
        (CKA_SENSITIVE, true),
        (CKA_EXTRACTABLE, false),
        (CKA_ENCRYPT, true),
    ] {
        equal(&name_of("CKA_", ty), b.s.get_bool(key, ty)?, want)?;
    }
    same_bytes("label", &b.s.get(key, CKA_LABEL)?, b"unwrapped")
}

fn output_convention(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let key = b.secret(CKK_AES, 32, &Template::new())?;
    let wrap = |room| b.s.wrap_into(&b.mech, b.keys.public, key, room);
    let query = wrap(Room::Query);
    one_of("the length query", query.rv, &[CKR_OK])?;
    let small = wrap(Room::Bytes(1));
    one_of("the call with room for 1 byte", small.rv, &[CKR_BUFFER_TOO_SMALL])?;
    ensure(!small.overrun, || "bytes were written beyond a buffer of 1 byte".into())?;
    let out = wrap(Room::Bytes(query.len));
    one_of("the call with the room that the query told", out.rv, &[CKR_OK])?;
    ensure(out.len <= query.len && !out.overrun, || format!("query said {}, output has {}", query.len, out.len))
}

fn unextractable(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let key = b.secret(CKK_AES, 32, &Template::new().flag(CKA_EXTRACTABLE, false))?;
    refused("C_WrapKey of an unextractable key", b.wrap(key), &[CKR_KEY_UNEXTRACTABLE])
}

/// A key that wants a trusted wrapping key is not wrapped by another.
fn with_trusted(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let key = b.secret(CKK_AES, 32, &Template::new().flag(CKA_WRAP_WITH_TRUSTED, true))?;
    let allowed = [CKR_KEY_NOT_WRAPPABLE, CKR_WRAPPING_KEY_HANDLE_INVALID, CKR_KEY_UNEXTRACTABLE];
    refused("C_WrapKey with an untrusted key", b.wrap(key), &allowed)
}

fn not_permitted(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let key = b.secret(CKK_AES, 32, &Template::new())?;
    let wrapped = b.wrap(key)?;
    let set = |h, ty| b.s.set(h, &Template::new().flag(ty, false));
    set(b.keys.public, CKA_WRAP)?;
    let allowed = [CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_WRAPPING_KEY_HANDLE_INVALID];
    refused("C_WrapKey without CKA_WRAP", b.wrap(key), &allowed)?;
    set(b.keys.private, CKA_UNWRAP)?;
    let allowed = [CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_UNWRAPPING_KEY_HANDLE_INVALID];
    refused("C_UnwrapKey without CKA_UNWRAP", b.unwrap(&wrapped, &target(CKK_AES)), &allowed)
}

/// The value comes from the wrapped key, not from the template; some attributes nobody sets.
fn template_conflicts(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let wrapped = b.wrap(b.secret(CKK_AES, 32, &Template::new())?)?;
    let allowed =
        [CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID];
    for (what, bad) in [
        ("CKA_VALUE", target(CKK_AES).bytes(CKA_VALUE, &[1; 32])),
        ("CKA_LOCAL", target(CKK_AES).flag(CKA_LOCAL, true)),
        ("CKA_ALWAYS_SENSITIVE", target(CKK_AES).flag(CKA_ALWAYS_SENSITIVE, true)),
    ] {
        refused(&format!("C_UnwrapKey with {what}"), b.unwrap(&wrapped, &bad), &allowed)?;
    }
    let untyped = Template::of(CKO_SECRET_KEY).flag(CKA_TOKEN, false);
    let allowed = [CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID];
    refused("C_UnwrapKey without key type", b.unwrap(&wrapped, &untyped), &allowed)
}

const BAD_WRAPPED: &[CK_RV] = &[
    CKR_WRAPPED_KEY_INVALID,
    CKR_WRAPPED_KEY_LEN_RANGE,
    CKR_ENCRYPTED_DATA_INVALID,
    CKR_ENCRYPTED_DATA_LEN_RANGE,
    CKR_AEAD_DECRYPT_FAILED,
];

fn garbage(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    for len in [0, 1, 7, 15, 17] {
        let data = vec![0x77; len];
        let allowed = [BAD_WRAPPED, &[CKR_ARGUMENTS_BAD]].concat();
        refused(&format!("C_UnwrapKey of {len} bytes"), b.unwrap(&data, &target(CKK_AES)), &allowed)?;
    }
    Ok(())
}

fn changed(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let wrapped = b.wrap(b.secret(CKK_AES, 32, &Template::new())?)?;
    for at in [0, wrapped.len() / 2, wrapped.len() - 1] {
        let mut bad = wrapped.clone();
        bad[at] ^= 1;
        refused(&format!("C_UnwrapKey with byte {at} changed"), b.unwrap(&bad, &target(CKK_AES)), BAD_WRAPPED)?;
    }
    Ok(())
}

/// A key that fills no whole block is padded with zeros, and cut to the length that the template tells.
fn zero_padding(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let len = case.block + 1;
    let key = b.secret(CKK_GENERIC_SECRET, len, &Template::new())?;
    let wrapped = b.wrap(key)?;
    let overhead = if case.authentic { 8 } else { 0 };
    equal("length of the wrapped key", wrapped.len(), 2 * case.block + overhead)?;
    let back = b.unwrap(&wrapped, &target(CKK_GENERIC_SECRET).ulong(CKA_VALUE_LEN, len as CK_ULONG))?;
    same_bytes("value", &b.s.get(back, CKA_VALUE)?, &b.s.get(key, CKA_VALUE)?)
}

fn public_key(t: &mut T<'_>, case: Case) -> Outcome {
    t.mechanism(CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR)?;
    let b = Bench::new(t, case)?;
    let pair = Kind::Ec(P256).make(b.s)?;
    let allowed = [
        CKR_KEY_NOT_WRAPPABLE,
        CKR_KEY_HANDLE_INVALID,
        CKR_KEY_UNEXTRACTABLE,
        CKR_OBJECT_HANDLE_INVALID,
        CKR_KEY_TYPE_INCONSISTENT,
    ];
    refused("C_WrapKey of a public key", b.wrap(pair.public), &allowed)
}

/// A wrapped EC private key, back in, signs what the public key verifies.
fn private_round_trip(t: &mut T<'_>, case: Case) -> Outcome {
    t.mechanism(CKM_ECDSA, CKF_SIGN | CKF_VERIFY)?;
    let b = Bench::new(t, case)?;
    let pair = Kind::Ec(P256).make(b.s)?;
    let wrapped = b.wrap(pair.private)?;
    let template = Template::key(CKO_PRIVATE_KEY, CKK_EC).flag(CKA_TOKEN, false).yes(&[CKA_SIGN, CKA_SENSITIVE]);
    let back = b.unwrap(&wrapped, &template)?;
    let ecdsa = Mech::new(CKM_ECDSA);
    b.s.init(F::C_SignInit, &ecdsa, back)?;
    let signature = b.s.run(F::C_Sign, &[0x11; 32])?;
    b.s.init(F::C_VerifyInit, &ecdsa, pair.public)?;
    b.s.feed2(F::C_Verify, &[0x11; 32], &signature)?;
    if case.ty == CKM_RSA_PKCS {
        return skip("too long for RSA");
    }
    equal("CKA_LOCAL of the unwrapped key", b.s.get_bool(back, CKA_LOCAL)?, false)
}
