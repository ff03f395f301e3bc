/* SPDX-License-Identifier: MIT */
/* Cryptographic digests of a stream; the only user of libcrypto. */
#ifndef NET_SUMS_H
#define NET_SUMS_H

#include <stdbool.h>
#include <stddef.h>

enum sums_kind { SUMS_MD5, SUMS_SHA256, SUMS_SHA512, SUMS_COUNT };

struct sums {
	void *ctx[SUMS_COUNT]; /* NULL: not asked for */
};

const char *sums_name(enum sums_kind k);
/* Asks for one more; false when libcrypto refuses it (a FIPS build has no
 * md5). */
bool sums_want(struct sums *s, enum sums_kind k);
bool sums_any(const struct sums *s);
bool sums_add(struct sums *s, const void *p, size_t len);
/* Hex digits into out, 129 bytes at least; false on failure. */
bool sums_end(struct sums *s, enum sums_kind k, char *out);
void sums_close(struct sums *s);

#endif
