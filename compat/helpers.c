// SPDX-License-Identifier: GPL-2.0-only
/*
 * What of the kernel's C interface is inline or a macro, as functions: rust_helper_NAME is `compat::NAME` in Rust. They do what their
 * namesakes do; how to call those is in the headers. Below them what is different from kernel to kernel, and what is ours.
 */
#include <linux/bottom_half.h>
#include <linux/cpumask.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/iommu-dma.h>
#include <linux/etherdevice.h>
#include <linux/hardirq.h>
#include <linux/hmm.h>
#include <linux/highmem.h>
#include <linux/if_vlan.h>
#include <linux/ioport.h>
#include <linux/libnvdimm.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/rcupdate.h>
#include <linux/rtnetlink.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/skbuff.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/swiotlb.h>
#include <linux/thunderbolt.h>
#include <linux/u64_stats_sync.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/addrconf.h>
#include <net/net_namespace.h>
#include <rdma/ib_addr.h>
#include <rdma/ib_cache.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_umem_odp.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_netlink.h>
#include <rdma/restrack.h>
#include <rdma/uverbs_ioctl.h>

#ifdef CONFIG_HIGHMEM
#error "memory of users is reached at its kernel address, which not all memory has with CONFIG_HIGHMEM"
#endif

/* Contexts and locks */

void rust_helper_local_bh_disable(void)
{
	local_bh_disable();
}

void rust_helper_local_bh_enable(void)
{
	local_bh_enable();
}

bool rust_helper_in_hardirq(void)
{
	return in_hardirq();
}

bool rust_helper_irqs_disabled(void)
{
	return irqs_disabled();
}

unsigned int rust_helper_raw_smp_processor_id(void)
{
	return raw_smp_processor_id();
}

unsigned int rust_helper_num_possible_cpus(void)
{
	return num_possible_cpus();
}

unsigned long rust_helper_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void rust_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

void rust_helper_rcu_read_lock(void)
{
	rcu_read_lock();
}

void rust_helper_rcu_read_unlock(void)
{
	rcu_read_unlock();
}

/* Memory */

void *rust_helper_page_address(const struct page *page)
{
	return page_address(page);
}

void *rust_helper_kmap_local_page(struct page *page)
{
	return kmap_local_page(page);
}

void rust_helper_kunmap_local(const void *addr)
{
	kunmap_local(addr);
}

struct page *rust_helper_virt_to_page(const void *addr)
{
	return virt_to_page(addr);
}

bool rust_helper_virt_addr_valid(const void *addr)
{
	return virt_addr_valid(addr);
}

struct page *rust_helper_pfn_to_page(unsigned long pfn)
{
	return pfn_to_page(pfn);
}

struct page *rust_helper_sg_page(struct scatterlist *sg)
{
	return sg_page(sg);
}

dma_addr_t rust_helper_sg_dma_address(struct scatterlist *sg)
{
	return sg_dma_address(sg);
}

unsigned int rust_helper_sg_dma_len(struct scatterlist *sg)
{
	return sg_dma_len(sg);
}

void *rust_helper_sg_virt(struct scatterlist *sg)
{
	return sg_virt(sg);
}

struct scatterlist *rust_helper_sg_next(struct scatterlist *sg)
{
	return sg_next(sg);
}

struct page *rust_helper_sg_page_iter_page(struct sg_page_iter *iter)
{
	return sg_page_iter_page(iter);
}

unsigned long rust_helper_copy_from_user(void *to, const void __user *from, unsigned long len)
{
	return copy_from_user(to, from, len);
}

unsigned long rust_helper_copy_to_user(void __user *to, const void *from, unsigned long len)
{
	return copy_to_user(to, from, len);
}

void rust_helper_mmgrab(struct mm_struct *mm)
{
	mmgrab(mm);
}

void rust_helper_mmdrop(struct mm_struct *mm)
{
	mmdrop(mm);
}

