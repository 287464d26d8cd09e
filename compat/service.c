// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parts of a Thunderbolt service that differ from kernel to kernel, are macros, or have to be known to modpost; helpers.c is for
 * everything else. The driver's callbacks are Rust's.
 */
#include <linux/device.h>
#include <linux/etherdevice.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/pm.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/rtnetlink.h>
#include <linux/string.h>
#include <linux/thunderbolt.h>
#include <linux/version.h>
#include <linux/workqueue.h>

/* What our service is called in the property directory. */
#define USB4_RXE_KEY "usb4rxe"
#define USB4_RXE_PROTOCOL 1

/* What Rust does when a service of ours comes and goes. Each gets a service that stays during the call. */
struct usb4_rxe_service_ops {
	int (*probe)(struct tb_service *service);
	void (*remove)(struct tb_service *service);
	void (*shutdown)(struct tb_service *service);
	void (*suspend)(struct tb_service *service);
	void (*resume)(struct tb_service *service);
};

static const struct tb_service_id usb4_rxe_ids[] = {
	{ TB_SERVICE(USB4_RXE_KEY, USB4_RXE_PROTOCOL) },
	{},
};
#ifndef __BINDGEN__
MODULE_DEVICE_TABLE(tbsvc, usb4_rxe_ids);
#endif

static struct usb4_rxe_service_ops usb4_rxe_ops;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
static int usb4_rxe_probe(struct tb_service *service)
#else
static int usb4_rxe_probe(struct tb_service *service, const struct tb_service_id *id)
#endif
{
	return usb4_rxe_ops.probe(service);
}

static void usb4_rxe_remove(struct tb_service *service)
{
	usb4_rxe_ops.remove(service);
}

static void usb4_rxe_shutdown(struct tb_service *service)
{
	usb4_rxe_ops.shutdown(service);
}

static int usb4_rxe_suspend(struct device *dev)
{
	usb4_rxe_ops.suspend(tb_to_service(dev));
	return 0;
}

static int usb4_rxe_resume(struct device *dev)
{
	usb4_rxe_ops.resume(tb_to_service(dev));
	return 0;
}

static DEFINE_SIMPLE_DEV_PM_OPS(usb4_rxe_pm, usb4_rxe_suspend, usb4_rxe_resume);

static struct tb_service_driver usb4_rxe_driver = {
	.driver = {
		.owner = THIS_MODULE,
		.name = "usb4_rxe",
		.pm = pm_sleep_ptr(&usb4_rxe_pm),
	},
	.probe = usb4_rxe_probe,
	.remove = usb4_rxe_remove,
	.shutdown = usb4_rxe_shutdown,
	.id_table = usb4_rxe_ids,
};

/* Our entry in the property directory. */
static struct tb_property_dir *usb4_rxe_dir;

/* Services of peers are handed to Rust from now on. */
int usb4_rxe_service_register(const struct usb4_rxe_service_ops *ops)
{
	usb4_rxe_ops = *ops;
	return tb_register_service_driver(&usb4_rxe_driver);
}

/* All services are removed when this returns. */
void usb4_rxe_service_unregister(void)
{
	tb_unregister_service_driver(&usb4_rxe_driver);
}

/* Peers see our service from now on. */
int usb4_rxe_service_announce(const uuid_t *uuid)
{
	int err = -ENOMEM;

	usb4_rxe_dir = tb_property_create_dir(uuid);
	if (!usb4_rxe_dir)
		return err;
	if (!tb_property_add_immediate(usb4_rxe_dir, "prtcid", USB4_RXE_PROTOCOL) &&
	    !tb_property_add_immediate(usb4_rxe_dir, "prtcvers", 1) && !tb_property_add_immediate(usb4_rxe_dir, "prtcrevs", 1) &&
	    !tb_property_add_immediate(usb4_rxe_dir, "prtcstns", 0))
		err = tb_register_property_dir(USB4_RXE_KEY, usb4_rxe_dir);
	if (err)
		tb_property_free_dir(usb4_rxe_dir);
	return err;
}

void usb4_rxe_service_withdraw(void)
{
	tb_unregister_property_dir(USB4_RXE_KEY, usb4_rxe_dir);
	tb_property_free_dir(usb4_rxe_dir);
}

struct tb_xdomain *rust_helper_tb_service_parent(struct tb_service *service)
{
	return tb_service_parent(service);
}

void rust_helper_tb_service_set_drvdata(struct tb_service *service, void *data)
{
	tb_service_set_drvdata(service, data);
}

void *rust_helper_tb_service_get_drvdata(const struct tb_service *service)
{
	return tb_service_get_drvdata(service);
}

struct tb_xdomain *rust_helper_tb_xdomain_get(struct tb_xdomain *xdomain)
{
	return tb_xdomain_get(xdomain);
}

