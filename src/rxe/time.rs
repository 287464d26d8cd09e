// SPDX-License-Identifier: GPL-2.0-only

//! Time as the engine sees it: nanoseconds handed in by the caller, never read from a clock.
//!
//! [`Time`] is a point, [`Nanos`] a span. Both saturate: a timer in the far future is as good as
//! never, and no peer can make the arithmetic overflow. [`RnrTimer`] and [`AckTimeout`] are the
//! two five-bit encodings of the IBTA, decoded exactly.

/// A span of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `us` microseconds.
    pub const fn from_micros(us: u64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    /// A span of `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// The span in nanoseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Adds two spans; the result stays at the largest span on overflow.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Multiplies the span; the result stays at the largest span on overflow.
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

/// A point in time: nanoseconds since an origin of the caller's choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// The end of time: a timer set here never fires.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `span` later.
    pub const fn after(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// The earlier of two points.
    pub const fn earlier_of(self, other: Self) -> Self {
        if self.0 <= other.0 {
            self
        } else {
            other
        }
    }
}

/// Receiver-not-ready delays in units of 10 us, by encoding (IBTA vol. 1, table 45).
///
/// Upstream rxe has 61.41 ms for encoding 25; the table says 61.44.
const RNR_UNITS: [u32; 32] = [
    65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536,
    2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
];

/// The delay a responder asks for in an RNR NAK, in its five-bit encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RnrTimer(u8);

impl RnrTimer {
    /// Takes an encoding below 32.
    pub const fn new(code: u8) -> Option<Self> {
        if code < 32 {
            Some(Self(code))
        } else {
            None
        }
    }

    /// Takes the low five bits of an AETH syndrome.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x1f)
    }

    /// The encoding.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The delay: 0.01 ms to 655.36 ms.
    pub const fn delay(self) -> Nanos {
        // The index is below 32 by construction; masking shows it to the compiler.
        Nanos(RNR_UNITS[(self.0 & 0x1f) as usize] as u64 * 10_000)
    }
}

/// The local ACK timeout of a QP in its five-bit encoding: 0 is infinite, `n` is 4.096 us * 2^n
/// (IBTA vol. 1, 9.9.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct AckTimeout(u8);

impl AckTimeout {
    /// Wait for ever.
    pub const INFINITE: Self = Self(0);

    /// Takes an encoding below 32.
    pub const fn new(code: u8) -> Option<Self> {
        if code < 32 {
            Some(Self(code))
        } else {
            None
        }
    }

    /// The encoding.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The time to wait, or `None` for ever.
    pub const fn span(self) -> Option<Nanos> {
        match self.0 & 0x1f {
            0 => None,
            n => Some(Nanos(4096 << n)),
        }
    }
}
