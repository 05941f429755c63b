//! SHAKE (FIPS 202) of one input. RustCrypto stands behind it.

use ::shake::{ExtendableOutput, Shake128, Shake256, Update, XofReader};

use crate::secret::SecretBytes;

fn output<S: Default + Update + ExtendableOutput>(input: &[u8], len: usize) -> SecretBytes {
    let mut state = S::default();
    state.update(input);
    let mut out = SecretBytes::zeroed(len);
    state.finalize_xof().read(out.expose_mut());
    out
}

/// `len` bytes of SHAKE128.
pub fn shake128(input: &[u8], len: usize) -> SecretBytes {
    output::<Shake128>(input, len)
}

/// `len` bytes of SHAKE256.
pub fn shake256(input: &[u8], len: usize) -> SecretBytes {
    output::<Shake256>(input, len)
}
