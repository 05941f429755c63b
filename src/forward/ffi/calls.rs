//! The other functions, and which function a [`Call`] is.

use std::ptr::null_mut;

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::Local;
use super::encode::{Encoded, EncodedMessage};
use super::operations::{input, output};
use super::template::Template;
use crate::forward::call::{Call, Reply, Rv};
use crate::token::{Attribute, Mechanism, MechanismInfo, MessageParams, Params, TokenInfo};

/// The longest result that a module is believed to have, in bytes.
pub(super) const LONGEST: usize = 1 << 30;

/// Slots and mechanisms that a module is believed to have.
const MANY: usize = 1 << 16;

pub(super) fn done(rv: CK_RV) -> Rv<Reply> {
    if rv == CKR_OK { Ok(Reply::Done) } else { Err(rv) }
}

fn text(padded: &[u8]) -> String {
    String::from_utf8_lossy(padded).trim_end_matches([' ', '\0']).to_owned()
}

/// Calls a function of the table; one that is not there is `CKR_FUNCTION_NOT_SUPPORTED`.
macro_rules! call {
    ($self:ident.$name:ident($($arg:expr),* $(,)?)) => {{
        let function = $self.table.$name.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        // SAFETY: the call's promise (see `ffi`).
        done(unsafe { function($($arg),*) })
    }};
}

impl Local {
    pub(super) fn dispatch(&self, call: &Call<'_>, out: Option<&mut [u8]>) -> Rv<Reply> {
        match call {
            // The way of a signature comes first.
            Call::Run { session, what, step, input } => self.run(*session, *what, *step, input, out),
            Call::Begin { session, what, mechanism, key } => self.begin(*session, *what, mechanism, *key),
            Call::Feed { session, what, input } => self.feed(*session, *what, input),
            Call::Verify { session, input, signature, .. } => self.verify(*session, input.as_deref(), signature),
            Call::Message { session, what, part, ty, params, aad, input } => {
                self.message(*session, *what, *part, *ty, params, aad, input, out)
            }
            Call::SignedMessage { session, what, part, input, signature } => {
                self.signed_message(*session, *what, *part, input, signature, out)
            }
            Call::MessagesEnd { session, what } => self.messages_end(*session, *what),
            Call::Random { session } => {
                let out = out.ok_or(CKR_GENERAL_ERROR)?;
                call!(self.C_GenerateRandom(*session, out.as_mut_ptr(), out.len() as CK_ULONG))?;
                Ok(Reply::Wrote(out.len()))
            }
            Call::Seed { session, seed } => {
                let (seed, len) = input(seed);
                call!(self.C_SeedRandom(*session, seed, len))
            }
            Call::State { session } => {
                let mut info = CK_SESSION_INFO::default();
                call!(self.C_GetSessionInfo(*session, &raw mut info))?;
                Ok(Reply::Number(info.state))
            }
            Call::Validation { session } => {
                let mut flags = 0;
                call!(self.C_GetSessionValidationFlags(*session, CKS_LAST_VALIDATION_OK, &raw mut flags))?;
                Ok(Reply::Number(flags))
            }
            Call::DigestKey { session, key } => call!(self.C_DigestKey(*session, *key)),
            Call::Save { session } => self.save(*session),
            Call::Restore { session, state } => {
                let (state, len) = input(state);
                call!(self.C_SetOperationState(*session, state, len, CK_INVALID_HANDLE, CK_INVALID_HANDLE))
            }
            _ => self.dispatch_object(call),
        }
    }

