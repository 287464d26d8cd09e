// SPDX-License-Identifier: GPL-2.0-only
// What perftest's clients are preloaded with for -R (connect by RDMA-CM).
//
// Both ends agree by a first connection that they are ready for a second one; then the server begins to listen for it while the client
// already asks. A client that is too early is refused and means to try again, but it frees its connections first and then uses them, and
// crashes (perftest's rdma_cm_client_connection, as of Debian 13). So it is made to come later: each address is resolved after a second.
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

/* As in <rdma/rdma_cma.h>, whose types do not matter here. */
int rdma_resolve_addr(void *id, void *from, void *to, int timeout_ms)
{
	typeof(rdma_resolve_addr) *resolve = dlsym(RTLD_NEXT, "rdma_resolve_addr");
	const char *patience = getenv("LAB_PATIENCE");

	sleep(patience ? atoi(patience) : 1);
	return resolve(id, from, to, timeout_ms);
}
