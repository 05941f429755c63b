//! The curves: one row each.

/// In which form a curve is written, and so what its keys can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Short Weierstrass: ECDSA, ECDH.
    Weierstrass,
    /// EdDSA.
    Edwards,
    /// ECDH on x-coordinates.
    Montgomery,
}

macro_rules! curves {
    ($($curve:ident = $form:ident, $bits:literal, $field:literal, $order:literal, $oid:expr, $names:expr, $others:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Curve { $($curve,)* }

        impl Curve {
            pub const ALL: &'static [Curve] = &[$(Curve::$curve,)*];

            pub const fn form(self) -> Form {
                match self { $(Curve::$curve => Form::$form,)* }
            }

            /// Size in bits, as standards speak of it: of the field.
            pub const fn bits(self) -> u32 {
                match self { $(Curve::$curve => $bits,)* }
            }

            /// Length in bytes of a coordinate; of a public key on Edwards and Montgomery curves.
            pub const fn field_len(self) -> usize {
                match self { $(Curve::$curve => $field,)* }
            }

            /// Length in bytes of a private key: of the order, or of the seed.
            pub const fn private_len(self) -> usize {
                match self { $(Curve::$curve => $order,)* }
            }

            /// The object identifier, as the contents of its DER form (RFC 5480, RFC 8410).
            pub const fn oid(self) -> &'static [u8] {
                match self { $(Curve::$curve => $oid,)* }
            }

            /// The names it goes by; the first is the one that PKCS#11 or SEC 2 uses.
            pub const fn names(self) -> &'static [&'static str] {
                match self { $(Curve::$curve => $names,)* }
            }

            /// Further object identifiers that mean it.
            pub const fn other_oids(self) -> &'static [&'static [u8]] {
                match self { $(Curve::$curve => $others,)* }
            }
        }
    };
}

// 1.3.132.0.33, 1.2.840.10045.3.1.7, 1.3.132.0.34, 1.3.132.0.35, 1.3.132.0.10, 1.3.36.3.3.2.8.1.1.x (RFC 5639, A.2), 1.3.101.112,
// 1.3.101.110; the others are GnuPG's
// 1.3.6.1.4.1.11591.15.1 and 1.3.6.1.4.1.3029.1.5.1, which OpenSC writes too.
curves! {
    P224 = Weierstrass, 224, 28, 28, &[0x2b, 0x81, 0x04, 0x00, 0x21], &["secp224r1", "P-224"], &[];
    P256 = Weierstrass, 256, 32, 32, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        &["secp256r1", "prime256v1", "P-256"], &[];
    P384 = Weierstrass, 384, 48, 48, &[0x2b, 0x81, 0x04, 0x00, 0x22], &["secp384r1", "P-384"], &[];
    P521 = Weierstrass, 521, 66, 66, &[0x2b, 0x81, 0x04, 0x00, 0x23], &["secp521r1", "P-521"], &[];
    Secp256k1 = Weierstrass, 256, 32, 32, &[0x2b, 0x81, 0x04, 0x00, 0x0a], &["secp256k1"], &[];
    BrainpoolP256r1 = Weierstrass, 256, 32, 32, &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07],
        &["brainpoolP256r1"], &[];
    BrainpoolP256t1 = Weierstrass, 256, 32, 32, &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x08],
        &["brainpoolP256t1"], &[];
    BrainpoolP384r1 = Weierstrass, 384, 48, 48, &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b],
        &["brainpoolP384r1"], &[];
    BrainpoolP384t1 = Weierstrass, 384, 48, 48, &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0c],
        &["brainpoolP384t1"], &[];
    BrainpoolP512r1 = Weierstrass, 512, 64, 64, &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0d],
        &["brainpoolP512r1"], &[];
    BrainpoolP512t1 = Weierstrass, 512, 64, 64, &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0e],
        &["brainpoolP512t1"], &[];
    Ed25519 = Edwards, 255, 32, 32, &[0x2b, 0x65, 0x70], &["edwards25519", "Ed25519", "id-Ed25519"],
        &[&[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01]];
    Ed448 = Edwards, 448, 57, 57, &[0x2b, 0x65, 0x71], &["edwards448", "Ed448", "id-Ed448"], &[];
    X25519 = Montgomery, 255, 32, 32, &[0x2b, 0x65, 0x6e], &["curve25519", "X25519", "id-X25519"],
        &[&[0x2b, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01]];
    X448 = Montgomery, 448, 56, 56, &[0x2b, 0x65, 0x6f], &["curve448", "X448", "id-X448"], &[];
}

impl Curve {
    /// By the contents of an object identifier's DER form.
    pub fn from_oid(oid: &[u8]) -> Option<Curve> {
        Curve::ALL.iter().copied().find(|curve| curve.oid() == oid || curve.other_oids().contains(&oid))
    }

    /// By name, whatever its case.
    pub fn from_name(name: &str) -> Option<Curve> {
        Curve::ALL.iter().copied().find(|curve| curve.names().iter().any(|known| known.eq_ignore_ascii_case(name)))
    }

    /// Length in bytes of a public key in its standard encoding: uncompressed on Weierstrass curves.
    pub const fn public_len(self) -> usize {
        match self.form() {
            Form::Weierstrass => 1 + 2 * self.field_len(),
            Form::Edwards | Form::Montgomery => self.field_len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkcs8::ObjectIdentifier;

    #[test]
    fn the_identifiers_are_those_of_the_standards() {
        let written = [
            (Curve::P224, "1.3.132.0.33"),
            (Curve::Secp256k1, "1.3.132.0.10"),
            (Curve::BrainpoolP256r1, "1.3.36.3.3.2.8.1.1.7"),
            (Curve::BrainpoolP256t1, "1.3.36.3.3.2.8.1.1.8"),
            (Curve::BrainpoolP384r1, "1.3.36.3.3.2.8.1.1.11"),
            (Curve::BrainpoolP384t1, "1.3.36.3.3.2.8.1.1.12"),
            (Curve::BrainpoolP512r1, "1.3.36.3.3.2.8.1.1.13"),
            (Curve::BrainpoolP512t1, "1.3.36.3.3.2.8.1.1.14"),
            (Curve::P256, "1.2.840.10045.3.1.7"),
            (Curve::P384, "1.3.132.0.34"),
            (Curve::P521, "1.3.132.0.35"),
            (Curve::Ed25519, "1.3.101.112"),
            (Curve::Ed448, "1.3.101.113"),
            (Curve::X448, "1.3.101.111"),
            (Curve::Ed25519, "1.3.6.1.4.1.11591.15.1"),
            (Curve::X25519, "1.3.101.110"),
            (Curve::X25519, "1.3.6.1.4.1.3029.1.5.1"),
        ];
        for (curve, dotted) in written {
            let oid = ObjectIdentifier::new(dotted).unwrap();
            assert_eq!(Curve::from_oid(oid.as_bytes()), Some(curve), "{dotted}");
        }
        assert_eq!(Curve::from_oid(ObjectIdentifier::new("1.3.132.0.9").unwrap().as_bytes()), None);
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Curve::from_name("Edwards25519"), Some(Curve::Ed25519));
        assert_eq!(Curve::from_name("p-256"), Some(Curve::P256));
        assert_eq!(Curve::from_name("secp160r1"), None);
    }
}
