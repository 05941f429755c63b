use super::super::dh::tests::pair;
use super::*;

fn begun(ty: CK_MECHANISM_TYPE, what: Use, key: &Attributes) -> Result<Box<dyn Operation>, Code> {
    let row = super::super::table::row(ty).unwrap();
    let key = Arc::new(Key::prepare(key).unwrap());
    row.does.begin.unwrap()(row, what, &Params::None, Some(&key)).map_err(|e| e.code())
}

#[test]
fn signs_and_verifies_with_every_row() {
    let (public, private) = pair(CKM_DSA_KEY_PAIR_GEN, vec![]).unwrap();
    for row in ROWS.iter().filter(|row| row.does.begin.is_some()) {
        let (message, mut signature) = ([7; 32], [0; 40]);
        let mut sign = begun(row.ty, Use::Sign, &private).unwrap();
        assert_eq!(sign.whole(&message, &mut signature).unwrap(), 40, "{}", row.name);
        begun(row.ty, Use::Verify, &public).unwrap().verify(Some(&message), &signature).unwrap();
        let refused = |message: &[u8], signature: &[u8]| {
            begun(row.ty, Use::Verify, &public).unwrap().verify(Some(message), signature).unwrap_err().code()
        };
        assert_eq!(refused(&[8; 32], &signature), Code::SignatureInvalid, "{}", row.name);
        assert_eq!(refused(&message, &signature[1..]), Code::SignatureLenRange, "{}", row.name);
        assert_eq!(refused(&message, &[0; 40]), Code::SignatureInvalid, "{}", row.name);
        signature[39] ^= 1;
        assert_eq!(refused(&message, &signature), Code::SignatureInvalid, "{}", row.name);
        // Each half for its own use.
        assert_eq!(begun(row.ty, Use::Sign, &public).err(), Some(Code::KeyTypeInconsistent));
        assert_eq!(begun(row.ty, Use::Verify, &private).err(), Some(Code::KeyTypeInconsistent));
    }
    let mut out = [0; 40];
    let code = begun(CKM_DSA, Use::Sign, &private).unwrap().whole(&[1; 21], &mut out).unwrap_err().code();
    assert_eq!(code, Code::DataLenRange);
}

#[test]
fn parameters_are_made_and_found_good() {
    let row = super::super::table::row(CKM_DSA_PARAMETER_GEN).unwrap();
    let make = |bits| {
        let template = [Attribute::ulong(CKA_PRIME_BITS, bits)].into_iter().collect();
        row.does.generate.unwrap()(row, &Params::None, &template)
    };
    let mut made: Attributes = make(1024).unwrap().into_iter().collect();
    made.put(Attribute::ulong(CKA_KEY_TYPE, CKK_DSA));
    group(&made).unwrap();
    assert_eq!((made.bytes(CKA_PRIME).unwrap().len(), made.bytes(CKA_SUBPRIME).unwrap().len()), (128, 20));
    for bad in [0, 1023, 1056, 4160, u64::MAX] {
        assert_eq!(make(bad).unwrap_err().code(), Code::AttributeValueInvalid);
    }
    let none = row.does.generate.unwrap()(row, &Params::None, &Attributes::new()).unwrap_err();
    assert_eq!(none.code(), Code::TemplateIncomplete);
}
