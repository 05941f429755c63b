//! What the log says to who wrote the application, where the place that refused had no sentence of its own.

use crate::error::Code;

/// What the call got wrong, and what to do about it; empty for codes that always come with their own sentence.
pub(super) fn advice(code: Code) -> &'static str {
    match code {
        Code::CryptokiNotInitialized => "call C_Initialize first, and again after C_Finalize and in a forked child",
        Code::ArgumentsBad => "a pointer is NULL, a length is absurd, or a value is none that the function takes",
        Code::SlotIdInvalid => "no slot has this ID: take one that C_GetSlotList gives",
        Code::TokenNotPresent => {
            "the slot has no token: its slot file is gone; `keyward token list` shows those that are"
        }
        Code::TokenNotRecognized => "the slot's token is not initialised: C_InitToken, or `keyward token init`",
        Code::SessionHandleInvalid => "no open session has this handle: it was closed, or it is another kind of handle",
        Code::SessionParallelNotSupported => "C_OpenSession needs CKF_SERIAL_SESSION among its flags",
        Code::SessionAsyncNotSupported => "leave CKF_ASYNC_SESSION out: sessions are synchronous",
        Code::SessionReadOnly => "open the session with CKF_RW_SESSION",
        Code::SessionReadOnlyExists => "close the read-only sessions before the SO logs in",
        Code::SessionReadWriteSoExists => "the SO is logged in: log out before a read-only session is opened",
        Code::SessionExists => "close all sessions with the token first",
        Code::ObjectHandleInvalid => {
            "no object that this session sees has this handle: it was destroyed, is private, or is of another slot"
        }
        Code::KeyHandleInvalid | Code::WrappingKeyHandleInvalid | Code::UnwrappingKeyHandleInvalid => {
            "no key that this session sees has this handle: find it anew, after C_Login if it is private"
        }
        Code::KeyTypeInconsistent | Code::WrappingKeyTypeInconsistent | Code::UnwrappingKeyTypeInconsistent => {
            "the mechanism does not take keys of this class and type: `keyward mechanisms` lists what each takes"
        }
        Code::KeyFunctionNotPermitted => "the key's attributes, state or policy forbid this use: `keyward key show`",
        Code::KeySizeRange | Code::WrappingKeySizeRange | Code::UnwrappingKeySizeRange => {
            "the mechanism does not take keys of this size: C_GetMechanismInfo, `keyward mechanisms`"
        }
        Code::KeyUnextractable => "the key's CKA_EXTRACTABLE is false: it can be wrapped by nobody",
        Code::KeyNotWrappable => "the key may be wrapped only by a trusted key, or not by this mechanism",
        Code::KeyIndigestible => "only a secret key that may be read can be digested",
        Code::KeyNeeded => "the state was saved in an operation with a key: give it",
        Code::KeyNotNeeded => "the state was saved in an operation without this key: give none",
        Code::KeyChanged => "the key is not the one with which the state was saved",
        Code::MechanismInvalid => "the token does not offer the mechanism for this use: `keyward mechanisms`",
        Code::MechanismParamInvalid => "the parameter's length or a value in it is not what the mechanism takes",
        Code::OperationActive => "finish the operation that is under way, or end it with C_SessionCancel",
        Code::OperationNotInitialized => "the Init function comes first, again after each end of an operation",
        Code::DataInvalid | Code::DataLenRange => "the data are not what the mechanism takes: their length, most often",
        Code::EncryptedDataInvalid | Code::EncryptedDataLenRange | Code::AeadDecryptFailed => {
            "this was not encrypted so: another key, other parameters, or changed on the way"
        }
        Code::SignatureInvalid => "the data, the key or the signature is another one",
        Code::SignatureLenRange => "the signature has not the length that the key and the mechanism give",
        Code::WrappedKeyInvalid | Code::WrappedKeyLenRange => "this was not wrapped so, or not by this key",
        Code::TemplateIncomplete => "the template lacks an attribute that must be given",
        Code::TemplateInconsistent => "two attributes of the template, or one and the call, contradict each other",
        Code::AttributeReadOnly => "the attribute cannot be set so, or not any more",
        Code::AttributeValueInvalid => "the value of an attribute has the wrong length, or is none that it can have",
        Code::ActionProhibited => {
            "the object's CKA_DESTROYABLE, CKA_COPYABLE or CKA_MODIFIABLE is false, or its state forbids it"
        }
        Code::UserNotLoggedIn => "C_Login first, as the user or SO that the function asks for",
        Code::UserAnotherAlreadyLoggedIn => "C_Logout first: another role is logged in",
        Code::UserTypeInvalid => "CKU_USER, CKU_SO, or CKU_CONTEXT_SPECIFIC after an Init function",
        Code::UserPinNotInitialized => "the user has no PIN yet: `keyward pin reset`",
        Code::PinIncorrect => "the PIN is wrong; the try is counted",
        Code::PinLenRange => "C_GetTokenInfo says how long a PIN may be",
        Code::PinLocked => "too many wrong PINs: the SO sets a new one, `keyward pin reset`",
        Code::CurveNotSupported => "no such curve: P-224 to P-521, secp256k1, Brainpool, 25519 and 448",
        Code::DomainParamsInvalid => "the domain parameters are not such as keys can be made of",
        Code::SavedStateInvalid => "this is no state that C_GetOperationState gave, or of another slot",
        Code::StateUnsaveable => "operations of this kind cannot be saved",
        Code::FunctionNotSupported => "the token does not do this",
        _ => "",
    }
}
