// SPDX-License-Identifier: GPL-2.0-only

//! Access rights as a set; the bits are those of `enum ib_access_flags`.

/// A set of access rights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rights(u32);

impl Rights {
    /// Reading on behalf of our own user is always allowed.
    pub const NONE: Self = Self(0);
    /// Writing on behalf of our own user.
    pub const LOCAL_WRITE: Self = Self(1);
    /// RDMA WRITE and ATOMIC WRITE.
    pub const REMOTE_WRITE: Self = Self(1 << 1);
    /// RDMA READ.
    pub const REMOTE_READ: Self = Self(1 << 2);
    /// Atomics.
    pub const REMOTE_ATOMIC: Self = Self(1 << 3);
    /// Binding memory windows.
    pub const MW_BIND: Self = Self(1 << 4);
    /// Addresses count from zero.
    pub const ZERO_BASED: Self = Self(1 << 5);
    /// FLUSH to global visibility.
    pub const FLUSH_GLOBAL: Self = Self(1 << 8);
    /// FLUSH to persistence.
    pub const FLUSH_PERSISTENT: Self = Self(1 << 9);

    /// Everything a peer may be allowed.
    pub const REMOTE: Self = Self::REMOTE_WRITE
        .union(Self::REMOTE_READ)
        .union(Self::REMOTE_ATOMIC);

    /// Both kinds of FLUSH.
    pub const FLUSHES: Self = Self::FLUSH_GLOBAL.union(Self::FLUSH_PERSISTENT);

    /// What takes memory that can be written. A window can be bound to permit any of it.
    pub const WRITES: Self = Self::LOCAL_WRITE
        .union(Self::REMOTE_WRITE)
        .union(Self::REMOTE_ATOMIC)
        .union(Self::MW_BIND);

    /// Takes the bits the engine knows; others (on demand, huge pages, relaxed ordering) are the
    /// caller's.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0x33f)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether anything of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl core::ops::BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl core::fmt::Debug for Rights {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        const NAMES: [(Rights, &str); 8] = [
            (Rights::LOCAL_WRITE, "local write"),
            (Rights::REMOTE_WRITE, "remote write"),
            (Rights::REMOTE_READ, "remote read"),
            (Rights::REMOTE_ATOMIC, "remote atomic"),
            (Rights::MW_BIND, "bind"),
            (Rights::ZERO_BASED, "zero based"),
            (Rights::FLUSH_GLOBAL, "flush global"),
            (Rights::FLUSH_PERSISTENT, "flush persistent"),
        ];
        let mut set = f.debug_set();
        for (right, name) in NAMES {
            if self.contains(right) {
                set.entry(&format_args!("{name}"));
            }
        }
        set.finish()
    }
}
