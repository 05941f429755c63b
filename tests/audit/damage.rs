//! Every change of the record shows, and where.

use std::fs;

use serde_json::Value;

use crate::place::*;

fn findings(place: &Place) -> Vec<(u64, String)> {
    let (found, exit) = place.verified();
    assert_eq!(exit, 7, "{found:#}");
    let all = found["findings"].as_array().unwrap().clone();
    all.iter().map(|one: &Value| (one["line"].as_u64().unwrap(), one["what"].as_str().unwrap().to_owned())).collect()
}

fn signed() -> Place {
    let place = Place::ready("");
    place.work("open; sign tls 20");
    place
}

/// Changes the lines of the record.
fn edit(place: &Place, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = text(&place.record()).lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(place.record(), lines.join("\n") + "\n").unwrap();
}

#[test]
fn an_edited_line_is_found() {
    let place = signed();
    edit(&place, |lines| lines[9] = lines[9].replace("CKR_OK", "CKR_NO"));
    let found = findings(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, 11, "seen at the line after it: {found:?}");
    assert!(found[0].1.contains("line 10 was changed"), "{found:?}");
}

#[test]
fn an_edit_of_the_last_line_is_found() {
    let place = signed();
    edit(&place, |lines| *lines.last_mut().unwrap() = lines.last().unwrap().replace("\"op\"", "\"oq\""));
    assert!(findings(&place)[0].1.contains("the last line was changed"));
}

#[test]
fn removed_lines_are_named() {
    let place = signed();
    edit(&place, |lines| drop(lines.drain(5..8)));
    let found = findings(&place);
    assert_eq!(found, [(6, "lines 6 to 8 are missing before this one".to_owned())]);
}

#[test]
fn lines_cut_off_the_end_are_counted() {
    let place = signed();
    let mut last = 0;
    edit(&place, |lines| {
        last = lines.len();
        lines.truncate(last - 4);
    });
    let found = findings(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains(&format!("lines {} to {last} were cut off", last - 3)), "{found:?}");
}

#[test]
fn a_record_written_anew_lacks_the_signatures() {
    let place = signed();
    // As somebody would who knows the format and not the secret: an edit, and every hash after it made right.
    edit(&place, |lines| {
        lines[4] = lines[4].replace("CKR_OK", "CKR_NO");
        for at in 5..lines.len() {
            let hash = hex::encode(openssl::sha::sha256(lines[at - 1].as_bytes()));
            let (start, _) = lines[at].rsplit_once("\"prev\":\"").unwrap();
            lines[at] = format!("{start}\"prev\":\"{hash}\"}}");
        }
    });
    let found = findings(&place);
    assert!(found.iter().any(|one| one.1.contains("nothing vouches for lines")), "{found:?}");
}

#[test]
fn swapped_doubled_and_foreign_lines_are_found() {
    let place = signed();
    let whole = text(&place.record());
    edit(&place, |lines| lines.swap(6, 7));
    assert!(!findings(&place).is_empty());
    fs::write(place.record(), &whole).unwrap();
    edit(&place, |lines| lines.insert(6, lines[6].clone()));
    assert!(findings(&place).iter().any(|one| one.0 == 8));
    fs::write(place.record(), &whole).unwrap();
    edit(&place, |lines| lines.insert(6, "not a line".to_owned()));
    assert!(findings(&place).iter().any(|one| one.0 == 7 && one.1.contains("no line of the record")));
    fs::write(place.record(), whole.trim_end()).unwrap();
    assert!(findings(&place).iter().any(|one| one.1.contains("not whole")));
    fs::write(place.record(), &whole).unwrap();
    place.whole();
}

#[test]
fn every_byte_of_a_short_record_counts() {
    let place = Place::ready("login = 'off'");
    let whole = fs::read(place.record()).unwrap();
    for at in (0..whole.len()).step_by(101) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(place.record(), &flipped).unwrap();
        assert_ne!(place.verified().1, 0, "byte {at}");
    }
    fs::write(place.record(), &whole).unwrap();
    place.whole();
}

