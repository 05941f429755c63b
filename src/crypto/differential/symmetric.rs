//! AES, AES-GCM, and the hash functions.

use super::{Inputs, same_verdict};
use crate::crypto::block::{BlockCipher, CounterStream, Direction};
use crate::crypto::{aws, rust};

const DIRECTIONS: [Direction; 2] = [Direction::Encrypt, Direction::Decrypt];

#[test]
fn aes_in_its_modes() {
    let mut inputs = Inputs::new("aes");
    for key_len in [16, 24, 32].repeat(20) {
        let key = inputs.bytes(key_len);
        let (one, other) = (aws::aes::Schedules::new(&key).unwrap(), rust::aes::Schedules::new(&key).unwrap());
        let block: [u8; 16] = inputs.array();
        let (mut by_one, mut by_other) = (block, block);
        one.encrypt_block(&mut by_one);
        other.encrypt_block(&mut by_other);
        assert_eq!(by_one, by_other);
        one.decrypt_block(&mut by_one);
        other.decrypt_block(&mut by_other);
        assert_eq!((by_one, by_other), (block, block));
        for direction in DIRECTIONS {
            let iv: [u8; 16] = inputs.array();
            let blocks = inputs.below(80);
            let text = inputs.bytes(16 * blocks);
            let (mut by_one, mut by_other) = (vec![0; text.len()], vec![0; text.len()]);
            let (mut chain_one, mut chain_other) = (iv, iv);
            one.cbc(direction, &mut chain_one, &text, &mut by_one).unwrap();
            other.cbc(direction, &mut chain_other, &text, &mut by_other).unwrap();
            assert_eq!((&by_one, chain_one), (&by_other, chain_other), "CBC, {blocks} blocks");
            let (mut chain_one, mut chain_other) = (iv, iv);
            one.cfb1(direction, &mut chain_one, &text, &mut by_one);
            other.cfb1(direction, &mut chain_other, &text, &mut by_other);
            assert_eq!((&by_one, chain_one), (&by_other, chain_other), "CFB1, {blocks} blocks");
        }
    }
    for len in [0, 15, 17, 33, 64] {
        same_key_verdict(&inputs.bytes(len));
    }
}

fn same_key_verdict(key: &[u8]) {
    let (one, other) = (aws::aes::Schedules::new(key), rust::aes::Schedules::new(key));
    assert_eq!(one.err().unwrap().code(), other.err().unwrap().code());
    same_verdict(&aws::gcm::Key::new(key), &rust::gcm::Key::new(key), "a GCM key");
}

#[test]
fn aes_in_counter_mode_in_pieces() {
    let mut inputs = Inputs::new("ctr");
    for round in 0..60 {
        let key = inputs.bytes([16, 24, 32][round % 3]);
        let (one, other) = (aws::aes::Schedules::new(&key).unwrap(), rust::aes::Schedules::new(&key).unwrap());
        // Every fourth counter runs over, some of them in the middle of a batch.
        let mut block: [u8; 16] = inputs.array();
        if round % 4 == 0 {
            block = [0xff; 16];
            block[15] = 0xff - inputs.below(70) as u8;
        }
        let (mut stream_one, mut stream_other) = (CounterStream::new(block), CounterStream::new(block));
        for _ in 0..8 {
            let text = match inputs.below(3) {
                0 => inputs.below(20),
                1 => 16 * inputs.below(70),
                _ => inputs.below(1200),
            };
            let text = inputs.bytes(text);
            let (mut by_one, mut by_other) = (vec![0; text.len()], vec![0; text.len()]);
            one.ctr(&mut stream_one, &text, &mut by_one).unwrap();
            other.ctr(&mut stream_other, &text, &mut by_other).unwrap();
            assert_eq!(by_one, by_other);
            assert_eq!((stream_one.block, stream_one.used), (stream_other.block, stream_other.used));
        }
    }
}

/// Both libraries' messages, fed with the same pieces.
struct Pair(aws::gcm::Message, rust::gcm::Message);

impl Pair {
    fn start(&mut self, iv: &[u8], aad: &[u8], inputs: &mut Inputs) {
        self.0.start(iv).unwrap();
        self.1.start(iv).unwrap();
        let cut = inputs.below(aad.len() + 1);
        for piece in [&aad[..cut], &aad[cut..]] {
            self.0.authenticate(piece).unwrap();
            self.1.authenticate(piece).unwrap();
        }
    }

    fn update(&mut self, mut text: &[u8], inputs: &mut Inputs) -> Vec<u8> {
        let mut out = Vec::new();
        while !text.is_empty() {
            let (piece, rest) = text.split_at(1 + inputs.below(text.len()));
            let (mut by_one, mut by_other) = (vec![0; piece.len()], vec![0; piece.len()]);
            self.0.update(piece, &mut by_one).unwrap();
            self.1.update(piece, &mut by_other).unwrap();
            assert_eq!(by_one, by_other);
            out.extend_from_slice(&by_one);
            text = rest;
        }
        out
    }
}

