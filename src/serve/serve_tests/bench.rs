//! A test bench for accounts and views, without sockets, with its own world and its own clock.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::accounts::Accounts;
use super::super::view::{Baseline, View, Viewer};
use super::world::{Shared, parse};
use crate::source::Source;

pub(super) struct Bench {
    pub(super) world: Shared,
    pub(super) accounts: Accounts,
    start: Instant,
    pub(super) passed: Duration,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            world: Shared::default(),
            accounts: Accounts::default(),
            start: Instant::now(),
            passed: Duration::ZERO,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.passed
    }

    pub(super) fn connect(&mut self, viewer: Viewer) -> View {
        self.accounts.sample(&mut self.world).expect("sample");
        let baseline = Rc::new(Baseline::new(&self.accounts, viewer));
        View::new(viewer, baseline, &self.accounts, self.now())
    }

    pub(super) fn ask(&mut self, view: &mut View) -> Vec<(u32, u64, u64)> {
        self.accounts.sample(&mut self.world).expect("sample");
        let world = self.world.clone();
        let now = self.now();
        parse(&view.reply(&self.accounts, now, 0, |process| world.is_reused(process)))
    }
}
