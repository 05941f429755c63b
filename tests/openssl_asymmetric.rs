//! Every row of the RSA and curve families against OpenSSL's command line, in both directions.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use cryptoki_sys::*;
use keyward::crypto::aes::Aes;
use keyward::crypto::keywrap;
use keyward::error::Code;
use keyward::mechanism::key::{self, Key};
use keyward::mechanism::table::{self, Derivation, Row};
use keyward::object::Attributes;
use keyward::token::{Attribute, OaepParams, Operation, Params, PssParams, Size, Step, Use};
use pkcs8::der::asn1::Uint;
use pkcs8::der::{Decode, Encode};

/// Both halves of a key pair, prepared, and as DER files for OpenSSL.
struct Pair {
    public: Arc<Key>,
    private: Arc<Key>,
    private_attributes: Attributes,
    public_file: PathBuf,
    private_file: PathBuf,
}

fn file(contents: &[u8]) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("keyward-asym-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, contents).unwrap();
    path
}

/// What the last argument's file holds after OpenSSL ran.
fn openssl(args: &[&str]) -> Vec<u8> {
    let out = file(b"");
    let done = Command::new("openssl").args(args).arg("-out").arg(&out).output().unwrap();
    assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    std::fs::read(out).unwrap()
}

fn accepted(args: &[&str]) -> bool {
    Command::new("openssl").args(args).output().unwrap().status.success()
}

fn named(class: CK_OBJECT_CLASS, key_type: CK_KEY_TYPE, own: Vec<Attribute>) -> Attributes {
    own.into_iter().chain([Attribute::ulong(CKA_CLASS, class), Attribute::ulong(CKA_KEY_TYPE, key_type)]).collect()
}

fn pair(mechanism: CK_MECHANISM_TYPE, template: Attribute) -> Pair {
    let row = table::row(mechanism).unwrap();
    let generate = row.does.generate_pair.unwrap();
    let made = generate(row, &Params::None, &[template].into_iter().collect(), &Attributes::new()).unwrap();
    let public = named(CKO_PUBLIC_KEY, row.keys[0], made.public);
    let private_attributes = named(CKO_PRIVATE_KEY, row.keys[0], made.private);
    // The generated attributes are in the standard form already.
    for attributes in [&public, &private_attributes] {
        let mut again = attributes.clone();
        key::normalise(&mut again).unwrap();
        assert_eq!(&again, attributes);
    }
    let info = key::public_key_info(&public).unwrap();
    assert_eq!(key::public_key_info(&private_attributes).unwrap(), info);
    Pair {
        public: Arc::new(Key::prepare(&public).unwrap()),
        private: Arc::new(Key::prepare(&private_attributes).unwrap()),
        public_file: file(&info),
        private_file: file(key::private_to_pkcs8(&private_attributes).unwrap().expose()),
        private_attributes,
    }
}

static RSA: LazyLock<Pair> =
    LazyLock::new(|| pair(CKM_RSA_PKCS_KEY_PAIR_GEN, Attribute::ulong(CKA_MODULUS_BITS, 2048)));

const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";
const P521_NAME: &[u8] = b"\x13\x09secp521r1";
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
const X25519_NAME: &[u8] = b"\x13\x0acurve25519";

fn curve(mechanism: CK_MECHANISM_TYPE, parameters: &[u8]) -> Pair {
    pair(mechanism, Attribute::bytes(CKA_EC_PARAMS, parameters))
}

static CURVES: LazyLock<[Pair; 3]> =
    LazyLock::new(|| [P256, P384, P521_NAME].map(|name| curve(CKM_EC_KEY_PAIR_GEN, name)));
static EDWARDS: LazyLock<Pair> = LazyLock::new(|| curve(CKM_EDDSA, ED25519));

fn begin(row: &'static Row, what: Use, params: &Params, key: &Arc<Key>) -> Box<dyn Operation> {
    row.does.begin.unwrap()(row, what, params, Some(key)).unwrap()
}

