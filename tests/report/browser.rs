//! The page in a real browser: Debian's `chromium` with its driver, and Selenium.

use std::fs;
use std::path::Path;

use crate::looks::night;
use crate::{has_package, reported, run_python, support};

#[test]
fn a_reader_can_use_the_page() {
    if !Path::new("/usr/bin/chromium").exists() || !Path::new("/usr/bin/chromedriver").exists() {
        return support::leave_out(
            "chromium",
            "it is not installed, and scripts/setup --test installs it",
        );
    }
    if !has_package("selenium") || !has_package("duckdb") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let hostile = "</script><img src=x onerror=alert(1)>";
    fs::write(path("night.csv"), night().replace("report-worker", hostile)).expect("a file");
    reported(dir.path(), &["night.csv", "-o", "night.html"]);
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let screenshots = screenshots.to_string_lossy();
    let script = include_str!("browser.py");
    let args = [
        path("night.html"),
        path("night.csv"),
        screenshots.into_owned(),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert_eq!(run_python(dir.path(), script, &args), "ok\n");
}

/// A day of 200 processes, each busy in every second.
#[test]
fn a_page_of_a_day_is_less_than_a_megabyte() {
    use std::fmt::Write;

    let dir = tempfile::tempdir().expect("a directory");
    let mut text =
        String::from("time,interval,host,comm,processes,tcp_send_bytes,tcp_recv_bytes\n");
    let mut dice = crate::recordings::Dice::new(1);
    // A row for each minute is enough: bins of seconds would be merged to minutes.
    for minute in 1..=24 * 60 {
        let time = crate::recordings::at(minute * 60).to_rfc3339();
        for process in 0..200 {
            let (sent, received) = (dice.below(1 << 33), dice.below(1 << 33));
            writeln!(text, "{time},1,db1,process-{process},1,{sent},{received}").expect("memory");
        }
    }
    fs::write(dir.path().join("day.csv"), text).expect("a file");
    reported(dir.path(), &["day.csv", "-o", "day.html"]);
    let length = fs::metadata(dir.path().join("day.html"))
        .expect("a file")
        .len();
    assert!(length < 1_000_000, "{length} bytes");
}
