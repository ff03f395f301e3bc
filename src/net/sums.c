/* SPDX-License-Identifier: MIT */
/* libcrypto's EVP interface, and nothing else of it. */
#include "config.h"

#include "net/sums.h"

#include <openssl/evp.h>
#include <stdio.h>

static const struct {
	const char *name;
	const EVP_MD *(*md)(void);
} kinds[SUMS_COUNT] = {
	[SUMS_MD5] = {"md5", EVP_md5},
	[SUMS_SHA256] = {"sha256", EVP_sha256},
	[SUMS_SHA512] = {"sha512", EVP_sha512},
};

const char *
sums_name(enum sums_kind k)
{
	return kinds[k].name;
}

bool
sums_want(struct sums *s, enum sums_kind k)
{
	EVP_MD_CTX *c;

	if (s->ctx[k])
		return true;
	c = EVP_MD_CTX_new();
	if (!c || EVP_DigestInit_ex(c, kinds[k].md(), NULL) != 1) {
		EVP_MD_CTX_free(c);
		return false;
	}
	s->ctx[k] = c;
	return true;
}

bool
sums_any(const struct sums *s)
{
	unsigned k;

	for (k = 0; k < SUMS_COUNT; k++)
		if (s->ctx[k])
			return true;
	return false;
}

bool
sums_add(struct sums *s, const void *p, size_t len)
{
	unsigned k;

	for (k = 0; k < SUMS_COUNT; k++)
		if (s->ctx[k] && EVP_DigestUpdate(s->ctx[k], p, len) != 1)
			return false;
	return true;
}

bool
sums_end(struct sums *s, enum sums_kind k, char *out)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned n = 0, i;

	if (EVP_DigestFinal_ex(s->ctx[k], bytes, &n) != 1)
		return false;
	for (i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	return true;
}

void
sums_close(struct sums *s)
{
	unsigned k;

	for (k = 0; k < SUMS_COUNT; k++)
		EVP_MD_CTX_free(s->ctx[k]);
	*s = (struct sums){0};
}
