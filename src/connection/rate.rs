//! Rate: how fast a client may publish.

use std::collections::BTreeMap;

use super::{ConnectionId, World};
use crate::config::Limit;
use crate::consumer::Context;
use crate::wire::status::Status;

/// Token buckets, each as the moment at which it is full again: the generic cell rate algorithm (ITU-T I.371). One that
/// is full is not kept, so a client that publishes nothing for a second costs nothing.
#[derive(Debug)]
pub(crate) struct Rates {
    /// By client, in monotonic microseconds.
    full_us: BTreeMap<u64, u64>,
    swept_us: u64,
}

impl Rates {
    pub(crate) const fn new() -> Rates {
        Rates { full_us: BTreeMap::new(), swept_us: 0 }
    }

    /// Microseconds until a client may publish again, at `rate` publications a second and a second's worth at once.
    fn wait_us(&self, client: u64, rate: u32, now_us: u64) -> u64 {
        let full_us = self.full_us.get(&client).copied().unwrap_or(0);
        full_us.saturating_sub(now_us + (SECOND_US - interval_us(rate)))
    }

    fn charge(&mut self, client: u64, rate: u32, now_us: u64) {
        let full_us = self.full_us.entry(client).or_insert(now_us);
        *full_us = now_us.max(*full_us) + interval_us(rate);
    }

    /// Forgets who may publish as if never before, now and then.
    fn sweep(&mut self, now_us: u64) {
        if !self.full_us.is_empty() && now_us - self.swept_us >= SECOND_US {
            self.swept_us = now_us;
            self.full_us.retain(|_, full_us| *full_us > now_us);
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.full_us.len() * size_of::<(u64, u64)>()
    }
}

impl World {
    /// Forgets the rate of a connection whose number another one may get, and of all who have been silent.
    pub(crate) fn forget_rate(&mut self, id: ConnectionId) {
        self.rates.full_us.remove(&u64::from(id.0));
    }

    pub(crate) fn sweep_rates(&mut self) {
        self.rates.sweep(self.now_us());
    }

    /// Whole seconds until a request's client may publish again, at least one.
    pub(super) fn publish_wait_s(&self, id: ConnectionId) -> u64 {
        let rate = self.config.publications_a_second.unwrap_or(1);
        self.rates.wait_us(self.publisher(id, true), rate, self.now_us()).div_ceil(SECOND_US).max(1)
    }

    /// Who publishes: the connection; but what a proxy passes on over one is a request of this and then of that
    /// client, told apart by their addresses.
    fn publisher(&self, id: ConnectionId, by_request: bool) -> u64 {
        let address = self.addresses.of(id).number().filter(|_| by_request && self.config.trusted_hops > 0);
        address.unwrap_or(id.0.into())
    }

    fn now_us(&self) -> u64 {
        self.now.monotonic_ms * 1000
    }
}

impl Context<'_> {
    /// Counts a publication. Whether one more is allowed is asked for the first of each message alone, since it goes to
    /// all of its channels or to none; each is counted.
    pub(crate) fn check_rate(&mut self) -> Result<(), Status> {
        let Some(rate) = self.world.config.publications_a_second else { return Ok(()) };
        let (client, now_us) = (self.world.publisher(self.id, self.request.is_some()), self.world.now_us());
        if self.call.published.is_empty() && self.world.rates.wait_us(client, rate, now_us) > 0 {
            let detail = format!("more than {rate} publications a second, which --publish-rate decides");
            return Err(Status::new(429).detail(detail).limit(Limit::PublishRate));
        }
        self.world.rates.charge(client, rate, now_us);
        Ok(())
    }
}

fn interval_us(rate: u32) -> u64 {
    SECOND_US / u64::from(rate.clamp(1, RATE_MAX))
}

const SECOND_US: u64 = 1_000_000;
/// One a microsecond: more is no limit.
pub(crate) const RATE_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_as_many_as_the_rate() {
        for rate in [1, 3, 10, 999, RATE_MAX] {
            let (mut rates, mut allowed, mut now_us) = (Rates::new(), 0, 5_000_000);
            let mut take = |now_us| {
                let free = rates.wait_us(1, rate, now_us) == 0;
                if free {
                    rates.charge(1, rate, now_us);
                }
                free
            };
            while take(now_us) {
                allowed += 1;
            }
            assert_eq!(allowed, rate, "at once");
            for _ in 0..20_000 {
                now_us += 1_000;
                while take(now_us) {
                    allowed += 1;
                }
            }
            assert!((rate * 21..=rate * 21 + 1).contains(&allowed), "{rate} a second: {allowed} in 20 s after it");
        }
    }

    #[test]
    fn who_owes_several_waits_for_all_of_them() {
        let mut rates = Rates::new();
        (0..7).for_each(|_| rates.charge(1, 2, 1_000));
        assert_eq!(rates.wait_us(1, 2, 1_000), 3_000_000);
        assert_eq!(rates.wait_us(2, 2, 1_000), 0, "others do not");
    }

    #[test]
    fn a_client_that_has_been_silent_costs_nothing() {
        let mut rates = Rates::new();
        (0..1_000).for_each(|client| rates.charge(client, 1, client * 1_000));
        rates.sweep(1_500_000);
        assert_eq!(rates.full_us.len(), 499);
        rates.sweep(1_600_000);
        assert_eq!(rates.full_us.len(), 499, "not in every turn");
        rates.sweep(3_000_000);
        assert_eq!(rates.held_bytes(), 0);
    }
}