#[test]
fn a_changed_head_is_found() {
    let place = signed();
    let mut head = fs::read(place.head()).unwrap();
    head[20] ^= 1;
    fs::write(place.head(), &head).unwrap();
    assert!(findings(&place)[0].1.contains("was altered"));
    fs::write(place.head(), b"").unwrap();
    assert!(findings(&place)[0].1.contains("is gone"));
}

/// A record that was tampered with is not gone on with where it is required, until somebody accepts it.
fn refuses_until_accepted(damage: impl FnOnce(&Place)) {
    let place = Place::ready("key_use = 'required'");
    place.work("open; sign tls 3");
    damage(&place);
    let answers = place.try_work("open; sign tls");
    assert!(answers[1].ends_with("CKR_DEVICE_ERROR"), "{answers:?}");
    let answers = place.try_work("open; sign tls; destroy tls");
    assert!(answers[1..].iter().all(|answer| answer.ends_with("CKR_DEVICE_ERROR")), "a second process: {answers:?}");
    let refused = place.keyward("audit rotate");
    assert_eq!(refused.status.code(), Some(1), "{}", shown(&refused.stderr));
    assert_eq!(place.keyward("audit rotate --accept").status.code(), Some(8), "asks first");
    let accepted = place.keyward("audit rotate --accept --yes");
    assert_eq!(accepted.status.code(), Some(0), "{}", shown(&accepted.stderr));
    place.work("open; sign tls");
    assert!(!findings(&place).is_empty(), "what was done stays to be seen");
}

#[test]
fn after_truncation_no_key_is_used_where_the_record_is_required() {
    refuses_until_accepted(|place| {
        let whole = fs::read(place.record()).unwrap();
        fs::write(place.record(), &whole[..whole.len() / 2]).unwrap();
    });
}

#[test]
fn after_removal_no_key_is_used_where_the_record_is_required() {
    refuses_until_accepted(|place| fs::remove_file(place.record()).unwrap());
}

#[test]
fn after_an_edit_at_the_end_no_key_is_used_where_the_record_is_required() {
    refuses_until_accepted(|place| {
        edit(place, |lines| *lines.last_mut().unwrap() = lines.last().unwrap().replace("CKR_OK", "CKR_NO"));
    });
}

#[test]
fn after_forged_lines_no_key_is_used_where_the_record_is_required() {
    refuses_until_accepted(|place| edit(place, |lines| lines.push(lines.last().unwrap().clone())));
}

#[test]
fn after_the_head_is_gone_no_key_is_used_where_the_record_is_required() {
    refuses_until_accepted(|place| fs::remove_file(place.head()).unwrap());
}

/// What a process answers that signs, meanwhile has `damage` done, and signs again.
fn signs_twice(place: &Place, damage: impl FnOnce()) -> Vec<String> {
    let (one, two) = (place.0.join("one"), place.0.join("two"));
    let script = format!("open; sign tls; touch {}; wait {}; sign tls; sign tls", one.display(), two.display());
    let child = place.start(&script);
    while !one.exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    damage();
    fs::write(&two, b"").unwrap();
    answers(child)
}

#[test]
fn a_running_process_notices_a_file_that_was_removed() {
    let place = Place::ready("key_use = 'required'");
    let answers = signs_twice(&place, || fs::remove_file(place.record()).unwrap());
    assert!(answers[2].ends_with("CKR_DEVICE_ERROR"), "{answers:?}");
}

/// It has the head in its memory: to touch what was cut off would end it.
#[test]
fn a_running_process_stands_a_head_that_is_cut() {
    for (mode, answer) in [("required", "CKR_DEVICE_ERROR"), ("best_effort", "CKR_OK")] {
        let place = Place::ready(&format!("key_use = '{mode}'"));
        let answers = signs_twice(&place, || fs::write(place.head(), b"").unwrap());
        assert_eq!(answers.len(), 4);
        assert!(answers[2..].iter().all(|each| each.ends_with(answer)), "{answers:?}");
        assert!(findings(&place)[0].1.contains("is gone"));
    }
}
