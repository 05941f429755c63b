//! Digest, sign, verify, encrypt, decrypt: the same properties for every mechanism that the token lists.

use cryptoki_sys::*;

use super::keys::{Keys, Kind};
use super::mechs::{CASES, Case, Data, Family};
use super::{Need, Test};
use crate::context::{Outcome, Stop, T, ensure, equal, one_of, refused, same_bytes, skip};
use crate::data::{Mech, Template};
use crate::ffi::{Call, Refused, Room, Rv, Session};
use crate::functions::F;
use crate::names::name_of;

/// The functions of one kind of operation.
#[derive(Clone, Copy)]
pub struct Op {
    pub init: F,
    pub one: F,
    pub update: F,
    pub end: F,
    pub flag: CK_FLAGS,
    pub allow: CK_ATTRIBUTE_TYPE,
}

pub const ENCRYPT: Op = Op {
    init: F::C_EncryptInit,
    one: F::C_Encrypt,
    update: F::C_EncryptUpdate,
    end: F::C_EncryptFinal,
    flag: CKF_ENCRYPT,
    allow: CKA_ENCRYPT,
};
pub const DECRYPT: Op = Op {
    init: F::C_DecryptInit,
    one: F::C_Decrypt,
    update: F::C_DecryptUpdate,
    end: F::C_DecryptFinal,
    flag: CKF_DECRYPT,
    allow: CKA_DECRYPT,
};
pub const DIGEST: Op = Op {
    init: F::C_DigestInit,
    one: F::C_Digest,
    update: F::C_DigestUpdate,
    end: F::C_DigestFinal,
    flag: CKF_DIGEST,
    allow: 0,
};
pub const SIGN: Op = Op {
    init: F::C_SignInit,
    one: F::C_Sign,
    update: F::C_SignUpdate,
    end: F::C_SignFinal,
    flag: CKF_SIGN,
    allow: CKA_SIGN,
};
pub const VERIFY: Op = Op {
    init: F::C_VerifyInit,
    one: F::C_Verify,
    update: F::C_VerifyUpdate,
    end: F::C_VerifyFinal,
    flag: CKF_VERIFY,
    allow: CKA_VERIFY,
};

impl Family {
    /// What makes output, and what undoes or checks it.
    fn ops(self) -> (Op, Option<Op>) {
        match self {
            Family::Digest => (DIGEST, None),
            Family::Sign => (SIGN, Some(VERIFY)),
            Family::Cipher => (ENCRYPT, Some(DECRYPT)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Family::Digest => "digest",
            Family::Sign => "sign",
            Family::Cipher => "cipher",
        }
    }
}

/// A case in a session with its keys.
struct Bench {
    s: Session,
    keys: Keys,
    case: Case,
}

impl Bench {
    fn new(t: &mut T<'_>, case: Case) -> Result<Self, Stop> {
        let s = t.ready()?;
        let keys = match case.key.make(s) {
            // A curve or parameter set that the module lacks is no failure of this mechanism.
            Err(Stop::Fail(why)) if lacks_key_kind(&why) => return skip(why),
            keys => keys?,
        };
        Ok(Bench { s, keys, case })
    }

    fn key(&self, op: Op) -> CK_OBJECT_HANDLE {
        let secret = matches!(op.init, F::C_SignInit | F::C_DecryptInit);
        if secret { self.keys.private } else { self.keys.public }
    }

    fn mech(&self, len: usize) -> Mech {
        (self.case.mech)(self.case.ty, len)
    }

    /// Starts the operation for plain data of this length.
    fn init(&self, op: Op, len: usize) -> Call<()> {
        self.s.init(op.init, &self.mech(len), self.key(op))
    }

    fn one(&self, op: Op, data: &[u8], plain_len: usize) -> Call<Vec<u8>> {
        self.init(op, plain_len)?;
        self.s.run(op.one, data)
    }

    /// The output made in one call.
    fn make(&self, data: &[u8]) -> Call<Vec<u8>> {
        self.one(self.case.family.ops().0, data, data.len())
    }

