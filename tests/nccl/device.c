// SPDX-License-Identifier: GPL-2.0-only
/* Which device, port and GID NCCL would take, and what it would think of them; asynchronous events. */
#include "nccl.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct device device;

/* Both of these are sets of one bit in a port's attributes, and NCCL looks at the lowest. */
static const int widths[] = { 1, 4, 8, 12, 2 };
static const int speeds[] = { 2500, 5000, 10000, 10000, 14000, 25000, 50000, 100000, 200000 };

static int by_lowest_bit(uint32_t set, const int *values, int count)
{
	int bit = set ? __builtin_ctz(set) : count;

	return values[bit < count ? bit : count - 1];
}

static int speed_of(const struct ibv_port_attr *port)
{
	uint32_t speed = port->active_speed_ex ? port->active_speed_ex : port->active_speed;

	return by_lowest_bit(speed, speeds, sizeof(speeds) / sizeof(*speeds)) * by_lowest_bit(port->active_width, widths, sizeof(widths) / sizeof(*widths));
}

/* NCCL finds the device's place in the topology by its PCI address, the last part of this path. */
static void check_pci(void)
{
	char link[PATH_MAX], path[PATH_MAX], bus[PATH_MAX];
	unsigned domain, number, slot, function;

	snprintf(link, sizeof(link), "/sys/class/infiniband/%s/device", device.name);
	if (!realpath(link, path))
		die("%s leads nowhere: %s", link, strerror(errno));
	snprintf(link, sizeof(link), "/sys/class/infiniband/%s/device/subsystem", device.name);
	if (!realpath(link, bus) || strcmp(bus, "/sys/bus/pci"))
		die("%s is no PCI device", path);
	if (sscanf(strrchr(path, '/'), "/%x:%x:%x.%x", &domain, &number, &slot, &function) != 4)
		die("%s does not end in a PCI address", path);
	printf("PCI device %s\n", strrchr(path, '/') + 1);
}

/* NCCL calls this with no file at all, and takes every answer but two for support. */
static void probe_dmabuf(void)
{
	struct ibv_pd *pd = ibv_alloc_pd(device.context);
	struct ibv_mr *mr;

	if (!pd)
		die("cannot allocate a PD: %s", strerror(errno));
	errno = 0;
	mr = ibv_reg_dmabuf_mr(pd, 0, 0, 0, -1, 0);
	if (mr)
		die("dmabuf: file -1 was registered");
	if (errno != EBADF && errno != EOPNOTSUPP && errno != EPROTONOSUPPORT)
		die("dmabuf: file -1 is answered with '%s'; NCCL would take that for support", strerror(errno));
	printf("dmabuf: %s\n", errno == EBADF ? "supported" : "not supported");
	errno = ibv_dealloc_pd(pd);
	if (errno)
		die("dmabuf: the probe has left its PD in use: %s", strerror(errno));
}

static union ibv_gid gid_at(int index)
{
	union ibv_gid gid;

	if (ibv_query_gid(device.context, 1, index, &gid))
		die("cannot query GID %d of %d: %s", index, device.port.gid_tbl_len, strerror(errno));
	return gid;
}

static bool is_ipv4(const union ibv_gid *gid)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return !memcmp(gid->raw, mapped, sizeof(mapped));
}

/* A link-local one is of no use to NCCL, and neither is an empty place. */
static bool is_usable(const union ibv_gid *gid)
{
	return (gid->global.subnet_prefix || gid->global.interface_id) && gid->global.subnet_prefix != htobe64(0xfe80000000000000);
}

/* 1 or 2, or 0 for an empty place. */
static int roce_version(int index)
{
	char path[PATH_MAX], text[16] = "";
	int file;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/gid_attrs/types/%d", device.name, index);
	file = open(path, O_RDONLY);
	if (file < 0)
		die("cannot open %s: %s", path, strerror(errno));
	if (read(file, text, sizeof(text) - 1) < 0 && errno != EINVAL)
		die("cannot read %s: %s", path, strerror(errno));
	close(file);
	return !strncmp(text, "RoCE v2", 7) ? 2 : !strncmp(text, "IB/RoCE v1", 10) || !strncmp(text, "RoCE v1", 7) ? 1 : 0;
}