void rust_helper_tb_xdomain_put(struct tb_xdomain *xdomain)
{
	tb_xdomain_put(xdomain);
}

/* "0-1", as in sysfs. */
const char *usb4_rxe_xdomain_name(const struct tb_xdomain *xdomain)
{
	return dev_name(&xdomain->dev);
}

/* What we can send at, in Gb/s. */
unsigned int usb4_rxe_xdomain_speed(const struct tb_xdomain *xdomain)
{
	unsigned int lanes;

	switch (xdomain->link_width) {
	case TB_LINK_WIDTH_DUAL:
		lanes = 2;
		break;
	case TB_LINK_WIDTH_ASYM_TX:
		lanes = 3;
		break;
	default:
		lanes = 1;
	}
	/* The core may have failed to read it; no lane of USB4 is slower. */
	return lanes * max(xdomain->link_speed, 10U);
}

/* Whether the host router cannot be reached by us any more. */
bool usb4_rxe_xdomain_is_unplugged(const struct tb_xdomain *xdomain)
{
	return READ_ONCE(xdomain->is_unplugged);
}

/* Waits until whoever was in our code without our knowing has left it. */
void usb4_rxe_synchronize_tasks(void)
{
	synchronize_rcu_tasks();
}

/* Starts delayed work, or changes when it starts; true if it was to start already. */
bool usb4_rxe_start_work(struct delayed_work *work, unsigned long delay)
{
	return mod_delayed_work(system_dfl_long_wq, work, delay);
}

/* Whether one more line in the log is bearable. */
bool usb4_rxe_may_log(void)
{
	static DEFINE_RATELIMIT_STATE(limit, 10 * HZ, 30);

	return __ratelimit(&limit);
}

static int usb4_rxe_is_same(struct device *device, void *other)
{
	return device == other;
}

/*
 * Whether an XDomain's domain is one of this host router, and not removed yet. The domain itself, which may be freed, is only compared;
 * @router stays during the call.
 */
bool usb4_rxe_xdomain_is_below(const struct tb_xdomain *xdomain, struct device *router)
{
	return device_for_each_child(router, &xdomain->tb->dev, usb4_rxe_is_same);
}

/* Whether it is a host router, and so may have devices of ours below it. Other devices may lose their driver with RTNL held. */
bool usb4_rxe_is_host_router(const struct device *dev)
{
	const struct device_driver *driver;
	bool is;

	/* Whoever looks for host routers does not hold the device's lock. A driver's module does not go before a grace period has. */
	rcu_read_lock();
	driver = READ_ONCE(dev->driver);
	is = driver && !strcmp(driver->name, "thunderbolt");
	rcu_read_unlock();
	return is;
}

/*
 * Drivers that leave their device are told of. Who is about to leave one right now, and was not told of, has left it when this returns:
 * the core holds the device's lock from before it tells until the driver is gone.
 */
int usb4_rxe_watch_devices(struct notifier_block *block)
{
	struct pci_dev *device = NULL;
	int err = bus_register_notifier(&pci_bus_type, block);

	if (err)
		return err;
	for_each_pci_dev(device) {
		if (usb4_rxe_is_host_router(&device->dev)) {
			device_lock(&device->dev);
			device_unlock(&device->dev);
		}
	}
	return 0;
}

void usb4_rxe_unwatch_devices(struct notifier_block *block)
{
	bus_unregister_notifier(&pci_bus_type, block);
}

/* A network device that nobody can delete but us, not registered yet. */
struct net_device *usb4_rxe_netdev_alloc(size_t private, void (*setup)(struct net_device *), struct device *parent,
					 const u8 *address)
{
	/* With one peer it is always number 0, and who configures it should be able to rely on that. */
	struct net_device *dev = alloc_netdev(private, "usb4eth%d", NET_NAME_PREDICTABLE, setup);

	if (!dev)
		return NULL;
	SET_NETDEV_DEV(dev, parent);
	dev->needs_free_netdev = false;
	dev->addr_assign_type = NET_ADDR_PERM;
	eth_hw_addr_set(dev, address);
	return dev;
}

/* Up, as by 'ip link set up', unless it is on its way out. Takes RTNL. */
int usb4_rxe_netdev_open(struct net_device *dev)
{
	int err = -ENODEV;

	rtnl_lock();
	if (dev->reg_state == NETREG_REGISTERED)
		err = dev_open(dev, NULL);
	rtnl_unlock();
	return err;
}

struct device *usb4_rxe_netdev_parent(const struct net_device *dev)
{
	return dev->dev.parent;
}

const char *usb4_rxe_netdev_name(const struct net_device *dev)
{
	return netdev_name(dev);
}
