//! Every row of the mechanism table against an answer that is not Keyward's own, through the C ABI of the loaded library. A row
//! without one fails the test: what was run and matched is counted, not what is listed.
//!
//! The answers are in `tests/vectors/known_answers.txt.gz`, a line each: the mechanism, what is done, whose answer it is, and
//! fields. (The larger sets of vectors, Wycheproof's and NIST's, have tests of their own.)

#[allow(dead_code)] // The other tests of this file's use more of it.
#[path = "openssl_c_abi/module.rs"]
mod module;
#[path = "known_answers/parameters.rs"]
mod parameters;

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;

use cryptoki_sys::*;
use keyward::mechanism::table::{self, Row};
use module::{Attr, DECRYPT, ENCRYPT, Module, bytes, no, plain, ulong, yes};
use parameters::{Parameter, parameter};

pub struct Line {
    row: &'static Row,
    what: String,
    fields: HashMap<String, String>,
}

impl Line {
    fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |text| text)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.text(name)).unwrap_or_else(|e| panic!("{} {name}: {e}", self.row.name))
    }

    fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }
}

fn unpacked(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn lines() -> Vec<Line> {
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let [name, what, _source] = [(); 3].map(|()| words.next().unwrap());
        let fields = words.map(|field| field.split_once('=').unwrap());
        Line {
            row: table::by_name(name).unwrap_or_else(|| panic!("no mechanism {name}")),
            what: what.to_owned(),
            fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    };
    unpacked("known_answers.txt.gz").lines().filter(|line| !line.starts_with('#')).map(parse).collect()
}

/// The scheme, the set, the public key, the message, the signature.
fn stateful_lines() -> Vec<Line> {
    let parse = |line: &str| {
        let [scheme, _, public, message, signature] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let number = u32::from_str_radix(&public[..8], 16).unwrap().to_string();
        let kind = scheme.to_lowercase();
        let fields = [("kt", &*kind), ("pub", public), ("set", &*number), ("in", message), ("sig", signature)];
        Line {
            row: table::by_name(scheme).unwrap(),
            what: "verify".to_owned(),
            fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    };
    unpacked("stateful_signatures.txt.gz").lines().filter(|line| !line.starts_with('#')).map(parse).collect()
}

const USES: [CK_ATTRIBUTE_TYPE; 6] = [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_UNWRAP, CKA_DERIVE];

fn number_of_key_type(name: &str) -> CK_KEY_TYPE {
    let types = keyward::object::schema::KEY_TYPES;
    types.iter().find(|known| known.name == name).unwrap_or_else(|| panic!("{name}")).value
}

fn secret(key_type: CK_KEY_TYPE, value: &[u8]) -> Vec<Attr> {
    let own = [
        ulong(CKA_CLASS, CKO_SECRET_KEY),
        ulong(CKA_KEY_TYPE, key_type),
        bytes(CKA_VALUE, value),
        no(CKA_SENSITIVE),
        yes(CKA_EXTRACTABLE),
    ];
    own.into_iter().chain(USES.map(yes)).collect()
}

/// The fields of a line and the attributes that they give.
type Fields = &'static [(&'static str, CK_ATTRIBUTE_TYPE)];

/// The attributes that the fields of a line give the halves of a pair, or both.
const PAIRS: &[(&str, CK_KEY_TYPE, Fields, Fields)] = &[
    (
        "rsa",
        CKK_RSA,
        &[("n", CKA_MODULUS), ("e", CKA_PUBLIC_EXPONENT)],
        &[
            ("n", CKA_MODULUS),
            ("e", CKA_PUBLIC_EXPONENT),
            ("d", CKA_PRIVATE_EXPONENT),
            ("pp", CKA_PRIME_1),
            ("q", CKA_PRIME_2),
            ("dp", CKA_EXPONENT_1),
            ("dq", CKA_EXPONENT_2),
            ("qi", CKA_COEFFICIENT),
        ],
    ),
    (
        "ec",
        CKK_EC,
        &[("params", CKA_EC_PARAMS), ("point", CKA_EC_POINT)],
        &[("params", CKA_EC_PARAMS), ("d", CKA_VALUE)],
    ),
    (
        "ed",
        CKK_EC_EDWARDS,
        &[("params", CKA_EC_PARAMS), ("point", CKA_EC_POINT)],
        &[("params", CKA_EC_PARAMS), ("d", CKA_VALUE)],
    ),
    ("mont", CKK_EC_MONTGOMERY, &[], &[("params", CKA_EC_PARAMS), ("d", CKA_VALUE)]),
    ("dsa", CKK_DSA, &[("pp", CKA_PRIME), ("q", CKA_SUBPRIME), ("g", CKA_BASE), ("y", CKA_VALUE)], &[]),
    ("dh", CKK_DH, &[], &[("pp", CKA_PRIME), ("g", CKA_BASE), ("d", CKA_VALUE)]),
    ("x942", CKK_X9_42_DH, &[], &[("pp", CKA_PRIME), ("q", CKA_SUBPRIME), ("g", CKA_BASE), ("d", CKA_VALUE)]),
    ("mlkem", CKK_ML_KEM, &[], &[("value", CKA_VALUE)]),
    ("mldsa", CKK_ML_DSA, &[("pub", CKA_VALUE)], &[]),
    ("slhdsa", CKK_SLH_DSA, &[("pub", CKA_VALUE)], &[]),
    ("hss", CKK_HSS, &[("pub", CKA_VALUE)], &[]),
    ("xmss", CKK_XMSS, &[("pub", CKA_VALUE)], &[]),
    ("xmssmt", CKK_XMSSMT, &[("pub", CKA_VALUE)], &[]),
];

