// SPDX-License-Identifier: GPL-2.0-only
/*
 * The other end of a cable that does not speak the handshake as it should: loaded on one host in place of usb4_rxe, to see what the other
 * host bears. It offers usb4_rxe's service, sends Logins all the time, and answers those of the other end, by its mode:
 *
 *   version     speaks versions 2 to 3 alone, and says so
 *   capability  offers nothing
 *   silent      agrees to a rail, and never sends a frame; as if loaded anew every seven seconds
 *   hops        the same, with any HopID and any size of the rings
 *   random      messages of all kinds with dwords that are random, and epochs, instances, wires without sense
 *
 * The layout of messages: src/usb4/rail/frame/envelope.rs, hello.rs.
 */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/string.h>
#include <linux/thunderbolt.h>
#include <linux/uuid.h>
#include <linux/version.h>

#define KEY "usb4rxe"
#define WORDS 26
#define BODY 16
#define ANSWER BIT(31)
#define MAGIC 0x55345258 /* U4RX */
#define TRAINS BIT(1)
#define CAUSE_VERSION 1

enum kind { LOGIN = 1, ACCEPT, REFUSE, LOGOUT };
enum { VERSION, CAPABILITY, SILENT, HOPS, RANDOM };

static const char *const modes[] = { "version", "capability", "silent", "hops", "random" };

static char *mode = "version";
module_param(mode, charp, 0444);
static unsigned int pause_ms = 50;
module_param(pause_ms, uint, 0444);

static int behaviour;
static const uuid_t protocol = UUID_INIT(0x2f68a8ca, 0x2b74, 0x45e3, 0xab, 0xdc, 0x95, 0x83, 0x10, 0x4f, 0xc0, 0x52);
static struct tb_property_dir *directory;
static struct tb_xdomain *xdomain;
static struct task_struct *talker;
static u64 instance;
/* The core keeps pointers to answers for a while after they were sent. */
static u32 answers[256][WORDS];
static unsigned int answered;
static unsigned long asked, heard;

static void hello(u32 *body, enum kind kind)
{
	u8 least = 1, most = 1, epoch = 1;
	u32 offers = TRAINS, requires = 0, rx_ring = 512, tx_ring = 512, hop = 8, cause = 0, rail = 0, wire = ANSWER;

	switch (behaviour) {
	case VERSION:
		least = 2;
		most = 3;
		if (kind == ACCEPT) {
			kind = REFUSE;
			cause = CAUSE_VERSION;
			rail = 0x0203;
			wire = 0x0101;
		}
		break;
	case CAPABILITY:
		offers = 0;
		break;
	case SILENT:
		/* Another load of the module does not know the wire. */
		epoch = 1 + jiffies / HZ / 7 % 250;
		instance = epoch;
		break;
	case HOPS:
		hop = get_random_u32_below(3) ? get_random_u32_below(12) : get_random_u16();
		rx_ring = get_random_u32_below(3) ? 512 : get_random_u16();
		tx_ring = get_random_u32_below(3) ? 512 : get_random_u16();
		epoch = get_random_u8();
		break;
	case RANDOM:
		kind = 1 + get_random_u32_below(4);
		epoch = get_random_u8();
		if (get_random_u32_below(2))
			instance = get_random_u64();
		wire = get_random_u32();
		rail = get_random_u32_below(20);
		break;
	}
	body[0] = MAGIC;
	body[1] = (u32)kind << 24 | (u32)least << 16 | (u32)most << 8 | epoch;
	body[2] = offers;
	body[3] = requires;
	body[4] = (u32)(instance >> 32);
	body[5] = (u32)instance;
	body[6] = rx_ring << 16 | (tx_ring & 0xffff);
	body[7] = hop << 16 | cause;
	body[8] = rail;
	body[9] = wire;
	if (behaviour == RANDOM)
		for (int left = (int)get_random_u32_below(4); left > 0; left--)
			body[get_random_u32_below(WORDS - BODY)] = get_random_u32();
}

