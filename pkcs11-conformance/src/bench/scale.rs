//! Operations in a token of so many objects.

use std::time::Instant;

use cryptoki_sys::*;

use super::ops::{Shared, Step};
use crate::check::keys::{Keys, Kind};
use crate::context::{Choice, Env, RW, Stop, fail};
use crate::data::Template;
use crate::ffi::{Api, Session};

/// The signer's label; it and its pair are no secret keys, and so not counted among the objects.
const SIGNER: &str = "bench signer";

fn label(i: u64) -> String {
    format!("bench object {i}")
}

/// Brings the token, which must be our own unless that is done, to this number of keys; says how fast, if any were made.
pub fn fill(env: &Env, s: Session, n: usize) -> Result<String, Stop> {
    let mut old = s.find(&Template::of(CKO_SECRET_KEY).flag(CKA_TOKEN, true))?;
    if old.len() == n {
        return Ok(String::new());
    }
    if !matches!(env.choice, Choice::Own(_)) {
        return fail("needs a token that it may fill (--init-token), or one filled by an earlier run");
    }
    if old.len() > n {
        old.drain(..).try_for_each(|o| s.destroy(o))?;
    }
    let (had, began) = (old.len(), Instant::now());
    for i in had as u64..n as u64 {
        let t = Template::key(CKO_SECRET_KEY, CKK_AES)
            .flag(CKA_TOKEN, true)
            .text(CKA_LABEL, &label(i))
            .bytes(CKA_ID, &(i as u32).to_be_bytes())
            .bytes(CKA_VALUE, &[7; 16]);
        s.create(&t)?;
    }
    let rate = (n - had) as f64 / began.elapsed().as_secs_f64();
    Ok(format!("{} token objects made, {rate:.0} a second", n - had))
}

/// A pair of keys in the token: found, or made the first time.
pub fn signer(s: Session, kind: Kind) -> Result<Keys, Stop> {
    let of = |class| Template::of(class).flag(CKA_TOKEN, true).text(CKA_LABEL, SIGNER);
    match (s.find(&of(CKO_PUBLIC_KEY))?.first(), s.find(&of(CKO_PRIVATE_KEY))?.first()) {
        (Some(public), Some(private)) => Ok(Keys { private: *private, public: *public }),
        _ => kind.make_with(s, &Template::new().flag(CKA_TOKEN, true).text(CKA_LABEL, SIGNER)),
    }
}

/// A search for one object, another each time, in an order that no cache foresees.
pub fn search(c: &Shared, s: Session, by_label: bool) -> Result<Step, Stop> {
    let (n, mut at) = (c.objects as u64, 12_345u64);
    Ok(Box::new(move || {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let i = (at >> 33) % n;
        let t = match by_label {
            true => Template::new().text(CKA_LABEL, &label(i)),
            false => Template::new().bytes(CKA_ID, &(i as u32).to_be_bytes()),
        };
        s.find_init(&t)?;
        let found = s.find_next(4)?;
        s.find_final()?;
        if found.len() == 1 { Ok(()) } else { fail(format!("{} objects instead of one", found.len())) }
    }))
}

/// All handles, a hundred at a time.
pub fn list(c: &Shared, s: Session) -> Result<Step, Stop> {
    let n = c.objects;
    Ok(Box::new(move || {
        s.find_init(&Template::of(CKO_SECRET_KEY))?;
        let mut all = 0;
        loop {
            match s.find_next(100)?.len() {
                0 => break,
                some => all += some,
            }
        }
        s.find_final()?;
        if all == n { Ok(()) } else { fail(format!("{all} objects instead of {n}")) }
    }))
}

/// From nothing to a session and back; what one program's start costs.
pub fn open(api: &'static Api, slot: CK_SLOT_ID, init_args: Option<String>) -> Result<Step, Stop> {
    Ok(Box::new(move || {
        api.initialize(init_args.as_deref())?;
        api.slots(true)?;
        api.open_session(slot, RW)?;
        Ok(api.finalize()?)
    }))
}
