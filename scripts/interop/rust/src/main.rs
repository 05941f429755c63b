//! What a Rust program asks of a token through the crate `cryptoki`. Environment: MODULE, LABEL, PIN.

use cryptoki::context::{CInitializeArgs, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest, Sha256};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn check(what: &str, good: bool) -> Outcome<()> {
    if !good {
        return Err(what.into());
    }
    println!("ok  {what}");
    Ok(())
}

fn value(session: &Session, object: ObjectHandle, wanted: AttributeType) -> Outcome<Vec<u8>> {
    match session.get_attributes(object, &[wanted])?.pop() {
        Some(Attribute::Value(bytes) | Attribute::EcPoint(bytes)) => Ok(bytes),
        other => Err(format!("{wanted}: {other:?}").into()),
    }
}

fn rsa(session: &Session, data: &[u8]) -> Outcome<()> {
    let (public, private) = session.generate_key_pair(
        &Mechanism::RsaPkcsKeyPairGen,
        &[Attribute::Token(true), Attribute::ModulusBits(2048.into()), Attribute::PublicExponent(vec![1, 0, 1]), Attribute::Label(b"rs-rsa".to_vec())],
        &[Attribute::Token(true), Attribute::Sign(true), Attribute::Decrypt(true), Attribute::Label(b"rs-rsa".to_vec())],
    )?;
    let signature = session.sign(&Mechanism::Sha256RsaPkcs, private, data)?;
    session.verify(&Mechanism::Sha256RsaPkcs, public, data, &signature)?;
    let refused = session.verify(&Mechanism::Sha256RsaPkcs, public, b"other", &signature);
    check("a signature of other data is invalid", matches!(refused, Err(Error::Pkcs11(RvError::SignatureInvalid, _))))?;
    let pss = Mechanism::Sha256RsaPkcsPss(PkcsPssParams { hash_alg: MechanismType::SHA256, mgf: PkcsMgfType::MGF1_SHA256, s_len: 32.into() });
    let signature = session.sign(&pss, private, data)?;
    session.verify(&pss, public, data, &signature)?;
    let sealed = session.encrypt(&Mechanism::RsaPkcs, public, b"a secret")?;
    check("RSA decryption", session.decrypt(&Mechanism::RsaPkcs, private, &sealed)? == b"a secret")?;
    let kept = session.get_attributes(private, &[AttributeType::PrivateExponent, AttributeType::Label])?;
    check("a sensitive value is kept back, the label is read", kept == [Attribute::Label(b"rs-rsa".to_vec())])?;
    let found = session.find_objects(&[Attribute::Label(b"rs-rsa".to_vec()), Attribute::Class(ObjectClass::PRIVATE_KEY)])?;
    check("the key is found", found == [private])
}

fn curve(session: &Session, data: &[u8]) -> Outcome<()> {
    let p256 = vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let (public, private) = session.generate_key_pair(
        &Mechanism::EccKeyPairGen,
        &[Attribute::EcParams(p256)],
        &[Attribute::Sign(true), Attribute::Derive(true)],
    )?;
    let point = value(session, public, AttributeType::EcPoint)?;
    let digest = Sha256::digest(data);
    let signature = session.sign(&Mechanism::Ecdsa, private, &digest)?;
    let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point[2..])?;
    verifier.verify_prehash(&digest, &p256::ecdsa::Signature::from_slice(&signature)?)?;
    check("ECDSA: software verifies", true)?;

    let scalar = p256::NonZeroScalar::try_from(&digest[..])?;
    let theirs = p256::PublicKey::from_secret_scalar(&scalar);
    let encoded = p256::EncodedPoint::from(theirs);
    let derived = session.derive_key(
        &Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), encoded.as_bytes())),
        private,
        &[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::ValueLen(32.into()),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
        ],
    )?;
    let ours = p256::PublicKey::from_sec1_bytes(&point[2..])?;
    let expected = p256::ecdh::diffie_hellman(scalar, ours.as_affine());
    check("ECDH as in software", value(session, derived, AttributeType::Value)? == expected.raw_secret_bytes()[..])
}

fn aes(session: &Session, data: &[u8]) -> Outcome<()> {
    let key = session.generate_key(&Mechanism::AesKeyGen, &[Attribute::ValueLen(32.into()), Attribute::Encrypt(true), Attribute::Decrypt(true)])?;
    let sealed = session.encrypt(&Mechanism::AesCbcPad([7; 16]), key, data)?;
    check("AES-CBC", session.decrypt(&Mechanism::AesCbcPad([7; 16]), key, &sealed)? == data)?;
    let mut nonce = [9; 12];
    let sealed = session.encrypt(&Mechanism::AesGcm(GcmParams::new(&mut nonce, b"header", 128.into())?), key, data)?;
    check("AES-GCM", session.decrypt(&Mechanism::AesGcm(GcmParams::new(&mut nonce, b"header", 128.into())?), key, &sealed)? == data)?;
    let mut other = [8; 12];
    let opened = session.decrypt(&Mechanism::AesGcm(GcmParams::new(&mut other, b"header", 128.into())?), key, &sealed);
    check("AES-GCM with another nonce is refused", opened.is_err())
}

fn threads(library: &Pkcs11, slot: Slot, data: &[u8]) -> Outcome<()> {
    let work = || -> Result<(), Error> {
        let session = library.open_ro_session(slot)?;
        let keys = session.find_objects(&[Attribute::Label(b"rs-rsa".to_vec()), Attribute::Class(ObjectClass::PRIVATE_KEY)])?;
        for _ in 0..20 {
            session.sign(&Mechanism::Sha256RsaPkcs, keys[0], data)?;
        }
        Ok(())
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        crowd.into_iter().map(|each| each.join()).collect()
    });
    check("160 signatures by 8 threads", results.iter().all(|each| matches!(each, Ok(Ok(())))))
}

fn main() -> Outcome<()> {
    let environment = |name: &str| std::env::var(name);
    let library = Pkcs11::new(environment("MODULE")?)?;
    library.initialize(CInitializeArgs::OsThreads)?;
    let label = environment("LABEL")?;
    let slots = library.get_slots_with_token()?;
    let slot = slots.into_iter().find(|slot| library.get_token_info(*slot).is_ok_and(|info| info.label() == label)).ok_or("no such token")?;
    for mechanism in library.get_mechanism_list(slot)? {
        library.get_mechanism_info(slot, mechanism)?;
    }
    let session = library.open_rw_session(slot)?;
    let wrong = session.login(UserType::User, Some(&AuthPin::new("000000".into())));
    check("a wrong PIN", matches!(wrong, Err(Error::Pkcs11(RvError::PinIncorrect, _))))?;
    session.login(UserType::User, Some(&AuthPin::new(environment("PIN")?.into())))?;

    let data: Vec<u8> = (0..5000u32).map(|at| (at % 251) as u8).collect();
    rsa(&session, &data)?;
    curve(&session, &data)?;
    aes(&session, &data)?;
    check("a digest", session.digest(&Mechanism::Sha256, &data)? == Sha256::digest(&data)[..])?;
    threads(&library, slot, &data)?;
    session.logout()?;
    Ok(())
}
