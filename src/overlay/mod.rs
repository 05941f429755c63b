//! The life of keys that are not ours: states, dates, versions, limits and the policy for the keys of a token that keeps none
//! of that itself, such as an HSM behind a forwarded slot. They stand in an overlay file (docs/lifecycle.md, "Keys in an HSM").
//!
//! ```text
//! Overlay (the joint) -> Objects (which record is this object's?) -> Book (the overlay file) -> store::SlotFile
//!                     -> the token below
//! ```

mod access;
mod book;
mod bound;
mod identity;
mod life;
mod making;
mod orphans;
mod rotate;
mod search;
mod token;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cryptoki_sys::*;
use smallvec::SmallVec;

pub use book::Place;
pub use orphans::{Orphan, of_none};

use self::book::{Book, Trait, View};
use self::bound::{Bound, Key, Objects, tombstone_of};
use self::search::{answer, is_own};
use crate::error::{Code, Result};
use crate::lifecycle::policy::{Backup, Class, Policy};
use crate::mechanism::key;
use crate::object::life as of_life;
use crate::object::{Attributes, build};
use crate::token::*;

/// A token without a life of its own, with one.
pub struct Overlay {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<dyn Token>,
    book: Book,
    objects: Objects,
    /// Applications' open sessions.
    sessions: AtomicUsize,
}

/// Whether such a policy can be kept for keys that are not ours. `CKR_ARGUMENTS_BAD` says what to do.
pub fn suits(policy: &Policy) -> Result<()> {
    let backup = |class: &&Class| class.backup == Backup::Required;
    match policy.classes.iter().find(backup) {
        None => Ok(()),
        Some(class) => Err(Code::ArgumentsBad.because(format!(
            "class {} has backup = \"required\", and the keys of this slot are an HSM's: only its maker's tools can back them up, and nobody \
             here sees whether they have. Leave it out, or no key of the class would ever be used",
            class.name
        ))),
    }
}

impl Overlay {
    pub fn around(inner: Arc<dyn Token>, place: Place) -> Overlay {
        let (book, objects) = (Book::new(place), Objects::new());
        Overlay { shared: Arc::new(Shared { inner, book, objects, sessions: AtomicUsize::new(0) }) }
    }
}

/// What the overlay answers itself, of keys.
fn answers_itself(ty: CK_ATTRIBUTE_TYPE) -> bool {
    is_own(ty) || matches!(ty, CKA_LABEL | CKA_UNIQUE_ID | CKA_START_DATE | CKA_END_DATE | CKA_PUBLIC_KEY_INFO)
}

impl Shared {
    fn bound(&self, view: &View, caller: Caller, object: ObjectId) -> Result<Bound> {
        self.objects.bound(&self.book, view, &*self.inner, caller, object)
    }

    /// Stands in a stamp for what the overlay's answer depends on. It is put there, and taken out, by exclusive or: the token
    /// below finds its own stamp again as long as nothing has changed.
    fn mark(&self, view: &View) -> u64 {
        let changes = self.objects.changes();
        view.epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ changes.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
    }

    /// Whether a key may come into use as far as the overlay knows it at all; the rest is the guard's. `invalid` for one that
    /// is hidden or gone, `CKR_KEY_FUNCTION_NOT_PERMITTED` where it is not clear which one it is, `CKR_DEVICE_ERROR`.
    fn fit(&self, view: &View, caller: Caller, object: ObjectId, invalid: Code) -> Result<()> {
        match self.bound(view, caller, object) {
            Ok(Bound::Key(key)) if key.state().hidden() => Err(invalid.into()),
            Ok(Bound::Key(_) | Bound::Other) => Ok(()),
            Ok(Bound::Unclear(_, error)) => Err(error),
            Err(error) if error.code() == Code::ObjectHandleInvalid => Err(invalid.into()),
            Err(error) => Err(error),
        }
    }

    /// `C_GetAttributeValue`. What decides of a use is told, or refused; never made up.
    fn get(&self, caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        if let Some(record) = tombstone_of(object) {
            return self.look_at_tombstone(record, types);
        }
        let deciding = types.iter().any(|ty| of_life::DECIDING.contains(ty));
        let view = match self.book.view() {
            Ok(view) => view,
            Err(error) if deciding => return Err(error),
            Err(_) => return self.theirs(caller, object, types),
        };
        if !types.iter().any(|ty| answers_itself(*ty)) && !self.book.has(&view, Trait::Hidden)? {
            return self.inner.get(caller, object, types);
        }
        match self.bound(&view, caller, object)? {
            Bound::Key(key) if key.state().hidden() && !types.contains(&CKA_KEYWARD_STATE) => {
                Err(Code::ObjectHandleInvalid.into())
            }
            Bound::Key(key) => {
                let mut answers = self.theirs(caller, object, types)?;
                for (ty, own) in types.iter().zip(&mut answers).filter(|(ty, _)| answers_itself(**ty)) {
                    self.amend(caller, object, &key, *ty, own);
                }
                Ok(answers)
            }
            Bound::Unclear(_, error) if deciding => Err(error.recode(Code::FunctionFailed)),
            Bound::Unclear(..) | Bound::Other => self.theirs(caller, object, types),
        }
    }

