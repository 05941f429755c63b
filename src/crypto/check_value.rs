//! Checksums of keys and certificates: three bytes by which two systems see that they hold the same key.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::block::BlockCipher as _;
use super::seed::Seed;

/// How a checksum is taken: of a hash of the value, or of one block of zeros encrypted under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Sha1,
    Aes,
    /// XTS with tweak zero; the value is both keys.
    AesXts,
    Des,
    Camellia,
    Aria,
    Seed,
}

impl Check {
    /// The first three bytes; `None` where the value has no length of the cipher's keys.
    pub fn of(self, value: &[u8]) -> Option<[u8; 3]> {
        match self {
            Check::Sha1 => first_three(&Sha1::digest(value)),
            Check::Aes => first_three(&*aes_block(value, [0; 16])?),
            Check::AesXts => xts(value),
            Check::Des => match value.len() {
                8 => encrypt_zeros::<des::Des>(value),
                16 => encrypt_zeros::<des::TdesEde2>(value),
                _ => encrypt_zeros::<des::TdesEde3>(value),
            },
            Check::Camellia => match value.len() {
                16 => encrypt_zeros::<camellia::Camellia128>(value),
                24 => encrypt_zeros::<camellia::Camellia192>(value),
                _ => encrypt_zeros::<camellia::Camellia256>(value),
            },
            Check::Aria => match value.len() {
                16 => encrypt_zeros::<aria::Aria128>(value),
                24 => encrypt_zeros::<aria::Aria192>(value),
                _ => encrypt_zeros::<aria::Aria256>(value),
            },
            Check::Seed => {
                let mut block = [0; 16];
                Seed::new(value).ok()?.encrypt_block(&mut block);
                first_three(&block)
            }
        }
    }
}

fn first_three(bytes: &[u8]) -> Option<[u8; 3]> {
    bytes.get(..3)?.try_into().ok()
}

fn encrypt_zeros<C: BlockCipherEncrypt + KeyInit>(key: &[u8]) -> Option<[u8; 3]> {
    let cipher = C::new_from_slice(key).ok()?;
    let mut block = Array::default();
    cipher.encrypt_block(&mut block);
    first_three(&block)
}

fn aes_block(key: &[u8], block: [u8; 16]) -> Option<Zeroizing<[u8; 16]>> {
    let mut block = Array::from(block);
    match key.len() {
        16 => aes::Aes128::new_from_slice(key).ok()?.encrypt_block(&mut block),
        24 => aes::Aes192::new_from_slice(key).ok()?.encrypt_block(&mut block),
        _ => aes::Aes256::new_from_slice(key).ok()?.encrypt_block(&mut block),
    }
    Some(Zeroizing::new(block.into()))
}

fn xts(value: &[u8]) -> Option<[u8; 3]> {
    let (data, tweak) = value.split_at(value.len() / 2);
    let mask = aes_block(tweak, [0; 16])?;
    let block = aes_block(data, *mask)?;
    let masked: Zeroizing<Vec<u8>> = Zeroizing::new(block.iter().zip(mask.iter()).map(|(a, b)| a ^ b).collect());
    first_three(&masked)
}

/// CRC-64 of ECMA-182 (most significant bit first, no inversion), as 8 bytes big-endian.
pub fn crc64(bytes: &[u8]) -> [u8; 8] {
    const POLYNOMIAL: u64 = 0x42F0_E1EB_A9EA_3693;
    let crc = bytes.iter().fold(0u64, |crc, byte| {
        (0..8).fold(
            crc ^ (u64::from(*byte) << 56),
            |crc, _| {
                if crc >> 63 == 1 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 }
            },
        )
    });
    crc.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// Each expected value is the start of `openssl enc -e -nopad` over one block of zeros (or of `openssl sha1`).
    #[test]
    fn checksums_are_those_of_openssl() {
        let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        for (check, len, expected) in VECTORS {
            assert_eq!(
                check.of(&hex(&key[..len * 2])).as_ref().map(|b| b.to_vec()),
                Some(hex(expected)),
                "{check:?} {len}"
            );
        }
    }

    const VECTORS: &[(Check, usize, &str)] = &[
        (Check::Aes, 16, "c6a13b"),
        (Check::Seed, 16, "c11f22"),
        (Check::Camellia, 16, "477650"),
        (Check::Aria, 16, "fa2827"),
        (Check::Aes, 24, "916251"),
        (Check::Camellia, 24, "c3cc4f"),
        (Check::Aria, 24, "3b6cbe"),
        (Check::Aes, 32, "f29000"),
        (Check::Camellia, 32, "cecf4f"),
        (Check::Aria, 32, "629dc7"),
        (Check::Des, 8, "a5173a"),
        (Check::Des, 16, "ddada1"),
        (Check::Des, 24, "894bc3"),
        (Check::AesXts, 32, "f071a2"),
        (Check::Sha1, 32, "ae5bd8"),
    ];

    #[test]
    fn a_value_of_no_key_length_has_no_checksum() {
        for check in [Check::Aes, Check::AesXts, Check::Des, Check::Camellia, Check::Aria, Check::Seed] {
            for len in [0, 1, 15, 17, 33] {
                assert_eq!(check.of(&vec![0; len]), None, "{check:?} {len}");
            }
        }
        assert_eq!(Check::Sha1.of(&[]), Some([0xda, 0x39, 0xa3]));
    }

    /// The check value that the catalogue of CRCs gives for CRC-64/ECMA-182.
    #[test]
    fn crc64_of_the_nine_digits() {
        assert_eq!(crc64(b"123456789"), 0x6C40_DF5F_0B49_7347u64.to_be_bytes());
        assert_eq!(crc64(b""), [0; 8]);
    }
}
