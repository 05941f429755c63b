//! What is wrong in a signature.

use cryptoki_sys::*;
use keyward::mechanism::table;

use crate::keys::good_enough;
use crate::world::{F, Table, World};

/// Every mechanism that signs and verifies, but for those whose parameter is a structure: its own signature, cut, lengthened and
/// changed.
pub fn lengths_and_bits(world: &World) -> Vec<String> {
    let mut table = Table::new("a signature that is none");
    let both = CKF_SIGN | CKF_VERIFY;
    for row in table::all().filter(|row| row.flags & both == both && row.ty != CKM_HOTP) {
        let (signs, verifies) = match row.ty {
            // For the short key alone.
            CKM_AES_XCBC_MAC | CKM_AES_XCBC_MAC_96 => [Some(world.secret(CKK_AES, &[1; 16])); 2].into(),
            _ => (world.key_for(row, F::Sign), world.key_for(row, F::Verify)),
        };
        let (Some(signs), Some(verifies), Some(mut parameter)) = (signs, verifies, good_enough(row.params)) else {
            continue;
        };
        // As long as SHA-1's output, which the mechanisms that take hashes take.
        let data = [0x5a; 20];
        let (rv, good) = world.once(F::Sign, parameter.mechanism(row.ty), signs, &data);
        table.add(format!("{}, sign", row.name), rv, CKR_OK);
        if rv != CKR_OK {
            continue;
        }
        let mut verify =
            |signature: &[u8]| world.module.verify(parameter.mechanism(row.ty), verifies, &data, signature);
        let mut changed = good.clone();
        *changed.last_mut().unwrap() ^= 1;
        table.add(format!("{}, verify", row.name), verify(&good), CKR_OK);
        for (what, signature, expected) in [
            ("none", &good[..0], CKR_SIGNATURE_LEN_RANGE),
            ("a byte less", &good[..good.len() - 1], CKR_SIGNATURE_LEN_RANGE),
            ("a byte more", &[&good[..], &[0]].concat(), CKR_SIGNATURE_LEN_RANGE),
            ("another bit", &changed, CKR_SIGNATURE_INVALID),
            ("zeros", &vec![0; good.len()], CKR_SIGNATURE_INVALID),
            ("ones", &vec![0xff; good.len()], CKR_SIGNATURE_INVALID),
        ] {
            table.add(format!("{}, {what}", row.name), verify(signature), expected);
        }
    }
    table.wrong(420)
}
