use crate::failure::Exit;
use crate::testing::{Double, PinFile, keyward};

#[test]
fn change_replaces_the_pin_of_who_asks() {
    let token = Double::made("a1", "t");
    let (user, new) = (PinFile::new("1234\n"), PinFile::new("5678\n"));
    keyward(&[&token], &format!("pin change --pin-file {user} --new-pin-file {new}")).unwrap();
    assert_eq!(token.user_pin().as_deref(), Some(&b"5678"[..]));
    let so = PinFile::new("12345678\n");
    keyward(&[&token], &format!("pin change --so --so-pin-file {so} --new-pin-file {new}")).unwrap();
    assert_eq!(token.so_pin(), b"5678");
    assert!(token.at_rest());
}

#[test]
fn a_wrong_pin_changes_nothing_and_the_last_tries_are_announced() {
    let token = Double::made("a1", "t");
    let wrong = PinFile::new("0000\n0001\n");
    let line = format!("pin change --pin-file {wrong} --new-pin-file {wrong}");
    let fail = || keyward(&[&token], &line).err().unwrap();
    let first = fail();
    assert_eq!(first.exit, Exit::Pin);
    assert!(first.message.contains("CKR_PIN_INCORRECT"), "{first}");
    assert!(fail().message.contains("one more wrong PIN locks it"));
    assert!(fail().message.contains("locked now"));
    assert!(fail().message.contains("keyward pin reset"));
    assert_eq!(token.user_pin().as_deref(), Some(&b"1234"[..]));
    assert!(token.at_rest());
}

#[test]
fn reset_is_the_officers_and_unlocks() {
    let token = Double::made("a1", "t");
    let (so, new) = (PinFile::new("12345678\n"), PinFile::new("9999\n"));
    keyward(&[&token], &format!("pin reset --so-pin-file {so} --new-pin-file {new}")).unwrap();
    assert_eq!(token.user_pin().as_deref(), Some(&b"9999"[..]));
    let wrong = PinFile::new("00000000\n");
    let failure = keyward(&[&token], &format!("pin reset --so-pin-file {wrong} --new-pin-file {new}")).err().unwrap();
    assert!(failure.message.contains("as the SO"), "{failure}");
}

#[test]
fn one_file_may_hold_the_old_pin_and_the_new() {
    let token = Double::made("a1", "t");
    let both = PinFile::new("1234\n5678\n");
    keyward(&[&token], &format!("pin change --pin-file {both} --new-pin-file {both}")).unwrap();
    assert_eq!(token.user_pin().as_deref(), Some(&b"5678"[..]));
}
