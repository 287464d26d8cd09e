// SPDX-License-Identifier: GPL-2.0-only

//! Sequence numbers: 24 bits, modular, and therefore without an order.
//!
//! [`Psn`] numbers the packets of one direction of a QP (IBTA vol. 1, 9.7.2); [`Msn`] numbers the
//! messages a responder has completed (9.7.7.1). Both wrap at 2^24. Two numbers on a circle have
//! a *distance*, not an order, so neither type implements `Ord`: a comparison that forgets the
//! wrap does not compile.
//!
//! ```text
//!   a.distance(b) = signed steps from b to a, in -2^23 ..= 2^23 - 1
//!
//!      b ahead of a                 b == a                 a ahead of b
//!   <-- negative (duplicate) ------- zero ------- positive (not yet) -->
//! ```

/// The bits of a sequence number.
const MASK: u32 = 0x00ff_ffff;

/// Signed steps from `from` to `to` on the 24-bit circle.
const fn signed_distance(to: u32, from: u32) -> i32 {
    // Put bit 23 where the sign bit is, then shift back with sign extension.
    ((to.wrapping_sub(from) << 8) as i32) >> 8
}

/// Defines a 24-bit circular counter; the two kinds must not mix, so they are two types.
macro_rules! circular24 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(u32);

        impl $name {
            /// The number zero.
            pub const ZERO: Self = Self(0);

            /// Takes the low 24 bits of `value`.
            pub const fn new(value: u32) -> Self {
                Self(value & MASK)
            }

            /// Takes `value` if it fits in 24 bits.
            pub const fn try_new(value: u32) -> Option<Self> {
                if value <= MASK {
                    Some(Self(value))
                } else {
                    None
                }
            }

            /// The number, below 2^24.
            pub const fn get(self) -> u32 {
                self.0
            }

            /// The number `steps` further on the circle.
            pub const fn wrapping_add(self, steps: u32) -> Self {
                Self::new(self.0.wrapping_add(steps))
            }

            /// The number `steps` back on the circle.
            pub const fn wrapping_sub(self, steps: u32) -> Self {
                Self::new(self.0.wrapping_sub(steps))
            }

            /// The next number.
            pub const fn next(self) -> Self {
                self.wrapping_add(1)
            }

            /// The previous number.
            pub const fn prev(self) -> Self {
                self.wrapping_sub(1)
            }

            /// Signed steps from `from` to `self`, in `-2^23 ..= 2^23 - 1`.
            pub const fn distance(self, from: Self) -> i32 {
                signed_distance(self.0, from.0)
            }

            /// Steps forward from `from` to `self`, in `0 ..= 2^24 - 1`.
            pub const fn offset_from(self, from: Self) -> u32 {
                self.0.wrapping_sub(from.0) & MASK
            }

            /// Whether `self` is one of the `len` numbers that begin at `start`.
            pub const fn is_within(self, start: Self, len: u32) -> bool {
                self.offset_from(start) < len
            }

            /// Whether `self` lies behind `other` (at most half of the circle away).
            pub const fn is_before(self, other: Self) -> bool {
                self.distance(other) < 0
            }

            /// Whether `self` lies ahead of `other` (less than half of the circle away).
            pub const fn is_after(self, other: Self) -> bool {
                self.distance(other) > 0
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({:#08x})"), self.0)
            }
        }
    };
}

circular24! {
    /// A packet sequence number.
    Psn
}

circular24! {
    /// A message sequence number.
    Msn
}