    fn dispatch_object(&self, call: &Call<'_>) -> Rv<Reply> {
        match call {
            Call::Get { session, object, types } => self.attributes(*session, *object, types).map(Reply::Answers),
            Call::Find { session, template } => {
                let mut template = Template::new(template);
                let (entries, count) = template.raw();
                call!(self.C_FindObjectsInit(*session, entries, count))
            }
            Call::Found { session, max } => self.found(*session, *max),
            Call::FindEnd { session } => call!(self.C_FindObjectsFinal(*session)),
            Call::Create { session, template } => {
                let (mut template, mut object) = (Template::new(template), CK_INVALID_HANDLE);
                let (entries, count) = template.raw();
                call!(self.C_CreateObject(*session, entries, count, &raw mut object))?;
                handle(object)
            }
            Call::Copy { session, object, template } => {
                let (mut template, mut copy) = (Template::new(template), CK_INVALID_HANDLE);
                let (entries, count) = template.raw();
                call!(self.C_CopyObject(*session, *object, entries, count, &raw mut copy))?;
                handle(copy)
            }
            Call::Destroy { session, object } => call!(self.C_DestroyObject(*session, *object)),
            Call::Size { session, object } => {
                let mut size = 0;
                call!(self.C_GetObjectSize(*session, *object, &raw mut size))?;
                Ok(Reply::Number(size))
            }
            Call::Set { session, object, template } => {
                let mut template = Template::new(template);
                let (entries, count) = template.raw();
                call!(self.C_SetAttributeValue(*session, *object, entries, count))
            }
            Call::Generate { session, mechanism, template } => self.generate(*session, mechanism, template),
            Call::GeneratePair { session, mechanism, public, private } => {
                self.generate_pair(*session, mechanism, public, private)
            }
            Call::Wrap { session, mechanism, wrapping, key, ask } => {
                self.wrap(*session, mechanism, (*wrapping, *key), *ask)
            }
            Call::WrapAuthenticated { session, mechanism, wrapping, key, ask } => {
                self.wrap_authenticated(*session, mechanism, (*wrapping, *key), *ask)
            }
            Call::Unwrap { session, mechanism, unwrapping, wrapped, template } => {
                self.unwrap(*session, mechanism, *unwrapping, wrapped, template)
            }
            Call::Derive { session, mechanism, base, template } => self.derive(*session, mechanism, *base, template),
            Call::Encapsulate { session, mechanism, public, template, ask } => {
                self.encapsulate(*session, mechanism, *public, template, *ask)
            }
            Call::Decapsulate { session, mechanism, private, ciphertext, template } => {
                self.decapsulate(*session, mechanism, *private, ciphertext, template)
            }
            _ => self.dispatch_session(call),
        }
    }

    fn dispatch_session(&self, call: &Call<'_>) -> Rv<Reply> {
        match call {
            Call::Slots => self.slots(),
            Call::Token { slot } => self.token(*slot),
            Call::Mechanisms { slot } => self.mechanisms(*slot),
            Call::Mechanism { slot, ty } => {
                let mut info = CK_MECHANISM_INFO::default();
                call!(self.C_GetMechanismInfo(*slot, *ty, &raw mut info))?;
                let CK_MECHANISM_INFO { ulMinKeySize, ulMaxKeySize, flags } = info;
                Ok(Reply::Mechanism(MechanismInfo { min_key: ulMinKeySize, max_key: ulMaxKeySize, flags }))
            }
            Call::Initialize { slot, pin, label } => {
                let mut padded = [b' '; 32];
                padded.iter_mut().zip(label.bytes()).for_each(|(to, from)| *to = from);
                let (pin, len) = pin_of(Some(pin));
                call!(self.C_InitToken(*slot, pin, len, padded.as_mut_ptr()))
            }
            Call::Open { slot, read_write } => {
                let flags = CKF_SERIAL_SESSION | if *read_write { CKF_RW_SESSION } else { 0 };
                let mut session = CK_INVALID_HANDLE;
                call!(self.C_OpenSession(*slot, flags, null_mut(), None, &raw mut session))?;
                handle(session)
            }
            Call::Close { session } => call!(self.C_CloseSession(*session)),
            Call::Cancel { session, flags } => call!(self.C_SessionCancel(*session, *flags)),
            Call::Login { session, user, pin, name } => {
                let (pin, len) = pin_of(pin.as_deref());
                match name.as_deref() {
                    None => call!(self.C_Login(*session, *user, pin, len)),
                    Some(name) => {
                        let (name, name_len) = pin_of(Some(name.as_bytes()));
                        call!(self.C_LoginUser(*session, *user, pin, len, name, name_len))
                    }
                }
            }
            Call::Logout { session } => call!(self.C_Logout(*session)),
            Call::InitPin { session, pin } => {
                let (pin, len) = pin_of(Some(pin));
                call!(self.C_InitPIN(*session, pin, len))
            }
            Call::SetPin { session, old, new } => {
                let ((old, old_len), (new, new_len)) = (pin_of(Some(old)), pin_of(Some(new)));
                call!(self.C_SetPIN(*session, old, old_len, new, new_len))
            }
            _ => Err(CKR_GENERAL_ERROR),
        }
    }

