// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the objects around queue pairs, and memory, promise a process, beyond what rdma-core's own tests ask.
 *
 *   verbs DEVICE GID-INDEX [TEST...]
 */
#include "rig.h"

static const struct {
	const char *name;
	void (*run)(struct rig *rig);
} TESTS[] = { { "cq", test_cq }, { "srq", test_srq }, { "ah", test_ah }, { "mcast", test_mcast }, { "maps", test_maps },
	      { "mr", test_mr }, { "mw", test_mw }, { "odp", test_odp }, { "qp", test_qp }, { "flush", test_flush } };

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: %s DEVICE GID-INDEX [TEST...]\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < sizeof(TESTS) / sizeof(*TESTS); i++) {
		bool wanted = argc == 3;
		struct rig rig;

		for (int j = 3; j < argc; j++)
			wanted |= !strcmp(argv[j], TESTS[i].name);
		if (!wanted)
			continue;
		rig_open(&rig, argv[1], atoi(argv[2]));
		TESTS[i].run(&rig);
		rig_close(&rig);
		printf("ok %s\n", TESTS[i].name);
		fflush(stdout);
	}
	return 0;
}
