//! The bytes that a call and its answer are between the library and the helper: numbers in eight bytes, lowest first; a count
//! before what there may be any number of; a byte before what may be one of several. Reading believes nothing: each count is
//! held against what is left, and a byte too many or too few makes the whole of it void.

use std::borrow::Cow;

use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::forward::call::{Call, MessagePart, Reply};
use crate::token::*;

/// Templates within templates that are read.
const DEEPEST: u8 = 8;

pub struct Reader<'a> {
    rest: &'a [u8],
    depth: u8,
}

impl<'a> Reader<'a> {
    /// The one value that `bytes` are, to the last byte.
    pub fn whole<T: Wire<'a>>(bytes: &'a [u8]) -> Option<T> {
        let mut reader = Reader { rest: bytes, depth: 0 };
        let value = T::take(&mut reader)?;
        reader.rest.is_empty().then_some(value)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    /// A count of elements, each of which takes a byte at least.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok().filter(|count| *count <= self.rest.len())
    }

    fn slice(&mut self) -> Option<&'a [u8]> {
        let count = self.count()?;
        let (first, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(first)
    }

    fn list<T: Wire<'a>>(&mut self) -> Option<Vec<T>> {
        let count = self.count()?;
        self.depth = self.depth.checked_add(1).filter(|depth| *depth <= DEEPEST)?;
        let list = (0..count).map(|_| T::take(self)).collect();
        self.depth -= 1;
        list
    }
}

pub trait Wire<'a>: Sized {
    fn put(&self, to: &mut Vec<u8>);
    fn take(from: &mut Reader<'a>) -> Option<Self>;
}

/// What is longer than a frame may be is caught with the frame.
fn put_count(count: usize, to: &mut Vec<u8>) {
    to.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_slice(bytes: &[u8], to: &mut Vec<u8>) {
    put_count(bytes.len(), to);
    to.extend_from_slice(bytes);
}

fn put_list<'a, T: Wire<'a>>(list: &[T], to: &mut Vec<u8>) {
    put_count(list.len(), to);
    list.iter().for_each(|element| element.put(to));
}

impl<'a> Wire<'a> for u8 {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(*self);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.byte()
    }
}

impl<'a> Wire<'a> for u64 {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.array().map(u64::from_le_bytes)
    }
}

