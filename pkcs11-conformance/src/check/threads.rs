//! Many threads, many sessions, several processes.

use std::sync::Barrier;
use std::thread;

use cryptoki_sys::*;

use super::keys::{Kind, P256};
use super::{Need, Row};
use crate::context::{Outcome, RW, Stop, T, ensure, equal, same_bytes};
use crate::data::{Mech, Template};
use crate::ffi::Session;
use crate::functions::F;
use crate::process::{Line, Peer};

pub static ROWS: &[Row] = &[
    Row("digest-in-8-threads", "5.4.1", &[Need::Mech(CKM_SHA256, CKF_DIGEST)], digests),
    Row("sign-with-one-key-in-8-threads", "5.4.1", &[Need::User, Need::Mech(CKM_ECDSA, CKF_SIGN)], signatures),
    Row("open-and-close-in-8-threads", "5.4.1", &[Need::Token], sessions),
    Row("objects-in-8-threads", "5.4.1", &[Need::User, Need::Writable], objects),
    Row("token-objects-in-4-threads", "5.4.1", &[Need::User, Need::Writable], token_objects),
    Row("generate-in-4-threads", "5.4.1", &[Need::User, Need::Mech(CKM_EC_KEY_PAIR_GEN, 0)], generation),
    Row("encrypt-while-others-generate", "5.4.1", &[Need::User, Need::Mech(CKM_AES_GCM, CKF_ENCRYPT)], mixed),
    Row("100-sessions-each-with-an-operation", "5.6.1", &[Need::Mech(CKM_SHA256, CKF_DIGEST)], interleaved),
    Row("small-stack", "beyond 5.4.1", &[Need::User, Need::Mech(CKM_ECDSA, CKF_SIGN)], small_stack),
    Row("object-of-another-process", "5.7.7", &[Need::User, Need::Writable], other_process),
    Row("writers-in-4-processes", "5.7.1", &[Need::User, Need::Writable], writers),
    Row("login-of-another-process", "5.6.8", &[Need::User], other_login),
];

/// Runs `work` in `n` threads at once; the first failure counts.
fn at_once(n: usize, work: impl Fn(usize) -> Outcome + Sync) -> Outcome {
    let barrier = Barrier::new(n);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n)
            .map(|i| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(i)
                })
            })
            .collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| Err(Stop::Fail("a thread panicked".into()))))
    })
}

fn opened(t: &mut T<'_>, n: usize) -> Result<Vec<Session>, Stop> {
    (0..n).map(|_| t.session()).collect()
}

fn sha256(s: Session, data: &[u8]) -> Result<Vec<u8>, Stop> {
    s.init(F::C_DigestInit, &Mech::new(CKM_SHA256), 0)?;
    Ok(s.run(F::C_Digest, data)?)
}

fn digests(t: &mut T<'_>) -> Outcome {
    let s = opened(t, 8)?;
    let want: Vec<Vec<u8>> = (0..8).map(|i| sha256(s[0], &[i as u8; 1000])).collect::<Result<_, _>>()?;
    at_once(8, |i| (0..300).try_for_each(|_| same_bytes("digest", &sha256(s[i], &[i as u8; 1000])?, &want[i])))
}

fn signatures(t: &mut T<'_>) -> Outcome {
    let first = t.user()?;
    let keys = Kind::Ec(P256).make(first)?;
    let s = opened(t, 8)?;
    let ecdsa = Mech::new(CKM_ECDSA);
    at_once(8, |i| {
        for _ in 0..30 {
            s[i].init(F::C_SignInit, &ecdsa, keys.private)?;
            let signature = s[i].run(F::C_Sign, &[i as u8; 32])?;
            s[i].init(F::C_VerifyInit, &ecdsa, keys.public)?;
            s[i].feed2(F::C_Verify, &[i as u8; 32], &signature)?;
        }
        Ok(())
    })
}

fn sessions(t: &mut T<'_>) -> Outcome {
    let (api, slot) = (t.init()?, t.slot()?);
    at_once(8, |_| {
        for _ in 0..200 {
            let s = Session { api, h: api.open_session(slot, CKF_SERIAL_SESSION)? };
            equal("state", s.info()?.state, CKS_RO_PUBLIC_SESSION)?;
            s.close()?;
        }
        Ok(())
    })
}

fn data(label: &str, on_token: bool) -> Template {
    Template::of(CKO_DATA).flag(CKA_TOKEN, on_token).flag(CKA_PRIVATE, false).text(CKA_LABEL, label)
}

/// Each thread finds its own objects and no others.
fn own_objects(t: &mut T<'_>, threads: usize, rounds: usize, on_token: bool) -> Outcome {
    t.user()?;
    let s = opened(t, threads)?;
    at_once(threads, |i| {
        let label = format!("object of thread {i}");
        for _ in 0..rounds {
            let o = s[i].create(&data(&label, on_token))?;
            equal("objects found", s[i].find(&Template::new().text(CKA_LABEL, &label))?, vec![o])?;
            same_bytes("label", &s[i].get(o, CKA_LABEL)?, label.as_bytes())?;
            s[i].destroy(o)?;
        }
        Ok(())
    })
}

fn objects(t: &mut T<'_>) -> Outcome {
    own_objects(t, 8, 50, false)
}

fn token_objects(t: &mut T<'_>) -> Outcome {
    own_objects(t, 4, 10, true)
}

fn generation(t: &mut T<'_>) -> Outcome {
    t.user()?;
    let s = opened(t, 4)?;
    at_once(4, |i| {
        for _ in 0..5 {
            let keys = Kind::Ec(P256).make(s[i])?;
            s[i].destroy(keys.private)?;
            s[i].destroy(keys.public)?;
        }
        Ok(())
    })
}

