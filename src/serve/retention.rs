//! How long ended processes are kept for clients.

use std::time::Instant;

use super::accounts::Accounts;
use super::client::Client;
use super::clients::Clients;
use super::log::{Kind, Log};

/// Forgets the ended processes that every client has been told of, and keeps within the limits.
pub(super) fn forget(clients: &mut Clients, accounts: &mut Accounts, now: Instant, log: &mut Log) {
    let silent = clients.limits().silent;
    for client in clients.iter_mut() {
        let peer = client.peer();
        let view = client.view_mut();
        view.settle(now);
        if view.give_up(accounts, now, silent) {
            let text = format!(
                "ended processes are not kept any more for a client ({peer}) that has not asked \
                 for {}",
                humantime::format_duration(silent)
            );
            log.say(Kind::Forgets, now, &text);
        }
    }
    forget_told(clients, accounts);
    while accounts.ended_kept() > clients.limits().exited {
        release_furthest_behind(clients, now, log);
        forget_told(clients, accounts);
    }
}

/// Forgets the ended processes that no client needs.
fn forget_told(clients: &Clients, accounts: &mut Accounts) {
    let needed = clients.iter().map(|c| c.view().needs_from()).min();
    accounts.forget_before(needed.unwrap_or(u64::MAX));
}

/// Too many processes are kept for the client that is furthest behind. If it has been told of some,
/// they are not repeated to it. Otherwise it is dropped.
fn release_furthest_behind(clients: &mut Clients, now: Instant, log: &mut Log) {
    let places = clients.iter().enumerate();
    let Some((at, _)) = places.min_by_key(|(_, c)| c.view().needs_from()) else {
        return;
    };
    let Some(client) = clients.get_mut(at) else {
        return;
    };
    let peer = client.peer();
    let is_told = client.view_mut().settle_all();
    if !is_told {
        drop::<Client>(clients.remove(at));
    }
    let limit = clients.limits().exited;
    let text = if is_told {
        format!("{limit} processes ended so fast that a client ({peer}) is told of them only once")
    } else {
        format!(
            "a client was dropped ({peer}): it has not asked while {limit} processes exited; it \
             will count anew when it connects again"
        )
    };
    log.say(Kind::Dropped, now, &text);
}
