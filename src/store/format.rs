//! Byte layouts of the slot file's own fields (docs/slot-file.md). Numbers are big-endian.

use super::seal::{NONCE, TAG};
use crate::error::{Code, Error, Result};

pub const MAGIC: &[u8; 8] = b"KEYWARD\0";
/// The format written.
pub const FORMAT: u16 = 1;
/// The oldest format whose readers understand what is written.
pub const MIN_READER: u16 = 1;

/// Takes fields off the front of a byte string.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(too_short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }
}

fn too_short() -> Error {
    Code::DeviceError.because("a field of the slot file is shorter than its layout")
}

/// The token's header: in clear, and authenticated as the AAD of the label and of the states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderBytes {
    pub uuid: [u8; 16],
    pub serial: u64,
    /// Seconds since 1970.
    pub created: u64,
    /// Of the keys that new records are sealed under.
    pub key_version: u32,
    /// Shows another device secret, and nothing about this one.
    pub device_check: [u8; 8],
}

impl HeaderBytes {
    pub fn encode(&self) -> Vec<u8> {
        let fields: [&[u8]; 8] = [
            MAGIC,
            &FORMAT.to_be_bytes(),
            &MIN_READER.to_be_bytes(),
            &self.uuid,
            &self.serial.to_be_bytes(),
            &self.created.to_be_bytes(),
            &self.key_version.to_be_bytes(),
            &self.device_check,
        ];
        fields.concat()
    }

    /// `CKR_TOKEN_NOT_RECOGNIZED` for what is no header or a newer one's.
    pub fn decode(bytes: &[u8]) -> Result<HeaderBytes> {
        let mut from = Reader(bytes);
        let foreign = |_| Code::TokenNotRecognized.because("the slot file's header is damaged");
        if &from.array::<8>().map_err(foreign)? != MAGIC {
            return Err(Code::TokenNotRecognized.because("not a slot file: its header does not begin as one"));
        }
        let (format, min_reader) = (from.u16().map_err(foreign)?, from.u16().map_err(foreign)?);
        if min_reader > FORMAT {
            let why = format!(
                "the slot file has format {format} and needs a program that reads format {min_reader}; this one \
                 reads up to {FORMAT}: install a newer keyward"
            );
            return Err(Code::TokenNotRecognized.because(why));
        }
        let mut rest = || -> Result<HeaderBytes> {
            Ok(HeaderBytes {
                uuid: from.array()?,
                serial: from.u64()?,
                created: from.u64()?,
                key_version: from.u32()?,
                device_check: from.array()?,
            })
        };
        rest().map_err(foreign)
    }
}

/// How a role's key comes of its PIN, and the master key under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub kdf: Kdf,
    pub salt: [u8; 16],
    /// Counts the PINs that the role has had.
    pub generation: u32,
    pub wrapped: [u8; WRAPPED],
    /// What else belongs to the account, sealed (`store::users`); empty where there is nothing.
    pub tail: Vec<u8>,
}

/// A sealed master key: key version and 32 bytes.
pub const WRAPPED: usize = NONCE + 4 + 32 + TAG;

/// Argon2id, version 0x13: memory in KiB, passes, lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kdf {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

const ARGON2ID: u8 = 1;

/// Bytes of a login record without its tail.
pub const LOGIN: usize = 33 + WRAPPED;

impl Login {
    /// Whether both are of one PIN, whatever else has changed of the account.
    pub fn same_pin(&self, other: &Login) -> bool {
        (self.kdf, self.salt, self.generation, self.wrapped) == (other.kdf, other.salt, other.generation, other.wrapped)
    }

    pub fn encode(&self) -> Vec<u8> {
        let fields: [&[u8]; 8] = [
            &[ARGON2ID],
            &self.kdf.memory_kib.to_be_bytes(),
            &self.kdf.passes.to_be_bytes(),
            &self.kdf.lanes.to_be_bytes(),
            &self.salt,
            &self.generation.to_be_bytes(),
            &self.wrapped,
            &self.tail,
        ];
        fields.concat()
    }

    /// `CKR_DEVICE_ERROR` where the layout is not kept or the function unknown.
    pub fn decode(bytes: &[u8]) -> Result<Login> {
        let mut from = Reader(bytes);
        match from.array::<1>()? {
            [ARGON2ID] => {}
            [other] => {
                return Err(Code::DeviceError.because(format!("a login record names the unknown PIN function {other}")));
            }
        }
        Ok(Login {
            kdf: Kdf { memory_kib: from.u32()?, passes: from.u32()?, lanes: from.u32()? },
            salt: from.array()?,
            generation: from.u32()?,
            wrapped: from.array()?,
            tail: from.0.to_vec(),
        })
    }
}

/// An object's attributes as sealed: number of tags (2 bytes), the tags, the attributes.
pub fn encode_attrs(tags: &[[u8; 16]], attrs: &[u8]) -> Result<Vec<u8>> {
    let count = u16::try_from(tags.len()).map_err(|_| Code::DataLenRange.because("more than 65535 index values"))?;
    let mut plain = Vec::with_capacity(attrs.len().saturating_add(tags.len().saturating_mul(16)).saturating_add(2));
    plain.extend_from_slice(&count.to_be_bytes());
    tags.iter().for_each(|tag| plain.extend_from_slice(tag));
    plain.extend_from_slice(attrs);
    Ok(plain)
}

/// The tags and the attributes.
pub fn decode_attrs(plain: &[u8]) -> Result<(Vec<[u8; 16]>, &[u8])> {
    let mut from = Reader(plain);
    let count = from.u16()?;
    let tags = (0..count).map(|_| from.array()).collect::<Result<_>>()?;
    Ok((tags, from.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> HeaderBytes {
        HeaderBytes { uuid: [1; 16], serial: 2, created: 3, key_version: 4, device_check: [5; 8] }
    }

    #[test]
    fn layouts_read_back_and_refuse_to_be_cut() {
        let bytes = header().encode();
        assert_eq!((bytes.len(), HeaderBytes::decode(&bytes).unwrap()), (56, header()));
        let kdf = Kdf { memory_kib: 1, passes: 2, lanes: 3 };
        let login = Login { kdf, salt: [4; 16], generation: 5, wrapped: [6; WRAPPED], tail: vec![] };
        let record = login.encode();
        assert_eq!((record.len(), LOGIN, Login::decode(&record).unwrap()), (97, 97, login));
        let plain = encode_attrs(&[[1; 16], [2; 16]], b"attrs").unwrap();
        assert_eq!(decode_attrs(&plain).unwrap(), (vec![[1; 16], [2; 16]], b"attrs".as_slice()));
        for len in 0..56 {
            assert_eq!(HeaderBytes::decode(&bytes[..len]).unwrap_err().code(), Code::TokenNotRecognized);
        }
        for len in 0..97 {
            assert_eq!(Login::decode(&record[..len]).unwrap_err().code(), Code::DeviceError);
        }
        for len in 0..34 {
            assert!(decode_attrs(&plain[..len]).is_err());
        }
    }

    #[test]
    fn a_newer_file_says_so() {
        let mut bytes = header().encode();
        bytes[8..10].copy_from_slice(&9u16.to_be_bytes());
        assert!(HeaderBytes::decode(&bytes).is_ok(), "newer, but still readable by us");
        bytes[10..12].copy_from_slice(&7u16.to_be_bytes());
        let refused = HeaderBytes::decode(&bytes).unwrap_err();
        assert_eq!(refused.code(), Code::TokenNotRecognized);
        assert!(refused.why().unwrap().contains("format 7"), "{refused}");
    }
}
