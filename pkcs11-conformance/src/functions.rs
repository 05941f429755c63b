//! Every function of PKCS#11 3.2, one row each: name, section of the specification, and what each argument is.
//! The tests that hold for all functions alike (state, handles, NULL pointers) run over this table.

use std::mem::{offset_of, size_of};

use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2};

/// What an argument of a function is. Every argument of the API is one machine word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    Session,
    Slot,
    /// An object's handle, where the code for a bad one is `CKR_OBJECT_HANDLE_INVALID`.
    Object,
    /// A key's handle, where the code for a bad one is `CKR_KEY_HANDLE_INVALID` or one of its siblings.
    Key,
    Mechanism,
    Template,
    /// Number of attributes of the template before it.
    Count,
    /// Input bytes; a [`Arg::Len`] follows.
    In,
    Len,
    /// Mechanism parameter of a message function; a [`Arg::Len`] follows.
    Parameter,
    /// Output by the convention of section 5.2; an [`Arg::OutLen`] follows.
    Out,
    OutLen,
    /// Output of a length that the caller chooses; a [`Arg::Len`] follows.
    Fill,
    /// Where a new handle is stored.
    Handle,
    /// Where a structure or a single value is stored.
    Store,
    /// Text of a fixed length or ending in NUL.
    Text,
    /// MUST be NULL.
    Reserved,
    /// May be NULL or anything.
    Opaque,
    /// A plain number.
    Value,
}

