//! A search in the HSM, streamed.

use std::borrow::Cow;
use std::sync::Arc;

use cryptoki_sys::*;

use super::call::{Call, Reply};
use super::fault::Fault;
use super::hsm::Hsm;
use super::pool::{Active, Lease};
use crate::error::Result;
use crate::token::{Attribute, ObjectId, Search};

pub struct Searching {
    hsm: Arc<Hsm>,
    lease: Lease,
    over: bool,
}

impl Searching {
    /// `C_FindObjectsInit`.
    pub fn begin(hsm: &Arc<Hsm>, template: &[Attribute]) -> Result<Box<dyn Search>> {
        let (lease, ()) = hsm.attempt_keeping(|lease| {
            let session = lease.session();
            // No code would tell: private objects would only not be found.
            if hsm.has_forgotten(lease) {
                return Err(Fault::Hsm(CKR_USER_NOT_LOGGED_IN));
            }
            lease.call(&Call::Find { session, template: Cow::Borrowed(template) })?;
            lease.set_active(Some(Active::Search));
            Ok(())
        })?;
        Ok(Box::new(Searching { hsm: Arc::clone(hsm), lease, over: false }))
    }

    fn meet(&self, handles: &[CK_OBJECT_HANDLE]) -> Result<Vec<ObjectId>> {
        let mut found = Vec::with_capacity(handles.len());
        for handle in handles {
            match self.hsm.shows(&self.lease, *handle) {
                Ok(true) => {}
                Ok(false) => continue,
                // Destroyed by another since it was found.
                Err(Fault::Hsm(CKR_OBJECT_HANDLE_INVALID)) => continue,
                Err(fault) => return Err(self.hsm.error(fault)),
            }
            let id = self.hsm.objects.meet(*handle, self.lease.epoch(), None);
            // What it is cannot be asked after a loss. Should it not be told now, the next use asks again.
            let _ = self.hsm.describe(&self.lease, id, *handle);
            found.push(id);
        }
        Ok(found)
    }
}

impl Search for Searching {
    fn next(&mut self, max: usize) -> Result<Vec<ObjectId>> {
        let mut found = Vec::new();
        while found.len() < max && !self.over {
            let wanted = max - found.len();
            let call = Call::Found { session: self.lease.session(), max: wanted };
            let handles = self.lease.call(&call).and_then(Reply::numbers).map_err(|rv| self.hsm.error(rv.into()))?;
            // Some modules give fewer than asked for before the end; only none is the end.
            self.over = handles.is_empty();
            found.extend(self.meet(&handles)?);
        }
        Ok(found)
    }
}