    pub(super) fn get_attributes(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        entries: &mut [CK_ATTRIBUTE],
    ) -> Rv<()> {
        let count = entries.len() as CK_ULONG;
        call!(self.C_GetAttributeValue(session, object, entries.as_mut_ptr(), count)).map(drop)
    }

    fn slots(&self) -> Rv<Reply> {
        let function = self.table.C_GetSlotList.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        // SAFETY: the call's promise; asked for again while slots come.
        list(|place, count| unsafe { function(CK_TRUE, place, count) })
    }

    fn mechanisms(&self, slot: CK_SLOT_ID) -> Rv<Reply> {
        let function = self.table.C_GetMechanismList.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        // SAFETY: the call's promise.
        list(|place, count| unsafe { function(slot, place, count) })
    }

    fn token(&self, slot: CK_SLOT_ID) -> Rv<Reply> {
        let mut info = CK_TOKEN_INFO::default();
        call!(self.C_GetTokenInfo(slot, &raw mut info))?;
        let max_sessions = match info.ulMaxSessionCount {
            CK_UNAVAILABLE_INFORMATION => 0,
            most => most,
        };
        Ok(Reply::Token(Box::new(TokenInfo {
            label: text(&info.label),
            manufacturer: text(&info.manufacturerID),
            model: text(&info.model),
            serial: text(&info.serialNumber),
            flags: info.flags,
            max_sessions,
            pin_len: info.ulMinPinLen..=info.ulMaxPinLen,
            hardware: (info.hardwareVersion.major, info.hardwareVersion.minor),
            firmware: (info.firmwareVersion.major, info.firmwareVersion.minor),
        })))
    }

    fn found(&self, session: CK_SESSION_HANDLE, max: usize) -> Rv<Reply> {
        let max = max.min(MANY);
        let mut handles = vec![CK_INVALID_HANDLE; max];
        let mut count = 0;
        call!(self.C_FindObjects(session, handles.as_mut_ptr(), max as CK_ULONG, &raw mut count))?;
        let count = usize::try_from(count).ok().filter(|count| *count <= max).ok_or(CKR_DEVICE_ERROR)?;
        handles.truncate(count);
        Ok(Reply::Numbers(handles))
    }

    fn save(&self, session: CK_SESSION_HANDLE) -> Rv<Reply> {
        let function = self.table.C_GetOperationState.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        // SAFETY: the call's promise.
        fetched(|place, length| unsafe { function(session, place, length) }).map(Reply::Bytes)
    }

    fn generate(&self, session: CK_SESSION_HANDLE, mechanism: &Mechanism, template: &[Attribute]) -> Rv<Reply> {
        let (mut by, mut template) = (Encoded::new(mechanism, self.quirks.short_gcm), Template::new(template));
        let (mut by, (entries, count)) = (by.mechanism(), template.raw());
        let mut key = CK_INVALID_HANDLE;
        call!(self.C_GenerateKey(session, &raw mut by, entries, count, &raw mut key))?;
        handle(key)
    }