    /// The output made in parts of these sizes, repeated.
    fn in_parts(&self, op: Op, data: &[u8], plain_len: usize, sizes: &[usize]) -> Call<Vec<u8>> {
        self.init(op, plain_len)?;
        let mut out = Vec::new();
        let mut rest = data;
        for size in sizes.iter().copied().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, left) = rest.split_at(size.min(rest.len()));
            match self.case.family {
                Family::Cipher => out.extend(self.s.run(op.update, part)?),
                _ => self.s.feed(op.update, &[], part)?,
            }
            rest = left;
        }
        out.extend(self.s.end(op.end)?);
        Ok(out)
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Call<()> {
        self.init(VERIFY, data.len())?;
        self.s.feed2(F::C_Verify, data, signature)
    }

    /// Nothing is active: the operation's functions say so.
    fn ended(&self, op: Op, after: &str) -> Outcome {
        let rv = if op.init == F::C_VerifyInit {
            self.s.feed2(op.one, b"x", b"x").map_or_else(|r| r.rv, |()| Rv(CKR_OK))
        } else {
            self.s.transform(op.one, b"x", Room::Bytes(4096)).rv
        };
        one_of(&format!("{} after {after}", op.one.name()), rv, &[CKR_OPERATION_NOT_INITIALIZED])
    }
}

/// Whether a failure says that the token lacks the curve or parameter set.
pub fn lacks_key_kind(why: &str) -> bool {
    ["CURVE_NOT_SUPPORTED", "DOMAIN_PARAMS_INVALID", "PARAMETER_SET_NOT_SUPPORTED", "MECHANISM_INVALID"]
        .iter()
        .any(|c| why.contains(c))
}

