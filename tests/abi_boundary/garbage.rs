//! Every function of the table with NULLs and with garbage: before `C_Initialize`, after it, and after `C_Finalize`.

use std::ptr::null_mut;

use cryptoki_sys::*;
use keyward::abi::{FUNCTIONS, Function, function_list_3_2};

use crate::double::*;
use crate::{c, ok};

type Any = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, usize, usize, usize, usize) -> CK_RV;

/// What may be called at any time.
const ALWAYS: [&str; 4] = ["C_Initialize", "C_GetFunctionList", "C_GetInterfaceList", "C_GetInterface"];

fn functions() -> impl Iterator<Item = (&'static Function, Any)> {
    let list = (&raw const *function_list_3_2()).cast::<usize>();
    FUNCTIONS.iter().enumerate().map(move |(at, function)| {
        // SAFETY: behind the version a list is one pointer per function, in the order of `FUNCTIONS`; a C function may
        // be given more integer arguments than it takes.
        (function, unsafe { std::mem::transmute::<usize, Any>(*list.add(at + 1)) })
    })
}

fn call(function: Any, first: usize, others: usize) -> CK_RV {
    // SAFETY: NULLs and absurd lengths are what is tested; a wild pointer, which no library can tell, is not passed.
    unsafe { function(first, others, others, others, others, others, others, others, others, others) }
}

fn before_and_after(when: &str) {
    for (function, address) in functions().filter(|(function, _)| !ALWAYS.contains(&function.name)) {
        assert_eq!(call(address, 0, 0), CKR_CRYPTOKI_NOT_INITIALIZED, "{} {when}", function.name);
    }
}

#[test]
fn nothing_crashes_on_nulls() {
    let alone = alone();
    before_and_after("before");
    drop(alone);
    let running = start();
    for (function, address) in functions().filter(|(function, _)| !ALWAYS.contains(&function.name)) {
        let expected = match function.name {
            "C_Finalize" => continue,
            "C_GetInfo" | "C_GetSlotList" | "C_WaitForSlotEvent" | "C_OpenSession" => CKR_ARGUMENTS_BAD,
            "C_GetSlotInfo" | "C_GetTokenInfo" | "C_GetMechanismList" | "C_GetMechanismInfo" | "C_InitToken"
            | "C_CloseAllSessions" => CKR_SLOT_ID_INVALID,
            _ => CKR_SESSION_HANDLE_INVALID,
        };
        assert_eq!(call(address, 0, 0), expected, "{}", function.name);
    }
    drop(running);
    let _alone = self::alone();
    before_and_after("after");
}

#[test]
fn nothing_crashes_on_nulls_in_a_session() {
    let running = start();
    let session = open(CKF_RW_SESSION);
    for (function, address) in functions().filter(|(function, _)| !ALWAYS.contains(&function.name)) {
        let expected: &[CK_RV] = match function.name {
            "C_Finalize" | "C_GetSlotList" | "C_GetSlotInfo" | "C_GetTokenInfo" | "C_GetMechanismList"
            | "C_GetMechanismInfo" | "C_InitToken" | "C_OpenSession" | "C_CloseSession" | "C_CloseAllSessions"
            | "C_WaitForSlotEvent" | "C_GetInfo" => continue,
            "C_GetFunctionStatus" | "C_CancelFunction" => &[CKR_FUNCTION_NOT_PARALLEL],
            "C_Logout" | "C_InitPIN" => &[CKR_USER_NOT_LOGGED_IN],
            "C_GetSessionInfo"
            | "C_Login"
            | "C_LoginUser"
            | "C_SetPIN"
            | "C_CreateObject"
            | "C_CopyObject"
            | "C_GetObjectSize"
            | "C_FindObjects"
            | "C_GenerateKey"
            | "C_GenerateKeyPair"
            | "C_WrapKey"
            | "C_UnwrapKey"
            | "C_DeriveKey"
            | "C_GetOperationState" => &[CKR_ARGUMENTS_BAD],
            "C_DestroyObject" | "C_GetAttributeValue" | "C_SetAttributeValue" => &[CKR_OBJECT_HANDLE_INVALID],
            "C_SetOperationState" => &[CKR_SAVED_STATE_INVALID],
            "C_SessionCancel" | "C_FindObjectsInit" | "C_FindObjectsFinal" | "C_SeedRandom" | "C_GenerateRandom" => {
                &[CKR_OK]
            }
            // Without a place for the length, or without an operation.
            _ => &[CKR_ARGUMENTS_BAD, CKR_OPERATION_NOT_INITIALIZED],
        };
        let found = call(address, session as usize, 0);
        assert!(expected.contains(&found), "{}: {found:#x}", function.name);
    }
    drop(running);
}

#[test]
fn nothing_crashes_on_absurd_numbers() {
    let _running = start();
    let session = open(CKF_RW_SESSION) as usize;
    // All ones is an absurd length, and no address that any object reaches: each function must refuse it by its
    // lengths, or by a handle or flag before it looks at memory.
    let by_handle = [
        "C_CloseSession",
        "C_GetFunctionStatus",
        "C_CancelFunction",
        "C_Logout",
        "C_SessionCancel",
        "C_FindObjectsFinal",
        "C_DestroyObject",
        "C_DigestKey",
    ];
    for (function, address) in functions().filter(|(function, _)| by_handle.contains(&function.name)) {
        assert_ne!(call(address, usize::MAX, usize::MAX), CKR_OK, "{}", function.name);
    }
    let ends = [
        "C_SeedRandom",
        "C_GenerateRandom",
        "C_DigestUpdate",
        "C_SignUpdate",
        "C_VerifyUpdate",
        "C_Verify",
        "C_VerifyFinal",
        "C_FindObjectsInit",
        "C_SetOperationState",
        "C_InitPIN",
    ];
    for (function, address) in functions().filter(|(function, _)| ends.contains(&function.name)) {
        let expected = CKR_ARGUMENTS_BAD;
        assert_eq!(call(address, session, usize::MAX), expected, "{}", function.name);
    }
    let mut count = 0;
    assert_eq!(c!(C_FindObjects, session as CK_SESSION_HANDLE, null_mut(), 1, &raw mut count), CKR_ARGUMENTS_BAD);
}

#[test]
fn an_unknown_session_is_named_before_anything_else_is_looked_at() {
    let _running = start();
    let session = open(0);
    ok!(C_CloseSession, session);
    for handle in [session as usize, 0, usize::MAX] {
        for (function, address) in functions() {
            let takes_session = !ALWAYS.contains(&function.name)
                && !matches!(
                    function.name,
                    "C_Finalize"
                        | "C_GetInfo"
                        | "C_GetSlotList"
                        | "C_GetSlotInfo"
                        | "C_GetTokenInfo"
                        | "C_GetMechanismList"
                        | "C_GetMechanismInfo"
                        | "C_InitToken"
                        | "C_OpenSession"
                        | "C_CloseAllSessions"
                        | "C_WaitForSlotEvent"
                );
            if takes_session {
                assert_eq!(call(address, handle, usize::MAX), CKR_SESSION_HANDLE_INVALID, "{}", function.name);
            }
        }
    }
}
