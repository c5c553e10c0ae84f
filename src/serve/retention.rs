//! Decides how long ended processes are kept for clients.

use std::time::Instant;

use super::accounts::Accounts;
use super::clients::Clients;
use super::log::{Kind, Log};
use super::view::Viewer;

/// Forgets the ended processes that have been reported to every client, and enforces the limits.
pub(super) fn forget(clients: &mut Clients, accounts: &mut Accounts, now: Instant, log: &mut Log) {
    let silent = clients.limits().silent;
    for client in clients.iter_mut() {
        let peer = client.peer();
        let view = client.view_mut();
        view.settle(now);
        if view.give_up(accounts, now, silent) {
            let text = format!(
                "ended processes are no longer kept for a client ({peer}) that has not asked \
                 for {}",
                humantime::format_duration(silent)
            );
            log.say(Kind::Forgets, now, &text);
        }
    }
    forget_reported(clients, accounts);
    while accounts.ended_kept() > clients.limits().exited {
        release_slowest(clients, now, log);
        forget_reported(clients, accounts);
    }
}

/// Forgets the ended processes that no client needs.
fn forget_reported(clients: &Clients, accounts: &mut Accounts) {
    let needed = clients.iter().map(|c| c.view().needs_from()).min();
    accounts.forget_before(needed.unwrap_or(u64::MAX));
}

/// Frees ended processes kept for the clients that are furthest behind. If some of them were already
/// reported to such a client, they are not repeated. Otherwise the client is dropped.
fn release_slowest(clients: &mut Clients, now: Instant, log: &mut Log) {
    let places = clients.iter().map(|c| c.view().needs_from());
    let Some(furthest) = places.min() else {
        return;
    };
    let limit = clients.limits().exited;
    let own = clients.own();
    clients.retain(|client| {
        if client.view().needs_from() != furthest {
            return true;
        }
        let peer = client.peer();
        let is_reported = client.view_mut().settle_all();
        let text = if is_reported {
            format!(
                "{limit} processes ended so fast that they are reported only once to a client \
                 ({peer})"
            )
        } else {
            format!(
                "a client was dropped ({peer}): it made no request while {limit} processes exited; \
                 it starts from a new baseline when it connects again"
            )
        };
        let is_privileged = peer.viewer(own) == Viewer::All;
        log.say(Kind::dropped(is_privileged), now, &text);
        is_reported
    });
}
