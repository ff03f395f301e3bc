/* SPDX-License-Identifier: MIT */
/*
 * Names only: no file is looked at. The grammar is what Nova's image back ends
 * write and what its cache manager recognises, from Essex to now; where the
 * two differ the manager decides, for it is who removes.
 */
#include "cache/layout.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

#define SHA1_LEN (NAME_HASH_SHA1 - 1)
#define MD5_SHOWN 7 /* digits of the md5 in an ephemeral base's name */

bool
layout_is_sha1(const char *text)
{
	return strspn(text, "0123456789abcdef") == SHA1_LEN &&
		text[SHA1_LEN] == '\0';
}

static bool
starts_with_sha1(const char *name)
{
	unsigned i;

	for (i = 0; i < SHA1_LEN; i++)
		if (!name[i] || !strchr("0123456789abcdef", name[i]))
			return false;
	return true;
}

/* A plain decimal number up to the end of the text or to `stop`; the position
 * behind it, or NULL. unit: what it counts, so that its bytes fit. */
static const char *
number(const char *p, char stop, uint64_t unit, uint64_t *ret)
{
	uint64_t v = 0, max = (uint64_t)INT64_MAX / unit;
	const char *at = p;

	if (*p == '0' && p[1] != stop)
		return NULL;
	for (; *at >= '0' && *at <= '9'; at++) {
		v = v * 10 + (uint64_t)(*at - '0');
		if (v > max)
			return NULL;
	}
	if (at == p || *at != stop)
		return NULL;
	*ret = v;
	return at;
}

static bool
ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n >= m && strcmp(name + n - m, end) == 0;
}

/* What stands behind the 40 digits. */
static enum layout_kind
of_image(const char *rest, uint64_t *ret_size)
{
	if (*rest == '\0')
		return LAYOUT_IMAGE;
	if (strcmp(rest, ".part") == 0)
		return LAYOUT_PART;
	if (strcmp(rest, ".converted") == 0)
		return LAYOUT_CONVERTED;
	if (ends_with(rest, ".info") || ends_with(rest, ".sha1"))
		return LAYOUT_OLD_INFO;
	if (*rest != '_' || rest[1] == '\0')
		return LAYOUT_FOREIGN;
	if (number(rest + 1, '\0', GIB, ret_size) && *ret_size > 0)
		return LAYOUT_SIZED;
	*ret_size = 0;
	/* <sha1>_5.part was a download of a sized one */
	return strchr(rest, '.') ? LAYOUT_FOREIGN : LAYOUT_SIZED_OLD;
}

static bool
ephemeral(const char *rest, struct layout_name *ret)
{
	const char *at = number(rest, '_', GIB, &ret->size);

	if (!at || strlen(at + 1) != MD5_SHOWN)
		return false;
	memcpy(ret->format, at + 1, MD5_SHOWN + 1);
	return true;
}

void
layout_classify(const char *name, struct layout_name *ret)
{
	*ret = (struct layout_name){.kind = LAYOUT_FOREIGN};
	if (strlen(name) >= LAYOUT_NAME)
		return;
	if (starts_with_sha1(name)) {
		ret->kind = of_image(name + SHA1_LEN, &ret->size);
		if (ret->kind != LAYOUT_FOREIGN) {
			memcpy(ret->image, name, SHA1_LEN);
			ret->image[SHA1_LEN] = '\0';
		}
	} else if (strcmp(name, LAYOUT_OWN) == 0) {
		ret->kind = LAYOUT_STATE;
	} else if (strncmp(name, "swap_", 5) == 0) {
		if (number(name + 5, '\0', MIB, &ret->size))
			ret->kind = LAYOUT_SWAP;
	} else if (strncmp(name, "ephemeral_", 10) == 0) {
		if (ephemeral(name + 10, ret))
			ret->kind = LAYOUT_EPHEMERAL;
		else
			ret->size = 0;
	}
}

bool
layout_is_base(enum layout_kind kind)
{
	return kind == LAYOUT_IMAGE || kind == LAYOUT_SIZED ||
		kind == LAYOUT_SIZED_OLD || kind == LAYOUT_SWAP ||
		kind == LAYOUT_EPHEMERAL;
}

/* Length of the UTF-8 sequence at p, 0 if it is none. Surrogates, overlong
 * forms and noncharacters (which JSON writers replace) are none. */
static unsigned
sequence(const unsigned char *p)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c;
	unsigned n, i;

	if (p[0] < 0x80)
		return 1;
	n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	c = p[0] & (0x7fu >> n);
	for (i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ||
		(c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe)
		return 0;
	return n;
}

int
layout_image(const char *id, char *ret, struct err *e)
{
	size_t len = strlen(id), at;
	unsigned n;
	char q[80];

	if (len == 0)
		return err_set(e, ERR_USAGE, "an image's id is empty");
	if (len > LAYOUT_ID_MAX)
		return err_set(e, ERR_USAGE, "an image's id is %zu bytes long, "
			"limit %d", len, LAYOUT_ID_MAX);
	for (at = 0; at < len; at += n) {
		n = sequence((const unsigned char *)id + at);
		if (n == 0)
			return err_set(e, ERR_USAGE, "the image's id '%s' is "
				"not UTF-8", err_quote(q, sizeof(q), id,
					(unsigned)len));
	}
	name_hash_sha1(id, len, ret);
	return 0;
}

void
layout_sized(const char *image, uint64_t gib, char *ret)
{
	assert(layout_is_sha1(image) && gib > 0);
	snprintf(ret, LAYOUT_NAME, "%.40s_%" PRIu64, image, gib);
}

void
layout_swap(uint64_t mib, char *ret)
{
	snprintf(ret, LAYOUT_NAME, "swap_%" PRIu64, mib);
}

void
layout_ephemeral(uint64_t gib, const char *mkfs, char *ret)
{
	char md5[NAME_HASH_MD5];

	name_hash_md5(mkfs, strlen(mkfs), md5);
	snprintf(ret, LAYOUT_NAME, "ephemeral_%" PRIu64 "_%.*s", gib,
		MD5_SHOWN, md5);
}
