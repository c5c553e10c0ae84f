//! Names of users and groups.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Group, Uid, User};

/// The name of the user `uid`, or the number as text if the user database has no name for it.
#[must_use]
pub fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

/// The number of the user of this name, or that is given as a number, which need not be in the user
/// database. `None` if it is neither.
#[must_use]
pub fn user_id(name: &str) -> Option<u32> {
    let of_name = || User::from_name(name).ok()?.map(|user| user.uid.as_raw());
    // The last number means no user: chown(2).
    let of_number = || {
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        name.parse()
            .ok()
            .filter(|uid| is_number && *uid != u32::MAX)
    };
    of_name().or_else(of_number)
}

/// The name of the group of the file `path`, or its number as text if the group has no name. `None`
/// if there is no such file.
#[must_use]
pub fn group_of(path: &str) -> Option<String> {
    let gid = fs::metadata(path).ok()?.gid();
    Some(match Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => group.name,
        Ok(None) | Err(_) => gid.to_string(),
    })
}
