//! One-time passwords: HOTP (PKCS#11 3.2, "OTP", "OATH HOTP"; RFC 4226).

use std::sync::Arc;

use cryptoki_sys::*;
use subtle::ConstantTimeEq;

use super::generic::generate_value;
use super::key::Key;
use super::key_attributes::needed;
use super::table::{Does, NOTHING, Offer, ParamKind, Row, Spending, Spent};
use crate::crypto::digest::Digest;
use crate::crypto::hmac::HmacKey;
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::token::{Attribute, Operation, OtpParams, Params, Size, Step, Use};

/// RFC 4226, section 4, R6: at least 128 bits; a longer key than HMAC's block is hashed first, and gains nothing.
const SIZE: (CK_ULONG, CK_ULONG) = (16, 64);

/// RFC 4226, 5.3: at least six digits; 31 bits make up nine whole ones.
const DIGITS: std::ops::RangeInclusive<CK_ULONG> = 6..=9;

pub const ROWS: &[Row] = &[
    Row {
        ty: CKM_HOTP_KEY_GEN,
        name: "CKM_HOTP_KEY_GEN",
        flags: CKF_GENERATE,
        params: ParamKind::None,
        does: Does { generate: Some(generate), generates: CKO_OTP_KEY, ..NOTHING },
        ..HOTP
    },
    HOTP,
];

const HOTP: Row = Row {
    ty: CKM_HOTP,
    name: "CKM_HOTP",
    keys: &[CKK_HOTP],
    size: SIZE,
    flags: CKF_SIGN | CKF_VERIFY,
    params: ParamKind::Otp,
    offer: Offer::On,
    approved: false,
    hash: None,
    does: Does { begin: Some(begin), spend: Some(Spending { size, spend }), ..NOTHING },
};

/// A key and a counter, which the template may begin elsewhere than at 0. The codes of [`generate_value`].
fn generate(_: &'static Row, _: &Params, template: &Attributes) -> Result<Vec<Attribute>> {
    let mut own = generate_value(template, |len| (SIZE.0..=SIZE.1).contains(&(len as CK_ULONG)))?;
    own.push(Attribute::bytes(CKA_OTP_COUNTER, &counter_of(template)?.to_be_bytes()));
    Ok(own)
}

/// Unless it is said, a key counts from 0.
fn counter_of(attributes: &Attributes) -> Result<u64> {
    match attributes.bytes(CKA_OTP_COUNTER).unwrap_or_default() {
        [] => Ok(0),
        bytes => Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| Code::AttributeValueInvalid)?)),
    }
}

/// A prepared HOTP key.
pub struct OtpKey {
    hmac: HmacKey,
    digits: CK_ULONG,
    /// Whether a challenge, a time or a PIN must come with each use.
    requires: [bool; 3],
    friendly: bool,
}

impl OtpKey {
    /// `CKR_TEMPLATE_INCOMPLETE`
    pub(super) fn new(attributes: &Attributes) -> Result<OtpKey> {
        let requirements = [CKA_OTP_CHALLENGE_REQUIREMENT, CKA_OTP_TIME_REQUIREMENT, CKA_OTP_PIN_REQUIREMENT];
        Ok(OtpKey {
            hmac: HmacKey::new(Digest::Sha1, needed(attributes, CKA_VALUE)?),
            digits: attributes.ulong(CKA_OTP_LENGTH).unwrap_or(*DIGITS.start()),
            requires: requirements.map(|ty| attributes.ulong(ty) == Some(CK_OTP_PARAM_MANDATORY)),
            friendly: attributes.is_true(CKA_OTP_USER_FRIENDLY_MODE),
        })
    }

