//! The command line of `netatop serve`.

use super::{Unprivileged, assert_not_allowed, assert_refused, netatop};

#[test]
fn a_bad_value_is_named_in_one_line() {
    for (option, value, part) in [
        ("--mode", "8", "octal"),
        ("--mode", "1777", "777"),
        ("--mode", "-1", "--mode"),
        ("--mode", "", "--mode"),
        ("--max-clients", "0", "from 1"),
        ("--max-clients", "-1", "from 1"),
        ("--max-clients", "10001", "10000"),
        ("--max-clients", "many", "--max-clients"),
    ] {
        // After an equals sign, a value can begin with a dash.
        let ran = netatop(&["serve", &format!("{option}={value}")]);
        assert_refused(&ran, 1, part);
    }
    assert_refused(&netatop(&["serve", "now"]), 1, "now");
}

#[test]
fn a_user_who_may_not_count_is_told_so_and_no_socket_is_made() {
    let user = Unprivileged::new();
    let socket = user.dir.path().join("socket");
    let socket = socket.to_str().expect("UTF-8");
    assert_not_allowed(&user.netatop(&["serve", "--socket", socket]));
    let left: Vec<_> = std::fs::read_dir(user.dir.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["netatop"]);
}
