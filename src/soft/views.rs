//! The view of a user's login as the threads have it, and the object that each looks at most: copies in places that lie apart,
//! so that threads that only look do not all write to one lock and one count of references.

use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::CK_ATTRIBUTE_TYPE;
use parking_lot::RwLock;

use super::access::View;
use super::object::Object;
use crate::object::Attributes;
use crate::object::build::Sight;
use crate::os;
use crate::token::{Answer, ObjectId};

/// Invariant: what a place holds is the view of the login that `Soft::state` holds. Places are filled while that is locked for
/// reading, and emptied before it is unlocked after any change; so no keys outlast their login here.
pub struct Views([Place; os::PLACES]);

#[repr(align(64))]
struct Place {
    held: RwLock<Option<Held>>,
    /// An object's ID, and how often it was read one time after another; a guess where threads share the place.
    asked: AtomicU64,
}

struct Held {
    view: View,
    copied: Option<Copied>,
}

/// What anyone may read of an object whom `Held::view` lets see it.
struct Copied {
    id: ObjectId,
    /// Of before it was read.
    stamp: Stamp,
    sight: Sight,
    attributes: Attributes,
}

/// The count of this process's own changes and the epoch of the slot file: the same as long as nothing has changed.
pub type Stamp = (u64, u64);

/// So many readings in a row, and an object is copied: copying costs some of them.
const OFTEN: u64 = 8;
const COUNTED: u32 = u64::BITS - ObjectId::BITS;

impl Copied {
    /// `None`: one of them is not in the copy.
    fn read<A: FromIterator<Answer>>(&self, types: &[CK_ATTRIBUTE_TYPE]) -> Option<A> {
        let one =
            |ty: &CK_ATTRIBUTE_TYPE| (!self.sight.needs_secret(*ty)).then(|| self.sight.read(&self.attributes, *ty));
        types.iter().map(one).collect()
    }
}

impl Views {
    pub fn new() -> Views {
        Views([const { Place { held: RwLock::new(None), asked: AtomicU64::new(0) } }; os::PLACES])
    }

    fn here(&self) -> Option<&Place> {
        self.0.get(os::thread_place())
    }

    pub fn get(&self) -> Option<View> {
        Some(self.here()?.held.read().as_ref()?.view.clone())
    }

    /// Answers from this place's copy of the object, if it has one that is as new as `now` says of the view.
    pub fn read<A: FromIterator<Answer>>(
        &self,
        id: ObjectId,
        types: &[CK_ATTRIBUTE_TYPE],
        now: impl FnOnce(&View) -> Stamp,
    ) -> Option<A> {
        let held = self.here()?.held.read();
        let Held { view, copied: Some(copied) } = held.as_ref()? else { return None };
        if copied.id == id && copied.stamp == now(view) { copied.read(types) } else { None }
    }

    /// The object has been read under `view`, after `stamp` was taken. If it often is, it is copied to this place.
    pub fn was_read(&self, view: &View, id: ObjectId, stamp: Stamp, object: &Object) {
        let Some(place) = self.here() else { return };
        let before = place.asked.load(Ordering::Relaxed);
        let times = if before >> COUNTED == id.0 { before & ((1 << COUNTED) - 1) } else { 0 };
        if times < OFTEN {
            return place.asked.store(id.0 << COUNTED | (times + 1), Ordering::Relaxed);
        }
        place.asked.store(0, Ordering::Relaxed);
        // Of another login than the place's: whose end this copy must not outlast.
        if let Some(held) = place.held.write().as_mut().filter(|held| held.view.is(view)) {
            held.copied = Some(Copied { id, stamp, sight: object.sight, attributes: object.attributes.clone() });
        }
    }

    /// The caller holds the state's lock, and says what it found there.
    pub fn keep(&self, view: &View) -> View {
        let own = view.apart();
        if let Some(place) = self.here() {
            *place.held.write() = Some(Held { view: own.clone(), copied: None });
        }
        own
    }

    /// The caller holds the state's lock for writing.
    pub fn forget(&self) {
        self.0.iter().for_each(|place| *place.held.write() = None);
    }
}
