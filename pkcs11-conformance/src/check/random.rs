//! C_GenerateRandom and C_SeedRandom.

use cryptoki_sys::*;

use super::{Need, Row};
use crate::context::{Outcome, T, ensure, equal, fail, one_of, skip};
use crate::ffi::{Rv, Session};
use crate::functions::F;
use crate::process::Peer;

pub static ROWS: &[Row] = &[
    Row("generate/distinct", "5.19.2", &[Need::Token], distinct),
    Row("generate/lengths", "5.19.2", &[Need::Token], lengths),
    Row("generate/nothing", "5.19.2", &[Need::Token], nothing),
    Row("generate/looks-random", "5.19.2", &[Need::Token], looks_random),
    Row("generate/differs-after-fork", "beyond 5.19.2", &[Need::Token], after_fork),
    Row("seed/any", "5.19.1", &[Need::Token], seed),
];

fn generator(t: &mut T<'_>) -> Result<Session, crate::context::Stop> {
    if t.token()?.flags & CKF_RNG == 0 {
        return skip("the token has no generator");
    }
    t.session()
}

fn distinct(t: &mut T<'_>) -> Outcome {
    let (a, b) = (generator(t)?, t.session()?);
    let mut all = vec![a.random(32)?, a.random(32)?, b.random(32)?, b.random(32)?];
    all.sort();
    all.dedup();
    equal("distinct outputs", all.len(), 4)
}

fn lengths(t: &mut T<'_>) -> Outcome {
    let s = generator(t)?;
    for n in [1, 2, 31, 4096, 1 << 20] {
        let bytes = s.random(n)?;
        ensure(n < 31 || bytes.iter().any(|b| *b != 0), || format!("{n} bytes are all zero"))?;
        // Every part is filled, the last one too.
        ensure(n < 31 || bytes[n - 31..].iter().any(|b| *b != 0), || "the last 31 bytes are zero".into())?;
    }
    Ok(())
}

fn nothing(t: &mut T<'_>) -> Outcome {
    let s = generator(t)?;
    let rv = s.random(0).map_or_else(|r| r.rv, |_| Rv(CKR_OK));
    one_of("C_GenerateRandom of 0 bytes", rv, &[CKR_OK, CKR_ARGUMENTS_BAD])
}

/// A share of ones within six standard deviations of a half.
fn looks_random(t: &mut T<'_>) -> Outcome {
    let bytes = generator(t)?.random(1 << 16)?;
    let ones: u32 = bytes.iter().map(|b| b.count_ones()).sum();
    let (half, deviation) = (1u32 << 18, 362);
    ensure(ones.abs_diff(half) < 6 * deviation, || format!("{ones} ones in {} bits", 1 << 19))
}

/// Parent and child, each with a library of its own, do not repeat each other.
fn after_fork(t: &mut T<'_>) -> Outcome {
    let s = generator(t)?;
    s.random(32)?;
    let (api, args, slot) = (t.api, t.env.init_args.clone(), t.slot()?);
    let child = Peer::spawn(|_| {
        // A library that is still initialised in the child may answer at once; either way it must be new.
        let _ = api.initialize(args.as_deref());
        let s = api.open_session(slot, CKF_SERIAL_SESSION).map(|h| Session { api, h });
        s.and_then(|s| s.random(32)).unwrap_or_default()
    })
    .answer();
    if child.len() != 32 {
        return fail("the child got no randomness");
    }
    ensure(s.random(32)? != child, || "parent and child have the same bytes".into())
}

fn seed(t: &mut T<'_>) -> Outcome {
    let s = generator(t)?;
    match s.feed(F::C_SeedRandom, &[], b"some seed") {
        Err(r) => one_of("C_SeedRandom", r.rv, &[CKR_RANDOM_SEED_NOT_SUPPORTED]),
        Ok(()) => {
            let first = s.random(32)?;
            s.feed(F::C_SeedRandom, &[], b"some seed")?;
            ensure(first != s.random(32)?, || "the same seed gave the same bytes".into())
        }
    }
}
