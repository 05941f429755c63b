//! One row per function of PKCS#11 3.2. From the rows come the exported symbols, the function lists of 2.40, 3.0 and
//! 3.2, and [`FUNCTIONS`].

use std::ffi::c_void;

use cryptoki_sys::*;

use super::args::{In, Maybe, Out, OutExact, OutFound, OutList, Place};
use super::guard::guard;
use super::messages::Message;
use super::{general, keys, messages, operations};
use crate::error::Code;
use crate::module;
use crate::token::{Step, Use};

/// A function of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// `C_Sign`.
    pub name: &'static str,
    /// The version that brought it: (2, 40) stands for all before.
    pub since: (u8, u8),
}

macro_rules! functions {
    (
        v2_40 { $($a:ident ( $($a_arg:ident : $a_ty:ty),* $(,)? ) => $a_body:expr ;)* }
        v3_0 { $($b:ident ( $($b_arg:ident : $b_ty:ty),* $(,)? ) => $b_body:expr ;)* }
        v3_2 { $($c:ident ( $($c_arg:ident : $c_ty:ty),* $(,)? ) => $c_body:expr ;)* }
    ) => {
        functions! { @entries
            $($a($($a_arg: $a_ty),*) => $a_body;)*
            $($b($($b_arg: $b_ty),*) => $b_body;)*
            $($c($($c_arg: $c_ty),*) => $c_body;)*
        }

        static LIST_2_40: CK_FUNCTION_LIST =
            CK_FUNCTION_LIST { version: CK_VERSION { major: 2, minor: 40 }, $($a: Some(entry::$a),)* };
        static LIST_3_0: CK_FUNCTION_LIST_3_0 = CK_FUNCTION_LIST_3_0 {
            version: CK_VERSION { major: 3, minor: 0 }, $($a: Some(entry::$a),)* $($b: Some(entry::$b),)*
        };
        static LIST_3_2: CK_FUNCTION_LIST_3_2 = CK_FUNCTION_LIST_3_2 {
            version: CK_VERSION { major: 3, minor: 2 },
            $($a: Some(entry::$a),)* $($b: Some(entry::$b),)* $($c: Some(entry::$c),)*
        };

        /// Every function, in the order of the function lists.
        pub const FUNCTIONS: &[Function] = &[
            $(Function { name: stringify!($a), since: (2, 40) },)*
            $(Function { name: stringify!($b), since: (3, 0) },)*
            $(Function { name: stringify!($c), since: (3, 2) },)*
        ];
    };

    (@entries $($name:ident ( $($arg:ident : $ty:ty),* ) => $body:expr ;)*) => {
        /// The entries behind the lists. They are not the exported symbols themselves, which the loader may bind to
        /// functions of the same name in the host: the lists must lead to ours.
        #[allow(non_snake_case, unused_unsafe)]
        mod entry {
            use super::*;

            $(pub(super) unsafe extern "C" fn $name($($arg: $ty),*) -> CK_RV {
                // SAFETY: the arguments come as the application gave them; what it promises of its pointers by
                // calling (PKCS#11 3.2, section 5) is all that the wrappers of `args` ask for.
                guard(stringify!($name), || unsafe { $body })
            })*
        }

        #[allow(non_snake_case)]
        mod exported {
            use super::*;

            $(#[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $ty),*) -> CK_RV {
                // SAFETY: the same promise, passed on.
                unsafe { entry::$name($($arg),*) }
            })*
        }
    };

}

// Short names of the parameters' types, so that a row fits its line.
type H = CK_SESSION_HANDLE;
type S = CK_SLOT_ID;
type O = CK_OBJECT_HANDLE;
type P = *mut CK_OBJECT_HANDLE;
type N = CK_ULONG;
type L = *mut CK_ULONG;
type B = *mut CK_BYTE;
type M = *mut CK_MECHANISM;
type T = *mut CK_ATTRIBUTE;
type F = CK_FLAGS;
type V = *mut c_void;

