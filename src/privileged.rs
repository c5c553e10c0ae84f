//! The copy of this program that has capabilities, where a package installs one.
//!
//! Everyone may run netatop, so that `check` and `--help` work for everyone. Only a group may run
//! the copy that can record: see docs/packaging.md.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::unistd::execv;
use rustix::fs::{Access, access};

use crate::host::proc::own_status;
use crate::inherited;

/// Where packages put the copy.
pub const COPY: &str = "/usr/libexec/netatop/netatop";

/// CAP_BPF and CAP_PERFMON, and CAP_SYS_ADMIN, which includes both (capabilities(7)).
const BOTH: u64 = 1 << 38 | 1 << 39;
const SYS_ADMIN: u64 = 1 << 21;

/// Continues as the copy, if this process lacks a capability that the copy has. Returns if there is
/// no need, no copy, or if this user may not run it: then the capabilities are found missing later.
pub fn continue_as_copy() {
    let Some(capabilities) = own_status().capabilities else {
        return;
    };
    if capabilities & BOTH == BOTH || capabilities & SYS_ADMIN != 0 {
        return;
    }
    // A copy without capabilities must not start itself again and again.
    if std::env::current_exe().map_or(true, |program| program == Path::new(COPY)) {
        return;
    }
    let text = |text: Vec<u8>| CString::new(text).ok();
    let arguments: Option<Vec<CString>> = std::env::args_os()
        .map(|argument| text(argument.into_vec()))
        .collect();
    let (Some(copy), Some(arguments)) = (text(COPY.into()), arguments) else {
        return;
    };
    if access(COPY, Access::EXEC_OK).is_ok() && inherited::restore().is_ok() {
        // The kernel refuses if the bounding set lacks a capability of the file.
        let _ = execv(&copy, &arguments);
        inherited::ignore_sigpipe();
    }
}
