//! Logging in as a named user, and the codes of what goes wrong.

use crate::place::*;
use crate::*;

#[test]
fn a_named_user_logs_in_by_name_or_by_a_pin_that_holds_it() {
    let place = staffed(&[("anna", "user"), ("olga", "officer")]);
    let answers = place.work(
        "named user anna anna-1234; state; sign tls; logout; login user anna:anna-1234; state; sign tls; logout; \
         login user 1234-abcd; sign tls; logout; named so olga olga-1234; state; logout; login so olga:olga-1234; \
         initpin; logout; login user 1234-abcd",
    );
    assert_eq!((answers[1].as_str(), answers[5].as_str()), ("CKS_RW_USER_FUNCTIONS", "CKS_RW_USER_FUNCTIONS"));
    assert_eq!(answers[12], "CKS_RW_SO_FUNCTIONS");
    let users: Vec<String> =
        place.lines().iter().filter(|line| line["op"] == "sign").map(|line| line["user"].to_string()).collect();
    assert_eq!(users, ["\"anna\"", "\"anna\"", "\"user\""], "the record names the user");
}

#[test]
fn each_wrong_login_has_its_code() {
    let place = staffed(&[("anna", "user"), ("bert", "user"), ("olga", "officer")]);
    let answers = place.try_work(
        "named user anna wrong-1; named user nobody anna-1234; named so anna anna-1234; named user olga olga-1234; \
         login user olga:olga-1234; named 7 anna anna-1234; named user anna anna-1234; named user anna anna-1234; \
         login user anna:anna-1234; named user bert bert-1234; login user bert:bert-1234; login user 1234-abcd; \
         named so olga olga-1234; named again bert bert-1234; named again anna anna-1234; logout; logout; state",
    );
    let codes: Vec<&str> = answers.iter().map(|answer| answer.rsplit(": ").next().unwrap()).collect();
    assert_eq!(
        codes,
        [
            "CKR_PIN_INCORRECT",
            "CKR_PIN_INCORRECT",
            "CKR_USER_TYPE_INVALID",
            "CKR_USER_TYPE_INVALID",
            "CKR_USER_TYPE_INVALID",
            "CKR_USER_TYPE_INVALID",
            "CKR_OK",
            "CKR_USER_ALREADY_LOGGED_IN",
            "CKR_USER_ALREADY_LOGGED_IN",
            "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
            "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
            "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
            "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
            "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
            "CKR_OPERATION_NOT_INITIALIZED",
            "CKR_OK",
            "CKR_USER_NOT_LOGGED_IN",
            "CKS_RW_PUBLIC_SESSION",
        ]
    );
}

#[test]
fn each_user_has_tries_of_their_own_and_the_officer_gives_new_ones() {
    let place = staffed(&[("anna", "user"), ("bert", "user")]);
    let text = std::fs::read_to_string(place.conf()).unwrap();
    std::fs::write(place.conf(), format!("pin.max_failures = 3\n{text}")).unwrap();
    let tries = "named user anna wrong-1; named user anna wrong-2";
    let answers = place.try_work(&format!("{tries}; named user anna wrong-3; named user anna anna-1234"));
    assert!(answers[2].ends_with("CKR_PIN_INCORRECT") && answers[3].ends_with("CKR_PIN_LOCKED"), "{answers:?}");
    place.work("named user bert bert-1234; logout; login user 1234-abcd");
    let listed = done(&place, "user list");
    assert_eq!((&listed["users"][0]["locked"], &listed["users"][1]["locked"]), (&true.into(), &false.into()));
    std::fs::write(place.0.join("new"), "anna-5678\n").unwrap();
    done(&place, "user pin anna --so-pin-file pin --new-pin-file new");
    place.work("named user anna anna-5678; sign tls; logout");
    let answers = place.try_work("named user anna anna-1234");
    assert!(answers[0].ends_with("CKR_PIN_INCORRECT"), "{answers:?}");
}