#[rustfmt::skip]
functions! {
    v2_40 {
        C_Initialize(args: V) => general::initialize(Maybe::new(args.cast()));
        C_Finalize(reserved: V) => general::finalize(reserved);
        C_GetInfo(info: *mut CK_INFO) => general::info(Place::new(info));
        C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST)
            => Place::new(list).put((&raw const LIST_2_40).cast_mut());
        C_GetSlotList(_present: CK_BBOOL, list: *mut CK_SLOT_ID, count: L)
            => general::slot_list(OutList::new(list, count));
        C_GetSlotInfo(slot: S, info: *mut CK_SLOT_INFO) => general::slot_info(slot, Place::new(info));
        C_GetTokenInfo(slot: S, info: *mut CK_TOKEN_INFO) => general::token_info(slot, Place::new(info));
        C_GetMechanismList(slot: S, list: *mut CK_MECHANISM_TYPE, count: L)
            => general::mechanism_list(slot, OutList::new(list, count));
        C_GetMechanismInfo(slot: S, ty: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO)
            => general::mechanism_info(slot, ty, Place::new(info));
        C_InitToken(slot: S, pin: B, len: N, label: B)
            => general::init_token(slot, In::new(pin, len), In::new(label, 32));
        C_InitPIN(h: H, pin: B, len: N) => general::init_pin(h, In::new(pin, len));
        C_SetPIN(h: H, old: B, old_len: N, new: B, new_len: N)
            => general::set_pin(h, In::new(old, old_len), In::new(new, new_len));
        C_OpenSession(slot: S, flags: F, _application: V, _notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE)
            => general::open_session(slot, flags, Place::new(session));
        C_CloseSession(h: H) => module::close_session(h);
        C_CloseAllSessions(slot: S) => module::close_all_sessions(slot);
        C_GetSessionInfo(h: H, info: *mut CK_SESSION_INFO) => general::session_info(h, Place::new(info));
        C_GetOperationState(h: H, state: B, len: L) => operations::operation_state(h, Out::new(state, len));
        C_SetOperationState(h: H, state: B, len: N, encryption: O, authentication: O)
            => operations::set_operation_state(h, In::new(state, len), encryption, authentication);
        C_Login(h: H, user: CK_USER_TYPE, pin: B, len: N) => general::login(h, user, In::new(pin, len));
        C_Logout(h: H) => general::logout(h);
        C_CreateObject(h: H, template: T, count: N, object: P)
            => keys::create(h, In::new(template, count), Place::new(object));
        C_CopyObject(h: H, object: O, template: T, count: N, copy: P)
            => keys::copy(h, object, In::new(template, count), Place::new(copy));
        C_DestroyObject(h: H, object: O) => keys::destroy(h, object);
        C_GetObjectSize(h: H, object: O, size: L) => keys::size(h, object, Place::new(size));
        C_GetAttributeValue(h: H, object: O, template: T, count: N) => keys::get(h, object, In::new(template, count));
        C_SetAttributeValue(h: H, object: O, template: T, count: N) => keys::set(h, object, In::new(template, count));
        C_FindObjectsInit(h: H, template: T, count: N) => keys::find_init(h, In::new(template, count));
        C_FindObjects(h: H, objects: P, max: N, count: L) => keys::find(h, OutFound::new(objects, max, count));
        C_FindObjectsFinal(h: H) => keys::find_final(h);
        C_EncryptInit(h: H, mechanism: M, key: O)
            => operations::begin(h, Use::Encrypt, Maybe::new(mechanism), Some(key));
        C_Encrypt(h: H, data: B, len: N, out: B, out_len: L)
            => operations::run(h, Use::Encrypt, Step::Whole, In::new(data, len), Out::new(out, out_len));
        C_EncryptUpdate(h: H, data: B, len: N, out: B, out_len: L)
            => operations::run(h, Use::Encrypt, Step::Update, In::new(data, len), Out::new(out, out_len));
        C_EncryptFinal(h: H, out: B, out_len: L)
            => operations::run(h, Use::Encrypt, Step::Finish, In::NONE, Out::new(out, out_len));
        C_DecryptInit(h: H, mechanism: M, key: O)
            => operations::begin(h, Use::Decrypt, Maybe::new(mechanism), Some(key));
        C_Decrypt(h: H, data: B, len: N, out: B, out_len: L)
            => operations::run(h, Use::Decrypt, Step::Whole, In::new(data, len), Out::new(out, out_len));
        C_DecryptUpdate(h: H, data: B, len: N, out: B, out_len: L)
            => operations::run(h, Use::Decrypt, Step::Update, In::new(data, len), Out::new(out, out_len));
        C_DecryptFinal(h: H, out: B, out_len: L)
            => operations::run(h, Use::Decrypt, Step::Finish, In::NONE, Out::new(out, out_len));
        C_DigestInit(h: H, mechanism: M) => operations::begin(h, Use::Digest, Maybe::new(mechanism), None);
        C_Digest(h: H, data: B, len: N, out: B, out_len: L)
            => operations::run(h, Use::Digest, Step::Whole, In::new(data, len), Out::new(out, out_len));
        C_DigestUpdate(h: H, data: B, len: N) => operations::feed(h, Use::Digest, In::new(data, len));
        C_DigestKey(h: H, key: O) => operations::digest_key(h, key);
        C_DigestFinal(h: H, out: B, out_len: L)
            => operations::run(h, Use::Digest, Step::Finish, In::NONE, Out::new(out, out_len));
        C_SignInit(h: H, mechanism: M, key: O) => operations::begin(h, Use::Sign, Maybe::new(mechanism), Some(key));
        C_Sign(h: H, data: B, len: N, out: B, out_len: L)
            => operations::run(h, Use::Sign, Step::Whole, In::new(data, len), Out::new(out, out_len));
        C_SignUpdate(h: H, data: B, len: N) => operations::feed(h, Use::Sign, In::new(data, len));
        C_SignFinal(h: H, out: B, out_len: L)
            => operations::run(h, Use::Sign, Step::Finish, In::NONE, Out::new(out, out_len));
        C_SignRecoverInit(h: H, mechanism: M, key: O)
            => operations::begin(h, Use::SignRecover, Maybe::new(mechanism), Some(key));
        C_SignRecover(h: H, data: B, len: N, out: B, out_len: L)
            => operations::run(h, Use::SignRecover, Step::Whole, In::new(data, len), Out::new(out, out_len));
        C_VerifyInit(h: H, mechanism: M, key: O)
            => operations::begin(h, Use::Verify, Maybe::new(mechanism), Some(key));
        C_Verify(h: H, data: B, len: N, signature: B, signature_len: N)
            => operations::verify(h, In::new(data, len), In::new(signature, signature_len));
        C_VerifyUpdate(h: H, data: B, len: N) => operations::feed(h, Use::Verify, In::new(data, len));
        C_VerifyFinal(h: H, signature: B, len: N) => operations::verify_final(h, In::new(signature, len));
        C_VerifyRecoverInit(h: H, mechanism: M, key: O)
            => operations::begin(h, Use::VerifyRecover, Maybe::new(mechanism), Some(key));
        C_VerifyRecover(h: H, data: B, len: N, out: B, out_len: L)
            => operations::run(h, Use::VerifyRecover, Step::Whole, In::new(data, len), Out::new(out, out_len));
        C_DigestEncryptUpdate(h: H, data: B, len: N, out: B, out_len: L)
            => operations::encrypt_and_feed(h, Use::Digest, In::new(data, len), Out::new(out, out_len));
        C_DecryptDigestUpdate(h: H, data: B, len: N, out: B, out_len: L)
            => operations::decrypt_and_feed(h, Use::Digest, In::new(data, len), Out::new(out, out_len));
        C_SignEncryptUpdate(h: H, data: B, len: N, out: B, out_len: L)
            => operations::encrypt_and_feed(h, Use::Sign, In::new(data, len), Out::new(out, out_len));
        C_DecryptVerifyUpdate(h: H, data: B, len: N, out: B, out_len: L)
            => operations::decrypt_and_feed(h, Use::Verify, In::new(data, len), Out::new(out, out_len));
        C_GenerateKey(h: H, mechanism: M, template: T, count: N, key: P)
            => keys::generate(h, Maybe::new(mechanism), In::new(template, count), Place::new(key));
        C_GenerateKeyPair(
            h: H, mechanism: M, public: T, public_count: N, private: T, private_count: N, public_key: P, private_key: P
        ) => keys::generate_pair(
            h,
            Maybe::new(mechanism),
            (In::new(public, public_count), Place::new(public_key)),
            (In::new(private, private_count), Place::new(private_key))
        );
        C_WrapKey(h: H, mechanism: M, wrapping: O, key: O, out: B, out_len: L)
            => keys::wrap(h, Maybe::new(mechanism), wrapping, key, Out::new(out, out_len));
        C_UnwrapKey(h: H, mechanism: M, unwrapping: O, wrapped: B, len: N, template: T, count: N, key: P)
            => keys::unwrap(
                h, Maybe::new(mechanism), unwrapping, In::new(wrapped, len), In::new(template, count), Place::new(key)
            );
        C_DeriveKey(h: H, mechanism: M, base: O, template: T, count: N, key: P)
            => keys::derive(h, Maybe::new(mechanism), base, In::new(template, count), Place::new(key));
        C_SeedRandom(h: H, seed: B, len: N) => operations::seed_random(h, In::new(seed, len));
        C_GenerateRandom(h: H, out: B, len: N) => operations::generate_random(h, OutExact::new(out, len));
        C_GetFunctionStatus(h: H) => general::parallel(h);
        C_CancelFunction(h: H) => general::parallel(h);
        C_WaitForSlotEvent(flags: F, slot: *mut CK_SLOT_ID, reserved: V)
            => general::wait_for_slot_event(flags, Place::new(slot), reserved);
    }
    v3_0 {
        C_GetInterfaceList(list: *mut CK_INTERFACE, count: L) => general::interface_list(OutList::new(list, count));
        C_GetInterface(name: B, version: *mut CK_VERSION, interface: *mut *mut CK_INTERFACE, flags: F)
            => general::interface(Maybe::new(name), Maybe::new(version), Place::new(interface), flags);
        C_LoginUser(h: H, user: CK_USER_TYPE, pin: B, len: N, name: B, name_len: N)
            => general::login_user(h, user, In::new(pin, len), In::new(name, name_len));
        C_SessionCancel(h: H, flags: F) => general::session_cancel(h, flags);
        C_MessageEncryptInit(h: H, mechanism: M, key: O)
            => operations::begin(h, Use::MessageEncrypt, Maybe::new(mechanism), Some(key));
        C_EncryptMessage(h: H, p: V, p_len: N, aad: B, aad_len: N, data: B, len: N, out: B, out_len: L)
            => messages::cipher(
                h,
                Use::MessageEncrypt,
                Message { parameter: In::new(p.cast(), p_len), aad: In::new(aad, aad_len), data: In::new(data, len) },
                Out::new(out, out_len)
            );
        C_EncryptMessageBegin(h: H, p: V, p_len: N, aad: B, aad_len: N)
            => messages::cipher_begin(h, Use::MessageEncrypt, In::new(p.cast(), p_len), In::new(aad, aad_len));
        C_EncryptMessageNext(h: H, p: V, p_len: N, data: B, len: N, out: B, out_len: L, flags: F)
            => messages::cipher_next(
                h,
                Use::MessageEncrypt,
                Message { parameter: In::new(p.cast(), p_len), aad: In::NONE, data: In::new(data, len) },
                Out::new(out, out_len),
                flags
            );
        C_MessageEncryptFinal(h: H) => messages::end(h, Use::MessageEncrypt);
        C_MessageDecryptInit(h: H, mechanism: M, key: O)
            => operations::begin(h, Use::MessageDecrypt, Maybe::new(mechanism), Some(key));
        C_DecryptMessage(h: H, p: V, p_len: N, aad: B, aad_len: N, data: B, len: N, out: B, out_len: L)
            => messages::cipher(
                h,
                Use::MessageDecrypt,
                Message { parameter: In::new(p.cast(), p_len), aad: In::new(aad, aad_len), data: In::new(data, len) },
                Out::new(out, out_len)
            );
        C_DecryptMessageBegin(h: H, p: V, p_len: N, aad: B, aad_len: N)
            => messages::cipher_begin(h, Use::MessageDecrypt, In::new(p.cast(), p_len), In::new(aad, aad_len));
        C_DecryptMessageNext(h: H, p: V, p_len: N, data: B, len: N, out: B, out_len: L, flags: F)
            => messages::cipher_next(
                h,
                Use::MessageDecrypt,
                Message { parameter: In::new(p.cast(), p_len), aad: In::NONE, data: In::new(data, len) },
                Out::new(out, out_len),
                flags
            );
        C_MessageDecryptFinal(h: H) => messages::end(h, Use::MessageDecrypt);
        C_MessageSignInit(h: H, mechanism: M, key: O)
            => operations::begin(h, Use::MessageSign, Maybe::new(mechanism), Some(key));
        C_SignMessage(h: H, p: V, p_len: N, data: B, len: N, out: B, out_len: L)
            => messages::sign(h, In::new(p.cast(), p_len), In::new(data, len), Out::new(out, out_len));
        C_SignMessageBegin(h: H, p: V, p_len: N) => messages::sign_begin(h, In::new(p.cast(), p_len));
        C_SignMessageNext(h: H, p: V, p_len: N, data: B, len: N, out: B, out_len: L)
            => messages::sign_next(h, In::new(p.cast(), p_len), In::new(data, len), Out::new(out, out_len));
        C_MessageSignFinal(h: H) => messages::end(h, Use::MessageSign);
        C_MessageVerifyInit(h: H, mechanism: M, key: O)
            => operations::begin(h, Use::MessageVerify, Maybe::new(mechanism), Some(key));
        C_VerifyMessage(h: H, p: V, p_len: N, data: B, len: N, signature: B, signature_len: N)
            => messages::verify(
                h, In::new(p.cast(), p_len), In::new(data, len), In::new(signature, signature_len)
            );
        C_VerifyMessageBegin(h: H, p: V, p_len: N) => messages::verify_begin(h, In::new(p.cast(), p_len));
        C_VerifyMessageNext(h: H, p: V, p_len: N, data: B, len: N, signature: B, signature_len: N)
            => messages::verify_next(
                h, In::new(p.cast(), p_len), In::new(data, len), In::new(signature, signature_len)
            );
        C_MessageVerifyFinal(h: H) => messages::end(h, Use::MessageVerify);
    }
    v3_2 {
        C_EncapsulateKey(h: H, mechanism: M, public: O, template: T, count: N, out: B, out_len: L, key: P)
            => keys::encapsulate(
                h, Maybe::new(mechanism), public, In::new(template, count), Out::new(out, out_len), Place::new(key)
            );
        C_DecapsulateKey(h: H, mechanism: M, private: O, template: T, count: N, ciphertext: B, len: N, key: P)
            => keys::decapsulate(
                h, Maybe::new(mechanism), private, In::new(ciphertext, len), In::new(template, count), Place::new(key)
            );
        C_VerifySignatureInit(h: H, mechanism: M, key: O, signature: B, len: N)
            => messages::begin_with_signature(h, Maybe::new(mechanism), key, In::new(signature, len));
        C_VerifySignature(h: H, data: B, len: N) => messages::verify_signature(h, Some(In::new(data, len)));
        C_VerifySignatureUpdate(h: H, data: B, len: N)
            => operations::feed(h, Use::VerifySignature, In::new(data, len));
        C_VerifySignatureFinal(h: H) => messages::verify_signature(h, None);
        C_GetSessionValidationFlags(h: H, ty: CK_SESSION_VALIDATION_FLAGS_TYPE, flags: *mut CK_FLAGS)
            => general::validation_flags(h, ty, Place::new(flags));
        C_AsyncComplete(h: H, function: B, _result: *mut CK_ASYNC_DATA)
            => general::no_async(h, Maybe::new(function), Code::SessionAsyncNotSupported);
        C_AsyncGetID(h: H, function: B, _id: L)
            => general::no_async(h, Maybe::new(function), Code::OperationNotInitialized);
        C_AsyncJoin(h: H, function: B, _id: N, _data: B, _len: N)
            => general::no_async(h, Maybe::new(function), Code::SavedStateInvalid);
        C_WrapKeyAuthenticated(h: H, mechanism: M, wrapping: O, key: O, aad: B, aad_len: N, out: B, out_len: L)
            => keys::wrap_authenticated(
                h, Maybe::new(mechanism), wrapping, key, In::new(aad, aad_len), Out::new(out, out_len)
            );
        C_UnwrapKeyAuthenticated(
            h: H, mechanism: M, unwrapping: O, wrapped: B, len: N, template: T, count: N, aad: B, aad_len: N, key: P
        ) => keys::unwrap_authenticated(
            h,
            Maybe::new(mechanism),
            unwrapping,
            (In::new(wrapped, len), In::new(aad, aad_len)),
            In::new(template, count),
            Place::new(key)
        );
    }
}

