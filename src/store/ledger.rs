//! What shows a removed, replayed or slipped-in record: a keyed multiset hash over all objects, sealed in the token's
//! row and carried along in each transaction.

use super::anchor::state_hash;
use super::engine::{Batch, MetaRow, ObjectRow, SecretRow};
use super::format::Reader;
use super::keys::{Half, Keys};
use super::seal::tag_of;
use crate::error::{Code, Error, Result};

/// Sum over the objects of one kind: four lanes that add without carry between them, so that order does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub count: u64,
    pub lanes: [u64; 4],
}

impl Sum {
    pub fn add(&mut self, summand: &[u8; 32]) {
        self.count = self.count.wrapping_add(1);
        self.each(summand, u64::wrapping_add);
    }

    pub fn subtract(&mut self, summand: &[u8; 32]) {
        self.count = self.count.wrapping_sub(1);
        self.each(summand, u64::wrapping_sub);
    }

    fn each(&mut self, summand: &[u8; 32], with: fn(u64, u64) -> u64) {
        for (lane, bytes) in self.lanes.iter_mut().zip(summand.as_chunks::<8>().0) {
            *lane = with(*lane, u64::from_be_bytes(*bytes));
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.count.to_be_bytes().to_vec();
        self.lanes.iter().for_each(|lane| bytes.extend_from_slice(&lane.to_be_bytes()));
        bytes
    }

    fn decode(from: &mut Reader<'_>) -> Result<Sum> {
        Ok(Sum { count: from.u64()?, lanes: [from.u64()?, from.u64()?, from.u64()?, from.u64()?] })
    }
}

/// The sealed states, opened. The public one is everybody's; the private one needs the master key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Transactions since the token was first made.
    pub commits: u64,
    /// All objects, public and private.
    pub total: u64,
    pub public: Sum,
    pub private: Option<Sum>,
    /// `state_hash` of the state before the last commit; `None`: that was not kept.
    pub before: Option<[u8; 32]>,
    /// `state_hash` of the state opened, which the next one will name.
    pub here: [u8; 32],
}

const PUBLIC: &[u8] = b"keyward public state";
const PRIVATE: &[u8] = b"keyward private state";

impl Ledger {
    /// `CKR_DEVICE_ERROR` where a state was altered.
    pub fn open(keys: &Keys, meta: &MetaRow) -> Result<Ledger> {
        let public = keys.public_half().state.open(&aad(PUBLIC, meta), &meta.public_state).ok_or_else(altered)?;
        let mut from = Reader(&public);
        let (commits, total) = (from.u64()?, from.u64()?);
        let public = Sum::decode(&mut from)?;
        let before = from.array().ok();
        let private = keys.private_half().map(|half| open_private(half, meta)).transpose()?;
        Ok(Ledger { commits, total, public, private, before, here: state_hash(meta) })
    }

    /// Counts a transaction, and writes the states of `meta`.
    pub fn close(&mut self, keys: &Keys, meta: &mut MetaRow) -> Result<()> {
        self.commits = self.commits.wrapping_add(1);
        let mut public = [self.commits.to_be_bytes(), self.total.to_be_bytes()].concat();
        public.extend(self.public.encode());
        public.extend(self.here);
        meta.public_state = keys.public_half().state.seal(&aad(PUBLIC, meta), &public)?;
        if let (Some(sum), Some(half)) = (&self.private, keys.private_half()) {
            meta.private_state = half.state.seal(&aad(PRIVATE, meta), &sum.encode())?;
        }
        Ok(())
    }

    /// The sum that an object of that kind belongs to.
    pub fn sum(&mut self, private: bool) -> Result<&mut Sum> {
        match private {
            false => Ok(&mut self.public),
            true => self.private.as_mut().ok_or_else(|| Code::UserNotLoggedIn.into()),
        }
    }
}

fn open_private(half: &Half, meta: &MetaRow) -> Result<Sum> {
    let bytes = half.state.open(&aad(PRIVATE, meta), &meta.private_state).ok_or_else(altered)?;
    Sum::decode(&mut Reader(&bytes))
}

fn aad(kind: &[u8], meta: &MetaRow) -> Vec<u8> {
    [kind, &meta.header].concat()
}

fn altered() -> Error {
    Code::DeviceError.because("the slot file's sealed state is damaged or was altered; see keyward doctor")
}

/// The summand of a row as it stands in the file.
pub fn summand(half: &Half, row: &ObjectRow, secret: Option<&[u8]>) -> [u8; 32] {
    half.summand(row, tag_of(Some(&row.attrs)), tag_of(secret))
}

/// The summand of a stored row, whose secret is fetched where it has one.
pub fn stored_summand(half: &Half, row: &ObjectRow, batch: &dyn Batch) -> Result<[u8; 32]> {
    let secret: Option<SecretRow> = if row.secret_version == 0 { None } else { batch.secret(row.id)? };
    Ok(summand(half, row, secret.and_then(|s| s.sealed).as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_mind_the_order_and_undo_exactly() {
        let (one, two) = ([0xFF; 32], [0x81; 32]);
        let (mut there, mut back) = (Sum::default(), Sum::default());
        there.add(&one);
        there.add(&two);
        back.add(&two);
        back.add(&one);
        assert_eq!(there, back);
        there.subtract(&one);
        assert_ne!(there, back);
        there.subtract(&two);
        assert_eq!(there, Sum::default());
        assert_eq!(Sum::decode(&mut Reader(&back.encode())).unwrap(), back);
    }
}