type Check = fn(&mut T<'_>, Case) -> Outcome;

/// The tests of every row whose mechanism the token lists.
pub fn tests(mechanisms: &[CK_MECHANISM_TYPE]) -> Vec<Test> {
    let mut tests = Vec::new();
    for case in CASES.iter().filter(|c| mechanisms.contains(&c.ty)) {
        let (make, undo) = case.family.ops();
        let name = name_of("CKM_", case.ty);
        let variant = if case.variant.is_empty() { String::new() } else { format!("-{}", case.variant) };
        let mut add = |what: &str, section: &str, op: Op, run: Check| {
            let id = format!("{}/{}{variant}/{what}", case.family.name(), name.trim_start_matches("CKM_"));
            let section = format!("{section}, {}", case.section);
            let mut test = Test::new(id, &section, &[Need::Mech(case.ty, op.flag)], move |t| run(t, *case));
            test.patience = 3;
            tests.push(test);
        };
        add("output-convention", "5.2", make, output_convention);
        add("init-twice", make.init.section(), make, init_twice);
        add("ends-on-success", make.one.section(), make, ends_on_success);
        add("parameter", make.init.section(), make, bad_parameter);
        if case.repeats && case.key == Kind::None {
            add("repeats", make.one.section(), make, repeats);
        }
        match case.data {
            Data::Any => {
                add("empty-input", make.one.section(), make, empty_input);
                add("null-input", &format!("beyond {}", make.one.section()), make, null_input);
            }
            _ => add("wrong-length", make.one.section(), make, wrong_length),
        }
        if case.multi {
            add("parts-equal-whole", make.update.section(), make, parts_equal_whole);
            add("final-query-and-too-small", "5.2", make, final_convention);
            add("whole-after-update", make.one.section(), make, whole_after_update);
        }
        if case.key != Kind::None {
            add("no-permission", make.init.section(), make, not_permitted);
            add("wrong-key-type", make.init.section(), make, wrong_key_type);
        }
        let Some(undo) = undo else { continue };
        add("round-trip", undo.one.section(), undo, round_trip);
        match case.family {
            Family::Sign => {
                add("changed-data", undo.one.section(), undo, changed_data);
                add("changed-signature", undo.one.section(), undo, changed_signature);
                add("signature-length", undo.one.section(), undo, signature_length);
            }
            _ => {
                add("in-place", "5.2", make, in_place);
                if case.authentic {
                    add("changed-ciphertext", undo.one.section(), undo, changed_ciphertext);
                }
                if case.multi {
                    add("decrypt-parts-equal-whole", undo.update.section(), undo, decrypt_parts);
                    add("update-convention", "5.2", make, update_convention);
                }
            }
        }
    }
    tests
}

/// A query, then too little room, then the output; one length, one operation, one result.
fn output_convention(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let op = case.family.ops().0;
    let data = case.data.sample(100);
    b.init(op, data.len())?;
    let query = b.s.transform(op.one, &data, Room::Query);
    one_of("the length query", query.rv, &[CKR_OK])?;
    let small = b.s.transform(op.one, &data, Room::Bytes(1));
    one_of("the call with room for 1 byte", small.rv, &[CKR_BUFFER_TOO_SMALL])?;
    ensure(!small.overrun, || "bytes were written beyond a buffer of 1 byte".into())?;
    let out = b.s.transform(op.one, &data, Room::Bytes(query.len));
    one_of("the call with the room that the query told", out.rv, &[CKR_OK])?;
    ensure(!out.overrun, || "bytes were written beyond the buffer".into())?;
    ensure(out.len <= query.len, || format!("query said {}, output has {}", query.len, out.len))?;
    ensure(query.len <= out.len + 64 && small.len >= out.len, || {
        format!("query said {}, too small said {}, output has {}", query.len, small.len, out.len)
    })?;
    if case.repeats {
        same_bytes("output after query and too small", &out.bytes, &b.make(&data)?)?;
    }
    b.ended(op, "the output was given")
}

fn final_convention(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let op = case.family.ops().0;
    let data = case.data.sample(100);
    b.init(op, data.len())?;
    let mut out = match case.family {
        Family::Cipher => b.s.run(op.update, &data)?,
        _ => {
            b.s.feed(op.update, &[], &data)?;
            Vec::new()
        }
    };
    let query = b.s.output(op.end, &[], Room::Query);
    one_of("the length query", query.rv, &[CKR_OK])?;
    if query.len > 1 {
        let small = b.s.output(op.end, &[], Room::Bytes(1));
        // What is left may be less than the query said.
        if small.rv.0 != CKR_OK {
            one_of("the call with room for 1 byte", small.rv, &[CKR_BUFFER_TOO_SMALL])?;
            let last = b.s.output(op.end, &[], Room::Bytes(query.len));
            one_of("the call with the room that the query told", last.rv, &[CKR_OK])?;
            ensure(!last.overrun, || "bytes were written beyond the buffer".into())?;
            out.extend(last.bytes);
        } else {
            out.extend(small.bytes);
        }
    } else {
        out.extend(b.s.end(op.end)?);
    }
    if case.repeats {
        same_bytes("output", &out, &b.make(&data)?)?;
    }
    b.ended(op, "the last part")
}

/// An update's output, when the room is too small, is not lost.
fn update_convention(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let op = case.family.ops().0;
    let data = case.data.sample(100);
    b.init(op, data.len())?;
    let query = b.s.transform(op.update, &data, Room::Query);
    one_of("the length query", query.rv, &[CKR_OK])?;
    let small = b.s.transform(op.update, &data, Room::Bytes(1));
    let mut out = Vec::new();
    match small.rv.0 {
        // All input is kept for the end: nothing to give yet.
        CKR_OK => out.extend(small.bytes),
        _ => {
            one_of("the call with room for 1 byte", small.rv, &[CKR_BUFFER_TOO_SMALL])?;
            ensure(!small.overrun, || "bytes were written beyond a buffer of 1 byte".into())?;
            let part = b.s.transform(op.update, &data, Room::Bytes(query.len));
            one_of("the call with the room that the query told", part.rv, &[CKR_OK])?;
            out.extend(part.bytes);
        }
    }
    out.extend(b.s.end(op.end)?);
    same_bytes("output", &out, &b.make(&data)?)
}

fn init_twice(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let op = case.family.ops().0;
    let data = case.data.sample(64);
    b.init(op, data.len())?;
    refused("second Init", b.init(op, data.len()), &[CKR_OPERATION_ACTIVE])?;
    b.s.run(op.one, &data)?;
    Ok(())
}

fn ends_on_success(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let (op, undo) = case.family.ops();
    let data = case.data.sample(64);
    let out = b.make(&data)?;
    b.ended(op, "success")?;
    let Some(undo) = undo else { return Ok(()) };
    match case.family {
        Family::Sign => b.verify(&data, &out)?,
        _ => drop(b.one(undo, &out, data.len())?),
    }
    b.ended(undo, "success")
}

/// Mechanisms whose parameter may be left out, so that a malformed one is not just ignored.
const OPTIONAL_PARAMETER: &[CK_MECHANISM_TYPE] = &[CKM_EDDSA, CKM_ML_DSA, CKM_SLH_DSA];

/// No parameter where one is needed; a malformed one; and one that has no meaning, which may be refused or ignored.
fn bad_parameter(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let op = case.family.ops().0;
    let needs_one = b.mech(16).raw().words() > 0;
    let init = |m: Mech| b.s.init(op.init, &m, b.key(op));
    let allowed = [CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD];
    if needs_one {
        refused("Init without parameter", init(Mech::new(case.ty)), &allowed)?;
        refused("Init with NULL for a parameter", init(Mech::null(case.ty, 16)), &allowed)?;
        b.ended(op, "a refused Init")?;
    }
    let meaningless = init(Mech::bytes(case.ty, &[1; 7]));
    if needs_one || OPTIONAL_PARAMETER.contains(&case.ty) || meaningless.is_err() {
        return refused("Init with a parameter of 7 bytes", meaningless, &allowed);
    }
    let data = case.data.sample(64);
    let out = b.s.run(op.one, &data)?;
    if case.repeats { same_bytes("output with a meaningless parameter", &out, &b.make(&data)?) } else { Ok(()) }
}

fn repeats(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let data = case.data.sample(1000);
    same_bytes("second output", &b.make(&data)?, &b.make(&data)?)
}

/// No input, as a pointer to nothing.
fn empty_input(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let out = b.make(b"")?;
    match case.family {
        Family::Sign => Ok(b.verify(b"", &out)?),
        Family::Cipher => same_bytes("decrypted", &b.one(DECRYPT, &out, 0)?, b""),
        Family::Digest => Ok(()),
    }
}

/// No input, as a NULL pointer with length 0.
fn null_input(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let op = case.family.ops().0;
    b.init(op, 0)?;
    let null = b.s.output(op.one, &[0, 0], Room::Bytes(1 << 16));
    one_of("the call with (NULL, 0)", null.rv, &[CKR_OK])?;
    if case.repeats {
        same_bytes("output for (NULL, 0)", &null.bytes, &b.make(b"")?)?;
    }
    Ok(())
}

fn wrong_length(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let op = case.family.ops().0;
    let n = match case.data {
        // Short of one block: XTS steals for what is over one.
        Data::Blocks(size) => size - 1,
        Data::Max(n) => n + 1,
        // Raw ECDSA cuts a longer hash; raw RSA takes anything up to the modulus: 257 bytes are too many for all.
        Data::Exact(n) if case.ty == CKM_ECDSA => return skip(format!("takes any length, {n} or not")),
        Data::Exact(n) => n + 2,
        Data::Any => return skip("takes any length"),
    };
    let input = vec![1u8; n];
    let allowed = [CKR_DATA_LEN_RANGE, CKR_DATA_INVALID];
    refused(&format!("{} of {n} bytes", op.one.name()), b.one(op, &input, n), &allowed)?;
    b.ended(op, "an error")
}

const PARTS: &[&[usize]] = &[&[1], &[16], &[15, 17], &[7, 1, 64, 33], &[1000]];

/// In parts the output is the same, or verifies alike.
fn parts_equal_whole(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let op = case.family.ops().0;
    for about in [0, 1, 16, 100, 1000] {
        let data = case.data.sample(about);
        let whole = b.make(&data)?;
        for sizes in PARTS {
            let parts = b.in_parts(op, &data, data.len(), sizes)?;
            if case.repeats {
                same_bytes(&format!("{} bytes in parts {sizes:?}", data.len()), &parts, &whole)?;
            } else {
                b.verify(&data, &parts)?;
            }
            if case.family == Family::Sign {
                verify_in_parts(&b, &data, &parts, sizes)?;
            }
        }
    }
    Ok(())
}

fn verify_in_parts(b: &Bench, data: &[u8], signature: &[u8], sizes: &[usize]) -> Call<()> {
    b.init(VERIFY, data.len())?;
    let mut rest = data;
    for size in sizes.iter().copied().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, left) = rest.split_at(size.min(rest.len()));
        b.s.feed(VERIFY.update, &[], part)?;
        rest = left;
    }
    b.s.feed(VERIFY.end, &[], signature)
}

