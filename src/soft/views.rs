//! The view of a user's login as the threads have it: copies in places that lie apart, so that threads that only look do not all
//! write to one lock and one count of references.

use parking_lot::RwLock;

use super::access::View;
use crate::os;

/// Invariant: what a place holds is the view of the login that `Soft::state` holds. Places are filled while that is locked for
/// reading, and emptied before it is unlocked after any change; so no keys outlast their login here.
pub struct Views([Place; os::PLACES]);

#[repr(align(64))]
struct Place(RwLock<Option<View>>);

impl Views {
    pub fn new() -> Views {
        Views([const { Place(RwLock::new(None)) }; os::PLACES])
    }

    fn here(&self) -> Option<&RwLock<Option<View>>> {
        self.0.get(os::thread_place()).map(|Place(view)| view)
    }

    pub fn get(&self) -> Option<View> {
        self.here()?.read().clone()
    }

    /// The caller holds the state's lock, and says what it found there.
    pub fn keep(&self, view: &View) -> View {
        let own = view.apart();
        if let Some(place) = self.here() {
            *place.write() = Some(own.clone());
        }
        own
    }

    /// The caller holds the state's lock for writing.
    pub fn forget(&self) {
        self.0.iter().for_each(|Place(view)| *view.write() = None);
    }
}
