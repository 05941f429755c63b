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
    template: Vec<Attribute>,
    /// That the HSM knows of the login is certain.
    sure: bool,
    /// How often it had been reminded of the login before the search.
    reminders: u64,
    over: bool,
}

/// `C_FindObjectsInit` of the HSM.
fn find(lease: &mut Lease, template: &[Attribute]) -> Result<(), Fault> {
    lease.call(&Call::Find { session: lease.session(), template: Cow::Borrowed(template) })?;
    lease.set_active(Some(Active::Search));
    Ok(())
}

impl Searching {
    /// `C_FindObjectsInit`.
    pub fn begin(hsm: &Arc<Hsm>, template: Vec<Attribute>) -> Result<Box<dyn Search>> {
        let (lease, reminders) = hsm.attempt_keeping(|lease| {
            let reminders = hsm.reminders();
            find(lease, &template)?;
            Ok(reminders)
        })?;
        Ok(Box::new(Searching { hsm: Arc::clone(hsm), lease, template, sure: false, reminders, over: false }))
    }

    fn meet(&mut self, handles: &[CK_OBJECT_HANDLE]) -> Result<Vec<ObjectId>> {
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
            let known = self.hsm.describe(&self.lease, id, *handle);
            self.sure |= known.is_ok_and(|known| known.private);
            found.push(id);
        }
        Ok(found)
    }

    /// An HSM that has forgotten the login finds no private objects, and says nothing. One that is found is proof enough of a
    /// login; without one the HSM is asked, once, before anything is given.
    fn was_in_vain(&mut self) -> Result<bool> {
        if std::mem::replace(&mut self.sure, true) || !self.hsm.forgot(&self.lease, self.reminders) {
            return Ok(false);
        }
        let end = Call::FindEnd { session: self.lease.session() };
        self.lease.call(&end).map_err(|rv| self.hsm.error(rv.into()))?;
        self.lease.set_active(None);
        self.hsm.remind(&self.lease)?;
        find(&mut self.lease, &self.template).map_err(|fault| self.hsm.error(fault))?;
        self.over = false;
        Ok(true)
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
            let met = self.meet(&handles)?;
            if !self.was_in_vain()? {
                found.extend(met);
            }
        }
        Ok(found)
    }
}