fn mixed(t: &mut T<'_>) -> Outcome {
    let first = t.user()?;
    let keys = Kind::Aes(32).make(first)?;
    let s = opened(t, 4)?;
    at_once(4, |i| {
        for round in 0..20u8 {
            if i == 0 {
                Kind::Ec(P256).make(s[i])?;
                continue;
            }
            let gcm = Mech::gcm(&[round; 12], b"", 128);
            s[i].init(F::C_EncryptInit, &gcm, keys.private)?;
            let sealed = s[i].run(F::C_Encrypt, &[i as u8; 500])?;
            s[i].init(F::C_DecryptInit, &gcm, keys.private)?;
            same_bytes("decrypted", &s[i].run(F::C_Decrypt, &sealed)?, &[i as u8; 500])?;
        }
        Ok(())
    })
}

fn interleaved(t: &mut T<'_>) -> Outcome {
    let s = opened(t, 100)?;
    for (i, s) in s.iter().enumerate() {
        s.init(F::C_DigestInit, &Mech::new(CKM_SHA256), 0)?;
        s.feed(F::C_DigestUpdate, &[], &[i as u8; 10])?;
    }
    for (i, s) in s.iter().enumerate() {
        s.feed(F::C_DigestUpdate, &[], &[i as u8; 7])?;
        let digest = s.end(F::C_DigestFinal)?;
        same_bytes("digest", &digest, &sha256(*s, &[i as u8; 17])?)?;
    }
    Ok(())
}

/// A host's worker threads may have 128 KiB of stack.
fn small_stack(t: &mut T<'_>) -> Outcome {
    let s = t.user()?;
    let work = move || -> Outcome {
        let keys = Kind::Ec(P256).make(s)?;
        s.init(F::C_SignInit, &Mech::new(CKM_ECDSA), keys.private)?;
        s.run(F::C_Sign, &[1; 32])?;
        Ok(())
    };
    let thread = thread::Builder::new().stack_size(128 << 10).spawn(work);
    match thread.map(thread::JoinHandle::join) {
        Ok(Ok(outcome)) => outcome,
        _ => Err(Stop::Fail("the thread did not end well".into())),
    }
}

/// A process that shares nothing with ours but the token: forked while this library is not initialised.
fn other(t: &mut T<'_>, work: impl FnOnce(&mut T<'_>, &mut Line) -> Result<Vec<u8>, Stop>) -> Result<Peer, Stop> {
    t.release()?;
    let env = t.env;
    Ok(Peer::spawn(|line| match T::new(env).and_then(|mut t| work(&mut t, line)) {
        Ok(answer) => answer,
        Err(Stop::Fail(why) | Stop::Skip(why)) => why.into_bytes(),
    }))
}

/// What one process makes, changes and destroys, the other sees while both are initialised.
fn other_process(t: &mut T<'_>) -> Outcome {
    let (label, new) = ("of another process", "changed by another process");
    let by = |l: &str| Template::new().text(CKA_LABEL, l);
    let mut peer = other(t, |t, line| {
        let s = t.user()?;
        line.tell();
        line.hear();
        let o = s.create(&data(label, true))?;
        line.tell();
        line.hear();
        s.set(o, &by(new))?;
        line.tell();
        line.hear();
        s.destroy(o)?;
        Ok(b"done".to_vec())
    })?;
    peer.line.hear();
    let s = t.user()?;
    let found = |l: &str| Ok::<_, Stop>(s.find(&by(l))?.len());
    let before = found(label)?;
    peer.line.tell();
    peer.line.hear();
    let created = found(label)?;
    peer.line.tell();
    peer.line.hear();
    let changed = (found(label)?, found(new)?);
    peer.line.tell();
    same_bytes("the other process", &peer.answer(), b"done")?;
    let destroyed = found(new)?;
    equal(
        "found before, after creation, by the new label, after destruction",
        (before, created, changed, destroyed),
        (0, 1, (0, 1), 0),
    )
}

/// A login is its process's own.
fn other_login(t: &mut T<'_>) -> Outcome {
    let mut peer = other(t, |t, line| {
        let s = t.user()?;
        line.tell();
        line.hear();
        Ok(s.info()?.state.to_ne_bytes().to_vec())
    })?;
    peer.line.hear();
    let s = t.open(RW)?;
    let here = s.info()?.state;
    peer.line.tell();
    let there = peer.answer();
    ensure(there.len() == 8, || String::from_utf8_lossy(&there).into_owned())?;
    equal("state here while the other process is logged in", here, CKS_RW_PUBLIC_SESSION)
}

/// Processes that write at the same time lose nothing.
fn writers(t: &mut T<'_>) -> Outcome {
    const EACH: usize = 12;
    let label = |i: usize| format!("written by process {i}");
    let mut peers = Vec::new();
    for i in 0..4 {
        peers.push(other(t, |t, line| {
            let s = t.user()?;
            line.tell();
            line.hear();
            for _ in 0..EACH {
                s.create(&data(&label(i), true))?;
            }
            Ok(b"done".to_vec())
        })?);
    }
    for p in &mut peers {
        p.line.hear();
    }
    peers.iter_mut().for_each(|p| p.line.tell());
    let answers: Vec<Vec<u8>> = peers.into_iter().map(Peer::answer).collect();
    let s = t.user()?;
    let mut counts = Vec::new();
    for i in 0..4 {
        let found = s.find(&Template::new().text(CKA_LABEL, &label(i)))?;
        counts.push(found.len());
        found.into_iter().try_for_each(|o| s.destroy(o))?;
    }
    answers.iter().try_for_each(|a| same_bytes("a writer", a, b"done"))?;
    equal("objects of each writer", counts, vec![EACH; 4])
}
