//! What another process does to tokens is seen without a new start.

use std::ptr::null_mut;
use std::sync::mpsc;
use std::time::Duration;

use cryptoki_sys::*;

use crate::harness::*;
use crate::store_common::{again, setting};
use crate::world::*;
use crate::{c, ok};

const NEW_PIN: &[u8] = b"another";

fn run(name: &str, setting: &str) {
    let mut child = again(name, setting);
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert!(child.wait().unwrap().success(), "{out}");
}

fn event(flags: CK_FLAGS) -> Result<CK_SLOT_ID, CK_RV> {
    let mut slot = 0;
    match c!(C_WaitForSlotEvent, flags, &raw mut slot, null_mut()) {
        CKR_OK => Ok(slot),
        rv => Err(rv),
    }
}

#[test]
fn a_pin_changed_by_another_process_counts_at_once() {
    const NAME: &str = "news::a_pin_changed_by_another_process_counts_at_once";
    if setting().is_some() {
        let session = attach();
        ok!(C_SetPIN, session, ptr(USER_PIN), len(USER_PIN), ptr(NEW_PIN), len(NEW_PIN));
        return;
    }
    let (_world, slot) = World::with_token();
    let session = logged_in(slot);
    let key = create(session, kept(b"1", "before"));
    run(NAME, "change");
    assert_eq!(value(session, key, CKA_LABEL).unwrap(), b"before", "who is logged in stays so");
    ok!(C_Logout, session);
    let login = |pin: &[u8]| c!(C_Login, session, CKU_USER, ptr(pin), len(pin));
    assert_eq!(login(USER_PIN), CKR_PIN_INCORRECT);
    assert_eq!(login(NEW_PIN), CKR_OK);
    assert_eq!(find(session, by(CKA_LABEL, b"before")).len(), 1);
}

#[test]
fn tokens_made_and_removed_by_others_are_slot_events() {
    const NAME: &str = "news::tokens_made_and_removed_by_others_are_slot_events";
    if setting().is_some() {
        ok!(C_Initialize, null_mut());
        make_token(*slots(CK_FALSE).last().unwrap());
        return;
    }
    let (world, slot) = World::with_token();
    let first = world.slot_file();
    assert_eq!(event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT), "nothing happened since the slots were listed");
    // The other process is shown a free slot, this one is not.
    let own = std::env::var_os("KEYWARD_CONF").unwrap();
    let others = world.configuration("others.toml", "always");
    let made_by_another = || {
        // SAFETY: this test has the module alone, and no other thread reads the environment now.
        unsafe { std::env::set_var("KEYWARD_CONF", &others) };
        run(NAME, "make");
        // SAFETY: as above.
        unsafe { std::env::set_var("KEYWARD_CONF", &own) };
    };
    made_by_another();
    let second = event(CKF_DONT_BLOCK).unwrap();
    assert_ne!(second, slot);
    assert_eq!(event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
    assert_eq!(slots(CK_TRUE).len(), 2);
    ok!(C_CloseSession, logged_in(second));

    // Blocking: the waiter sleeps until there is news.
    let (said, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| said.send(event(0)).unwrap());
        assert!(heard.recv_timeout(Duration::from_millis(300)).is_err(), "nothing has happened yet");
        made_by_another();
        let third = heard.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        assert!(third != slot && third != second);

        scope.spawn(|| said.send(event(0)).unwrap());
        assert!(heard.recv_timeout(Duration::from_millis(300)).is_err());
        for rest in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{rest}", first.display()));
        }
        assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap(), Ok(slot));
    });
    let mut info = CK_SLOT_INFO::default();
    ok!(C_GetSlotInfo, slot, &raw mut info);
    assert_eq!(info.flags & CKF_TOKEN_PRESENT, 0);
    assert_eq!(slots(CK_TRUE).len(), 2);
    let mut session = 0;
    let flags = CKF_SERIAL_SESSION;
    assert_eq!(c!(C_OpenSession, slot, flags, null_mut(), None, &raw mut session), CKR_TOKEN_NOT_PRESENT);
}

/// An object that is read again and again is answered from what was read before (src/soft/views.rs): as long as that is true.
#[test]
fn what_is_read_often_is_never_an_old_answer() {
    const NAME: &str = "news::what_is_read_often_is_never_an_old_answer";
    let set = |session, object, mut template: Template| {
        let raw = template.raw();
        ok!(C_SetAttributeValue, session, object, raw.as_mut_ptr(), len(raw));
    };
    let relabel = |session, object, label: &[u8]| set(session, object, by(CKA_LABEL, label));
    if let Some(to) = setting() {
        let session = attach();
        let object = find(session, by(CKA_ID, b"1"))[0];
        match to[0].as_str() {
            "destroyed" => ok!(C_DestroyObject, session, object),
            label => relabel(session, object, label.as_bytes()),
        }
        return;
    }
    let (_world, slot) = World::with_token();
    let (session, other) = (logged_in(slot), open(slot));
    let often = |object| {
        let mut labels: Vec<_> = (0..40).map(|_| value(session, object, CKA_LABEL)).collect();
        labels.dedup();
        assert_eq!(labels.len(), 1);
        labels.remove(0).map(|label| String::from_utf8(label).unwrap())
    };
    let key = create(session, kept(b"1", "first"));
    assert_eq!(often(key).unwrap(), "first");
    assert_eq!(value(session, key, CKA_VALUE).unwrap(), [7; 24], "which is not in the copy");
    set(other, key, by(CKA_LABEL, b"second").yes(CKA_SENSITIVE));
    assert_eq!(value(session, key, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
    assert_eq!(often(key).unwrap(), "second");
    run(NAME, "third");
    assert_eq!(often(key).unwrap(), "third");
    run(NAME, "destroyed");
    assert_eq!(often(key), Err(CKR_OBJECT_HANDLE_INVALID));

    let passing =
        create(session, Template::new().number(CKA_CLASS, CKO_DATA).bytes(CKA_LABEL, b"one").yes(CKA_PRIVATE));
    assert_eq!(often(passing).unwrap(), "one");
    relabel(other, passing, b"two");
    assert_eq!(often(passing).unwrap(), "two");
    ok!(C_DestroyObject, other, passing);
    assert_eq!(often(passing), Err(CKR_OBJECT_HANDLE_INVALID));

    let key = create(session, kept(b"2", "of a login"));
    assert_eq!(often(key).unwrap(), "of a login");
    ok!(C_Logout, session);
    assert_eq!(often(key), Err(CKR_OBJECT_HANDLE_INVALID));
    ok!(C_Login, session, CKU_USER, ptr(USER_PIN), len(USER_PIN));
    assert_eq!(often(key), Err(CKR_OBJECT_HANDLE_INVALID), "a handle of the login before");
    assert_eq!(often(find(session, by(CKA_ID, b"2"))[0]).unwrap(), "of a login");
}
