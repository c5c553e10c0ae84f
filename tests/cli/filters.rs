//! Values of filters that cannot be meant.

use super::{assert_refused, record};

#[test]
fn a_bad_filter_is_named_in_one_line() {
    for (args, part) in [
        (["--port", "0"], "from 1 to 65535"),
        (["--port", "65536"], "from 1 to 65535"),
        (["--port", "80,99999"], "from 1 to 65535"),
        (["--port", "-1"], "--port"),
        (["--port", ""], "--port"),
        (["--port", "80,"], "--port"),
        (["--port", "8000-8080"], "each port of a range"),
        (["--port", "8000:8080"], "each port of a range"),
        (["--port", "https"], "--port"),
        (["--net", ""], "--net"),
        (["--net", "localhost"], "10.0.0.0/8"),
        (["--net", "10.0.0.0/33"], "from 0 to 32"),
        (["--net", "::/129"], "from 0 to 128"),
        (["--net", "10.0.0.0/x"], "from 0 to 32"),
        (["--net", "10.1.2.3/8"], "type 10.0.0.0/8"),
        (["--net", "2001:db8::1/32"], "type 2001:db8::/32"),
        (["--net", "10.0.0.0/8,::1"], "once for each"),
        (["--net", "fe80::1%eth0"], "--net"),
        (["--comm", ""], "not empty"),
        (["--comm", "python["], "not closed"),
        (["--comm", "a[z-a]"], "before it begins"),
        (["--comm", r"python\"], "nothing follows"),
        (["--comm", "[[:digits:]]"], "unknown class"),
        (["--comm", "chromium-browser"], "chromium-browse"),
        (["--comm", "????????????????"], "15 bytes"),
        (["--uid", "no-such-user"], "no user no-such-user"),
        (["--uid", "root,"], "no user"),
        (["--uid", "-1"], "no user -1"),
        (["--uid", "4294967295"], "no user"),
        (["--unit", ""], "not empty"),
        (["--unit", "a b"], "name of a unit"),
        (["--unit", "nginx["], "not closed"),
        (["--unit", "getty@.service"], "'getty@*.service'"),
        (["--unit", "system.slice"], "--cgroup"),
        (["--unit", "/system.slice/nginx.service"], "--cgroup"),
        (["--unit", "nginx/worker"], "has no units"),
        (["--comm", "*a?????????????"], "too complex"),
    ] {
        let ran = record(&args);
        assert_refused(&ran, 1, part);
    }
}
