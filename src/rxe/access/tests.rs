// SPDX-License-Identifier: GPL-2.0-only

//! The rules of memory access, one by one.

use super::mr::{Origin, Region};
use super::mw::{Bound, Type, Window};
use super::*;
use crate::rxe::wqe::{BindMw, RegMr};

const PD: Pd = Pd(3);
const WHO: Identity = Identity {
    pd: PD,
    qpn: Qpn::new(17),
};
const OTHER_QP: Identity = Identity {
    pd: PD,
    qpn: Qpn::new(18),
};
const OTHER_PD: Identity = Identity {
    pd: Pd(4),
    qpn: Qpn::new(17),
};

fn region() -> Region {
    Region {
        origin: Origin::User,
        state: mr::State::Valid,
        pd: PD,
        key: 0x1201,
        rights: Rights::LOCAL_WRITE | Rights::REMOTE_WRITE | Rights::MW_BIND,
        iova: 0x10_000,
        len: 0x1000,
        windows: 0,
    }
}

fn write(va: u64, len: u64) -> Access {
    Access {
        key: 0x1201,
        side: Side::Remote,
        rights: Rights::REMOTE_WRITE,
        va,
        len,
    }
}

#[test]
fn every_reason_to_refuse() {
    let facts = region().facts();
    let ok = write(0x10_000, 0x1000);
    assert_eq!(check(&facts, WHO, &ok), Ok(0x10_000));
    assert_eq!(check(&facts, OTHER_PD, &ok), Err(AccessError::Domain));
    let variant = Access { key: 0x1202, ..ok };
    assert_eq!(check(&facts, WHO, &variant), Err(AccessError::Key));
    let read = Access {
        rights: Rights::REMOTE_READ,
        ..ok
    };
    assert_eq!(check(&facts, WHO, &read), Err(AccessError::Rights));
    let invalid = Facts {
        valid: false,
        ..facts
    };
    assert_eq!(check(&invalid, WHO, &ok), Err(AccessError::State));
}

#[test]
fn ranges_are_exact_and_never_wrap() {
    let facts = region().facts();
    for (va, len, good) in [
        (0x10_000, 0, true),
        (0x11_000, 0, true),
        (0x11_000, 1, false),
        (0x10_fff, 1, true),
        (0x0f_fff, 1, false),
        (0x10_001, 0x1000, false),
        (u64::MAX, 1, false),
        (0x10_000, u64::MAX, false),
        (u64::MAX, u64::MAX, false),
    ] {
        let got = check(&facts, WHO, &write(va, len));
        assert_eq!(got.is_ok(), good, "{va:#x} + {len:#x}: {got:?}");
    }
    let dma = Region {
        origin: Origin::Dma,
        ..region()
    };
    assert_eq!(check(&dma.facts(), WHO, &write(5, 9)), Ok(5));
    assert_eq!(
        check(&dma.facts(), WHO, &write(u64::MAX, 2)),
        Err(AccessError::Range)
    );
}

#[test]
fn zero_based_regions_count_from_zero() {
    let mut zero = region();
    zero.rights = zero.rights | Rights::ZERO_BASED;
    let facts = zero.facts();
    assert_eq!(check(&facts, WHO, &write(0, 0x1000)), Ok(0x10_000));
    assert_eq!(check(&facts, WHO, &write(0xfff, 1)), Ok(0x10_fff));
    assert_eq!(
        check(&facts, WHO, &write(0x1000, 1)),
        Err(AccessError::Range)
    );
}

fn bind(window: &Window, rights: Rights) -> BindMw {
    BindMw {
        mw_rkey: window.rkey,
        new_rkey: 0x77,
        mr_lkey: 0x1201,
        addr: 0x10_100,
        len: 0x100,
        rights,
    }
}

#[test]
fn a_type_2_window_serves_the_queue_pair_that_bound_it() {
    let mut window = Window::new(Type::TwoB, PD, 0x9900);
    assert!(!window.facts(true).valid);
    let wr = bind(&window, Rights::REMOTE_WRITE);
    assert_eq!(window.bind(WHO, Some(&region()), &wr), Ok(Bound::ToRegion));
    assert_eq!(window.rkey, 0x9977);
    let inside = Access {
        key: 0x9977,
        ..write(0x10_100, 0x100)
    };
    let facts = window.facts(true);
    assert_eq!(check(&facts, WHO, &inside), Ok(0x10_100));
    assert_eq!(
        check(&facts, OTHER_QP, &inside),
        Err(AccessError::QueuePair)
    );
    // The window is smaller than its region.
    let outside = Access {
        va: 0x10_0ff,
        ..inside
    };
    assert_eq!(check(&facts, WHO, &outside), Err(AccessError::Range));
    let local = Access {
        side: Side::Local,
        ..inside
    };
    assert_eq!(check(&facts, WHO, &local), Err(AccessError::Key));
    // Bound is bound until invalidated, by the same queue pair.
    let again = bind(&window, Rights::REMOTE_WRITE);
    assert_eq!(
        window.bind(WHO, Some(&region()), &again),
        Err(AccessError::State)
    );
    assert_eq!(
        window.invalidate(OTHER_QP, 0x9977),
        Err(AccessError::QueuePair)
    );
    assert_eq!(window.invalidate(WHO, 0x9977), Ok(()));
    assert!(!window.facts(true).valid);
}