#[test]
fn a_user_changes_their_own_pin() {
    let place = staffed(&[("anna", "user")]);
    place.work("named user anna anna-1234; setpin anna-1234 anna-5678; logout; named user anna anna-5678");
    // As clients of version 2.40 do, with the name in front; and without a login.
    place.work("login user anna:anna-5678; setpin anna:anna-5678 anna:anna-9012; logout; login user anna:anna-9012");
    place.work("setpin anna:anna-9012 anna:anna-1234; login user anna:anna-1234; sign tls");
    let answers = place.try_work("named user anna anna-1234; setpin wrong-1 anna-5678");
    assert!(answers[1].ends_with("CKR_PIN_INCORRECT"), "{answers:?}");
    // The name does not make a short PIN longer.
    let answers = place.try_work("setpin anna:anna-1234 anna:12");
    assert!(answers[0].ends_with("CKR_PIN_LEN_RANGE"), "{answers:?}");
    place.work("login user 1234-abcd");
}

#[test]
fn who_is_removed_is_out_at_the_next_use_everywhere() {
    let place = staffed(&[("anna", "user"), ("bert", "user")]);
    let (ready, go) = (place.0.join("ready"), place.0.join("go"));
    let script = |name: &str| {
        format!(
            "named user {name} {name}-1234; hold tls; use; touch {0}-{name}; wait {1}; use; sign tls; state",
            ready.display(),
            go.display()
        )
    };
    let (anna, bert) = (place.start(&script("anna")), place.start(&script("bert")));
    for name in ["anna", "bert"] {
        while !place.0.join(format!("ready-{name}")).exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    refused(&place, "user remove anna --so-pin-file pin", 8, "say --yes");
    done(&place, "user remove anna --so-pin-file pin --yes");
    std::fs::write(&go, b"").unwrap();
    let (anna, bert) = (answers(anna), answers(bert));
    assert_eq!(
        anna[2..],
        ["use: CKR_KEY_HANDLE_INVALID", "sign tls: CKR_KEY_HANDLE_INVALID", "CKS_RW_PUBLIC_SESSION"],
        "{anna:?}"
    );
    assert_eq!(bert[2..], ["use: CKR_OK", "sign tls: CKR_OK", "CKS_RW_USER_FUNCTIONS"], "{bert:?}");
    let again = place.try_work("named user anna anna-1234; login user anna:anna-1234");
    assert!(again.iter().all(|answer| answer.ends_with("CKR_PIN_INCORRECT")), "{again:?}");
    let operations = place.operations();
    assert!(operations.contains(&"user_add".into()) && operations.contains(&"user_remove".into()));
}

#[test]
fn a_new_master_key_reaches_named_users_without_their_pins() {
    let place = staffed(&[("anna", "user"), ("olga", "officer"), ("max", "auditor")]);
    let (ready, go) = (place.0.join("ready"), place.0.join("go"));
    let (ready, go) = (ready.display(), go.display());
    let anna =
        place.start(&format!("named user anna anna-1234; sign tls; touch {ready}; wait {go}; sign tls; generate more"));
    while !place.0.join("ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    done(&place, "token rotate-key --so-pin-file pin --pin-file pin");
    std::fs::write(place.0.join("go"), b"").unwrap();
    let anna = answers(anna);
    assert_eq!(anna[2], "sign tls: CKR_OK", "{anna:?}");
    place.work("named user anna anna-1234; sign tls; logout; named user max max-1234; logout; named so olga olga-1234; initpin");
    done(
        &place,
        "token verify --user anna --pin-file anna.pin".replace("anna.pin", &pin_file(&place, "anna")).as_str(),
    );
}

pub fn pin_file(place: &Place, name: &str) -> String {
    let path = place.0.join(format!("{name}.pin"));
    std::fs::write(&path, format!("{name}-1234\n{name}-1234\n")).unwrap();
    path.display().to_string()
}