static void write_message(u32 *words, struct tb_xdomain *to, enum kind kind, u32 number)
{
	words[0] = (u32)(to->route >> 32);
	words[1] = (u32)to->route;
	words[2] = WORDS - 3;
	memcpy(&words[3], &protocol, 16);
	memcpy(&words[7], to->local_uuid, 16);
	memcpy(&words[11], to->remote_uuid, 16);
	words[15] = number;
	hello(&words[BODY], kind);
	/* Numbers and names that belong to nothing. */
	if (behaviour == RANDOM && !get_random_u32_below(8))
		words[7 + get_random_u32_below(9)] = get_random_u32();
}

/* In the core's control worker, one at a time. */
static int handle(const void *message, size_t size, void *data)
{
	struct tb_xdomain *to = READ_ONCE(xdomain);
	const u32 *words = message;
	u32 *answer;

	if (size < (BODY + 1) * 4 || (words[15] & ANSWER))
		return 0;
	heard++;
	if (!to)
		return 1;
	answer = answers[answered++ % ARRAY_SIZE(answers)];
	write_message(answer, to, ACCEPT, words[15] | ANSWER);
	tb_xdomain_response(to, answer, WORDS * 4, TB_CFG_PKG_XDOMAIN_RESP);
	return 1;
}

static int talk(void *data)
{
	u32 question[WORDS], reply[WORDS];

	while (!kthread_should_stop()) {
		write_message(question, xdomain, LOGIN, (u32)++asked);
		tb_xdomain_request(xdomain, question, sizeof(question), TB_CFG_PKG_XDOMAIN_REQ, reply, sizeof(reply), TB_CFG_PKG_XDOMAIN_RESP, 100);
		msleep(pause_ms);
	}
	return 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
static int probe(struct tb_service *service)
#else
static int probe(struct tb_service *service, const struct tb_service_id *id)
#endif
{
	if (xdomain)
		return -EBUSY;
	xdomain = tb_xdomain_get(tb_service_parent(service));
	talker = kthread_run(talk, NULL, "hostile_peer");
	if (IS_ERR(talker)) {
		tb_xdomain_put(xdomain);
		xdomain = NULL;
		return PTR_ERR(talker);
	}
	pr_info("at the other end of %s, %s\n", dev_name(&xdomain->dev), mode);
	return 0;
}

static void remove(struct tb_service *service)
{
	struct tb_xdomain *gone = xdomain;

	kthread_stop(talker);
	WRITE_ONCE(xdomain, NULL);
	/* A handler that runs. */
	msleep(1000);
	tb_xdomain_put(gone);
}

static const struct tb_service_id ids[] = {
	{ TB_SERVICE(KEY, 1) },
	{},
};

static struct tb_service_driver driver = {
	.driver = { .owner = THIS_MODULE, .name = KBUILD_MODNAME },
	.probe = probe,
	.remove = remove,
	.id_table = ids,
};

static struct tb_protocol_handler handler = { .uuid = &protocol, .callback = handle };

static int __init begin(void)
{
	int err = -ENOMEM;

	behaviour = sysfs_match_string(modes, mode);
	if (behaviour < 0)
		return behaviour;
	instance = get_random_u64();
	directory = tb_property_create_dir(&protocol);
	if (!directory)
		return err;
	tb_register_protocol_handler(&handler);
	if (!tb_property_add_immediate(directory, "prtcid", 1) && !tb_property_add_immediate(directory, "prtcvers", 1) &&
	    !tb_property_add_immediate(directory, "prtcrevs", 1) && !tb_property_add_immediate(directory, "prtcstns", 0))
		err = tb_register_property_dir(KEY, directory);
	if (err)
		goto no_directory;
	err = tb_register_service_driver(&driver);
	if (err)
		goto no_driver;
	return 0;

no_driver:
	tb_unregister_property_dir(KEY, directory);
no_directory:
	tb_unregister_protocol_handler(&handler);
	tb_property_free_dir(directory);
	return err;
}

static void __exit end(void)
{
	tb_unregister_service_driver(&driver);
	tb_unregister_property_dir(KEY, directory);
	tb_unregister_protocol_handler(&handler);
	tb_property_free_dir(directory);
	/* The core has left our answers by then. */
	msleep(1000);
	pr_info("%lu said, %lu heard\n", asked, heard);
}

module_init(begin);
module_exit(end);
MODULE_AUTHOR("usb4_rxe developers");
MODULE_DESCRIPTION("The end of a USB4 cable that breaks usb4_rxe's handshake");
MODULE_LICENSE("GPL");
