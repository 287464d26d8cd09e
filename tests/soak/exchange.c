// SPDX-License-Identifier: GPL-2.0-only
/* What both ends tell each other over TCP before and while they run. */
#include "common.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static struct addrinfo *resolve(const char *peer, int port)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = peer ? 0 : AI_PASSIVE }, *list;
	char service[16];
	int error;

	snprintf(service, sizeof(service), "%d", port);
	error = getaddrinfo(peer, service, &hints, &list);
	if (error)
		die("%s: %s", peer ? peer : "any address", gai_strerror(error));
	return list;
}

static int wait_for_peer(const struct addrinfo *at)
{
	int yes = 1, listening = socket(at->ai_family, at->ai_socktype, 0), fd;

	if (listening < 0 || setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) ||
	    bind(listening, at->ai_addr, at->ai_addrlen) || listen(listening, 1))
		die("cannot listen: %s", strerror(errno));
	fd = accept(listening, NULL, NULL);
	if (fd < 0)
		die("cannot accept: %s", strerror(errno));
	close(listening);
	return fd;
}

int exchange_open(const char *peer, int port)
{
	struct addrinfo *list = resolve(peer, port);
	struct timeval silence = { .tv_sec = 120 };
	int fd = -1;

	if (!peer) {
		fd = wait_for_peer(list);
	} else {
		for (double end = now() + 30; fd < 0; usleep(100000)) {
			fd = socket(list->ai_family, list->ai_socktype, 0);
			if (fd < 0 || !connect(fd, list->ai_addr, list->ai_addrlen))
				break;
			if (now() > end)
				die("%s does not answer: %s", peer, strerror(errno));
			close(fd);
			fd = -1;
		}
		if (fd < 0)
			die("no socket: %s", strerror(errno));
	}
	freeaddrinfo(list);
	/* A peer behind a cable that was pulled does not even say that it has gone. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence)))
		die("no time limit for the peer: %s", strerror(errno));
	return fd;
}

void exchange(int fd, const void *mine, void *theirs, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t count = write(fd, (const char *)mine + done, bytes - done);

		if (count <= 0)
			die("the peer has gone: %s", strerror(errno));
		done += (size_t)count;
	}
	for (size_t done = 0; done < bytes;) {
		ssize_t count = read(fd, (char *)theirs + done, bytes - done);

		if (count <= 0)
			die("the peer has gone: %s", count ? strerror(errno) : "it closed its end");
		done += (size_t)count;
	}
}
