/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs have in common in which two hosts send each other bytes that both know: this one and tests/nccl. */
#ifndef COMMON_H
#define COMMON_H

#include <stddef.h>
#include <stdint.h>

/* ---- pattern.c: random numbers, and bytes that a number stands for ---- */

uint64_t mix(uint64_t value);
uint64_t draw(uint64_t *state);
uint32_t below(uint64_t *state, uint32_t limit);
/* Byte `from` and on of the endless sequence number `stream`. */
void pattern_fill(uint8_t *to, size_t length, uint64_t stream, uint64_t from);
/* The first byte that is wrong, or -1. */
long pattern_check(const uint8_t *is, size_t length, uint64_t stream, uint64_t from);
/* The first byte that is not `value`, or -1. */
long constant_check(const uint8_t *is, size_t length, uint8_t value);

/* ---- exchange.c: what both ends tell each other over TCP ---- */

int exchange_open(const char *peer, int port); /* peer NULL: waits for one */
void exchange(int fd, const void *mine, void *theirs, size_t bytes);

/* ---- of the program itself ---- */

double now(void);
/* Ends the program with the verdict. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

#endif
