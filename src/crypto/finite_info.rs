//! Keys over finite fields as DER: SubjectPublicKeyInfo and PrivateKeyInfo of DSA and X9.42 DH (RFC 3279, 2.3.2 and 2.3.3)
//! and of PKCS #3 DH.

use pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use pkcs8::der::{self, Decode, Encode, SliceReader, Tag};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use crate::error::{Code, Error, Result};
use crate::secret::{Secret, SecretBytes};

/// A scheme, with the order of its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// p, q, g.
    Dsa,
    /// p, g.
    Pkcs3,
    /// p, g, q.
    X942,
}

impl Scheme {
    const ALL: [Scheme; 3] = [Scheme::Dsa, Scheme::Pkcs3, Scheme::X942];

    const fn oid(self) -> ObjectIdentifier {
        match self {
            Scheme::Dsa => ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"),
            Scheme::Pkcs3 => ObjectIdentifier::new_unwrap("1.2.840.113549.1.3.1"),
            Scheme::X942 => ObjectIdentifier::new_unwrap("1.2.840.10046.2.1"),
        }
    }

    /// How many parameters it has.
    pub const fn parameters(self) -> usize {
        match self {
            Scheme::Pkcs3 => 2,
            Scheme::Dsa | Scheme::X942 => 3,
        }
    }
}

fn unencodable(_: der::Error) -> Error {
    Code::GeneralError.into()
}

/// The contents of a SEQUENCE of the numbers.
fn sequence(numbers: &[&[u8]]) -> der::Result<Vec<u8>> {
    let mut contents = Vec::new();
    for number in numbers {
        UintRef::new(number)?.encode_to_vec(&mut contents)?;
    }
    Ok(contents)
}

fn with_algorithm<T>(
    scheme: Scheme,
    parameters: &[&[u8]],
    act: impl FnOnce(AlgorithmIdentifierRef<'_>) -> der::Result<T>,
) -> Result<T> {
    let encode = || {
        let contents = sequence(parameters)?;
        let parameters = Some(AnyRef::new(Tag::Sequence, &contents)?);
        act(AlgorithmIdentifierRef { oid: scheme.oid(), parameters })
    };
    encode().map_err(unencodable)
}

/// SubjectPublicKeyInfo; the parameters in the scheme's order.
pub fn encode_public(scheme: Scheme, parameters: &[&[u8]], public: &[u8]) -> Result<Vec<u8>> {
    with_algorithm(scheme, parameters, |algorithm| {
        let key = UintRef::new(public)?.to_der()?;
        SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(&key)? }.to_der()
    })
}

/// PrivateKeyInfo, version 1; the parameters in the scheme's order.
pub fn encode_private(scheme: Scheme, parameters: &[&[u8]], private: &[u8]) -> Result<SecretBytes> {
    with_algorithm(scheme, parameters, |algorithm| {
        let key = Zeroizing::new(UintRef::new(private)?.to_der()?);
        Ok(Secret::new(PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&key)?).to_der()?))
    })
}

/// A scheme, its parameters in their order, and the private value.
pub type Decoded = (Scheme, Vec<Vec<u8>>, Zeroizing<Vec<u8>>);

/// `None` where the algorithm is none of these. `CKR_WRAPPED_KEY_INVALID` where the key is malformed.
pub fn decode_private(info: &[u8]) -> Result<Option<Decoded>> {
    let malformed = |_| Code::WrappedKeyInvalid.because("the private key is no well-formed PKCS #8 structure");
    let info = PrivateKeyInfoRef::from_der(info).map_err(malformed)?;
    let Some(scheme) = Scheme::ALL.into_iter().find(|scheme| scheme.oid() == info.algorithm.oid) else {
        return Ok(None);
    };
    let parameters = info.algorithm.parameters.filter(|any| any.header().tag() == Tag::Sequence);
    let parameters = numbers(parameters.ok_or(Code::WrappedKeyInvalid)?.value(), scheme.parameters());
    let value = UintRef::from_der(info.private_key.as_bytes()).map_err(malformed)?;
    let value = Zeroizing::new(value.as_bytes().to_vec());
    Ok(Some((scheme, parameters.map_err(malformed)?, value)))
}

/// The first `count` numbers; what may follow them (validation parameters, a private length) is not read.
fn numbers(contents: &[u8], count: usize) -> der::Result<Vec<Vec<u8>>> {
    let mut reader = SliceReader::new(contents)?;
    (0..count).map(|_| Ok(UintRef::decode(&mut reader)?.as_bytes().to_vec())).collect()
}