fn whole(operation: &mut dyn Operation, input: &[u8]) -> Result<Vec<u8>, Code> {
    let size = operation.size(Step::Whole, input.len()).map_err(|error| error.code())?;
    let mut out = vec![0; size.bound()];
    let len = operation.whole(input, &mut out).map_err(|error| error.code())?;
    if let Size::Exactly(exact) = size {
        assert_eq!(len, exact);
    }
    out.truncate(len);
    Ok(out)
}

/// OpenSSL's name of a hash.
fn hash_name(hash: CK_MECHANISM_TYPE) -> &'static str {
    match hash {
        CKM_MD5 => "md5",
        CKM_RIPEMD160 => "ripemd160",
        CKM_SHA_1 => "sha1",
        CKM_SHA224 => "sha224",
        CKM_SHA256 => "sha256",
        CKM_SHA384 => "sha384",
        CKM_SHA512 => "sha512",
        CKM_SHA3_224 => "sha3-224",
        CKM_SHA3_256 => "sha3-256",
        CKM_SHA3_384 => "sha3-384",
        CKM_SHA3_512 => "sha3-512",
        _ => panic!("{hash}"),
    }
}

fn mgf_of(hash: CK_MECHANISM_TYPE) -> CK_RSA_PKCS_MGF_TYPE {
    match hash {
        CKM_SHA_1 => CKG_MGF1_SHA1,
        CKM_SHA224 => CKG_MGF1_SHA224,
        CKM_SHA256 => CKG_MGF1_SHA256,
        CKM_SHA384 => CKG_MGF1_SHA384,
        CKM_SHA512 => CKG_MGF1_SHA512,
        CKM_SHA3_224 => CKG_MGF1_SHA3_224,
        CKM_SHA3_256 => CKG_MGF1_SHA3_256,
        CKM_SHA3_384 => CKG_MGF1_SHA3_384,
        CKM_SHA3_512 => CKG_MGF1_SHA3_512,
        _ => panic!("{hash}"),
    }
}

/// Between PKCS#11's form of a signature and OpenSSL's, which is DER on short Weierstrass curves.
fn to_openssl(row: &Row, signature: &[u8]) -> Vec<u8> {
    if row.keys != [CKK_EC] {
        return signature.to_vec();
    }
    let (r, s) = signature.split_at(signature.len() / 2);
    vec![Uint::new(r).unwrap(), Uint::new(s).unwrap()].to_der().unwrap()
}

fn from_openssl(row: &Row, signature: Vec<u8>, len: usize) -> Vec<u8> {
    if row.keys != [CKK_EC] {
        return signature;
    }
    let der = Vec::<Uint>::from_der(&signature).unwrap();
    der.iter().flat_map(|half| [vec![0; len / 2 - half.as_bytes().len()], half.as_bytes().to_vec()].concat()).collect()
}

/// One signature mechanism with its parameters, and how OpenSSL is asked for the same.
struct Case {
    row: &'static Row,
    params: Params,
    message: Vec<u8>,
    options: Vec<String>,
}

/// The command of OpenSSL that signs or verifies: with the hash, or over what it is given.
fn command<'a>(case: &'a Case, key: &'a str, verify: bool) -> Vec<&'a str> {
    let hash = case.row.hash.map(|hash| match hash_name(hash) {
        "md5" => "-md5",
        "ripemd160" => "-ripemd160",
        "sha1" => "-sha1",
        "sha224" => "-sha224",
        "sha256" => "-sha256",
        "sha384" => "-sha384",
        "sha512" => "-sha512",
        "sha3-224" => "-sha3-224",
        "sha3-256" => "-sha3-256",
        "sha3-384" => "-sha3-384",
        _ => "-sha3-512",
    });
    let mut args = match (hash, verify) {
        (Some(hash), false) => vec!["dgst", hash, "-keyform", "DER", "-sign", key],
        (Some(hash), true) => vec!["dgst", hash, "-keyform", "DER", "-verify", key],
        (None, false) => vec!["pkeyutl", "-sign", "-keyform", "DER", "-inkey", key],
        (None, true) => vec!["pkeyutl", "-verify", "-keyform", "DER", "-pubin", "-inkey", key],
    };
    if case.row.ty == CKM_EDDSA {
        args.push("-rawin");
    }
    for option in &case.options {
        args.extend([if hash.is_some() { "-sigopt" } else { "-pkeyopt" }, option]);
    }
    args
}

