//! What is kept for clients, how much it is, and when it is let go of.

use std::time::Instant;

use super::accounts::Lost;
use super::client::{Client, Peer};
use super::limits::Used;
use super::log::Kind;
use super::server::{Server, who};
use crate::kernel::{HostFacts, remedy_for_misses};
use crate::text::bytes;

impl Server<'_> {
    /// How much of something clients use, and those of one user.
    pub(super) fn used(&self, peer: Option<Peer>, what: impl Fn(&Client) -> usize) -> Used {
        let mut used = Used::default();
        for client in &self.clients {
            let count = what(client);
            used.all += count;
            if peer.is_some_and(|peer| peer.uid == client.peer().uid) {
                used.own += count;
            }
        }
        used
    }

    /// Forgets the exited processes that every client has been told of, and keeps within
    /// the limits.
    pub(super) fn forget(&mut self, now: Instant) {
        let silent = self.limits.silent;
        for client in &mut self.clients {
            let who = who(client.peer());
            let view = client.view_mut();
            view.settle(now);
            if view.give_up(&self.accounts, now, silent) {
                let text = format!(
                    "exited processes are not kept any more for a client ({who}) that has not \
                     asked for {}",
                    humantime::format_duration(silent)
                );
                self.log.say(Kind::Forgets, now, &text);
            }
        }
        self.forget_told();
        while self.accounts.ended_kept() > self.limits.exited {
            self.let_go_of_furthest_behind(now);
            self.forget_told();
        }
    }

    /// Forgets the exited processes that nobody needs.
    fn forget_told(&mut self) {
        let needed = self.clients.iter().map(|c| c.view().needs_from()).min();
        self.accounts.forget_before(needed.unwrap_or(u64::MAX));
    }

    /// There are too many for the one client that makes the server keep most. If it has been
    /// told of some, they are not repeated to it; else it is dropped.
    fn let_go_of_furthest_behind(&mut self, now: Instant) {
        let places = self.clients.iter().enumerate();
        let Some((at, _)) = places.min_by_key(|(_, c)| c.view().needs_from()) else {
            return;
        };
        let told = self.clients.get_mut(at).map(|c| c.view_mut().settle_all());
        let peer = if told == Some(true) {
            self.clients.get(at).map(Client::peer)
        } else {
            Some(self.clients.remove(at).peer())
        };
        let who = peer.map(who).unwrap_or_default();
        let limit = self.limits.exited;
        let text = if told == Some(true) {
            format!(
                "{limit} processes exited so fast that they are told to a client ({who}) only once"
            )
        } else {
            format!(
                "a client was dropped ({who}): it has not asked while {limit} processes exited; \
                 it will count anew when it connects again"
            )
        };
        self.log.say(Kind::Dropped, now, &text);
    }

    /// Says what was lost in all, each time it has become more.
    pub(super) fn tell_lost(&mut self, now: Instant) {
        let Lost {
            unattributed,
            missed_events,
        } = self.accounts.lost();
        if unattributed != self.told_lost.unattributed {
            let text = format!(
                "since counting began, {} messages, {} could not be attributed to a process, \
                 and no client shows them",
                unattributed.msgs(),
                bytes(unattributed.bytes())
            );
            self.log.say(Kind::Unattributed, now, &text);
        }
        if missed_events != self.told_lost.missed_events {
            let mut text =
                format!("since counting began, {missed_events} socket calls could not be counted");
            if let Some(remedy) = remedy_for_misses(&HostFacts::gather()) {
                text.push_str("; to miss none, ");
                text.push_str(&remedy);
            }
            self.log.say(Kind::Missed, now, &text);
        }
        self.told_lost = self.accounts.lost();
    }
}