    fn generate_pair(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Rv<Reply> {
        let mut by = Encoded::new(mechanism, self.quirks.short_gcm);
        let (mut public, mut private) = (Template::new(public), Template::new(private));
        let (mut by, (p, p_count), (s, s_count)) = (by.mechanism(), public.raw(), private.raw());
        let (mut one, mut two) = (CK_INVALID_HANDLE, CK_INVALID_HANDLE);
        call!(self.C_GenerateKeyPair(session, &raw mut by, p, p_count, s, s_count, &raw mut one, &raw mut two))?;
        if one == CK_INVALID_HANDLE || two == CK_INVALID_HANDLE {
            return Err(CKR_DEVICE_ERROR);
        }
        Ok(Reply::Pair(one, two))
    }

    fn wrap(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        (wrapping, key): (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
        ask: bool,
    ) -> Rv<Reply> {
        let function = self.table.C_WrapKey.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        let mut by = Encoded::new(mechanism, self.quirks.short_gcm);
        let mut by = by.mechanism();
        let mut call = |place, length| {
            // SAFETY: the call's promise.
            unsafe { function(session, &raw mut by, wrapping, key, place, length) }
        };
        if ask { output(None, call) } else { fetched(&mut call).map(Reply::Bytes) }
    }

    fn wrap_authenticated(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        (wrapping, key): (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
        ask: bool,
    ) -> Rv<Reply> {
        let function = self.table.C_WrapKeyAuthenticated.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        let (message, aad) = message_of(mechanism)?;
        let mut params = EncodedMessage::of(mechanism.ty, message);
        let (parameter, length) = params.raw();
        let mut by = CK_MECHANISM { mechanism: mechanism.ty, pParameter: parameter, ulParameterLen: length };
        let (aad, aad_len) = input(aad);
        let mut call = |place, length| {
            // SAFETY: the call's promise; the places of IV and tag are those of `params`.
            unsafe { function(session, &raw mut by, wrapping, key, aad, aad_len, place, length) }
        };
        if ask {
            return output(None, call);
        }
        let wrapped = fetched(&mut call)?;
        Ok(Reply::Wrapped(wrapped, Box::new(params.after(message))))
    }

    fn unwrap(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        unwrapping: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: &[Attribute],
    ) -> Rv<Reply> {
        let mut template = Template::new(template);
        let ((entries, count), (wrapped, len)) = (template.raw(), input(wrapped));
        let mut key = CK_INVALID_HANDLE;
        if let Params::Message { message, aad } = &mechanism.params {
            let mut params = EncodedMessage::of(mechanism.ty, message);
            let (parameter, length) = params.raw();
            let mut by = CK_MECHANISM { mechanism: mechanism.ty, pParameter: parameter, ulParameterLen: length };
            let (aad, aad_len) = input(aad);
            call!(self.C_UnwrapKeyAuthenticated(
                session,
                &raw mut by,
                unwrapping,
                wrapped,
                len,
                entries,
                count,
                aad,
                aad_len,
                &raw mut key
            ))?;
            return handle(key);
        }
        let mut by = Encoded::new(mechanism, self.quirks.short_gcm);
        let mut by = by.mechanism();
        call!(self.C_UnwrapKey(session, &raw mut by, unwrapping, wrapped, len, entries, count, &raw mut key))?;
        handle(key)
    }

    fn derive(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        base: CK_OBJECT_HANDLE,
        template: &[Attribute],
    ) -> Rv<Reply> {
        let (mut by, mut template) = (Encoded::new(mechanism, self.quirks.short_gcm), Template::new(template));
        let (mut raw, (entries, count)) = (by.mechanism(), template.raw());
        let mut key = CK_INVALID_HANDLE;
        let place = if by.beside_key() { &raw mut key } else { null_mut() };
        call!(self.C_DeriveKey(session, &raw mut raw, base, entries, count, place))?;
        if by.beside_key() && key == CK_INVALID_HANDLE {
            return Err(CKR_DEVICE_ERROR);
        }
        let key = by.beside_key().then_some(key);
        let (further, bytes) = by.derived();
        Ok(Reply::Derived { key, further, bytes })
    }

    fn encapsulate(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        public: CK_OBJECT_HANDLE,
        template: &[Attribute],
        ask: bool,
    ) -> Rv<Reply> {
        let function = self.table.C_EncapsulateKey.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        let (mut by, mut template) = (Encoded::new(mechanism, self.quirks.short_gcm), Template::new(template));
        let (mut by, (entries, count)) = (by.mechanism(), template.raw());
        let mut key = CK_INVALID_HANDLE;
        let mut call = |place, length| {
            // SAFETY: the call's promise.
            unsafe { function(session, &raw mut by, public, entries, count, place, length, &raw mut key) }
        };
        if ask {
            return output(None, call);
        }
        let ciphertext = fetched(&mut call)?;
        if key == CK_INVALID_HANDLE {
            return Err(CKR_DEVICE_ERROR);
        }
        Ok(Reply::Encapsulated(ciphertext, key))
    }

    fn decapsulate(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &Mechanism,
        private: CK_OBJECT_HANDLE,
        ciphertext: &[u8],
        template: &[Attribute],
    ) -> Rv<Reply> {
        let (mut by, mut template) = (Encoded::new(mechanism, self.quirks.short_gcm), Template::new(template));
        let (mut by, (entries, count), (ciphertext, len)) = (by.mechanism(), template.raw(), input(ciphertext));
        let mut key = CK_INVALID_HANDLE;
        call!(self.C_DecapsulateKey(session, &raw mut by, private, entries, count, ciphertext, len, &raw mut key))?;
        handle(key)
    }
}

/// A handle that the module has made: 0 is none.
fn handle(handle: u64) -> Rv<Reply> {
    if handle == CK_INVALID_HANDLE { Err(CKR_DEVICE_ERROR) } else { Ok(Reply::Number(handle)) }
}

/// An absent PIN is left to the HSM's own keypad.
fn pin_of(pin: Option<&[u8]>) -> (*mut u8, CK_ULONG) {
    pin.map_or((null_mut(), 0), input)
}

fn message_of(mechanism: &Mechanism) -> Rv<(&MessageParams, &[u8])> {
    match &mechanism.params {
        Params::Message { message, aad } => Ok((message, aad)),
        _ => Err(CKR_MECHANISM_PARAM_INVALID),
    }
}

/// A list, which may grow between the two calls.
fn list(call: impl Fn(*mut CK_ULONG, *mut CK_ULONG) -> CK_RV) -> Rv<Reply> {
    for _ in 0..4 {
        let mut count = 0;
        done(call(null_mut(), &raw mut count))?;
        let room = usize::try_from(count).ok().filter(|count| *count <= MANY).ok_or(CKR_DEVICE_ERROR)?;
        if room == 0 {
            return Ok(Reply::Numbers(Vec::new()));
        }
        let mut found = vec![0; room];
        match call(found.as_mut_ptr(), &raw mut count) {
            CKR_OK => {
                found.truncate(usize::try_from(count).ok().filter(|count| *count <= room).ok_or(CKR_DEVICE_ERROR)?);
                return Ok(Reply::Numbers(found));
            }
            CKR_BUFFER_TOO_SMALL => {}
            rv => return Err(rv),
        }
    }
    Err(CKR_DEVICE_ERROR)
}

/// A result of a length that only the module knows, at the first try where it is short.
fn fetched(mut call: impl FnMut(*mut u8, *mut CK_ULONG) -> CK_RV) -> Rv<Vec<u8>> {
    let mut room = Zeroizing::new(vec![0u8; 4096]);
    for _ in 0..3 {
        match output(Some(room.as_mut_slice()), &mut call)? {
            Reply::Wrote(wrote) => return room.get(..wrote).map(<[u8]>::to_vec).ok_or(CKR_DEVICE_ERROR),
            Reply::Needs(needed) if needed <= 1 << 24 => *room = vec![0; needed],
            _ => return Err(CKR_DEVICE_ERROR),
        }
    }
    Err(CKR_DEVICE_ERROR)
}