fn both_directions(case: &Case, pair: &Pair) {
    let name = case.row.name;
    let mut signer = begin(case.row, Use::Sign, &case.params, &pair.private);
    let mut verifier = begin(case.row, Use::Verify, &case.params, &pair.public);
    let message = file(&case.message);
    let message = message.to_str().unwrap();

    // Ours to OpenSSL, ours to ourselves.
    let signature = whole(&mut *signer, &case.message).unwrap();
    verifier.verify(Some(&case.message), &signature).unwrap_or_else(|error| panic!("{name}: {error}"));
    let theirs = file(&to_openssl(case.row, &signature));
    let mut args = command(case, pair.public_file.to_str().unwrap(), true);
    match case.row.hash {
        Some(_) => args.extend(["-signature", theirs.to_str().unwrap(), message]),
        None => args.extend(["-sigfile", theirs.to_str().unwrap(), "-in", message]),
    }
    assert!(accepted(&args), "OpenSSL refuses our {name}");

    // OpenSSL's to us.
    let mut args = command(case, pair.private_file.to_str().unwrap(), false);
    let made = match case.row.hash {
        Some(_) => {
            // `dgst` wants its options before the file.
            let out = file(b"");
            args.extend(["-out", out.to_str().unwrap(), message]);
            assert!(accepted(&args), "OpenSSL cannot {name}");
            std::fs::read(out).unwrap()
        }
        None => {
            args.extend(["-in", message]);
            openssl(&args)
        }
    };
    let made = from_openssl(case.row, made, signature.len());
    assert!(verifier.restart(&case.params));
    verifier.verify(Some(&case.message), &made).unwrap_or_else(|error| panic!("{name}: {error}"));

    the_rest_of_the_contract(case, &mut *signer, &mut *verifier, signature);
}

/// Restarts, updates, and the codes of what does not verify.
fn the_rest_of_the_contract(
    case: &Case,
    signer: &mut dyn Operation,
    verifier: &mut dyn Operation,
    mut signature: Vec<u8>,
) {
    let name = case.row.name;
    assert_eq!(signer.multi_part(), case.row.hash.is_some() || case.row.ty == CKM_EDDSA, "{name}");
    if signer.multi_part() {
        // What an abandoned operation has taken is forgotten.
        assert!(signer.restart(&case.params) && verifier.restart(&case.params));
        signer.update(b"left over", &mut []).unwrap();
        verifier.update(b"left over", &mut []).unwrap();
        assert!(signer.restart(&case.params) && verifier.restart(&case.params));
        for piece in case.message.chunks(3) {
            assert_eq!(signer.size(Step::Update, piece.len()).unwrap(), Size::Exactly(0));
            signer.update(piece, &mut []).unwrap();
            verifier.update(piece, &mut []).unwrap();
        }
        assert_eq!(signer.size(Step::Finish, 0).unwrap(), Size::Exactly(signature.len()));
        signer.finish(&mut signature).unwrap();
        verifier.verify(None, &signature).unwrap_or_else(|error| panic!("{name} in parts: {error}"));
    }
    let mut code = |message: &[u8], signature: &[u8]| {
        assert!(verifier.restart(&case.params));
        verifier.verify(Some(message), signature).unwrap_err().code()
    };
    assert_eq!(code(&case.message, &signature[1..]), Code::SignatureLenRange, "{name}");
    assert_eq!(code(&case.message, &[&signature[..], &[0]].concat()), Code::SignatureLenRange, "{name}");
    let mut other = case.message.clone();
    other[0] ^= 1;
    assert_eq!(code(&other, &signature), Code::SignatureInvalid, "{name}");
    let last = signature.len() - 1;
    signature[last] ^= 1;
    assert_eq!(code(&case.message, &signature), Code::SignatureInvalid, "{name}");
    assert!(!verifier.restart(&Params::Number(7)), "{name}");
}

