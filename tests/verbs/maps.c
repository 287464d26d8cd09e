// SPDX-License-Identifier: GPL-2.0-only
#include <sys/mman.h>
#include <sys/wait.h>

#include "rig.h"

/*
 * Queues in a process's memory. librxe maps them and keeps the addresses to itself; /proc/self/maps knows.
 */
struct map {
	char *at;
	size_t len;
	off_t offset;
};

/* The mappings of the device's file. */
static int find_maps(struct map *maps, int room)
{
	FILE *file = fopen("/proc/self/maps", "r");
	char line[512];
	int count = 0;

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		unsigned long from, to, offset;

		if (!strstr(line, "/dev/infiniband/uverbs"))
			continue;
		CHECK(sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) == 3);
		CHECK(count < room);
		maps[count++] = (struct map){ .at = (char *)from, .len = to - from, .offset = offset };
	}
	fclose(file);
	return count;
}

static void *map(struct rig *rig, size_t len, off_t offset, int flags)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, flags, rig->context->cmd_fd, offset);
}

/* The largest queues there may be: made, or, but for the first, refused for want of memory. */
static void largest(struct rig *rig)
{
	struct ibv_cq *cq = ibv_create_cq(rig->context, 10, NULL, NULL, 0);
	struct ibv_device_attr device;
	struct ibv_qp *qp;
	struct ibv_srq *srq;

	EQUAL(ibv_query_device(rig->context, &device), 0);
	for (int wr = 1 << 11; wr <= device.max_qp_wr; wr *= 8) {
		struct ibv_qp_init_attr init = { .qp_type = IBV_QPT_RC, .send_cq = cq, .recv_cq = cq,
						 .cap = { .max_send_wr = wr, .max_send_sge = device.max_sge,
							  .max_recv_wr = wr, .max_recv_sge = device.max_sge } };

		qp = ibv_create_qp(rig->pd, &init);
		if (!qp) {
			EQUAL(errno, ENOMEM);
			CHECK(wr > 1 << 11);
		} else {
			CHECK(init.cap.max_send_wr >= (uint32_t)wr && init.cap.max_recv_wr >= (uint32_t)wr);
			EQUAL(ibv_destroy_qp(qp), 0);
		}
	}
	for (int wr = 1 << 11; wr <= device.max_srq_wr; wr *= 8) {
		struct ibv_srq_init_attr init = { .attr = { .max_wr = wr, .max_sge = device.max_srq_sge } };

		srq = ibv_create_srq(rig->pd, &init);
		if (!srq) {
			EQUAL(errno, ENOMEM);
			CHECK(wr > 1 << 11);
		} else {
			EQUAL(ibv_destroy_srq(srq), 0);
		}
	}
	EQUAL(ibv_destroy_cq(cq), 0);
}

void test_maps(struct rig *rig)
{
	struct ibv_cq *cq = ibv_create_cq(rig->context, 500, NULL, NULL, 0);
	struct map maps[8];
	char *second;
	pid_t child;
	int status;

	EQUAL(find_maps(maps, 8), 1);
	/* The whole queue, shared, once more or nothing. */
	CHECK(map(rig, maps->len + 4096, maps->offset, MAP_SHARED) == MAP_FAILED);
	CHECK(map(rig, maps->len - 4096, maps->offset, MAP_SHARED) == MAP_FAILED);
	CHECK(map(rig, maps->len, maps->offset, MAP_PRIVATE) == MAP_FAILED);
	CHECK(map(rig, maps->len, maps->offset + 4096, MAP_SHARED) == MAP_FAILED);
	CHECK(map(rig, 4096, 1L << 40, MAP_SHARED) == MAP_FAILED);
	second = map(rig, maps->len, maps->offset, MAP_SHARED);
	CHECK(second != MAP_FAILED);
	EQUAL(*(uint32_t *)(second + 4), 511);
	maps->at[384] = 77;
	EQUAL(second[384], 77);

	/* A child has it too, and its end takes nothing away. */
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		second[385] = 78;
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	EQUAL(maps->at[385], 78);

	/* The queue goes, the pages stay: nobody else's. */
	EQUAL(ibv_destroy_cq(cq), 0);
	CHECK(map(rig, maps->len, maps->offset, MAP_SHARED) == MAP_FAILED);
	for (int i = 0; i < 20; i++) {
		CHECK(cq = ibv_create_cq(rig->context, 500, NULL, NULL, 0));
		memset(second, i, maps->len);
		EQUAL(ibv_destroy_cq(cq), 0);
	}
	for (size_t i = 0; i < maps->len; i++)
		EQUAL(second[i], 19);
	EQUAL(munmap(second, maps->len), 0);
	largest(rig);
}
