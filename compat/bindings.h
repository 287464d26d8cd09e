/* SPDX-License-Identifier: GPL-2.0-only */
/* What bindgen reads. What of it becomes Rust is said in bindgen_allow. */
#include <linux/crc32.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/hrtimer.h>
#include <linux/if_arp.h>
#include <linux/inetdevice.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/percpu.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/rtnetlink.h>
#include <linux/scatterlist.h>
#include <linux/smp.h>
#include <linux/thunderbolt.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include <net/addrconf.h>
#include <net/rtnetlink.h>

#include <rdma/ib_addr.h>
#include <rdma/ib_cache.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_pack.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_umem_odp.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_netlink.h>
#include <rdma/rdma_user_rxe.h>
#include <rdma/restrack.h>
#include <rdma/uverbs_ioctl.h>

/* Helpers are functions only here: bindgen sees no inline ones. */
#include "helpers.c"
#include "service.c"
#include "status.c"

/* Macros with casts, which bindgen does not evaluate. */
const gfp_t usb4_rxe_GFP_KERNEL = GFP_KERNEL;
const gfp_t usb4_rxe_XA_FLAGS_ALLOC = XA_FLAGS_ALLOC;
const unsigned int usb4_rxe_RING_FLAG_FRAME = RING_FLAG_FRAME;
const unsigned int usb4_rxe_RING_FLAG_E2E = RING_FLAG_E2E;