impl<'a> Wire<'a> for usize {
    fn put(&self, to: &mut Vec<u8>) {
        (*self as u64).put(to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        u64::take(from).and_then(|number| usize::try_from(number).ok())
    }
}

impl<'a> Wire<'a> for bool {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        match from.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<'a, const N: usize> Wire<'a> for [u8; N] {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.array()
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    fn put(&self, to: &mut Vec<u8>) {
        put_slice(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.slice()
    }
}

impl<'a> Wire<'a> for Cow<'a, [u8]> {
    fn put(&self, to: &mut Vec<u8>) {
        put_slice(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.slice().map(Cow::Borrowed)
    }
}

impl<'a> Wire<'a> for Cow<'a, str> {
    fn put(&self, to: &mut Vec<u8>) {
        put_slice(self.as_bytes(), to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        std::str::from_utf8(from.slice()?).ok().map(Cow::Borrowed)
    }
}

impl<'a> Wire<'a> for String {
    fn put(&self, to: &mut Vec<u8>) {
        put_slice(self.as_bytes(), to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        <Cow<'a, str>>::take(from).map(Cow::into_owned)
    }
}

impl<'a> Wire<'a> for Bytes {
    fn put(&self, to: &mut Vec<u8>) {
        put_slice(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.slice().map(Bytes::from_slice)
    }
}

impl<'a> Wire<'a> for Zeroizing<Vec<u8>> {
    fn put(&self, to: &mut Vec<u8>) {
        put_slice(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.slice().map(|bytes| Zeroizing::new(bytes.to_vec()))
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        put_list(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.list()
    }
}

impl<'a> Wire<'a> for Answers {
    fn put(&self, to: &mut Vec<u8>) {
        put_list(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.list().map(SmallVec::from_vec)
    }
}

impl<'a> Wire<'a> for Cow<'a, [Attribute]> {
    fn put(&self, to: &mut Vec<u8>) {
        put_list(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.list().map(Cow::Owned)
    }
}

impl<'a> Wire<'a> for Cow<'a, [u64]> {
    fn put(&self, to: &mut Vec<u8>) {
        put_list(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        from.list().map(Cow::Owned)
    }
}

impl<'a, T: Wire<'a> + Clone> Wire<'a> for Cow<'a, T> {
    fn put(&self, to: &mut Vec<u8>) {
        T::put(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        T::take(from).map(Cow::Owned)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Box<T> {
    fn put(&self, to: &mut Vec<u8>) {
        T::put(self, to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        T::take(from).map(Box::new)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        if bool::take(from)? { T::take(from).map(Some) } else { Some(None) }
    }
}

impl<'a, T: Wire<'a>, E: Wire<'a>> Wire<'a> for Result<T, E> {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.is_err()));
        match self {
            Ok(value) => value.put(to),
            Err(error) => error.put(to),
        }
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        if bool::take(from)? { E::take(from).map(Err) } else { T::take(from).map(Ok) }
    }
}

impl<'a, T: Wire<'a>, U: Wire<'a>> Wire<'a> for (T, U) {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        Some((T::take(from)?, U::take(from)?))
    }
}

impl<'a> Wire<'a> for std::ops::RangeInclusive<u64> {
    fn put(&self, to: &mut Vec<u8>) {
        (*self.start(), *self.end()).put(to);
    }

    fn take(from: &mut Reader<'a>) -> Option<Self> {
        <(u64, u64)>::take(from).map(|(start, end)| start..=end)
    }
}

/// One field after the other. That none is forgotten the pattern makes sure.
macro_rules! structs {
    ($($name:ident { $($field:tt: $bind:ident),* })*) => {$(
        impl<'a> Wire<'a> for $name {
            fn put(&self, to: &mut Vec<u8>) {
                let $name { $($field: $bind),* } = self;
                $($bind.put(to);)*
            }

            fn take(from: &mut Reader<'a>) -> Option<Self> {
                Some($name { $($field: Wire::take(from)?),* })
            }
        }
    )*};
}

/// The variant's number, then its fields. That no variant is forgotten `match` makes sure.
macro_rules! enums {
    ($($name:ident $(<$life:lifetime>)? { $($tag:literal $variant:ident $({ $($field:tt: $bind:ident),* })?)* })*) => {$(
        impl<'a> Wire<'a> for $name $(<$life>)? {
            fn put(&self, to: &mut Vec<u8>) {
                match self {
                    $($name::$variant { $($($field: $bind),*)? } => {
                        to.push($tag);
                        $($($bind.put(to);)*)?
                    })*
                }
            }

            fn take(from: &mut Reader<'a>) -> Option<Self> {
                Some(match from.byte()? {
                    $($tag => $name::$variant { $($($field: Wire::take(from)?),*)? },)*
                    _ => return None,
                })
            }
        }
    )*};
}

structs! {
    ObjectId { 0: a }
    Hidden { 0: a }
    Mechanism { ty: a, params: b }
    PssParams { hash: a, mgf: b, salt_len: c }
    OaepParams { hash: a, mgf: b, label: c }
    OtpParams { counter: a, pin: b, challenge: c, time: d, flags: e, length: f, format: g }
    HkdfParams { extract: a, expand: b, hash: c, salt: d, info: e }
    Pbkdf2Params { salt: a, iterations: b, prf: c, password: d }
    KbkdfParams { prf: a, fields: b, iv: c, further: d }
    NumberFormat { little_endian: a, bits: b }
    TlsRandoms { client: a, server: b }
    TlsMasterParams { hash: a, seed: b, wants_version: c }
    TlsKeyMaterialParams { mac_bits: a, key_bits: b, iv_bits: c, export: d, randoms: e, hash: f }
    TlsKdfParams { prf: a, label: b, randoms: c, context: d }
    TlsMacParams { prf: a, length: b, sender: c }
    IkePrfParams { prf: a, data_as_key: b, new_key: c, initiator: d, responder: e }
    Ike1PrfParams { prf: a, shared: b, previous: c, initiator: d, responder: e, number: f }
    IkeExpandParams { prf: a, key: b, data: c }
    MessageParams { iv: a, fixed_bits: b, generator: c, tag_len: d, tag: e, data_len: f }
    Attribute { ty: a, value: b }
    MechanismInfo { min_key: a, max_key: b, flags: c }
    TokenInfo {
        label: a, manufacturer: b, model: c, serial: d, flags: e, max_sessions: f, pin_len: g, hardware: h, firmware: i
    }
}

enums! {
    Use {
        0 Encrypt 1 Decrypt 2 Digest 3 Sign 4 SignRecover 5 Verify 6 VerifyRecover 7 MessageEncrypt 8 MessageDecrypt
        9 MessageSign 10 MessageVerify 11 VerifySignature 12 Random
    }
    Step { 0 Whole 1 Update 2 Finish }
    MessagePart { 0 Whole 1 First 2 Next 3 Last }
    Generator { 0 Given 1 Any 2 Counter 3 Random 4 CounterXor }
    HkdfSalt { 0 None 1 Data { 0: a } 2 Key { 0: a } }
    KbkdfField {
        0 Iteration { 0: a }
        1 Counter { 0: a }
        2 Length { of_segments: a, format: b }
        3 Bytes { 0: a }
        4 Key { 0: a }
    }
    TlsSeed { 0 Randoms { 0: a } 1 SessionHash { 0: a } }
    Value { 0 Bytes { 0: a } 1 Template { 0: a } }
    Answer { 0 Value { 0: a } 1 Sensitive 2 Absent }
    Params {
        0 None
        1 Iv { 0: a }
        2 Ctr { counter_bits: a, block: b }
        3 Gcm { iv: a, aad: b, tag_bits: c }
        4 Message { message: a, aad: b }
        5 Ccm { data_len: a, nonce: b, aad: c, mac_len: d }
        6 Salsa { block: a, nonce: b }
        7 SalsaAead { nonce: a, aad: b }
        8 MacLength { 0: a }
        9 Pss { 0: a }
        10 Oaep { 0: a }
        11 Ecdh { kdf: a, shared: b, public: c }
        12 Eddsa { prehash: a, context: b }
        13 SignContext { hedge: a, context: b, hash: c }
        14 RsaAesWrap { aes_bits: a, oaep: b }
        15 EcdhAesWrap { aes_bits: a, kdf: b, shared: c }
        16 Object { 0: a }
        17 Data { 0: a }
        18 CbcData { iv: a, data: b }
        19 Number { 0: a }
        20 Hkdf { 0: a }
        21 Pbkdf2 { 0: a }
        22 Kbkdf { 0: a }
        23 TlsMaster { 0: a }
        24 TlsKeyMaterial { 0: a }
        25 TlsKdf { 0: a }
        26 TlsMac { 0: a }
        27 IkePrf { 0: a }
        28 Ike1Prf { 0: a }
        29 IkeExpand { 0: a }
        30 Otp { 0: a }
        31 Opaque { 0: a }
    }
    Call<'a> {
        0 Slots
        1 Token { slot: a }
        2 Mechanisms { slot: a }
        3 Mechanism { slot: a, ty: b }
        4 Initialize { slot: a, pin: b, label: c }
        5 Open { slot: a, read_write: b }
        6 Close { session: a }
        7 Cancel { session: a, flags: b }
        8 Login { session: a, user: b, pin: c, name: d }
        9 Logout { session: a }
        10 InitPin { session: a, pin: b }
        11 SetPin { session: a, old: b, new: c }
        12 Create { session: a, template: b }
        13 Copy { session: a, object: b, template: c }
        14 Destroy { session: a, object: b }
        15 Size { session: a, object: b }
        16 Get { session: a, object: b, types: c }
        17 Set { session: a, object: b, template: c }
        18 Find { session: a, template: b }
        19 Found { session: a, max: b }
        20 FindEnd { session: a }
        21 Begin { session: a, what: b, mechanism: c, key: d }
        22 Run { session: a, what: b, step: c, input: d }
        23 Feed { session: a, what: b, input: c }
        24 Verify { session: a, what: b, input: c, signature: d }
        25 DigestKey { session: a, key: b }
        26 Save { session: a }
        27 Restore { session: a, state: b }
        28 Message { session: a, what: b, part: c, ty: d, params: e, aad: f, input: g }
        29 SignedMessage { session: a, what: b, part: c, input: d, signature: e }
        30 MessagesEnd { session: a, what: b }
        31 Random { session: a }
        32 Seed { session: a, seed: b }
        33 Generate { session: a, mechanism: b, template: c }
        34 GeneratePair { session: a, mechanism: b, public: c, private: d }
        35 Wrap { session: a, mechanism: b, wrapping: c, key: d, ask: e }
        36 WrapAuthenticated { session: a, mechanism: b, wrapping: c, key: d, ask: e }
        37 Unwrap { session: a, mechanism: b, unwrapping: c, wrapped: d, template: e }
        38 Derive { session: a, mechanism: b, base: c, template: d }
        39 Encapsulate { session: a, mechanism: b, public: c, template: d, ask: e }
        40 Decapsulate { session: a, mechanism: b, private: c, ciphertext: d, template: e }
        41 State { session: a }
        42 Validation { session: a }
    }
    Reply {
        0 Done
        1 Number { 0: a }
        2 Pair { 0: a, 1: b }
        3 Numbers { 0: a }
        4 Bytes { 0: a }
        5 Answers { 0: a }
        6 Wrote { 0: a }
        7 Needs { 0: a }
        8 Token { 0: a }
        9 Mechanism { 0: a }
        10 Message { 0: a, 1: b }
        11 Wrapped { 0: a, 1: b }
        12 Derived { key: a, further: b, bytes: c }
        13 Encapsulated { 0: a, 1: b }
    }
}
