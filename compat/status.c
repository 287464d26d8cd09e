// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file in debugfs that keeps the module while it is open. The files of the kernel crate (`kernel::debugfs`, 7.2 and 7.3) have no owner:
 * when the module had gone, closing one would follow pointers into it.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

/* What Rust prints into the file. Written before the file is there. */
static int (*usb4_rxe_show)(struct seq_file *seq);

static int usb4_rxe_status_show(struct seq_file *seq, void *data)
{
	return usb4_rxe_show(seq);
}

DEFINE_SHOW_ATTRIBUTE(usb4_rxe_status);

/* /sys/kernel/debug/DIR/NAME. What is returned is for usb4_rxe_status_remove, also when there is no such file. */
struct dentry *usb4_rxe_status_create(const char *dir, const char *name, int (*show)(struct seq_file *seq))
{
	struct dentry *parent = debugfs_create_dir(dir, NULL);

	usb4_rxe_show = show;
	debugfs_create_file(name, 0400, parent, NULL, &usb4_rxe_status_fops);
	return parent;
}

/* The directory and what is in it. Waits for calls of `show`. */
void usb4_rxe_status_remove(struct dentry *dir)
{
	debugfs_remove(dir);
}
