//! Certificate requests (PKCS#10, RFC 2986) for staged keys, signed by the token.

use std::net::IpAddr;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use cryptoki_sys::*;
use keyward::token::*;
use x509_cert::attr::Attributes as RequestAttributes;
use x509_cert::der::asn1::{Any, BitString, Ia5String, ObjectIdentifier, UintRef};
use x509_cert::der::{self, Decode, Encode, Tag};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::{Certificate, TbsCertificate};

use super::target::Found;
use crate::commands::object::find;
use crate::failure::{Exit, Failure, Result};
use crate::session::Session;

/// What a certificate request asks for. What is not said is taken from the present certificate.
#[derive(Args, Clone, Debug, Default)]
pub struct Wish {
    /// The subject: CN=www.example.org,O=Example; without it, that of the present certificate
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// A DNS name for the certificate; may be repeated
    #[arg(long)]
    dns: Vec<String>,
    /// An IP address for the certificate; may be repeated
    #[arg(long)]
    ip: Vec<IpAddr>,
    /// A mail address for the certificate; may be repeated
    #[arg(long)]
    email: Vec<String>,
    /// The hash that is signed, for RSA and EC keys; without it, one as strong as the key
    #[arg(long, value_enum)]
    hash: Option<Hash>,
    /// RSA keys: sign with PSS
    #[arg(long)]
    pss: bool,
}