    /// How many digits these parameters ask for. `CKR_MECHANISM_PARAM_INVALID` for what they may not say to this key.
    fn digits(&self, params: &OtpParams) -> Result<CK_ULONG> {
        let invalid = |why: &str| Code::MechanismParamInvalid.because(why.to_owned());
        let given = [params.challenge, params.time, params.pin];
        if self.requires.iter().zip(given).any(|(required, given)| *required && !given) {
            return Err(invalid("the key asks for a challenge, a time or a PIN that is not given"));
        }
        let excluded = [CKF_EXCLUDE_CHALLENGE, CKF_EXCLUDE_TIME, CKF_EXCLUDE_PIN];
        if self.requires.iter().zip(excluded).any(|(required, flag)| *required && params.flags & flag != 0) {
            return Err(invalid("what the key makes mandatory cannot be excluded"));
        }
        if params.flags & (CKF_NEXT_OTP | CKF_EXCLUDE_COUNTER) != 0 {
            return Err(invalid("HOTP has a counter, and no next value before this one is given"));
        }
        if params.flags & CKF_USER_FRIENDLY_OTP != 0 && !self.friendly {
            return Err(invalid("the key's CKA_OTP_USER_FRIENDLY_MODE is false"));
        }
        if params.format.is_some_and(|format| format != CK_OTP_FORMAT_DECIMAL) {
            return Err(invalid("HOTP values are decimal"));
        }
        let digits = params.length.unwrap_or(self.digits);
        if DIGITS.contains(&digits) { Ok(digits) } else { Err(invalid("HOTP values have 6 to 9 digits")) }
    }

    /// RFC 4226, 5.3.
    fn value(&self, counter: u64, digits: CK_ULONG) -> String {
        let mut message = self.hmac.start();
        message.update(&counter.to_be_bytes());
        let mac = self.hmac.finish(&mut message);
        let at = mac.last().map_or(0, |last| usize::from(last & 0xf));
        let cut = mac.get(at..at + 4).unwrap_or_default();
        let number = cut.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) & 0x7fff_ffff;
        let width = digits as usize;
        format!("{:0width$}", u64::from(number) % 10u64.pow(width as u32))
    }
}

