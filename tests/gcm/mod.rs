//! GCM's parameters, of which most tests want the same.

use std::ptr::null_mut;

use cryptoki_sys::*;

/// Without associated data; the tag has so many bits.
#[allow(dead_code)] // Each test that has this file uses its part.
pub fn gcm(iv: &mut [u8], bits: CK_ULONG) -> CK_GCM_PARAMS {
    CK_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: iv.len() as CK_ULONG,
        ulIvBits: 8 * iv.len() as CK_ULONG,
        pAAD: null_mut(),
        ulAADLen: 0,
        ulTagBits: bits,
    }
}