    /// What the token below answers; of our attributes it has none.
    fn theirs(&self, caller: Caller, object: ObjectId, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        let asked: SmallVec<[CK_ATTRIBUTE_TYPE; 16]> = types.iter().copied().filter(|ty| !is_own(*ty)).collect();
        if asked.is_empty() {
            return Ok(types.iter().map(|_| Answer::Absent).collect());
        }
        let mut answers = self.inner.get(caller, object, &asked)?.into_iter();
        let one = |ty: &CK_ATTRIBUTE_TYPE| if is_own(*ty) { None } else { answers.next() };
        Ok(types.iter().map(one).map(|answer| answer.unwrap_or(Answer::Absent)).collect())
    }

    /// Puts the overlay's word in the place of the HSM's.
    fn amend(&self, caller: Caller, object: ObjectId, key: &Key, ty: CK_ATTRIBUTE_TYPE, theirs: &mut Answer) {
        let says_nothing = match theirs {
            Answer::Value(Value::Bytes(bytes)) => bytes.is_empty(),
            _ => true,
        };
        let own = match ty {
            CKA_LABEL => key.attributes.get(CKA_KEYWARD_LOGICAL_KEY).map(|_| Attribute::bytes(ty, key.label()).value),
            CKA_UNIQUE_ID => {
                (says_nothing && key.identity.on_token).then(|| Attribute::bytes(ty, &key.unique_id()).value)
            }
            CKA_PUBLIC_KEY_INFO if !says_nothing => None,
            CKA_PUBLIC_KEY_INFO => {
                self.public_key_info(caller, object, key).map(|info| Attribute::bytes(ty, &info).value)
            }
            CKA_START_DATE | CKA_END_DATE => key.attributes.get(ty).cloned(),
            _ => answer(&key.attributes, ty),
        };
        if let Some(own) = own {
            *theirs = Answer::Value(own);
        }
    }

    /// Where the HSM does not tell: from the public half.
    fn public_key_info(&self, caller: Caller, object: ObjectId, key: &Key) -> Option<Vec<u8>> {
        const PARTS: [CK_ATTRIBUTE_TYPE; 7] =
            [CKA_CLASS, CKA_KEY_TYPE, CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_EC_PARAMS, CKA_EC_POINT, CKA_PARAMETER_SET];
        let half = match key.identity.class {
            CKO_PUBLIC_KEY => object,
            CKO_PRIVATE_KEY => self.other_half(caller, key).ok()??,
            _ => return None,
        };
        let mut parts = identity::ask(&*self.inner, caller, half, &PARTS).ok()?;
        if parts.get(CKA_PARAMETER_SET).is_some() {
            let value = identity::ask(&*self.inner, caller, half, &[CKA_VALUE]).ok()?;
            value.into_iter().for_each(|attribute| parts.put(attribute));
        }
        key::public_key_info(&parts).ok()
    }

    /// The other half of a pair, by ID and public key; `None`: there is none, or more than one fits.
    fn other_half(&self, caller: Caller, key: &Key) -> Result<Option<ObjectId>> {
        let other = match key.identity.class {
            CKO_PUBLIC_KEY => CKO_PRIVATE_KEY,
            CKO_PRIVATE_KEY => CKO_PUBLIC_KEY,
            _ => return Ok(None),
        };
        if key.identity.id.is_empty() {
            return Ok(None);
        }
        let halves = identity::found(&*self.inner, caller, key.identity.half_template(other), 16)?;
        let mut same = Vec::new();
        for half in halves {
            let identity = identity::Identity::of(&*self.inner, caller, half)?;
            if identity.is_some_and(|half| half.print.is_none() || half.print == key.identity.print) {
                same.push(half);
            }
        }
        Ok(if let [only] = same.as_slice() { Some(*only) } else { None })
    }

    fn look_at_tombstone(&self, record: u64, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Answers> {
        let view = self.book.view()?;
        let record = self.book.read(&view, record)?.filter(|_| types.contains(&CKA_KEYWARD_STATE));
        let record = record.filter(|record| of_life::state(&record.attributes).hidden());
        let record = record.ok_or(Code::ObjectHandleInvalid)?;
        let shown: Attributes = record.attributes.iter().filter(|a| !is_internal(a.ty)).cloned().collect();
        Ok(types.iter().map(|ty| build::read(&shown, *ty)).collect())
    }
}

/// What a record holds for itself.
fn is_internal(ty: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(ty, book::BY_PRINT | book::HSM_LABEL | book::HSM_UNIQUE)
}
