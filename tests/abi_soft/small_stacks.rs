//! Hosts give their threads as little stack as they like: stunnel 64 KiB, of which its TLS library takes a part.

use std::ptr::null_mut;
use std::thread;

use cryptoki_sys::*;

use crate::harness::*;
use crate::ok;
use crate::signed::signers;

/// Bytes: what may be left of stunnel's.
const SMALL: usize = 40 * 1024;

fn on_a_small_stack(work: fn()) {
    thread::Builder::new().stack_size(SMALL).spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_token_is_opened_and_used() {
    on_a_small_stack(|| {
        // Opens the slot file, and derives the key from the PIN.
        let running = start();
        let session = running.session;
        let keys = Template::new().yes(CKA_TOKEN).number(CKA_MODULUS_BITS, 2048);
        let (public, private) = pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, keys, Template::new().yes(CKA_TOKEN));
        for signer in signers(session) {
            let (mut signature, mut signature_len) = ([0; 512], 512);
            ok!(C_SignInit, session, ptr(&[signer.mechanism]), signer.signs);
            ok!(C_Sign, session, ptr(&[1; 32]), 32, signature.as_mut_ptr(), &raw mut signature_len);
            ok!(C_VerifyInit, session, ptr(&[signer.mechanism]), signer.verifies);
            ok!(C_Verify, session, ptr(&[1; 32]), 32, ptr(&signature), signature_len);
        }
        assert!(find(session, Template::new().yes(CKA_TOKEN)).contains(&private));
        ok!(C_DestroyObject, session, private);
        ok!(C_DestroyObject, session, public);
        ok!(C_CloseAllSessions, running.slot);
        let again = open(running.slot);
        assert_eq!(login(again, CKU_USER), CKR_OK);
        ok!(C_SeedRandom, again, ptr(&[0; 8]), 8);
        ok!(C_GenerateRandom, again, [0; 64].as_mut_ptr(), 64);
        ok!(C_FindObjectsInit, again, null_mut(), 0);
        ok!(C_FindObjectsFinal, again);
    });
}
