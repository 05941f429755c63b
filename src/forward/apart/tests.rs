use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::frame::Frames;
use super::*;
use super::{Hello, Order};
use crate::token::*;

fn read_back<'a>(bytes: &'a [u8]) -> Option<Call<'a>> {
    Reader::whole(bytes)
}

fn bytes_of<'a>(value: &impl Wire<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.put(&mut bytes);
    bytes
}

/// One of each kind of parameter.
fn every_parameter() -> Vec<Params> {
    let some = |byte: u8| Bytes::from_slice(&[byte; 5]);
    let randoms = TlsRandoms { client: some(1), server: some(2) };
    let oaep = OaepParams { hash: 1, mgf: 2, label: some(3) };
    let format = NumberFormat { little_endian: true, bits: 16 };
    let message = MessageParams {
        iv: some(4),
        fixed_bits: 3,
        generator: Generator::CounterXor,
        tag_len: 16,
        tag: Bytes::new(),
        data_len: Some(9),
    };
    let nested = vec![Attribute { ty: CKA_WRAP_TEMPLATE, value: Value::Template(vec![Attribute::ulong(1, 2)]) }];
    vec![
        Params::None,
        Params::Iv(some(1)),
        Params::Ctr { counter_bits: 32, block: [7; 16] },
        Params::Gcm { iv: some(1), aad: some(2), tag_bits: 128 },
        Params::Message { message, aad: some(9) },
        Params::Ccm { data_len: 1, nonce: some(1), aad: some(2), mac_len: 8 },
        Params::Salsa { block: 1 << 40, nonce: some(1) },
        Params::SalsaAead { nonce: some(1), aad: some(2) },
        Params::MacLength(4),
        Params::Pss(PssParams { hash: 1, mgf: 2, salt_len: 3 }),
        Params::Oaep(oaep.clone()),
        Params::Ecdh { kdf: 1, shared: some(1), public: some(2) },
        Params::Eddsa { prehash: true, context: some(1) },
        Params::SignContext { hedge: 1, context: some(1), hash: Some(5) },
        Params::RsaAesWrap { aes_bits: 256, oaep },
        Params::EcdhAesWrap { aes_bits: 128, kdf: 1, shared: some(1) },
        Params::Object(ObjectId(77)),
        Params::Data(some(1)),
        Params::CbcData { iv: some(1), data: some(2) },
        Params::Number(u64::MAX),
        Params::Hkdf(Box::new(HkdfParams {
            extract: true,
            expand: false,
            hash: 4,
            salt: HkdfSalt::Key(ObjectId(3)),
            info: some(1),
        })),
        Params::Pbkdf2(Box::new(Pbkdf2Params {
            salt: some(1),
            iterations: 3,
            prf: 4,
            password: Hidden(zeroize::Zeroizing::new(vec![1, 2])),
        })),
        Params::Kbkdf(Box::new(KbkdfParams {
            prf: 1,
            fields: vec![
                KbkdfField::Iteration(None),
                KbkdfField::Counter(format),
                KbkdfField::Length { of_segments: true, format },
                KbkdfField::Bytes(some(1)),
                KbkdfField::Key(ObjectId(1)),
            ],
            iv: some(2),
            further: vec![nested],
        })),
        Params::TlsMaster(Box::new(TlsMasterParams {
            hash: 1,
            seed: TlsSeed::SessionHash(some(1)),
            wants_version: true,
        })),
        Params::TlsKeyMaterial(Box::new(TlsKeyMaterialParams {
            mac_bits: 1,
            key_bits: 2,
            iv_bits: 3,
            export: false,
            randoms: randoms.clone(),
            hash: 4,
        })),
        Params::TlsKdf(Box::new(TlsKdfParams { prf: 1, label: some(1), randoms, context: Some(Bytes::new()) })),
        Params::TlsMac(TlsMacParams { prf: 1, length: 2, sender: 1 }),
        Params::IkePrf(Box::new(IkePrfParams {
            prf: 1,
            data_as_key: true,
            new_key: Some(ObjectId(2)),
            initiator: some(1),
            responder: some(2),
        })),
        Params::Ike1Prf(Box::new(Ike1PrfParams {
            prf: 1,
            shared: ObjectId(1),
            previous: None,
            initiator: some(1),
            responder: some(2),
            number: 3,
        })),
        Params::IkeExpand(Box::new(IkeExpandParams { prf: 1, key: None, data: some(1) })),
        Params::Otp(Box::new(OtpParams { counter: Some(1), length: Some(6), ..OtpParams::default() })),
        Params::Opaque(some(1)),
    ]
}

#[test]
fn every_parameter_arrives_as_it_was() {
    for params in every_parameter() {
        let mechanism = Mechanism { ty: 0x8000_0001, params };
        let call = Call::Begin { session: 1, what: Use::Sign, mechanism: Cow::Borrowed(&mechanism), key: Some(2) };
        let bytes = bytes_of(&call);
        let Some(Call::Begin { mechanism: read, key: Some(2), .. }) = read_back(&bytes) else {
            panic!("{mechanism:?}")
        };
        assert_eq!(*read, mechanism);
        // A byte less, or more, and it is nothing.
        assert!(read_back(&bytes[..bytes.len() - 1]).is_none(), "{mechanism:?}");
        assert!(read_back(&[&bytes[..], &[0]].concat()).is_none(), "{mechanism:?}");
    }
}

#[test]
fn templates_within_templates_have_an_end() {
    let mut value = Value::Bytes(zeroize::Zeroizing::new(vec![1]));
    for _ in 0..4 {
        value = Value::Template(vec![Attribute { ty: 1, value }]);
    }
    assert!(Reader::whole::<Value>(&bytes_of(&value)) == Some(value.clone()));
    for _ in 0..60 {
        value = Value::Template(vec![Attribute { ty: 1, value }]);
    }
    assert!(Reader::whole::<Value>(&bytes_of(&value)).is_none());
}

#[test]
fn a_count_of_more_than_there_is_takes_no_memory() {
    let mut bytes = vec![3];
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(Reader::whole::<Reply>(&bytes).is_none());
}

#[test]
fn a_frame_that_says_it_is_longer_than_any_is_refused_and_one_that_drips_is_late() {
    let (here, there) = UnixStream::pair().unwrap();
    crate::os::send(&there, &[0xff; 8], None).unwrap();
    assert_eq!(Frames::default().receive(&here, None).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    let (here, there) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        for _ in 0..100 {
            let _ = crate::os::send(&there, &[1], None);
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let until = Instant::now() + Duration::from_millis(100);
    assert_eq!(Frames::default().receive(&here, Some(until)).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Reader::whole::<Asked<'_>>(&bytes);
        let _ = Reader::whole::<Order<'_>>(&bytes);
        let _ = Reader::whole::<Hello>(&bytes);
        if let Some(answer) = Reader::whole::<Answered<'_>>(&bytes) {
            prop_assert_eq!(bytes_of(&answer), bytes);
        }
    }
}