#[test]
fn a_zero_based_window_is_translated() {
    let mut window = Window::new(Type::TwoB, PD, 0x9900);
    let wr = bind(&window, Rights::REMOTE_WRITE | Rights::ZERO_BASED);
    assert_eq!(window.bind(WHO, Some(&region()), &wr), Ok(Bound::ToRegion));
    let first = Access {
        key: window.rkey,
        ..write(0, 0x100)
    };
    assert_eq!(check(&window.facts(true), WHO, &first), Ok(0x10_100));
    let behind = Access { va: 1, ..first };
    assert_eq!(
        check(&window.facts(true), WHO, &behind),
        Err(AccessError::Range)
    );
}

#[test]
fn a_type_1_window_is_rebound_and_unbound_by_binding() {
    let mut window = Window::new(Type::One, PD, 0x9900);
    let zero_based = bind(&window, Rights::ZERO_BASED);
    assert_eq!(
        window.bind(WHO, Some(&region()), &zero_based),
        Err(AccessError::Rights)
    );
    for _ in 0..2 {
        let wr = bind(&window, Rights::REMOTE_WRITE);
        assert_eq!(
            window.bind(OTHER_QP, Some(&region()), &wr),
            Ok(Bound::ToRegion)
        );
    }
    let key = window.rkey;
    assert_eq!(window.invalidate(WHO, key), Err(AccessError::State));
    let nothing = BindMw {
        len: 0,
        ..bind(&window, Rights::NONE)
    };
    assert_eq!(window.bind(WHO, None, &nothing), Ok(Bound::ToNothing));
    assert!(!window.facts(true).valid);
}

#[test]
fn regions_that_may_not_carry_a_window() {
    let try_bind = |region: Region, who, rights| {
        let mut window = Window::new(Type::TwoB, PD, 0x9900);
        let wr = bind(&window, rights);
        window.bind(who, Some(&region), &wr)
    };
    let good = region();
    assert_eq!(
        try_bind(good, WHO, Rights::REMOTE_WRITE),
        Ok(Bound::ToRegion)
    );
    assert_eq!(
        try_bind(good, OTHER_PD, Rights::REMOTE_WRITE),
        Err(AccessError::Domain)
    );
    let no_bind = Region {
        rights: Rights::LOCAL_WRITE,
        ..good
    };
    assert_eq!(
        try_bind(no_bind, WHO, Rights::REMOTE_WRITE),
        Err(AccessError::Rights)
    );
    let read_only = Region {
        rights: Rights::MW_BIND,
        ..good
    };
    assert_eq!(
        try_bind(read_only, WHO, Rights::REMOTE_WRITE),
        Err(AccessError::Rights)
    );
    assert_eq!(
        try_bind(read_only, WHO, Rights::REMOTE_READ),
        Ok(Bound::ToRegion)
    );
    // FLUSH is as good as the memory, which only the region's registration has seen.
    let flushable = Region {
        rights: good.rights | Rights::FLUSH_GLOBAL,
        ..good
    };
    for (rights, bound) in [
        (Rights::FLUSH_GLOBAL, Ok(Bound::ToRegion)),
        (Rights::FLUSH_PERSISTENT, Err(AccessError::Rights)),
        (Rights::FLUSHES, Err(AccessError::Rights)),
    ] {
        assert_eq!(try_bind(flushable, WHO, rights), bound, "{rights:?}");
    }
    let short = Region { len: 0x1ff, ..good };
    assert_eq!(
        try_bind(short, WHO, Rights::REMOTE_READ),
        Err(AccessError::Range)
    );
    let free = Region {
        state: mr::State::Free,
        ..good
    };
    assert_eq!(
        try_bind(free, WHO, Rights::REMOTE_READ),
        Err(AccessError::State)
    );
}

#[test]
fn a_fast_register_region_changes_its_low_key_byte_only() {
    let mut fast = Region {
        origin: Origin::FastRegister,
        state: mr::State::Free,
        ..region()
    };
    let wr = RegMr {
        mr_lkey: 0x1201,
        key: 0x12aa,
        iova: 0x5000,
        len: 0x800,
        rights: Rights::REMOTE_READ,
    };
    let foreign = RegMr { key: 0x13aa, ..wr };
    assert_eq!(fast.register(WHO, &foreign, 0x1000), Err(AccessError::Key));
    assert_eq!(fast.register(WHO, &wr, 0x7ff), Err(AccessError::Range));
    assert_eq!(
        fast.register(OTHER_PD, &wr, 0x1000),
        Err(AccessError::Domain)
    );
    assert_eq!(fast.register(WHO, &wr, 0x1000), Ok(()));
    assert_eq!(fast.register(WHO, &wr, 0x1000), Err(AccessError::State));
    assert_eq!(fast.invalidate(WHO, 0x1201), Err(AccessError::Key));
    fast.windows = 1;
    assert_eq!(fast.invalidate(WHO, 0x12aa), Err(AccessError::State));
    fast.windows = 0;
    assert_eq!(fast.invalidate(WHO, 0x12aa), Ok(()));
    assert_eq!(fast.state, mr::State::Free);
    let mut pinned = region();
    assert_eq!(pinned.invalidate(WHO, 0x1201), Err(AccessError::State));
}