const MESSAGE: &[u8] = b"A message that is long enough to come in several parts.";

#[test]
fn rsa_pkcs1_and_raw_signatures() {
    let mut ran = 0;
    for row in table::all().filter(|row| row.keys == [CKK_RSA] && row.flags & CKF_SIGN != 0) {
        if row.params != table::ParamKind::None {
            continue;
        }
        let (message, mode) =
            if row.ty == CKM_RSA_X_509 { (vec![0x5a; 256], "none") } else { (MESSAGE.to_vec(), "pkcs1") };
        let case = Case { row, params: Params::None, message, options: vec![format!("rsa_padding_mode:{mode}")] };
        if row.ty == CKM_RSA_X_509 {
            raw_signatures(&case);
        } else {
            both_directions(&case, &RSA);
        }
        ran += 1;
    }
    assert_eq!(ran, 13);
}

/// OpenSSL neither signs so much without padding nor verifies it; but its decryption is the same operation.
fn raw_signatures(case: &Case) {
    let mut signer = begin(case.row, Use::Sign, &case.params, &RSA.private);
    let mut verifier = begin(case.row, Use::Verify, &case.params, &RSA.public);
    let signature = whole(&mut *signer, &case.message).unwrap();
    let message = file(&case.message);
    let (key, input) = (RSA.private_file.to_str().unwrap(), message.to_str().unwrap());
    let args = ["pkeyutl", "-decrypt", "-keyform", "DER", "-inkey", key, "-pkeyopt", &case.options[0], "-in", input];
    assert_eq!(openssl(&args), signature);
    verifier.verify(Some(&case.message), &signature).unwrap();
    the_rest_of_the_contract(case, &mut *signer, &mut *verifier, signature);
}

#[test]
fn rsa_pss_signatures() {
    let mut ran = 0;
    for row in table::all().filter(|row| row.params == table::ParamKind::Pss) {
        let hash = row.hash.unwrap_or(CKM_SHA384);
        for (mgf, salt_len) in [(hash, 20), (CKM_SHA_1, 0), (CKM_SHA3_256, 32), (hash, 100)] {
            let message = if row.hash.is_some() { MESSAGE.to_vec() } else { vec![0x5a; 48] };
            let mut options = vec![
                "rsa_padding_mode:pss".to_owned(),
                format!("rsa_pss_saltlen:{salt_len}"),
                format!("rsa_mgf1_md:{}", hash_name(mgf)),
            ];
            if row.hash.is_none() {
                options.insert(0, format!("digest:{}", hash_name(hash)));
            }
            let params = Params::Pss(PssParams { hash, mgf: mgf_of(mgf), salt_len });
            both_directions(&Case { row, params, message, options }, &RSA);
            ran += 1;
        }
    }
    assert_eq!(ran, 40);
}

#[test]
fn ecdsa_signatures() {
    let mut ran = 0;
    for row in table::all().filter(|row| row.keys == [CKK_EC] && row.flags & CKF_SIGN != 0) {
        for pair in CURVES.iter() {
            let message = if row.hash.is_some() { MESSAGE.to_vec() } else { vec![0x5a; 64] };
            both_directions(&Case { row, params: Params::None, message, options: vec![] }, pair);
            ran += 1;
        }
    }
    assert_eq!(ran, 30);
}

