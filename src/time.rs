//! Time as an argument: nothing below the server reads a clock.

/// The present, as the caller of the engine knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; its beginning means nothing.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970-01-01 UTC, for the `Date` field and the dates in tokens, and nothing else: it may jump.
    pub unix_ms: u64,
}

/// How long a tick of the timer wheel is, in milliseconds. No deadline of INTERFACE is finer than this, and 2³¹ of
/// them, the farthest deadline, are 198 days.
pub(crate) const TICK_MS: u64 = 8;

/// A moment on the timer wheel, in ticks; it wraps after 397 days, so moments are compared by their distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// Whether `self` is at or before `other`, which must lie within 2³¹ ticks of it.
    pub fn reached_by(self, other: Tick) -> bool {
        other.0.wrapping_sub(self.0) < 1 << 31
    }
}

impl Now {
    /// The last tick that has passed.
    pub fn tick(self) -> Tick {
        Tick((self.monotonic_ms / TICK_MS) as u32)
    }

    /// The first tick that has passed once `delay_ms` are over: a timer is never early. Delays over 2³⁰ ticks (99 days)
    /// are cut to that.
    pub fn tick_in(self, delay_ms: u64) -> Tick {
        let delay_ms = delay_ms.min(TICK_MS << 30);
        Tick((self.monotonic_ms + delay_ms).div_ceil(TICK_MS) as u32)
    }

    /// How many milliseconds there are until `tick` has passed; 0 if it has.
    pub fn until_ms(self, tick: Tick) -> u64 {
        if tick.reached_by(self.tick()) {
            return 0;
        }
        u64::from(tick.0.wrapping_sub(self.tick().0)) * TICK_MS - self.monotonic_ms % TICK_MS
    }
}
