//! The two Brainpool curves of 512 bits (RFC 5639), which have no crate: their constants for RustCrypto's generic arithmetic.

use primeorder::elliptic_curve::array::typenum::U64;
use primeorder::elliptic_curve::bigint::{Odd, U512};
use primeorder::elliptic_curve::scalar::{FromUintUnchecked, IsHigh};
use primeorder::elliptic_curve::subtle::{Choice, ConstantTimeGreater};
use primeorder::elliptic_curve::{Curve, CurveArithmetic, PrimeCurve, PrimeField, scalar_impls};
use primeorder::{FieldArithmetic, PrimeCurveParams, mul_backend, point_arithmetic, wnaf};

use crate::crypto::brainpool::{P512R1, P512T1};
use field::FieldElement;
use order::Scalar;

const ORDER: Odd<U512> = Odd::<U512>::from_be_hex(P512R1.order);

/// Modulo the field's prime.
#[allow(clippy::all, dead_code, deprecated)]
mod field {
    use primeorder::elliptic_curve::bigint::U512;
    use primeorder::elliptic_curve::ff::PrimeField;
    use primeorder::elliptic_curve::ops::BatchInvert;
    use primeorder::elliptic_curve::subtle::{Choice, ConstantTimeEq, CtOption};

    use crate::crypto::brainpool::P512R1;

    primefield::monty_field_params! {
        name: FieldParams,
        modulus: P512R1.p,
        uint: U512,
        byte_order: primefield::ByteOrder::BigEndian,
        multiplicative_generator: 2,
        doc: "Modulo the field's prime"
    }
    primefield::monty_field_element! { name: FieldElement, params: FieldParams, uint: U512, doc: "An element of the field" }
    primefield::monty_field_arithmetic! { name: FieldElement, params: FieldParams, uint: U512 }

    impl BatchInvert for FieldElement {}
}

/// Modulo the order of the base point.
#[allow(clippy::all, dead_code, deprecated)]
mod order {
    use primeorder::elliptic_curve::bigint::U512;
    use primeorder::elliptic_curve::ff::PrimeField;
    use primeorder::elliptic_curve::subtle::{Choice, ConstantTimeEq, CtOption};

    use crate::crypto::brainpool::P512R1;

    primefield::monty_field_params! {
        name: ScalarParams,
        modulus: P512R1.order,
        uint: U512,
        byte_order: primefield::ByteOrder::BigEndian,
        multiplicative_generator: 7,
        doc: "Modulo the order"
    }
    primefield::monty_field_element! { name: Scalar, params: ScalarParams, uint: U512, doc: "A scalar" }
    primefield::monty_field_arithmetic! { name: Scalar, params: ScalarParams, uint: U512 }
    primefield::monty_field_reduce! { name: Scalar, params: ScalarParams, uint: U512, }
}

wnaf::impl_wnaf_size_for_scalar!(Scalar);

impl AsRef<Scalar> for Scalar {
    fn as_ref(&self) -> &Scalar {
        self
    }
}

impl FromUintUnchecked for Scalar {
    type Uint = U512;

    fn from_uint_unchecked(uint: U512) -> Scalar {
        Scalar::from_uint_unchecked(uint)
    }
}

impl IsHigh for Scalar {
    fn is_high(&self) -> Choice {
        const HALF: U512 = ORDER.as_ref().shr_vartime(1);
        self.to_canonical().ct_gt(&HALF)
    }
}

/// A curve over these two fields.
macro_rules! curve {
    ($name:ident, $domain:ident, $arithmetic:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, PartialOrd, Ord)]
        pub struct $name;

        impl Curve for $name {
            type FieldBytesSize = U64;
            type Uint = U512;
            const ORDER: Odd<U512> = ORDER;
        }

        impl PrimeCurve for $name {}

        impl CurveArithmetic for $name {
            type AffinePoint = primeorder::AffinePoint<$name>;
            type ProjectivePoint = primeorder::ProjectivePoint<$name>;
            type Scalar = Scalar;
        }

        impl FieldArithmetic for $name {
            type FieldElement = FieldElement;
        }

        impl PrimeCurveParams for $name {
            type PointArithmetic = point_arithmetic::$arithmetic;
            type Backend = mul_backend::VariableOnly;
            const EQUATION_A: FieldElement = FieldElement::from_hex_vartime($domain.a);
            const EQUATION_B: FieldElement = FieldElement::from_hex_vartime($domain.b);
            const GENERATOR: (FieldElement, FieldElement) =
                (FieldElement::from_hex_vartime($domain.x), FieldElement::from_hex_vartime($domain.y));
        }

        scalar_impls!($name, Scalar);
    };
}

curve!(BrainpoolP512r1, P512R1, EquationAIsGeneric, "brainpoolP512r1");
curve!(BrainpoolP512t1, P512T1, EquationAIsMinusThree, "brainpoolP512t1");