/* Writes these bytes back to memory, before whatever is written after. */
void usb4_rxe_write_back(void *addr, size_t size)
{
	arch_wb_cache_pmem(addr, size);
	wmb();
}

/* Whether all of these bytes of the kernel's linear mapping survive power loss. */
bool usb4_rxe_is_persistent(const void *addr, size_t len)
{
	return region_intersects(virt_to_phys((void *)addr), len, IORESOURCE_MEM, IORES_DESC_PERSISTENT_MEMORY) == REGION_INTERSECTS;
}

/* Tables */

void rust_helper_xa_init_flags(struct xarray *xa, gfp_t flags)
{
	xa_init_flags(xa, flags);
}

void rust_helper_xa_lock(struct xarray *xa)
{
	xa_lock(xa);
}

void rust_helper_xa_unlock(struct xarray *xa)
{
	xa_unlock(xa);
}

bool rust_helper_xa_empty(struct xarray *xa)
{
	return xa_empty(xa);
}

int rust_helper_xa_err(void *entry)
{
	return xa_err(entry);
}

int rust_helper_xa_alloc(struct xarray *xa, u32 *id, void *entry, struct xa_limit limit, gfp_t gfp)
{
	return xa_alloc(xa, id, entry, limit, gfp);
}

int rust_helper_xa_alloc_cyclic(struct xarray *xa, u32 *id, void *entry, struct xa_limit limit, u32 *next, gfp_t gfp)
{
	return xa_alloc_cyclic(xa, id, entry, limit, next, gfp);
}

/* RDMA core */

int rust_helper_ib_copy_from_udata(void *to, struct ib_udata *udata, size_t len)
{
	return ib_copy_from_udata(to, udata, len);
}

int rust_helper_ib_copy_to_udata(struct ib_udata *udata, void *from, size_t len)
{
	return ib_copy_to_udata(udata, from, len);
}

bool rust_helper_ib_is_udata_cleared(struct ib_udata *udata, size_t offset, size_t len)
{
	return ib_is_udata_cleared(udata, offset, len);
}

struct ib_ucontext *rust_helper_rdma_udata_to_ucontext(struct ib_udata *udata)
{
	return udata ? rdma_udata_to_uverbs_attr_bundle(udata)->context : NULL;
}

u64 rust_helper_rdma_user_mmap_get_offset(const struct rdma_user_mmap_entry *entry)
{
	return rdma_user_mmap_get_offset(entry);
}

struct ib_umem *rust_helper_ib_umem_get_va(struct ib_device *device, unsigned long addr, size_t size, int access)
{
	return ib_umem_get_va(device, addr, size, access);
}

int rust_helper_ib_umem_offset(struct ib_umem *umem)
{
	return ib_umem_offset(umem);
}

size_t rust_helper_ib_umem_num_pages(struct ib_umem *umem)
{
	return ib_umem_num_pages(umem);
}

bool rust_helper_ib_device_try_get(struct ib_device *dev)
{
	return ib_device_try_get(dev);
}

u64 rust_helper_ib_dma_map_single(struct ib_device *dev, void *addr, size_t size, enum dma_data_direction direction)
{
	return ib_dma_map_single(dev, addr, size, direction);
}

bool rust_helper_ib_uses_virt_dma(struct ib_device *dev)
{
	return ib_uses_virt_dma(dev);
}

int rust_helper_ib_mtu_enum_to_int(enum ib_mtu mtu)
{
	return ib_mtu_enum_to_int(mtu);
}

const struct ib_global_route *rust_helper_rdma_ah_read_grh(const struct rdma_ah_attr *attr)
{
	return rdma_ah_read_grh(attr);
}

u32 rust_helper_rdma_ah_get_ah_flags(const struct rdma_ah_attr *attr)
{
	return rdma_ah_get_ah_flags(attr);
}