/* Is the GID at `next` better than the one at `best`? IPv4 is better than IPv6, and of two IPv4 ones that of RoCE v2. */
static bool is_better(int next, int best)
{
	union ibv_gid new = gid_at(next), old = gid_at(best);
	int new_version, old_version;

	if (!is_ipv4(&new))
		return false;
	if (!is_ipv4(&old))
		return true;
	new_version = roce_version(next);
	old_version = roce_version(best);
	return new_version == 2 && (old_version != 2 || !is_usable(&old));
}

static void choose_gid(void)
{
	char text[INET6_ADDRSTRLEN];

	for (int index = 1; index < device.port.gid_tbl_len; index++)
		if (is_better(index, device.gid_index))
			device.gid_index = index;
	device.gid = gid_at(device.gid_index);
	inet_ntop(AF_INET6, device.gid.raw, text, sizeof(text));
	printf("GID %d of %d: %s, RoCE v%d\n", device.gid_index, device.port.gid_tbl_len, text, roce_version(device.gid_index));
	if (!is_ipv4(&device.gid) || roce_version(device.gid_index) != 2)
		die("GID %d, which NCCL would take, is no IPv4 address of RoCE v2", device.gid_index);
}

void device_check_gid(int expected)
{
	if (device.gid_index != expected)
		die("NCCL would take GID %d, and our address is GID %d", device.gid_index, expected);
}

static void *watch_events(void *unused)
{
	struct ibv_async_event event;

	while (!ibv_get_async_event(device.context, &event)) {
		bool of_port = event.event_type == IBV_EVENT_PORT_ERR || event.event_type == IBV_EVENT_PORT_ACTIVE;

		printf("event: %s\n", ibv_event_type_str(event.event_type));
		if (event.event_type != IBV_EVENT_COMM_EST && !(of_port && nccl.port_events))
			die("unexpected event: %s", ibv_event_type_str(event.event_type));
		ibv_ack_async_event(&event);
	}
	return unused;
}

/* True when this is a device that NCCL would use, and ours. */
static bool look_at(struct ibv_device *candidate, const char *name)
{
	struct ibv_device_attr attr;
	bool ours = !strcmp(ibv_get_device_name(candidate), name);
	struct ibv_context *context = ibv_open_device(candidate);

	if (!context)
		die("cannot open %s: %s", ibv_get_device_name(candidate), strerror(errno));
	if (ibv_query_device(context, &attr))
		die("cannot query %s: %s", ibv_get_device_name(candidate), strerror(errno));
	for (uint8_t port = 1; port <= attr.phys_port_cnt; port++) {
		struct ibv_port_attr port_attr;

		if (ibv_query_port(context, port, &port_attr))
			die("cannot query port %u of %s: %s", port, ibv_get_device_name(candidate), strerror(errno));
		printf("%s port %u: %s, %s, GUID %016lx, %d Gb/s, %d QPs\n", ibv_get_device_name(candidate), port, ibv_port_state_str(port_attr.state),
		       port_attr.link_layer == IBV_LINK_LAYER_ETHERNET ? "RoCE" : "no Ethernet", be64toh(attr.sys_image_guid),
		       speed_of(&port_attr) / 1000, attr.max_qp);
		if (!ours)
			continue;
		if (port_attr.state != IBV_PORT_ACTIVE || port_attr.link_layer != IBV_LINK_LAYER_ETHERNET)
			die("NCCL would not use %s", name);
		if (!attr.sys_image_guid)
			die("%s has no sys_image_guid", name);
		device.port = port_attr;
		device.guid = attr.sys_image_guid;
		device.speed = speed_of(&port_attr);
	}
	if (!ours)
		ibv_close_device(context);
	else
		device.context = context;
	return ours;
}

void device_open(const char *name)
{
	struct ibv_device **list;
	pthread_t thread;
	int count;

	if (ibv_fork_init())
		die("ibv_fork_init: %s", strerror(errno));
	list = ibv_get_device_list(&count);
	for (int i = 0; list && i < count; i++)
		if (look_at(list[i], name))
			device.name = strdup(name);
	ibv_free_device_list(list);
	if (!device.context)
		die("there is no device %s", name);
	check_pci();
	/* NCCL does not end this thread either, nor does it ever close the device. */
	if (pthread_create(&thread, NULL, watch_events, NULL) || pthread_detach(thread))
		die("no thread");
	probe_dmabuf();
	choose_gid();
}