fn decrypt_parts(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    for about in [1, 16, 100, 1000] {
        let data = case.data.sample(about);
        let whole = b.make(&data)?;
        for sizes in PARTS {
            let parts = b.in_parts(DECRYPT, &whole, data.len(), sizes)?;
            same_bytes(&format!("{} bytes decrypted in parts {sizes:?}", data.len()), &parts, &data)?;
        }
    }
    Ok(())
}

/// C_Sign cannot end what C_SignUpdate began.
fn whole_after_update(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let op = case.family.ops().0;
    let data = case.data.sample(64);
    b.init(op, 2 * data.len())?;
    match case.family {
        Family::Cipher => drop(b.s.run(op.update, &data)?),
        _ => b.s.feed(op.update, &[], &data)?,
    }
    let rv = b.s.transform(op.one, &data, Room::Bytes(4096)).rv;
    let allowed = [CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED, CKR_FUNCTION_FAILED];
    one_of(&format!("{} after {}", op.one.name(), op.update.name()), rv, &allowed)
}

fn not_permitted(t: &mut T<'_>, case: Case) -> Outcome {
    let s = t.ready()?;
    let (make, undo) = case.family.ops();
    let off = [Some(make), undo].into_iter().flatten().fold(Template::new(), |t, op| t.flag(op.allow, false));
    let keys = key_with(case.key, s, &off)?;
    let b = Bench { s, keys, case };
    for op in [Some(make), undo].into_iter().flatten() {
        refused(op.init.name(), b.init(op, 16), &[CKR_KEY_FUNCTION_NOT_PERMITTED])?;
        b.ended(op, "a refused Init")?;
    }
    Ok(())
}