#[test]
fn aes_gcm_in_pieces() {
    let mut inputs = Inputs::new("gcm");
    for round in 0..120 {
        let key = inputs.bytes([16, 24, 32][round % 3]);
        let keys = (aws::gcm::Key::new(&key).unwrap(), rust::gcm::Key::new(&key).unwrap());
        let begin = |direction| Pair(keys.0.begin(direction).unwrap(), keys.1.begin(direction).unwrap());
        let (mut seal, mut open) = (begin(Direction::Encrypt), begin(Direction::Decrypt));
        // The same two for more than one message.
        for _ in 0..2 {
            let iv_len = if inputs.below(2) == 0 { 12 } else { 1 + inputs.below(80) };
            let (iv, aad_len, text_len) = (inputs.bytes(iv_len), inputs.below(70), inputs.below(700));
            let (aad, text) = (inputs.bytes(aad_len), inputs.bytes(text_len));
            seal.start(&iv, &aad, &mut inputs);
            let sealed = seal.update(&text, &mut inputs);
            let (mut by_one, mut by_other) = ([0; 16], [0; 16]);
            seal.0.tag(&mut by_one).unwrap();
            seal.1.tag(&mut by_other).unwrap();
            assert_eq!(by_one, by_other, "IV of {iv_len}, AAD of {aad_len}, text of {text_len} bytes");
            for good in [true, false] {
                open.start(&iv, &aad, &mut inputs);
                assert_eq!(open.update(&sealed, &mut inputs), text);
                let len = 1 + inputs.below(16);
                let mut tag = by_one;
                tag[len - 1] ^= u8::from(!good);
                let (one, other) = (open.0.check(&tag[..len]), open.1.check(&tag[..len]));
                assert_eq!((one.is_ok(), other.is_ok()), (good, good));
            }
        }
    }
}

#[test]
fn aes_gcm_beyond_65536_blocks() {
    let mut inputs = Inputs::new("gcm counter");
    let (key, iv) = (inputs.bytes(32), inputs.bytes(12));
    let (one, other) = (aws::gcm::Key::new(&key).unwrap(), rust::gcm::Key::new(&key).unwrap());
    let mut pair = Pair(one.begin(Direction::Encrypt).unwrap(), other.begin(Direction::Encrypt).unwrap());
    pair.start(&iv, b"", &mut inputs);
    pair.update(&vec![0; 16 * 65_600], &mut inputs);
}

#[test]
fn gcm_refuses_an_empty_iv_in_both() {
    let (one, other) = (aws::gcm::Key::new(&[1; 16]).unwrap(), rust::gcm::Key::new(&[1; 16]).unwrap());
    let mut pair = Pair(one.begin(Direction::Encrypt).unwrap(), other.begin(Direction::Encrypt).unwrap());
    same_verdict(&pair.0.start(&[]), &pair.1.start(&[]), "an empty IV");
}

#[test]
fn the_stream_of_random_bytes() {
    let mut inputs = Inputs::new("stream");
    for len in [0, 1, 15, 16, 17, 1000, 4096, 4097, 100_000] {
        let (key, text) = (inputs.array(), inputs.bytes(len));
        let (mut by_one, mut by_other) = (text.clone(), text);
        aws::aes::key_stream(&key, &mut by_one).unwrap();
        rust::aes::key_stream(&key, &mut by_other).unwrap();
        assert_eq!(by_one, by_other);
    }
}

/// Also what is saved: a state of one goes on in the other.
#[test]
fn sha_1_and_sha_2() {
    use sha2::digest::common::hazmat::SerializableState;
    use sha2::digest::{FixedOutput, FixedOutputReset, Update};
    let mut inputs = Inputs::new("sha");
    for _ in 0..100 {
        let len = inputs.below(700);
        let text = inputs.bytes(len);
        let split = inputs.below(text.len() + 1);
        macro_rules! same {
            ($($name:ident),*) => {$({
                let (mut one, mut other) = (aws::sha::$name::default(), rust::sha::$name::default());
                one.update(&text[..split]);
                other.update(&text[..split]);
                assert_eq!(one.serialize(), other.serialize());
                let mut moved = aws::sha::$name::deserialize(&other.serialize()).unwrap();
                for hash in [&mut one, &mut moved] {
                    hash.update(&text[split..]);
                }
                other.update(&text[split..]);
                let expected = other.finalize_fixed();
                assert_eq!(one.finalize_fixed_reset(), expected);
                assert_eq!(moved.finalize_fixed(), expected);
                assert_eq!(one.serialize(), aws::sha::$name::default().serialize(), "begins anew");
            })*};
        }
        same!(Sha1, Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256);
    }
}
