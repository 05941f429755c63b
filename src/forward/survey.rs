//! What any PKCS#11 module offers, to compare it with ours. No session is opened and nobody logs in.

use std::collections::BTreeMap;
use std::path::Path;

use cryptoki_sys::*;

use super::call::{Call, Driver, Rv};
use super::ffi::Local;
use super::module::Threads;
use super::quirks;
use crate::error::{Code, Result};
use crate::token::MechanismInfo;

/// The mechanisms of the tokens in the module's slots, or of the one in `slot`. Where two tokens have one, it is told with the
/// widest sizes and all uses. `CKR_LIBRARY_LOAD_FAILED` for what is no PKCS#11 module, `CKR_SLOT_ID_INVALID`,
/// `CKR_TOKEN_NOT_PRESENT` where there is no token to ask, and what the module itself answers.
pub fn mechanisms(
    path: &Path,
    init_args: Option<&str>,
    slot: Option<CK_SLOT_ID>,
) -> Result<BTreeMap<CK_MECHANISM_TYPE, MechanismInfo>> {
    let module = Local::load(path, init_args, quirks::of_module(path), Threads::Allowed)?;
    module.start()?;
    let found = ask(&module, path, slot);
    module.stop();
    found
}

fn ask(module: &Local, path: &Path, slot: Option<CK_SLOT_ID>) -> Result<BTreeMap<CK_MECHANISM_TYPE, MechanismInfo>> {
    let answered = |rv: CK_RV, what: &str| {
        let code = Code::from_ckr(rv).unwrap_or(Code::DeviceError);
        code.because(format!("the module {}: {what} answered {rv:#x}", path.display()))
    };
    let slots = match slot {
        Some(one) => vec![one],
        None => {
            let reply = module.call(&Call::Slots, None).and_then(|reply| reply.numbers());
            reply.map_err(|rv| answered(rv, "C_GetSlotList"))?
        }
    };
    if slots.is_empty() {
        return Err(Code::TokenNotPresent.because(format!(
            "the module {} shows no token; make one with its own tools, or set its configuration",
            path.display()
        )));
    }
    let mut found = BTreeMap::new();
    for slot in slots {
        let listed = list(module, slot).map_err(|rv| answered(rv, "C_GetMechanismList"))?;
        for ty in listed {
            // Some modules list a mechanism of which they tell nothing: then its name is all that is known.
            let info = one(module, slot, ty).unwrap_or(MechanismInfo { min_key: 0, max_key: 0, flags: 0 });
            found.entry(ty).and_modify(|known| widen(known, &info)).or_insert(info);
        }
    }
    Ok(found)
}

fn list(module: &Local, slot: CK_SLOT_ID) -> Rv<Vec<CK_MECHANISM_TYPE>> {
    module.call(&Call::Mechanisms { slot }, None)?.numbers()
}

fn one(module: &Local, slot: CK_SLOT_ID, ty: CK_MECHANISM_TYPE) -> Rv<MechanismInfo> {
    module.call(&Call::Mechanism { slot, ty }, None)?.mechanism()
}

fn widen(known: &mut MechanismInfo, other: &MechanismInfo) {
    known.min_key = known.min_key.min(other.min_key);
    known.max_key = known.max_key.max(other.max_key);
    known.flags |= other.flags;
}