u32 rust_helper_rdma_ah_get_port_num(const struct rdma_ah_attr *attr)
{
	return rdma_ah_get_port_num(attr);
}

u8 *rust_helper_rdma_ah_retrieve_dmac(struct rdma_ah_attr *attr)
{
	return rdma_ah_retrieve_dmac(attr);
}

void rust_helper_rdma_ah_set_grh(struct rdma_ah_attr *attr, union ib_gid *dgid, u32 flow_label, u8 sgid_index, u8 hop_limit,
				 u8 traffic_class)
{
	rdma_ah_set_grh(attr, dgid, flow_label, sgid_index, hop_limit, traffic_class);
}

enum rdma_network_type rust_helper_rdma_gid_attr_network_type(const struct ib_gid_attr *attr)
{
	return rdma_gid_attr_network_type(attr);
}

/* Network devices */

void *rust_helper_netdev_priv(const struct net_device *dev)
{
	return netdev_priv(dev);
}

void rust_helper_dev_hold(struct net_device *dev)
{
	dev_hold(dev);
}

void rust_helper_dev_put(struct net_device *dev)
{
	dev_put(dev);
}

struct net *rust_helper_dev_net(const struct net_device *dev)
{
	return dev_net(dev);
}

struct net *rust_helper_maybe_get_net(struct net *net)
{
	return maybe_get_net(net);
}

void rust_helper_put_net(struct net *net)
{
	put_net(net);
}

bool rust_helper_net_eq(const struct net *net1, const struct net *net2)
{
	return net_eq(net1, net2);
}

bool rust_helper_netif_running(const struct net_device *dev)
{
	return netif_running(dev);
}

bool rust_helper_netif_carrier_ok(const struct net_device *dev)
{
	return netif_carrier_ok(dev);
}

void rust_helper_netif_start_queue(struct net_device *dev)
{
	netif_start_queue(dev);
}

void rust_helper_netif_stop_queue(struct net_device *dev)
{
	netif_stop_queue(dev);
}

void rust_helper_eth_hw_addr_random(struct net_device *dev)
{
	eth_hw_addr_random(dev);
}

bool rust_helper_is_valid_ether_addr(const u8 *addr)
{
	return is_valid_ether_addr(addr);
}

void rust_helper_addrconf_addr_eui48(u8 *eui, const char *addr)
{
	addrconf_addr_eui48(eui, addr);
}

struct net_device *rust_helper_netdev_notifier_info_to_dev(const struct netdev_notifier_info *info)
{
	return netdev_notifier_info_to_dev(info);
}

void rust_helper_skb_reset_mac_header(struct sk_buff *skb)
{
	skb_reset_mac_header(skb);
}

void rust_helper_skb_orphan(struct sk_buff *skb)
{
	skb_orphan(skb);
}

void rust_helper_kfree_skb(struct sk_buff *skb)
{
	kfree_skb(skb);
}

/* What Rust has under other names from kernel to kernel */

void usb4_rxe_smp_wmb(void)
{
	smp_wmb();
}

struct module *usb4_rxe_this_module(void)
{
	return THIS_MODULE;
}

/* Ours */

/* Tells the user of a queue pair about an event. */
void usb4_rxe_qp_event(struct ib_qp *qp, enum ib_event_type type)
{
	struct ib_event event = { .device = qp->device, .element.qp = qp, .event = type };

	if (qp->event_handler)
		qp->event_handler(&event, qp->qp_context);
}

/* Tells the user of a completion queue about an event. */
void usb4_rxe_cq_event(struct ib_cq *cq, enum ib_event_type type)
{
	struct ib_event event = { .device = cq->device, .element.cq = cq, .event = type };

	if (cq->event_handler)
		cq->event_handler(&event, cq->cq_context);
}

/* Tells the user of a shared receive queue about an event. */
void usb4_rxe_srq_event(struct ib_srq *srq, enum ib_event_type type)
{
	struct ib_event event = { .device = srq->device, .element.srq = srq, .event = type };

	if (srq->event_handler)
		srq->event_handler(&event, srq->srq_context);
}