/// The curves that are not NIST's, by their OIDs: signatures both ways, and agreement.
#[test]
fn further_curves() {
    let brainpool = |last: u8| [b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01", &[last][..]].concat();
    // P256r1, P256t1, P384r1, P384t1, P512r1, P512t1; secp256k1.
    let curves = [7, 8, 11, 12, 13, 14].map(brainpool).into_iter().chain([b"\x06\x05\x2b\x81\x04\x00\x0a".to_vec()]);
    for parameters in curves {
        let [one, other] = [(); 2].map(|()| curve(CKM_EC_KEY_PAIR_GEN, &parameters));
        for ty in [CKM_ECDSA_SHA256, CKM_ECDSA_SHA512, CKM_ECDSA_SHA3_384] {
            let case =
                Case { row: table::row(ty).unwrap(), params: Params::None, message: MESSAGE.to_vec(), options: vec![] };
            both_directions(&case, &one);
        }
        let (key, peer) = (one.private_file.to_str().unwrap(), other.public_file.to_str().unwrap());
        let args = ["pkeyutl", "-derive", "-keyform", "DER", "-inkey", key, "-peerform", "DER", "-peerkey", peer];
        let public = points(&other)[1][..].into();
        let params = Params::Ecdh { kdf: CKD_NULL, shared: b""[..].into(), public };
        assert_eq!(derive(CKM_ECDH1_DERIVE, &one, &params, None).unwrap(), openssl(&args), "{parameters:02x?}");
    }
}

#[test]
fn ed25519_signatures() {
    let row = table::row(CKM_EDDSA).unwrap();
    both_directions(&Case { row, params: Params::None, message: MESSAGE.to_vec(), options: vec![] }, &EDWARDS);
}

/// OpenSSL before 3.2 has neither: known answers are in `crypto::ed25519`. Here, that each scheme is its own.
#[test]
fn ed25519_with_context_and_with_hash() {
    let row = table::row(CKM_EDDSA).unwrap();
    let scheme = |prehash, context: &[u8]| Params::Eddsa { prehash, context: context.into() };
    let all = [Params::None, scheme(false, b"one"), scheme(false, b"other"), scheme(true, b""), scheme(true, b"one")];
    let mut signer = begin(row, Use::Sign, &Params::None, &EDWARDS.private);
    let mut verifier = begin(row, Use::Verify, &Params::None, &EDWARDS.public);
    for (at, params) in all.iter().enumerate() {
        assert!(signer.restart(params));
        let signature = whole(&mut *signer, MESSAGE).unwrap();
        for (other_at, other) in all.iter().enumerate() {
            assert!(verifier.restart(other));
            assert_eq!(verifier.verify(Some(MESSAGE), &signature).is_ok(), at == other_at);
        }
        let case = Case { row, params: params.clone(), message: MESSAGE.to_vec(), options: vec![] };
        the_rest_of_the_contract(&case, &mut *signer, &mut *verifier, signature);
    }
    for params in [scheme(false, b""), scheme(true, &[0; 256])] {
        let refused = row.does.begin.unwrap()(row, Use::Sign, &params, Some(&EDWARDS.private)).err().unwrap();
        assert_eq!(refused.code(), Code::MechanismParamInvalid);
    }
}

fn encrypts(mechanism: CK_MECHANISM_TYPE, params: &Params, message: &[u8], options: &[&str]) {
    let row = table::row(mechanism).unwrap();
    let mut encrypt = begin(row, Use::Encrypt, params, &RSA.public);
    let mut decrypt = begin(row, Use::Decrypt, params, &RSA.private);
    let ciphertext = whole(&mut *encrypt, message).unwrap();
    assert_eq!(whole(&mut *decrypt, &ciphertext).unwrap(), message, "{} {options:?}", row.name);

    let arguments = |first, key| {
        let mut args = vec!["pkeyutl", first, "-keyform", "DER", "-inkey", key];
        options.iter().for_each(|option| args.extend(["-pkeyopt", option]));
        args
    };
    let input = file(&ciphertext);
    let mut args = arguments("-decrypt", RSA.private_file.to_str().unwrap());
    args.extend(["-in", input.to_str().unwrap()]);
    assert_eq!(openssl(&args), message, "{} {options:?}", row.name);

    let input = file(message);
    let mut args = arguments("-encrypt", RSA.public_file.to_str().unwrap());
    args.extend(["-pubin", "-in", input.to_str().unwrap()]);
    assert!(encrypt.restart(params) && decrypt.restart(params));
    assert_eq!(whole(&mut *decrypt, &openssl(&args)).unwrap(), message, "{} {options:?}", row.name);
}

#[test]
fn rsa_encryption() {
    encrypts(CKM_RSA_PKCS, &Params::None, b"", &["rsa_padding_mode:pkcs1"]);
    encrypts(CKM_RSA_PKCS, &Params::None, &[7; 245], &["rsa_padding_mode:pkcs1"]);
    encrypts(CKM_RSA_X_509, &Params::None, &[7; 256], &["rsa_padding_mode:none"]);
    for hash in [CKM_SHA_1, CKM_SHA256, CKM_SHA512, CKM_SHA3_384] {
        for mgf in [CKM_SHA_1, CKM_SHA224, CKM_SHA3_512] {
            for label in [&b""[..], b"a label"] {
                let params = Params::Oaep(OaepParams { hash, mgf: mgf_of(mgf), label: label.into() });
                let (hash, mgf) = (hash_name(hash), hash_name(mgf));
                let mut options = vec![
                    "rsa_padding_mode:oaep".to_owned(),
                    format!("rsa_oaep_md:{hash}"),
                    format!("rsa_mgf1_md:{mgf}"),
                ];
                if !label.is_empty() {
                    options.push(format!("rsa_oaep_label:{}", hex::encode(label)));
                }
                let options: Vec<_> = options.iter().map(String::as_str).collect();
                encrypts(CKM_RSA_PKCS_OAEP, &params, b"secret", &options);
            }
        }
    }
    // The default of OpenSSL, as pkcs11-provider asks for it.
    let params = Params::Oaep(OaepParams { hash: 0, mgf: 0, label: b""[..].into() });
    encrypts(CKM_RSA_PKCS_OAEP, &params, &[9; 214], &["rsa_padding_mode:oaep"]);
}

#[test]
fn rsa_signatures_with_recovery() {
    for (mechanism, message) in [(CKM_RSA_PKCS, &[3; 100][..]), (CKM_RSA_X_509, &[3; 256][..])] {
        let row = table::row(mechanism).unwrap();
        let signature = whole(&mut *begin(row, Use::SignRecover, &Params::None, &RSA.private), message).unwrap();
        let mut verify = begin(row, Use::VerifyRecover, &Params::None, &RSA.public);
        assert_eq!(whole(&mut *verify, &signature).unwrap(), message);
        begin(row, Use::Verify, &Params::None, &RSA.public).verify(Some(message), &signature).unwrap();
        assert_eq!(whole(&mut *verify, &signature[1..]), Err(Code::SignatureLenRange));
        let mode = if mechanism == CKM_RSA_PKCS { "rsa_padding_mode:pkcs1" } else { "rsa_padding_mode:none" };
        let input = file(&signature);
        let (input, key) = (input.to_str().unwrap(), RSA.public_file.to_str().unwrap());
        let args =
            ["pkeyutl", "-verifyrecover", "-keyform", "DER", "-pubin", "-inkey", key, "-pkeyopt", mode, "-in", input];
        assert_eq!(openssl(&args), message);
    }
    let row = table::row(CKM_RSA_PKCS).unwrap();
    let mut verify = begin(row, Use::VerifyRecover, &Params::None, &RSA.public);
    assert_eq!(whole(&mut *verify, &[0x55; 256]), Err(Code::SignatureInvalid));
}

#[test]
fn rsa_aes_key_wrap() {
    let row = table::row(CKM_RSA_AES_KEY_WRAP).unwrap();
    let secret = key::private_to_pkcs8(&CURVES[0].private_attributes).unwrap();
    for aes_bits in [128, 192, 256] {
        let oaep = OaepParams { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256, label: b""[..].into() };
        let params = Params::RsaAesWrap { aes_bits, oaep };
        let wrapped = whole(&mut *begin(row, Use::Encrypt, &params, &RSA.public), secret.expose()).unwrap();
        let mut unwrap = begin(row, Use::Decrypt, &params, &RSA.private);
        assert_eq!(&whole(&mut *unwrap, &wrapped).unwrap(), secret.expose());
        // OpenSSL opens the first part; the key that it finds opens the second.
        let (head, tail) = wrapped.split_at(256);
        let input = file(head);
        let (input, key) = (input.to_str().unwrap(), RSA.private_file.to_str().unwrap());
        let options = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"];
        let aes =
            openssl(&[&["pkeyutl", "-decrypt", "-keyform", "DER", "-inkey", key, "-in", input], &options[..]].concat());
        assert_eq!(aes.len() as u64 * 8, aes_bits);
        let mut out = vec![0; tail.len() - 8];
        let len = keywrap::unwrap_padded(&Aes::new(&aes).unwrap(), &keywrap::KWP_IV, tail, &mut out).unwrap();
        assert_eq!(out[..len], secret.expose()[..]);
        for at in [0, 256, wrapped.len() - 1] {
            let mut other = wrapped.clone();
            other[at] ^= 1;
            let refused = whole(&mut *begin(row, Use::Decrypt, &params, &RSA.private), &other);
            assert_eq!(refused, Err(Code::EncryptedDataInvalid), "{at}");
        }
        let short = whole(&mut *begin(row, Use::Decrypt, &params, &RSA.private), &wrapped[..200]);
        assert_eq!(short, Err(Code::EncryptedDataLenRange));
    }
}

fn derive(mechanism: CK_MECHANISM_TYPE, pair: &Pair, params: &Params, length: Option<usize>) -> Result<Vec<u8>, Code> {
    let row = table::row(mechanism).unwrap();
    let work = Derivation::new(row, params, &pair.private, length);
    row.does.derive.unwrap()(&work).map(|secret| secret.expose().clone()).map_err(|error| error.code())
}

/// `CKA_EC_POINT` of the pair's public key: a DER OCTET STRING, whose contents are the second half of the result.
fn points(pair: &Pair) -> [Vec<u8>; 2] {
    let own: Attributes = key::public_of(&pair.private_attributes).unwrap().into_iter().collect();
    let der = own.bytes(CKA_EC_POINT).unwrap().to_vec();
    let start = if der[1] == 0x81 { 3 } else { 2 };
    [der.clone(), der[start..].to_vec()]
}

#[test]
fn ecdh() {
    let x25519 = || curve(CKM_EC_MONTGOMERY_KEY_PAIR_GEN, X25519_NAME);
    let all = [P256, P384, P521_NAME].map(|name| (curve(CKM_EC_KEY_PAIR_GEN, name), curve(CKM_EC_KEY_PAIR_GEN, name)));
    for (one, other) in all.into_iter().chain([(x25519(), x25519())]) {
        let (key, peer) = (one.private_file.to_str().unwrap(), other.public_file.to_str().unwrap());
        let args = ["pkeyutl", "-derive", "-keyform", "DER", "-inkey", key, "-peerform", "DER", "-peerkey", peer];
        let expected = openssl(&args);
        for public in points(&other) {
            let with = |kdf, shared: &[u8]| Params::Ecdh { kdf, shared: shared.into(), public: public[..].into() };
            assert_eq!(derive(CKM_ECDH1_DERIVE, &one, &with(CKD_NULL, b""), None).unwrap(), expected);
            // Truncation takes from the front.
            let short = derive(CKM_ECDH1_DERIVE, &one, &with(CKD_NULL, b""), Some(16)).unwrap();
            assert_eq!(short, expected[expected.len() - 16..]);
            let long = derive(CKM_ECDH1_DERIVE, &one, &with(CKD_NULL, b""), Some(expected.len() + 1));
            assert_eq!(long, Err(Code::KeySizeRange));
            let shared = derive(CKM_ECDH1_DERIVE, &one, &with(CKD_NULL, b"x"), None);
            assert_eq!(shared, Err(Code::MechanismParamInvalid));
            let unknown = derive(CKM_ECDH1_DERIVE, &one, &with(99, b""), None);
            assert_eq!(unknown, Err(Code::MechanismParamInvalid));
            let cofactor = derive(CKM_ECDH1_COFACTOR_DERIVE, &one, &with(CKD_NULL, b""), None);
            match &*one.private {
                Key::EcPrivate(_) => assert_eq!(cofactor.unwrap(), expected),
                _ => assert_eq!(cofactor, Err(Code::KeyTypeInconsistent)),
            }
            with_functions(&one, &expected, &with);
        }
        let mut wrong = points(&other)[1].clone();
        wrong.push(0);
        let params = Params::Ecdh { kdf: CKD_NULL, shared: b""[..].into(), public: wrong[..].into() };
        assert_eq!(derive(CKM_ECDH1_DERIVE, &one, &params, None), Err(Code::PublicKeyInvalid));
        wrong.fill(0);
        let params = Params::Ecdh { kdf: CKD_NULL, shared: b""[..].into(), public: wrong[1..].into() };
        assert_eq!(derive(CKM_ECDH1_DERIVE, &one, &params, None), Err(Code::PublicKeyInvalid));
    }
}

/// The key derivation functions over a shared secret, against OpenSSL's X963KDF and SSKDF.
fn with_functions(pair: &Pair, secret: &[u8], with: &dyn Fn(CK_EC_KDF_TYPE, &[u8]) -> Params) {
    let functions = [
        (CKD_SHA1_KDF, "SHA1", "X963KDF"),
        (CKD_SHA256_KDF, "SHA256", "X963KDF"),
        (CKD_SHA512_KDF, "SHA512", "X963KDF"),
        (CKD_SHA3_384_KDF, "SHA3-384", "X963KDF"),
        (CKD_SHA224_KDF_SP800, "SHA224", "SSKDF"),
        (CKD_SHA384_KDF_SP800, "SHA384", "SSKDF"),
    ];
    for (kdf, digest, name) in functions {
        for length in [16, 100] {
            let derived = derive(CKM_ECDH1_DERIVE, pair, &with(kdf, b"shared info"), Some(length)).unwrap();
            let (length, digest) = (length.to_string(), format!("digest:{digest}"));
            let (key, info) = (hex::encode(secret), hex::encode(b"shared info"));
            let (key, info) = (format!("hexsecret:{key}"), format!("hexinfo:{info}"));
            let key = if name == "SSKDF" { key.replace("hexsecret", "hexkey") } else { key };
            let options = ["-kdfopt", &digest, "-kdfopt", &key, "-kdfopt", &info];
            let args = [&["kdf", "-binary", "-keylen", &length], &options[..], &[name]].concat();
            let done = Command::new("openssl").args(&args).output().unwrap();
            assert!(done.status.success(), "{args:?} {}", String::from_utf8_lossy(&done.stderr));
            assert_eq!(derived, done.stdout, "{name} {digest}");
        }
    }
}

#[test]
fn keys_that_openssl_made() {
    let kinds: [&[&str]; 6] = [
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
        &["-algorithm", "ED25519"],
        &["-algorithm", "X25519"],
    ];
    for kind in kinds {
        let der = generated(kind);
        let input = file(&der);
        let info = openssl(&["pkey", "-inform", "DER", "-pubout", "-outform", "DER", "-in", input.to_str().unwrap()]);
        let mut attributes: Attributes = key::pkcs8_to_attributes(&der).unwrap().into_iter().collect();
        attributes.put(Attribute::ulong(CKA_CLASS, CKO_PRIVATE_KEY));
        assert_eq!(key::public_key_info(&attributes).unwrap(), info, "{kind:?}");
        // Ours need not be the same bytes (OpenSSL adds the public key), but says the same.
        let ours = key::private_to_pkcs8(&attributes).unwrap();
        let again: Attributes = key::pkcs8_to_attributes(ours.expose()).unwrap().into_iter().collect();
        attributes.remove(CKA_CLASS);
        assert_eq!(again, attributes, "{kind:?}");
        for cut in [0, 1, der.len() / 2, der.len() - 1] {
            assert_eq!(key::pkcs8_to_attributes(&der[..cut]).unwrap_err().code(), Code::WrappedKeyInvalid);
        }
    }
    let refused = |kind| key::pkcs8_to_attributes(&generated(kind)).unwrap_err().code();
    let curve = refused(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp224k1"]);
    assert_eq!(curve, Code::CurveNotSupported);
    assert_eq!(refused(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]), Code::WrappedKeyInvalid);
}

/// A key of OpenSSL's making, as PKCS #8.
fn generated(kind: &[&str]) -> Vec<u8> {
    let pem = file(&openssl(&[&["genpkey"], kind].concat()));
    openssl(&["pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", pem.to_str().unwrap()])
}
