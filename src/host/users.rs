//! Names of users.

use nix::unistd::{Uid, User};

/// The name of the user `uid`, or the number as text if the user database has no name for it.
#[must_use]
pub fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}