fn params_of(params: &Params) -> Result<&OtpParams> {
    match params {
        Params::Otp(params) => Ok(params),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

/// A counter of the caller's, unless the key ignores it.
fn provided(params: &OtpParams, attributes: &Attributes) -> Result<Option<u64>> {
    match attributes.ulong(CKA_OTP_COUNTER_REQUIREMENT) {
        Some(CK_OTP_PARAM_IGNORED) => Ok(None),
        Some(CK_OTP_PARAM_MANDATORY) => Ok(Some(params.counter.ok_or(Code::MechanismParamInvalid)?)),
        _ => Ok(params.counter),
    }
}

const PARAMS: usize = 3;

/// `CK_OTP_SIGNATURE_INFO`: the value, the counter, and the format.
fn info_len(digits: CK_ULONG) -> usize {
    size_of::<CK_OTP_SIGNATURE_INFO>()
        + PARAMS * size_of::<CK_OTP_PARAM>()
        + digits as usize
        + size_of::<u64>()
        + size_of::<CK_ULONG>()
}

fn size(_: &'static Row, params: &Params, attributes: &Attributes) -> Result<usize> {
    let params = params_of(params)?;
    provided(params, attributes)?;
    Ok(info_len(OtpKey::new(attributes)?.digits(params)?))
}

/// The counter goes up, unless the caller brought one. `CKR_DATA_LEN_RANGE`: there is no data ("pData shall be set to
/// NULL_PTR"); `CKR_KEY_EXHAUSTED` where the counter has come to its end.
fn spend(_: &'static Row, params: &Params, attributes: &Attributes, message: &[u8]) -> Result<Spent> {
    let (key, params) = (OtpKey::new(attributes)?, params_of(params)?);
    if !message.is_empty() {
        Err(Code::DataLenRange)?;
    }
    let digits = key.digits(params)?;
    let (counter, changed) = match provided(params, attributes)? {
        Some(counter) => (counter, Vec::new()),
        None => {
            let counter = counter_of(attributes)?;
            let next = counter.checked_add(1).ok_or(Code::KeyExhausted)?;
            (counter, vec![Attribute::bytes(CKA_OTP_COUNTER, &next.to_be_bytes())])
        }
    };
    let value = key.value(counter, digits);
    Ok(Spent { attributes: changed, produce: Box::new(move |_| Ok(encoded(&value, counter))) })
}

/// `CK_OTP_SIGNATURE_INFO` with all that it points to behind it; where it has pointers stand distances from its beginning, for
/// [`addressed`].
fn encoded(value: &str, counter: u64) -> Vec<u8> {
    let counter = counter.to_be_bytes();
    let format = CK_OTP_FORMAT_DECIMAL.to_ne_bytes();
    let values: [(CK_ULONG, &[u8]); PARAMS] =
        [(CK_OTP_VALUE, value.as_bytes()), (CK_OTP_COUNTER, &counter), (CK_OTP_OUTPUT_FORMAT, &format)];
    let array = size_of::<CK_OTP_SIGNATURE_INFO>();
    let mut words = vec![array as CK_ULONG, PARAMS as CK_ULONG];
    let mut at = array + PARAMS * size_of::<CK_OTP_PARAM>();
    for (ty, value) in values {
        words.extend([ty, at as CK_ULONG, value.len() as CK_ULONG]);
        at += value.len();
    }
    let words = words.into_iter().flat_map(CK_ULONG::to_ne_bytes);
    words.chain(values.iter().flat_map(|(_, value)| value.iter().copied())).collect()
}

/// Makes the distances in `info` addresses: it is where it stays, at `address`.
pub fn addressed(info: &mut [u8], address: usize) {
    const WORD: usize = size_of::<CK_ULONG>();
    // The array's own, and the middle one of each triple.
    for place in std::iter::once(0).chain((0..PARAMS).map(|at| 3 * at + 3)) {
        if let Some(word) = info.get_mut(place * WORD..(place + 1) * WORD)
            && let Ok(bytes) = <[u8; WORD]>::try_from(&*word)
        {
            word.copy_from_slice(&(CK_ULONG::from_ne_bytes(bytes).wrapping_add(address as CK_ULONG)).to_ne_bytes());
        }
    }
}

/// Verification, under a counter of the caller's. `CKR_MECHANISM_PARAM_INVALID` without it.
fn begin(_: &'static Row, what: Use, params: &Params, key: Option<&Arc<Key>>) -> Result<Box<dyn Operation>> {
    let key = key.ok_or(Code::KeyHandleInvalid)?.clone();
    let params = params_of(params)?;
    match what {
        Use::Verify => {
            let digits = key.otp()?.digits(params)?;
            let counter = params.counter.ok_or_else(|| {
                Code::MechanismParamInvalid.because("to verify a one-time password, CK_OTP_COUNTER must say which")
            })?;
            Ok(Box::new(Verification { key, counter, digits, parts: false }))
        }
        _ => Err(Code::KeyFunctionNotPermitted.into()),
    }
}

struct Verification {
    key: Arc<Key>,
    counter: u64,
    digits: CK_ULONG,
    /// Data came, where there is none.
    parts: bool,
}

impl Operation for Verification {
    fn size(&mut self, _: Step, _: usize) -> Result<Size> {
        Ok(Size::Exactly(0))
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        self.parts |= !input.is_empty();
        Ok(0)
    }

    fn finish(&mut self, _: &mut [u8]) -> Result<usize> {
        Err(Code::KeyFunctionNotPermitted.into())
    }

    fn verify(&mut self, input: Option<&[u8]>, signature: &[u8]) -> Result<()> {
        if self.parts || input.is_some_and(|input| !input.is_empty()) {
            Err(Code::DataLenRange)?;
        }
        if signature.len() != self.digits as usize {
            Err(Code::SignatureLenRange)?;
        }
        let value = self.key.otp()?.value(self.counter, self.digits);
        if bool::from(value.as_bytes().ct_eq(signature)) { Ok(()) } else { Err(Code::SignatureInvalid.into()) }
    }
}