/// An interface as `C_GetInterface` gives it.
pub(super) struct Interface {
    pub(super) version: (u8, u8),
    c: CK_INTERFACE,
}

// SAFETY: the pointers inside lead to statics that nobody writes.
unsafe impl Sync for Interface {}

impl Interface {
    const fn new(version: (u8, u8), list: *const c_void) -> Interface {
        let name = general::INTERFACE_NAME.as_ptr().cast_mut();
        // A child of a fork starts clean with its own `C_Initialize`, and nothing of its parent's is disturbed.
        let flags = CKF_INTERFACE_FORK_SAFE;
        Interface { version, c: CK_INTERFACE { pInterfaceName: name, pFunctionList: list.cast_mut(), flags } }
    }

    pub(super) fn has(&self, flags: CK_FLAGS) -> bool {
        self.c.flags & flags == flags
    }

    pub(super) fn get(&self) -> CK_INTERFACE {
        self.c
    }

    pub(super) fn as_ptr(&'static self) -> *mut CK_INTERFACE {
        (&raw const self.c).cast_mut()
    }
}

static INTERFACES: [Interface; 3] = [
    Interface::new((3, 2), (&raw const LIST_3_2).cast()),
    Interface::new((3, 0), (&raw const LIST_3_0).cast()),
    Interface::new((2, 40), (&raw const LIST_2_40).cast()),
];

/// The interfaces, the default first.
pub(super) fn interfaces() -> &'static [Interface; 3] {
    &INTERFACES
}

pub fn function_list_2_40() -> &'static CK_FUNCTION_LIST {
    &LIST_2_40
}

pub fn function_list_3_0() -> &'static CK_FUNCTION_LIST_3_0 {
    &LIST_3_0
}

pub fn function_list_3_2() -> &'static CK_FUNCTION_LIST_3_2 {
    &LIST_3_2
}