/// The key of a line: of a pair the half of this class.
fn key(module: &Module, line: &Line, class: CK_OBJECT_CLASS) -> CK_OBJECT_HANDLE {
    let kind = line.text("kt");
    if kind == "hotp" {
        let class = [ulong(CKA_CLASS, CKO_OTP_KEY), ulong(CKA_KEY_TYPE, CKK_HOTP)];
        return module.create(&[&class[..], &[bytes(CKA_VALUE, &line.bytes("k")), yes(CKA_VERIFY)]].concat());
    }
    let Some((_, key_type, public, private)) = PAIRS.iter().find(|pair| pair.0 == kind) else {
        return module.create(&secret(number_of_key_type(kind), &line.bytes("k")));
    };
    let (fields, uses): (_, &[CK_ATTRIBUTE_TYPE]) = match class {
        CKO_PUBLIC_KEY => (public, &[CKA_VERIFY]),
        _ => (private, &[CKA_SIGN, CKA_DECRYPT, CKA_UNWRAP, CKA_DERIVE, CKA_DECAPSULATE]),
    };
    let mut template = vec![ulong(CKA_CLASS, class), ulong(CKA_KEY_TYPE, *key_type)];
    template.extend(fields.iter().map(|(name, ty)| bytes(*ty, &line.bytes(name))));
    template.extend(uses.iter().map(|usage| yes(*usage)));
    if line.has("set") && *key_type != CKK_HSS {
        template.push(ulong(CKA_PARAMETER_SET, line.text("set").parse().unwrap()));
    }
    module.create(&template)
}

fn open() -> [Attr; 2] {
    [no(CKA_SENSITIVE), yes(CKA_EXTRACTABLE)]
}

/// What a key made of other keys is to be.
fn wanted(line: &Line, length: usize) -> Vec<Attr> {
    let mut template = open().to_vec();
    let kind = line.text("p").split(':').next().unwrap_or_default();
    match (line.row.ty, kind) {
        (CKM_HKDF_DATA, _) => return vec![ulong(CKA_VALUE_LEN, length as CK_ULONG)],
        (_, "ike" | "tlsmaster" | "tlsextended") => return template,
        _ => {}
    }
    template.extend([ulong(CKA_CLASS, CKO_SECRET_KEY), ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET)]);
    template.push(ulong(CKA_VALUE_LEN, length as CK_ULONG));
    template
}