/// A pair whose halves lack the use; each half takes only its own attributes.
fn key_with(kind: Kind, s: Session, off: &Template) -> Result<Keys, Stop> {
    if !kind.is_pair() {
        return kind.make_with(s, off);
    }
    let only = |types: &[CK_ATTRIBUTE_TYPE]| {
        off.types().into_iter().filter(|ty| types.contains(ty)).fold(Template::new(), |t, ty| t.flag(ty, false))
    };
    let (public_off, private_off) = (only(&[CKA_ENCRYPT, CKA_VERIFY]), only(&[CKA_DECRYPT, CKA_SIGN]));
    if kind == Kind::Rsa {
        let made = super::rsa_key::import_with(s, &public_off, &private_off);
        return made.map_err(|r: Refused| Stop::Skip(format!("no RSA import: {}", r.rv)));
    }
    let (public, private) = kind.pair_templates();
    let m = Mech::new(kind.generator());
    let made = s.generate_pair(&m, &public.with(&public_off), &private.with(&private_off));
    let (public, private) = made.map_err(|r| match Stop::from(r) {
        Stop::Fail(why) if lacks_key_kind(&why) => Stop::Skip(why),
        stop => stop,
    })?;
    Ok(Keys { private, public })
}

fn wrong_key_type(t: &mut T<'_>, case: Case) -> Outcome {
    let s = t.ready()?;
    let other = if case.key.is_pair() { Kind::Generic(32) } else { Kind::Rsa };
    let keys = other.make(s)?;
    let b = Bench { s, keys, case };
    let op = case.family.ops().0;
    let allowed = [CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_HANDLE_INVALID];
    refused(&format!("{} with a key of another type", op.init.name()), b.init(op, 16), &allowed)
}