impl Wish {
    pub fn is_said(&self) -> bool {
        let Wish { subject, dns, ip, email, hash, pss } = self;
        subject.is_some() || !dns.is_empty() || !ip.is_empty() || !email.is_empty() || hash.is_some() || *pss
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// How a request is signed: the mechanism, and its name in X.509.
struct Signing {
    mechanism: Mechanism,
    algorithm: AlgorithmIdentifierOwned,
    /// The token gives r and s of equal length, X.509 wants them in DER.
    pair_of_integers: bool,
}

/// One hash's mechanisms and object identifiers.
struct HashRow {
    hash: Hash,
    rsa: CK_MECHANISM_TYPE,
    pss: CK_MECHANISM_TYPE,
    digest: CK_MECHANISM_TYPE,
    mgf: CK_RSA_PKCS_MGF_TYPE,
    ecdsa: CK_MECHANISM_TYPE,
    rsa_oid: &'static str,
    ecdsa_oid: &'static str,
    /// The last arc of 2.16.840.1.101.3.4.2, and the length in bytes.
    arc_and_len: (u8, u8),
}

const HASHES: [HashRow; 3] = [
    HashRow {
        hash: Hash::Sha256,
        rsa: CKM_SHA256_RSA_PKCS,
        pss: CKM_SHA256_RSA_PKCS_PSS,
        digest: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        ecdsa: CKM_ECDSA_SHA256,
        rsa_oid: "1.2.840.113549.1.1.11",
        ecdsa_oid: "1.2.840.10045.4.3.2",
        arc_and_len: (1, 32),
    },
    HashRow {
        hash: Hash::Sha384,
        rsa: CKM_SHA384_RSA_PKCS,
        pss: CKM_SHA384_RSA_PKCS_PSS,
        digest: CKM_SHA384,
        mgf: CKG_MGF1_SHA384,
        ecdsa: CKM_ECDSA_SHA384,
        rsa_oid: "1.2.840.113549.1.1.12",
        ecdsa_oid: "1.2.840.10045.4.3.3",
        arc_and_len: (2, 48),
    },
    HashRow {
        hash: Hash::Sha512,
        rsa: CKM_SHA512_RSA_PKCS,
        pss: CKM_SHA512_RSA_PKCS_PSS,
        digest: CKM_SHA512,
        mgf: CKG_MGF1_SHA512,
        ecdsa: CKM_ECDSA_SHA512,
        rsa_oid: "1.2.840.113549.1.1.13",
        ecdsa_oid: "1.2.840.10045.4.3.4",
        arc_and_len: (3, 64),
    },
];

impl HashRow {
    /// `RSASSA-PSS-params` (RFC 4055, 3.1) with this hash, MGF1 over it, and a salt of its length.
    fn pss_params(&self) -> Vec<u8> {
        let (arc, len) = self.arc_and_len;
        let hash = [0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, arc, 5, 0];
        let mgf1 = [0x30, 0x1a, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
        let head: &[u8] = &[0x30, 0x34, 0xa0, 0x0f];
        [head, &hash, &[0xa1, 0x1c], &mgf1, &hash, &[0xa2, 3, 2, 1, len]].concat()
    }
}

/// DER of the signed request for `key`. `old`: the version whose certificate tells what the command does not.
pub fn signing_request(session: &Session, key: &Found, wish: &Wish, old: &Found) -> Result<Vec<u8>> {
    let info = key.attributes.bytes(CKA_PUBLIC_KEY_INFO).unwrap_or_default();
    let public_key = SubjectPublicKeyInfoOwned::from_der(info).map_err(|e| malformed("the public key", &e))?;
    let signing = signing(key, &public_key, wish)?;
    let present = certificate_of(session, old)?;
    let (subject, extensions) = asked_for(wish, present.as_ref(), key)?;
    let mut attributes = RequestAttributes::new();
    if !extensions.is_empty() {
        let request = ExtensionReq(extensions).try_into().map_err(|e| malformed("the extensions", &e))?;
        attributes.insert(request).map_err(|e| malformed("the extensions", &e))?;
    }
    let info = CertReqInfo { version: Version::V1, subject, public_key, attributes };
    let signed = info.to_der().map_err(|e| malformed("the request", &e))?;
    let proof = session.token.prove(session.caller, key.object, &signing.mechanism, &signed);
    let mut signature = proof.map_err(Failure::of("cannot sign the certificate request"))?;
    if signing.pair_of_integers {
        signature = ecdsa_der(&signature).map_err(|e| malformed("the signature", &e))?;
    }
    let signature = BitString::from_bytes(&signature).map_err(|e| malformed("the signature", &e))?;
    let request = CertReq { info, algorithm: signing.algorithm, signature };
    request.to_der().map_err(|e| malformed("the request", &e))
}

fn malformed(what: &str, error: &der::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{what} cannot be encoded: {error}"))
}

fn signing(key: &Found, public_key: &SubjectPublicKeyInfoOwned, wish: &Wish) -> Result<Signing> {
    let bits = public_key.subject_public_key.bit_len();
    let ty = key.attributes.ulong(CKA_KEY_TYPE).unwrap_or_default();
    let strong = match ty {
        // An uncompressed point is two coordinates long.
        CKK_EC if bits > 1000 => Hash::Sha512,
        CKK_EC if bits > 700 => Hash::Sha384,
        _ => Hash::Sha256,
    };
    let wanted = wish.hash.unwrap_or(strong);
    let row = HASHES.iter().find(|row| row.hash == wanted).ok_or_else(|| Failure::new(Exit::Failed, "no such hash"))?;
    let named = |oid: &str, parameters: Option<Any>| AlgorithmIdentifierOwned {
        oid: ObjectIdentifier::new_unwrap(oid),
        parameters,
    };
    let plain = |ty| Mechanism { ty, params: Params::None };
    // The others sign under the name that their public keys have, without a hash of the caller's choice.
    let own = |ty| Signing { mechanism: plain(ty), algorithm: public_key.algorithm.clone(), pair_of_integers: false };
    Ok(match ty {
        CKK_RSA if wish.pss => {
            let pss = PssParams { hash: row.digest, mgf: row.mgf, salt_len: u64::from(row.arc_and_len.1) };
            let params = Any::from_der(&row.pss_params()).map_err(|e| malformed("the parameters", &e))?;
            Signing {
                mechanism: Mechanism { ty: row.pss, params: Params::Pss(pss) },
                algorithm: named("1.2.840.113549.1.1.10", Some(params)),
                pair_of_integers: false,
            }
        }
        CKK_RSA => Signing {
            mechanism: plain(row.rsa),
            algorithm: named(row.rsa_oid, Some(Any::null())),
            pair_of_integers: false,
        },
        CKK_EC => {
            Signing { mechanism: plain(row.ecdsa), algorithm: named(row.ecdsa_oid, None), pair_of_integers: true }
        }
        // RFC 5758, 3.1, has no other of these hashes.
        CKK_DSA if wanted == Hash::Sha256 => Signing {
            mechanism: plain(CKM_DSA_SHA256),
            algorithm: named("2.16.840.1.101.3.4.3.2", None),
            pair_of_integers: true,
        },
        CKK_DSA => {
            return Err(Failure::new(Exit::Usage, "X.509 knows DSA with SHA-256, and not with longer hashes"));
        }
        CKK_EC_EDWARDS => own(CKM_EDDSA),
        CKK_ML_DSA => own(CKM_ML_DSA),
        CKK_SLH_DSA => own(CKM_SLH_DSA),
        _ => {
            let why = "a key of this type signs no certificate request; ask for its certificate by other means";
            return Err(Failure::new(Exit::Refused, why));
        }
    })
}

/// The certificate of a version, where the token has one.
fn certificate_of(session: &Session, key: &Found) -> Result<Option<TbsCertificate>> {
    let Some(id) = key.attributes.bytes(CKA_ID).filter(|id| !id.is_empty()) else { return Ok(None) };
    let template = vec![Attribute::ulong(CKA_CLASS, CKO_CERTIFICATE), Attribute::bytes(CKA_ID, id)];
    for object in find(session, template)? {
        let answers = session.token.get(session.caller, object, &[CKA_VALUE]);
        let answers = answers.map_err(Failure::of("cannot read the present certificate"))?;
        if let Some(Answer::Value(Value::Bytes(bytes))) = answers.first()
            && let Ok(certificate) = Certificate::from_der(bytes)
        {
            return Ok(Some(certificate.tbs_certificate().clone()));
        }
    }
    Ok(None)
}

/// Subject and alternative names: as asked, else as the present certificate has them, else the key's label.
fn asked_for(wish: &Wish, present: Option<&TbsCertificate>, key: &Found) -> Result<(Name, Vec<Extension>)> {
    let name = |text: &str| {
        Name::from_str(text).map_err(|e| Failure::new(Exit::Usage, format!("{text:?} is no name such as CN=www: {e}")))
    };
    let label = keyward::object::life::logical_label(&key.attributes);
    let subject = match (&wish.subject, present) {
        (Some(text), _) => name(text)?,
        (None, Some(certificate)) => certificate.subject().clone(),
        (None, None) => name(&format!("CN={}", String::from_utf8_lossy(label).replace([',', '+', '=', ';'], " ")))?,
    };
    let ia5 = |text: &String| {
        Ia5String::new(text).map_err(|_| Failure::new(Exit::Usage, format!("{text:?} is not plain ASCII")))
    };
    let mut names = Vec::new();
    for dns in &wish.dns {
        names.push(GeneralName::DnsName(ia5(dns)?));
    }
    for email in &wish.email {
        names.push(GeneralName::Rfc822Name(ia5(email)?));
    }
    names.extend(wish.ip.iter().map(|ip| GeneralName::from(*ip)));
    if !names.is_empty() {
        let extension = (&SubjectAltName(names)).to_extension(&subject, &[]);
        return Ok((subject, vec![extension.map_err(|e| malformed("the names", &e))?]));
    }
    const ALTERNATIVE_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
    let kept = present.and_then(|certificate| certificate.extensions()).into_iter().flatten();
    Ok((subject, kept.filter(|extension| extension.extn_id == ALTERNATIVE_NAMES).cloned().collect()))
}

/// `Ecdsa-Sig-Value` and `Dss-Sig-Value` (RFC 3279, 2.2.2 and 2.2.3).
fn ecdsa_der(signature: &[u8]) -> der::Result<Vec<u8>> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let body = [UintRef::new(r)?.to_der()?, UintRef::new(s)?.to_der()?].concat();
    Any::new(Tag::Sequence, body)?.to_der()
}