/*
 * Memory for a queue, zeroed. vmalloc_user() would not charge it to the process's memory control group, would rather kill other
 * processes than fail, and complains in the log about sizes that any process may ask for. A large one leaves as much as it takes: short
 * of that, whoever else wants memory while it is being got is in trouble.
 */
void *usb4_rxe_queue_alloc(size_t len)
{
	if (len > SZ_1M && len >> PAGE_SHIFT > si_mem_available() / 2)
		return NULL;
	return __vmalloc(len, GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
}

/* Fills a new mapping, as long as the memory, with its pages; each is counted for the mapping. */
int usb4_rxe_queue_map(struct vm_area_struct *vma, void *memory)
{
	unsigned long at;
	int err = 0;

	for (at = vma->vm_start; at < vma->vm_end && !err; at += PAGE_SIZE, memory += PAGE_SIZE)
		err = vm_insert_page(vma, at, vmalloc_to_page(memory));
	if (!err)
		vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	return err;
}

/* The driver's part of a verb's attributes. */
struct ib_udata *usb4_rxe_driver_udata(struct uverbs_attr_bundle *attrs)
{
	return &attrs->driver_udata;
}

/* Tells all users of a device about an event of its port. */
void usb4_rxe_port_event(struct ib_device *device, enum ib_event_type type)
{
	struct ib_event event = { .device = device, .element.port_num = 1, .event = type };

	ib_dispatch_event(&event);
}

/* Whether line `at` of layout.list has this name, size and offset in gcc's eyes, too. */
#define FIELD(structure, field) { #structure "." #field, sizeof(struct structure), offsetof(struct structure, field) },
static const struct {
	const char *name;
	size_t size, offset;
} fields[] = {
#ifndef __BINDGEN__
#include "layout.list"
#endif
};
#undef FIELD

bool usb4_rxe_layout_agrees(size_t at, const u8 *name, size_t name_len, size_t size, size_t offset)
{
	return at < ARRAY_SIZE(fields) && strlen(fields[at].name) == name_len && !memcmp(fields[at].name, name, name_len) &&
	       fields[at].size == size && fields[at].offset == offset;
}

/* What the network device needs in fields that bindgen does not name. */
void usb4_rxe_netdev_setup(struct net_device *dev, const struct net_device_ops *ops,
			   const struct ethtool_ops *ethtool, unsigned int min_mtu, unsigned int max_mtu)
{
	ether_setup(dev);
	eth_hw_addr_random(dev);
	dev->netdev_ops = ops;
	dev->ethtool_ops = ethtool;
	dev->needs_free_netdev = true;
	dev->min_mtu = min_mtu;
	dev->max_mtu = max_mtu;
	dev->mtu = max_mtu;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	/* It would send from an interrupt what may have interrupted us under our own lock. */
	dev->priv_flags |= IFF_DISABLE_NETPOLL;
}

const struct net_device_ops *usb4_rxe_netdev_ops(const struct net_device *dev)
{
	return dev->netdev_ops;
}

void usb4_rxe_netdev_address(const struct net_device *dev, u8 *address)
{
	memcpy(address, dev->dev_addr, ETH_ALEN);
}

unsigned int usb4_rxe_netdev_mtu(const struct net_device *dev)
{
	return READ_ONCE(dev->mtu);
}

bool usb4_rxe_netdev_is_up(const struct net_device *dev)
{
	return netif_running(dev);
}

void usb4_rxe_drop(struct sk_buff *skb)
{
	dev_core_stats_tx_dropped_inc(skb->dev);
	dev_kfree_skb_any(skb);
}

bool usb4_rxe_netdev_is_registered(const struct net_device *dev)
{
	return dev->reg_state == NETREG_REGISTERED;
}

void usb4_rxe_device_get(struct ib_device *ib)
{
	get_device(&ib->dev);
}

void usb4_rxe_device_put(struct ib_device *ib)
{
	put_device(&ib->dev);
}

void rust_helper_ib_mark_name_assigned_by_user(struct ib_device *ib)
{
	ib_mark_name_assigned_by_user(ib);
}

enum ib_port_state rust_helper_ib_get_curr_port_state(struct net_device *dev)
{
	return ib_get_curr_port_state(dev);
}

/* How much memory this host has. */
unsigned long usb4_rxe_ram_pages(void)
{
	return totalram_pages();
}

/* Whether this process is to die as soon as it lets go. */
bool usb4_rxe_is_killed(void)
{
	return fatal_signal_pending(current);
}

/* Memory that is not pinned: its pages are known under the umem's mutex. */
#ifdef CONFIG_INFINIBAND_ON_DEMAND_PAGING
bool usb4_rxe_odp_is_supported(void)
{
	return true;
}

struct ib_umem_odp *usb4_rxe_odp_get(struct ib_device *device, unsigned long addr, size_t size, int access,
				     const struct mmu_interval_notifier_ops *ops)
{
	return ib_umem_odp_get(device, addr, size, access, ops);
}

void usb4_rxe_odp_release(struct ib_umem_odp *umem)
{
	ib_umem_odp_release(umem);
}

/* Learns where pages are, and with @fault fetches those that are nowhere. On success the mutex is taken. */
int usb4_rxe_odp_map_and_lock(struct ib_umem_odp *umem, u64 addr, u64 len, bool write, bool fault)
{
	return ib_umem_odp_map_dma_and_lock(umem, addr, len, write ? HMM_PFN_WRITE : 0, fault);
}

/* Begins to take pages away. On success the mutex is taken, and @start and @end tell which. */
struct ib_umem_odp *usb4_rxe_odp_invalidate_and_lock(struct mmu_interval_notifier *notifier,
						     const struct mmu_notifier_range *range, unsigned long seq,
						     unsigned long *start, unsigned long *end)
{
	struct ib_umem_odp *umem = container_of(notifier, struct ib_umem_odp, notifier);

	if (!mmu_notifier_range_blockable(range))
		return NULL;
	mutex_lock(&umem->umem_mutex);
	mmu_interval_set_seq(notifier, seq);
	*start = max(ib_umem_start(umem), range->start);
	*end = min(ib_umem_end(umem), range->end);
	return umem;
}

void usb4_rxe_odp_unmap(struct ib_umem_odp *umem, unsigned long start, unsigned long end)
{
	ib_umem_odp_unmap_dma_pages(umem, start, end);
}
#else
bool usb4_rxe_odp_is_supported(void)
{
	return false;
}

struct ib_umem_odp *usb4_rxe_odp_get(struct ib_device *device, unsigned long addr, size_t size, int access,
				     const struct mmu_interval_notifier_ops *ops)
{
	return ERR_PTR(-EOPNOTSUPP);
}

void usb4_rxe_odp_release(struct ib_umem_odp *umem)
{
}

int usb4_rxe_odp_map_and_lock(struct ib_umem_odp *umem, u64 addr, u64 len, bool write, bool fault)
{
	return -EOPNOTSUPP;
}

struct ib_umem_odp *usb4_rxe_odp_invalidate_and_lock(struct mmu_interval_notifier *notifier,
						     const struct mmu_notifier_range *range, unsigned long seq,
						     unsigned long *start, unsigned long *end)
{
	return NULL;
}

void usb4_rxe_odp_unmap(struct ib_umem_odp *umem, unsigned long start, unsigned long end)
{
}
#endif

void usb4_rxe_odp_lock(struct ib_umem_odp *umem)
{
	mutex_lock(&umem->umem_mutex);
}

void usb4_rxe_odp_unlock(struct ib_umem_odp *umem)
{
	mutex_unlock(&umem->umem_mutex);
}

unsigned long usb4_rxe_odp_start(struct ib_umem_odp *umem)
{
	return ib_umem_start(umem);
}

unsigned long usb4_rxe_odp_end(struct ib_umem_odp *umem)
{
	return ib_umem_end(umem);
}

/*
 * Where page @at is in the kernel's linear mapping; NULL if it is not there, or not known. The mutex is taken.
 *
 * The core finds pages that it would not pin: memfd_secret takes its pages out of the linear mapping when they are
 * first touched, before the process has them. They come back only when the process has lost them, which the
 * notifier tells. So what can be read now can be accessed until then.
 */
void *usb4_rxe_odp_page(struct ib_umem_odp *umem, size_t at, bool *writable)
{
	unsigned long pfn = umem->map.pfn_list[at];
	void *page;
	u8 byte;

	if (!(pfn & HMM_PFN_VALID) || (pfn & (HMM_PFN_P2PDMA | HMM_PFN_P2PDMA_BUS)))
		return NULL;
	*writable = pfn & HMM_PFN_WRITE;
	page = page_address(hmm_pfn_to_page(pfn));
	return copy_from_kernel_nofault(&byte, page, sizeof(byte)) ? NULL : page;
}

/* Where pages on demand are fetched. */
static struct workqueue_struct *fetches;

int usb4_rxe_fetches_alloc(void)
{
	fetches = alloc_workqueue("usb4_rxe_fetch", WQ_UNBOUND | WQ_HIGHPRI, 0);
	return fetches ? 0 : -ENOMEM;
}

struct workqueue_struct *usb4_rxe_fetches(void)
{
	return fetches;
}

void usb4_rxe_fetches_free(void)
{
	destroy_workqueue(fetches);
}

/* Rings: memory that a host router reads and writes. */
void *usb4_rxe_dma_page_alloc(void)
{
	return (void *)get_zeroed_page(GFP_KERNEL);
}

void usb4_rxe_dma_page_free(void *page)
{
	free_page((unsigned long)page);
}

/* False if the device cannot reach the memory. */
bool usb4_rxe_dma_map(struct device *device, void *from, size_t size, enum dma_data_direction direction,
		      dma_addr_t *address)
{
	*address = dma_map_single(device, from, size, direction);
	return !dma_mapping_error(device, *address);
}

void usb4_rxe_dma_unmap(struct device *device, dma_addr_t address, size_t size, enum dma_data_direction direction)
{
	dma_unmap_single(device, address, size, direction);
}

/* Whether mapping memory for the device is no more than arithmetic: no IOMMU translates for it, nor is memory encrypted or copied for it. */
bool usb4_rxe_dma_is_direct(struct device *device)
{
	return !get_dma_ops(device) && !use_dma_iommu(device) && !is_swiotlb_force_bounce(device);
}

void rust_helper_dma_sync_single_for_cpu(struct device *device, dma_addr_t address, size_t size,
					 enum dma_data_direction direction)
{
	dma_sync_single_for_cpu(device, address, size, direction);
}

void rust_helper_dma_sync_single_for_device(struct device *device, dma_addr_t address, size_t size,
					    enum dma_data_direction direction)
{
	dma_sync_single_for_device(device, address, size, direction);
}

struct device *rust_helper_get_device(struct device *device)
{
	return get_device(device);
}

void rust_helper_put_device(struct device *device)
{
	put_device(device);
}

/* What a ring's interrupt calls, after it has masked itself. With NULL it stays on. */
void usb4_rxe_ring_set_poll(struct tb_ring *ring, void (*start_poll)(void *), void *data)
{
	unsigned long flags;

	spin_lock_irqsave(&ring->nhi->lock, flags);
	spin_lock(&ring->lock);
	ring->start_poll = start_poll;
	ring->poll_data = data;
	spin_unlock(&ring->lock);
	spin_unlock_irqrestore(&ring->nhi->lock, flags);
}

/* Packets of the network device */
bool usb4_rxe_has_taps(struct net_device *device)
{
	bool taps;

	rcu_read_lock();
	taps = netif_running(device) && dev_nit_active_rcu(device);
	rcu_read_unlock();
	return taps;
}

/*
 * Whether there are taps that can be shown what the RDMA device got. A bridge, or whoever else handles all that the device receives, would
 * take it for its own, and IP there would answer. (One that begins to handle just now may still get one.)
 */
bool usb4_rxe_has_receive_taps(struct net_device *device)
{
	return usb4_rxe_has_taps(device) && !rcu_access_pointer(device->rx_handler);
}

/*
 * Whether the network stack may have a packet of @len bytes; if not, it counts as dropped. Softirqs are off: while it is closed the device
 * may change its namespace, and who closes it waits for us. Others than our driver may be at the other end: a packet has an Ethernet
 * header, and is none that we would not send.
 */
bool usb4_rxe_may_receive(struct net_device *device, unsigned int len)
{
	if (netif_running(device) && len >= ETH_HLEN && len <= ETH_HLEN + VLAN_HLEN + device->max_mtu)
		return true;
	dev_core_stats_rx_dropped_inc(device);
	return false;
}

/* Room for a packet of @len bytes that came in; @data is where it goes. */
struct sk_buff *usb4_rxe_skb_alloc(struct net_device *device, unsigned int len, u8 **data)
{
	struct sk_buff *skb = netdev_alloc_skb_ip_align(device, len);

	if (skb)
		*data = skb_put(skb, len);
	return skb;
}

void usb4_rxe_skb_drop(struct sk_buff *skb)
{
	dev_kfree_skb_any(skb);
}

/* The packet is for this host. Softirqs are off. */
void usb4_rxe_skb_receive(struct sk_buff *skb, struct net_device *device)
{
	unsigned int len = skb->len;

	skb->protocol = eth_type_trans(skb, device);
	dev_sw_netstats_rx_add(device, len);
	netif_receive_skb(skb);
}

/*
 * Shows taps a packet that the RDMA device got. IP shall not have it: to IP it looks like somebody else's. What looks at packets before IP
 * (generic XDP, filters at ingress) sees it like any other: dropped there, it has come all the same; redirected, it goes there as well.
 */
void usb4_rxe_skb_show_received(struct sk_buff *skb, struct net_device *device)
{
	skb->protocol = eth_type_trans(skb, device);
	skb->pkt_type = PACKET_OTHERHOST;
	netif_receive_skb(skb);
}

/* Shows taps a packet that the RDMA device sends. */
void usb4_rxe_skb_show_sent(struct sk_buff *skb, struct net_device *device)
{
	skb_reset_mac_header(skb);
	skb_set_network_header(skb, ETH_HLEN);
	skb->protocol = eth_hdr(skb)->h_proto;
	rcu_read_lock();
	dev_queue_xmit_nit(skb, device);
	rcu_read_unlock();
	consume_skb(skb);
}

/* The first @len bytes of a packet to send. */
int usb4_rxe_skb_copy(const struct sk_buff *skb, int offset, void *to, int len)
{
	return skb_copy_bits(skb, offset, to, len);
}

unsigned int usb4_rxe_skb_len(const struct sk_buff *skb)
{
	return skb->len;
}

void usb4_rxe_skb_sent(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
	dev_sw_netstats_tx_add(skb->dev, 1, skb->len);
	dev_consume_skb_any(skb);
}

void rust_helper_netif_wake_queue(struct net_device *device)
{
	netif_wake_queue(device);
}

/* The first entry of a table from *index on, reserved ones left out. */
void *usb4_rxe_xa_find(struct xarray *xa, unsigned long *index)
{
	return xa_find(xa, index, ULONG_MAX, XA_PRESENT);
}