fn round_trip(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    for about in [1, 15, 16, 17, 255, 4096, 70_000] {
        let data = case.data.sample(about);
        let out = b.make(&data)?;
        match case.family {
            Family::Sign => b.verify(&data, &out)?,
            _ => {
                let back = b.one(DECRYPT, &out, data.len())?;
                // Raw RSA gives the whole block, with zeros in front.
                let back = &back[back.len().saturating_sub(data.len())..];
                same_bytes("decrypted", back, &data)?;
                ensure(out != data, || "the ciphertext is the data".into())?;
            }
        }
    }
    Ok(())
}

const BAD_SIGNATURE: &[CK_RV] = &[CKR_SIGNATURE_INVALID];

fn changed_data(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let mut data = case.data.sample(64);
    let signature = b.make(&data)?;
    data[0] ^= 1;
    refused("C_Verify of other data", b.verify(&data, &signature), BAD_SIGNATURE)?;
    b.ended(VERIFY, "a bad signature")
}

fn changed_signature(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let data = case.data.sample(64);
    let good = b.make(&data)?;
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        refused(&format!("C_Verify with byte {at} changed"), b.verify(&data, &bad), BAD_SIGNATURE)?;
    }
    b.verify(&data, &good)?;
    Ok(())
}

fn signature_length(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let data = case.data.sample(64);
    let good = b.make(&data)?;
    let longer = [good.as_slice(), &[0]].concat();
    for bad in [&good[..good.len() - 1], &longer, &good[..0]] {
        let allowed = [CKR_SIGNATURE_LEN_RANGE, CKR_SIGNATURE_INVALID, CKR_ARGUMENTS_BAD];
        refused(&format!("C_Verify with {} bytes", bad.len()), b.verify(&data, bad), &allowed)?;
        // What is active after a refused argument is the module's choice: start anew either way.
        let _ = b.s.feed2(F::C_Verify, &data, &good);
    }
    Ok(())
}

/// Input and output in one buffer.
fn in_place(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let data = case.data.sample(100);
    let run = |op: Op, input: &[u8]| {
        b.init(op, data.len())?;
        let mut buffer = input.to_vec();
        buffer.resize(4096, 0);
        let mut len = buffer.len() as CK_ULONG;
        let place = buffer.as_mut_ptr() as usize;
        b.s.plain(op.one, &[place, input.len(), place, &raw mut len as usize])?;
        buffer.truncate(len as usize);
        Ok::<_, Refused>(buffer)
    };
    let out = run(ENCRYPT, &data)?;
    if case.repeats {
        same_bytes("encrypted in place", &out, &b.make(&data)?)?;
    }
    let back = run(DECRYPT, &out)?;
    same_bytes("decrypted in place", &back[back.len().saturating_sub(data.len())..], &data)
}

fn changed_ciphertext(t: &mut T<'_>, case: Case) -> Outcome {
    let b = Bench::new(t, case)?;
    let data = case.data.sample(64);
    let good = b.make(&data)?;
    let allowed = [CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_AEAD_DECRYPT_FAILED];
    for at in [0, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        refused(&format!("C_Decrypt with byte {at} changed"), b.one(DECRYPT, &bad, data.len()), &allowed)?;
        b.ended(DECRYPT, "a failed decryption")?;
    }
    let short = &good[..good.len() - 1];
    refused("C_Decrypt of a cut ciphertext", b.one(DECRYPT, short, data.len()), &allowed)?;
    equal("decrypted", b.one(DECRYPT, &good, data.len())?, data)
}