/// Does what a line says, and holds the result against its answer.
fn run(module: &Module, line: &Line) {
    let name = line.row.name;
    let (input, out) = (line.bytes("in"), line.bytes("out"));
    let by: Parameter = parameter(module, line);
    match line.what.as_str() {
        "digest" => assert_eq!(module.digest_by(by.mechanism, &input), out, "{name}"),
        "mac" => {
            let key = key(module, line, CKO_SECRET_KEY);
            assert_eq!(module.sign(by.mechanism, key, &input), out, "{name}");
            checked(module, &by, key, &input, &out, name);
        }
        "cipher" => {
            let key = key(module, line, CKO_SECRET_KEY);
            assert_eq!(module.cipher(&ENCRYPT, by.mechanism, key, &input), out, "{name}");
            assert_eq!(module.cipher(&DECRYPT, by.mechanism, key, &out), input, "{name}");
        }
        "decrypt" => {
            let key = key(module, line, CKO_PRIVATE_KEY);
            assert_eq!(module.cipher_once(&DECRYPT, by.mechanism, key, &input), out, "{name}");
        }
        "sign" => {
            let signature = line.bytes("sig");
            let private = key(module, line, CKO_PRIVATE_KEY);
            assert_eq!(module.sign(by.mechanism, private, &input), signature, "{name}");
            checked(module, &by, key(module, line, CKO_PUBLIC_KEY), &input, &signature, name);
        }
        "verify" => checked(module, &by, key(module, line, CKO_PUBLIC_KEY), &input, &line.bytes("sig"), name),
        "refuse" => {
            let key = key(module, line, CKO_PUBLIC_KEY);
            assert_ne!(module.verify(by.mechanism, key, &input, &line.bytes("sig")), CKR_OK, "{name}");
        }
        "derive" => {
            let made = module.derive(by.mechanism, key(module, line, CKO_PRIVATE_KEY), &wanted(line, out.len()));
            assert_eq!(module.value(made, CKA_VALUE), out, "{name}");
        }
        "unwrap" => {
            let unwrapping = key(module, line, CKO_PRIVATE_KEY);
            let made = module.unwrap(by.mechanism, unwrapping, &input, &wanted(line, out.len()));
            assert_eq!(module.value(made, CKA_VALUE), out, "{name}");
        }
        "decap" => {
            let made = module.decapsulate(by.mechanism, key(module, line, CKO_PRIVATE_KEY), &input, &wanted(line, 32));
            assert_eq!(module.value(made, CKA_VALUE), out, "{name}");
        }
        "public" => {
            let made = module.derive(by.mechanism, key(module, line, CKO_PRIVATE_KEY), &[]);
            assert_eq!(module.value(made, CKA_EC_POINT), out, "{name}");
        }
        "password" => {
            let made = module.generate(by.mechanism, &wanted(line, out.len()));
            assert_eq!(module.value(made, CKA_VALUE), out, "{name}");
        }
        "keys" => parameters::key_material(module, line),
        other => panic!("{name}: {other}"),
    }
}

/// The signature is accepted, and one with another last byte is not.
fn checked(module: &Module, by: &Parameter, key: CK_OBJECT_HANDLE, input: &[u8], signature: &[u8], name: &str) {
    assert_eq!(module.verify(by.mechanism, key, input, signature), CKR_OK, "{name}");
    let mut bad = signature.to_vec();
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(module.verify(by.mechanism, key, input, &bad), CKR_SIGNATURE_INVALID, "{name}");
}

/// What generates has no answer known before. Checked is what can be: the key's type, origin and length, that two differ, and that
/// a pair is one (its public half is the one that its private half has).
fn generates(module: &Module, row: &'static Row) {
    let key_type = *row.keys.first().unwrap();
    let made = if row.flags & CKF_GENERATE != 0 {
        let template: Vec<Attr> = match (row.ty, key_type) {
            (CKM_DSA_PARAMETER_GEN | CKM_DH_PKCS_PARAMETER_GEN, _) => vec![ulong(CKA_PRIME_BITS, 1024)],
            (_, CKK_AES_XTS) => vec![ulong(CKA_VALUE_LEN, 64)],
            (_, CKK_HOTP) => vec![ulong(CKA_VALUE_LEN, 20)],
            (_, CKK_DES | CKK_DES2 | CKK_DES3 | CKK_SEED | CKK_CHACHA20 | CKK_SALSA20 | CKK_POLY1305) => Vec::new(),
            _ => vec![ulong(CKA_VALUE_LEN, 32)],
        };
        let domain = matches!(row.ty, CKM_DSA_PARAMETER_GEN | CKM_DH_PKCS_PARAMETER_GEN);
        let (opened, value) = if domain { (Vec::new(), CKA_PRIME) } else { (open().to_vec(), CKA_VALUE) };
        let template = [&template[..], &opened].concat();
        let one = module.generate(plain(row.ty), &template);
        let value = module.value(one, value);
        assert!(value.iter().any(|byte| *byte != value[0]), "{}", row.name);
        if !domain {
            assert_ne!(module.value(module.generate(plain(row.ty), &template), CKA_VALUE), value, "{}", row.name);
        }
        one
    } else {
        let (public, private) = pair_templates(module, row.ty, key_type);
        let (public, private) = module.generate_pair(row.ty, &public, &private);
        let info = module.value(public, CKA_PUBLIC_KEY_INFO);
        assert!(!info.is_empty() && info == module.value(private, CKA_PUBLIC_KEY_INFO), "{}", row.name);
        private
    };
    assert_eq!(module.value(made, CKA_KEY_TYPE), key_type.to_ne_bytes(), "{}", row.name);
    assert_eq!(module.value(made, CKA_LOCAL), [CK_TRUE], "{}", row.name);
}

