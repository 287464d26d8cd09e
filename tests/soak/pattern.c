// SPDX-License-Identifier: GPL-2.0-only
/* Random numbers (splitmix64), and from the same function bytes that can be computed at any place of an endless sequence. */
#include "common.h"

#include <string.h>

#define GOLDEN 0x9e3779b97f4a7c15

uint64_t mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
	value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
	return value ^ (value >> 31);
}

uint64_t draw(uint64_t *state)
{
	return mix(*state += GOLDEN);
}

uint32_t below(uint64_t *state, uint32_t limit)
{
	return (uint32_t)(((draw(state) >> 32) * limit) >> 32);
}

/* Eight bytes of the sequence. Cheaper than mix(): every byte that is sent is computed four times. */
static uint64_t word(uint64_t stream, uint64_t index)
{
	uint64_t value = (stream + index) * GOLDEN;

	return value ^ (value >> 29);
}

/* Up to eight bytes from `from` on that lie in one word. */
static size_t part(uint64_t stream, uint64_t from, size_t length, uint8_t bytes[8])
{
	uint64_t value = word(stream, from / 8);
	size_t skip = from % 8, count = 8 - skip < length ? 8 - skip : length;

	memcpy(bytes, (uint8_t *)&value + skip, count);
	return count;
}

void pattern_fill(uint8_t *to, size_t length, uint64_t stream, uint64_t from)
{
	while (length) {
		if (from % 8 == 0 && length >= 8) {
			for (; length >= 8; to += 8, from += 8, length -= 8) {
				uint64_t value = word(stream, from / 8);

				memcpy(to, &value, 8);
			}
		} else {
			uint8_t bytes[8];
			size_t count = part(stream, from, length, bytes);

			memcpy(to, bytes, count);
			to += count, from += count, length -= count;
		}
	}
}

long pattern_check(const uint8_t *is, size_t length, uint64_t stream, uint64_t from)
{
	size_t at = 0;

	while (at < length) {
		uint8_t bytes[8];
		uint64_t value, expected = word(stream, (from + at) / 8);
		size_t count;

		if ((from + at) % 8 == 0 && length - at >= 8) {
			memcpy(&value, is + at, 8);
			if (value == expected) {
				at += 8;
				continue;
			}
		}
		count = part(stream, from + at, length - at, bytes);
		for (size_t i = 0; i < count; i++)
			if (is[at + i] != bytes[i])
				return (long)(at + i);
		at += count;
	}
	return -1;
}

long constant_check(const uint8_t *is, size_t length, uint8_t value)
{
	for (size_t at = 0; at < length; at++)
		if (is[at] != value)
			return (long)at;
	return -1;
}