impl Arg {
    /// Whether a NULL here, with the length that goes with it not 0, is an error of the caller.
    pub fn null_is_bad(self) -> bool {
        use Arg::*;
        matches!(self, Mechanism | Template | In | OutLen | Fill | Handle | Store | Text)
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub section: &'static str,
    pub args: &'static [Arg],
    /// Byte offset of the pointer in every function list that is long enough to have it.
    pub offset: usize,
}

macro_rules! functions {
    ($($name:ident $section:literal [$($arg:ident)*])*) => {
        /// A function of the API.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum F { $($name),* }

        /// The table, in the order of [`F`].
        pub static FUNCTIONS: &[Row] = &[$(Row {
            name: stringify!($name),
            section: $section,
            args: &[$(Arg::$arg),*],
            offset: offset_of!(CK_FUNCTION_LIST_3_2, $name),
        }),*];

        /// All functions, in the order of the table.
        pub static ALL: &[F] = &[$(F::$name),*];
    };
}

functions! {
    C_Initialize "5.4.1" [Reserved]
    C_Finalize "5.4.2" [Reserved]
    C_GetInfo "5.4.3" [Store]
    C_GetFunctionList "5.4.4" [Store]
    C_GetSlotList "5.5.1" [Value Out OutLen]
    C_GetSlotInfo "5.5.2" [Slot Store]
    C_GetTokenInfo "5.5.3" [Slot Store]
    C_GetMechanismList "5.5.5" [Slot Out OutLen]
    C_GetMechanismInfo "5.5.6" [Slot Value Store]
    C_InitToken "5.5.7" [Slot In Len Text]
    C_InitPIN "5.5.8" [Session In Len]
    C_SetPIN "5.5.9" [Session In Len In Len]
    C_OpenSession "5.6.1" [Slot Value Opaque Opaque Handle]
    C_CloseSession "5.6.2" [Session]
    C_CloseAllSessions "5.6.3" [Slot]
    C_GetSessionInfo "5.6.4" [Session Store]
    C_GetOperationState "5.6.6" [Session Out OutLen]
    C_SetOperationState "5.6.7" [Session In Len Key Key]
    C_Login "5.6.8" [Session Value In Len]
    C_Logout "5.6.10" [Session]
    C_CreateObject "5.7.1" [Session Template Count Handle]
    C_CopyObject "5.7.2" [Session Object Template Count Handle]
    C_DestroyObject "5.7.3" [Session Object]
    C_GetObjectSize "5.7.4" [Session Object Store]
    C_GetAttributeValue "5.7.5" [Session Object Template Count]
    C_SetAttributeValue "5.7.6" [Session Object Template Count]
    C_FindObjectsInit "5.7.7" [Session Template Count]
    C_FindObjects "5.7.8" [Session Fill Len Store]
    C_FindObjectsFinal "5.7.9" [Session]
    C_EncryptInit "5.8.1" [Session Mechanism Key]
    C_Encrypt "5.8.2" [Session In Len Out OutLen]
    C_EncryptUpdate "5.8.3" [Session In Len Out OutLen]
    C_EncryptFinal "5.8.4" [Session Out OutLen]
    C_DecryptInit "5.10.1" [Session Mechanism Key]
    C_Decrypt "5.10.2" [Session In Len Out OutLen]
    C_DecryptUpdate "5.10.3" [Session In Len Out OutLen]
    C_DecryptFinal "5.10.4" [Session Out OutLen]
    C_DigestInit "5.12.1" [Session Mechanism]
    C_Digest "5.12.2" [Session In Len Out OutLen]
    C_DigestUpdate "5.12.3" [Session In Len]
    C_DigestKey "5.12.4" [Session Key]
    C_DigestFinal "5.12.5" [Session Out OutLen]
    C_SignInit "5.13.1" [Session Mechanism Key]
    C_Sign "5.13.2" [Session In Len Out OutLen]
    C_SignUpdate "5.13.3" [Session In Len]
    C_SignFinal "5.13.4" [Session Out OutLen]
    C_SignRecoverInit "5.13.5" [Session Mechanism Key]
    C_SignRecover "5.13.6" [Session In Len Out OutLen]
    C_VerifyInit "5.15.1" [Session Mechanism Key]
    C_Verify "5.15.2" [Session In Len In Len]
    C_VerifyUpdate "5.15.3" [Session In Len]
    C_VerifyFinal "5.15.4" [Session In Len]
    C_VerifyRecoverInit "5.15.5" [Session Mechanism Key]
    C_VerifyRecover "5.15.6" [Session In Len Out OutLen]
    C_DigestEncryptUpdate "5.17.1" [Session In Len Out OutLen]
    C_DecryptDigestUpdate "5.17.2" [Session In Len Out OutLen]
    C_SignEncryptUpdate "5.17.3" [Session In Len Out OutLen]
    C_DecryptVerifyUpdate "5.17.4" [Session In Len Out OutLen]
    C_GenerateKey "5.18.1" [Session Mechanism Template Count Handle]
    C_GenerateKeyPair "5.18.2" [Session Mechanism Template Count Template Count Handle Handle]
    C_WrapKey "5.18.3" [Session Mechanism Key Key Out OutLen]
    C_UnwrapKey "5.18.4" [Session Mechanism Key In Len Template Count Handle]
    C_DeriveKey "5.18.5" [Session Mechanism Key Template Count Handle]
    C_SeedRandom "5.19.1" [Session In Len]
    C_GenerateRandom "5.19.2" [Session Fill Len]
    C_GetFunctionStatus "5.20.1" [Session]
    C_CancelFunction "5.20.2" [Session]
    C_WaitForSlotEvent "5.5.4" [Value Store Reserved]
    C_GetInterfaceList "5.4.5" [Out OutLen]
    C_GetInterface "5.4.6" [Text Opaque Store Value]
    C_LoginUser "5.6.9" [Session Value In Len In Len]
    C_SessionCancel "5.6.5" [Session Value]
    C_MessageEncryptInit "5.9.1" [Session Mechanism Key]
    C_EncryptMessage "5.9.2" [Session Parameter Len In Len In Len Out OutLen]
    C_EncryptMessageBegin "5.9.3" [Session Parameter Len In Len]
    C_EncryptMessageNext "5.9.4" [Session Parameter Len In Len Out OutLen Value]
    C_MessageEncryptFinal "5.9.5" [Session]
    C_MessageDecryptInit "5.11.1" [Session Mechanism Key]
    C_DecryptMessage "5.11.2" [Session Parameter Len In Len In Len Out OutLen]
    C_DecryptMessageBegin "5.11.3" [Session Parameter Len In Len]
    C_DecryptMessageNext "5.11.4" [Session Parameter Len In Len Out OutLen Value]
    C_MessageDecryptFinal "5.11.5" [Session]
    C_MessageSignInit "5.14.1" [Session Mechanism Key]
    C_SignMessage "5.14.2" [Session Parameter Len In Len Out OutLen]
    C_SignMessageBegin "5.14.3" [Session Parameter Len]
    C_SignMessageNext "5.14.4" [Session Parameter Len In Len Out OutLen]
    C_MessageSignFinal "5.14.5" [Session]
    C_MessageVerifyInit "5.16.1" [Session Mechanism Key]
    C_VerifyMessage "5.16.2" [Session Parameter Len In Len In Len]
    C_VerifyMessageBegin "5.16.3" [Session Parameter Len]
    C_VerifyMessageNext "5.16.4" [Session Parameter Len In Len In Len]
    C_MessageVerifyFinal "5.16.5" [Session]
    C_EncapsulateKey "5.18.8" [Session Mechanism Key Template Count Out OutLen Handle]
    C_DecapsulateKey "5.18.9" [Session Mechanism Key Template Count In Len Handle]
    C_VerifySignatureInit "5.15.7" [Session Mechanism Key In Len]
    C_VerifySignature "5.15.8" [Session In Len]
    C_VerifySignatureUpdate "5.15.9" [Session In Len]
    C_VerifySignatureFinal "5.15.10" [Session]
    C_GetSessionValidationFlags "5.6.11" [Session Value Store]
    C_AsyncComplete "5.21.1" [Session Text Store]
    C_AsyncGetID "5.21.2" [Session Text Store]
    C_AsyncJoin "5.21.3" [Session Text Value In Len]
    C_WrapKeyAuthenticated "5.18.6" [Session Mechanism Key Key In Len Out OutLen]
    C_UnwrapKeyAuthenticated "5.18.7" [Session Mechanism Key In Len Template Count In Len Handle]
}

impl F {
    pub fn row(self) -> &'static Row {
        &FUNCTIONS[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn section(self) -> &'static str {
        self.row().section
    }

    /// The first version whose function list has this function.
    pub fn since(self) -> (u8, u8) {
        match self.row().offset {
            o if o < size_of::<CK_FUNCTION_LIST>() => (2, 40),
            o if o < size_of::<CK_FUNCTION_LIST_3_0>() => (3, 0),
            _ => (3, 2),
        }
    }

    pub fn has(self, arg: Arg) -> bool {
        self.row().args.contains(&arg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_lists_share_their_beginning() {
        assert_eq!(offset_of!(CK_FUNCTION_LIST, C_WaitForSlotEvent), F::C_WaitForSlotEvent.row().offset);
        assert_eq!(offset_of!(CK_FUNCTION_LIST_3_0, C_MessageVerifyFinal), F::C_MessageVerifyFinal.row().offset);
        assert_eq!(F::C_WaitForSlotEvent.since(), (2, 40));
        assert_eq!(F::C_GetInterfaceList.since(), (3, 0));
        assert_eq!(F::C_EncapsulateKey.since(), (3, 2));
    }

    #[test]
    fn the_table_covers_the_whole_list() {
        let word = size_of::<usize>();
        assert_eq!(FUNCTIONS.len(), size_of::<CK_FUNCTION_LIST_3_2>() / word - 1);
        assert!(ALL.iter().all(|f| f.name() == format!("{f:?}")));
    }
}