fn pair_templates(module: &Module, ty: CK_MECHANISM_TYPE, key_type: CK_KEY_TYPE) -> (Vec<Attr>, Vec<Attr>) {
    const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    let public = match key_type {
        CKK_RSA => vec![ulong(CKA_MODULUS_BITS, 2048)],
        CKK_EC => vec![bytes(CKA_EC_PARAMS, P256)],
        CKK_EC_EDWARDS => vec![bytes(CKA_EC_PARAMS, &[6, 3, 0x2b, 0x65, 0x70])],
        CKK_EC_MONTGOMERY => vec![bytes(CKA_EC_PARAMS, &[6, 3, 0x2b, 0x65, 0x6e])],
        CKK_SLH_DSA => vec![ulong(CKA_PARAMETER_SET, CKP_SLH_DSA_SHA2_128F)],
        CKK_ML_KEM | CKK_ML_DSA => vec![ulong(CKA_PARAMETER_SET, 1)],
        CKK_DSA | CKK_DH | CKK_X9_42_DH => {
            let parameters = module.generate(plain(CKM_DSA_PARAMETER_GEN), &[ulong(CKA_PRIME_BITS, 1024)]);
            let wanted = [CKA_PRIME, CKA_BASE, CKA_SUBPRIME];
            let wanted = if key_type == CKK_DH { &wanted[..2] } else { &wanted[..] };
            wanted.iter().map(|ty| (*ty, module.value(parameters, *ty))).collect()
        }
        CKK_HSS => Vec::new(),
        _ => panic!("{ty:#x}"),
    };
    let numbers = |number: CK_ULONG| number.to_ne_bytes().to_vec();
    let private = match key_type {
        CKK_HSS => {
            vec![ulong(CKA_HSS_LEVELS, 1), (CKA_HSS_LMS_TYPES, numbers(5)), (CKA_HSS_LMOTS_TYPES, numbers(2))]
        }
        _ => Vec::new(),
    };
    (public, private)
}

/// The rows that have met no answer.
fn without(met: &BTreeSet<&'static str>, left_out: impl Fn(&Row) -> bool) -> Vec<&'static str> {
    table::all().filter(|row| !met.contains(row.name) && !left_out(row)).map(|row| row.name).collect()
}

/// The test below can fail: each row that only its line answers for is missed where that line is.
#[test]
fn a_row_whose_answer_is_taken_away_is_missed() {
    let answered: BTreeSet<_> = lines().iter().chain(&stateful_lines()).map(|line| line.row.name).collect();
    let generators = without(&answered, |_| false);
    for name in &generators {
        assert!(table::by_name(name).unwrap().flags & (CKF_GENERATE | CKF_GENERATE_KEY_PAIR) != 0, "{name}");
    }
    for taken in &answered {
        let left: BTreeSet<_> = answered.iter().copied().filter(|name| name != taken).collect();
        assert_eq!(without(&left, |row| generators.contains(&row.name)), [*taken]);
    }
}

#[test]
fn every_mechanism_meets_a_known_answer() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("known-answers-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let module = Module::new(&directory);
    let (mut met, mut failed) = (BTreeSet::new(), Vec::new());
    // A slot that leads elsewhere carries no one-time passwords over (docs/forward.md).
    let elsewhere = std::env::var_os("KEYWARD_TEST_THROUGH").is_some();
    let left_out = |row: &Row| elsewhere && row.keys.contains(&CKK_HOTP);
    for line in lines().iter().chain(&stateful_lines()).filter(|line| !left_out(line.row)) {
        // All that fail are named, not the first alone.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&module, line))) {
            Ok(()) => drop(met.insert(line.row.name)),
            Err(_) => failed.push(line.row.name),
        }
    }
    assert!(failed.is_empty(), "wrong answers: {failed:?}");
    const ALONE: CK_FLAGS = CKF_GENERATE | CKF_GENERATE_KEY_PAIR;
    for row in table::all().filter(|row| row.flags & ALONE != 0 && !met.contains(row.name)).collect::<Vec<_>>() {
        if left_out(row) {
            continue;
        }
        assert_eq!(row.flags & (CKF_SIGN | CKF_VERIFY | CKF_ENCRYPT | CKF_DERIVE), 0, "{} does more", row.name);
        generates(&module, row);
        met.insert(row.name);
    }
    let missing = without(&met, left_out);
    assert!(missing.is_empty(), "no known answer for {missing:?}: add a line to tests/vectors/known_answers.txt.gz");
    std::fs::remove_dir_all(directory).unwrap();
}
