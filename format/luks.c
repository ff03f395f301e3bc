/* SPDX-License-Identifier: MIT */
/*
 * Names the parts of a LUKS header as QEMU does: "aes" with a 64-byte key in
 * mode "xts-plain64" is aes-256, xts, plain64. Keys are not its business.
 */
#include "format/luks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_ACTIVE 0x00ac71f3u
#define SLOT_IDLE 0x0000deadu

static int
unknown(struct err *e, const char *what, const char *s)
{
	char q[96];

	return err_set(e, ERR_UNSUPPORTED, "LUKS header: unknown %s '%s'", what,
		err_quote(q, sizeof(q), s, (unsigned)strlen(s)));
}

static bool
is_in(const char *s, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(s, *names) == 0)
			return true;
	return false;
}

/* A fixed field up to its NUL; without one it is not a string. */
static bool
text_field(struct cursor *c, size_t len, char *out)
{
	const uint8_t *p = cursor_take(c, len);

	if (!p || !memchr(p, '\0', len))
		return false;
	memcpy(out, p, len);
	return true;
}

static void
copy(char *out, size_t cap, const char *s)
{
	size_t n = strnlen(s, cap - 1);

	memcpy(out, s, n);
	out[n] = '\0';
}

/* "xts-plain64", "cbc-essiv:sha256": mode, IV generator, its hash. */
static int
mode_split(char *spec, struct info_luks *l, struct err *e)
{
	static const char *const modes[] = {"ecb", "cbc", "xts", "ctr", NULL};
	static const char *const ivs[] = {"plain", "plain64", "essiv", NULL};
	char *iv = strchr(spec, '-'), *hash;

	if (!iv)
		return unknown(e, "cipher mode", spec);
	*iv++ = '\0';
	hash = strchr(iv, ':');
	if (hash)
		*hash++ = '\0';
	if (!is_in(spec, modes))
		return unknown(e, "cipher mode", spec);
	if (!is_in(iv, ivs) || (!hash && strcmp(iv, "essiv") == 0))
		return unknown(e, "IV generator", iv);
	copy(l->cipher_mode, sizeof(l->cipher_mode), spec);
	copy(l->ivgen_alg, sizeof(l->ivgen_alg), iv);
	/* others than essiv have no use for a hash, and QEMU shows none */
	if (hash && strcmp(iv, "essiv") == 0)
		copy(l->ivgen_hash_alg, sizeof(l->ivgen_hash_alg), hash);
	return 0;
}

static int
cipher_name(const char *name, uint32_t key_bytes, struct info_luks *l,
	struct err *e)
{
	static const struct {
		const char *name;
		uint32_t bits;
	} known[] = {
		{"aes", 128}, {"aes", 192}, {"aes", 256}, {"cast5", 128},
		{"serpent", 128}, {"serpent", 192}, {"serpent", 256},
		{"twofish", 128}, {"twofish", 192}, {"twofish", 256},
	};
	uint32_t bytes = key_bytes;
	size_t i;

	/* xts takes two keys of the cipher's length */
	if (strcmp(l->cipher_mode, "xts") == 0)
		bytes = bytes % 2 ? 0 : bytes / 2;
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].name, name) == 0 &&
			known[i].bits / 8 == bytes) {
			snprintf(l->cipher_alg, sizeof(l->cipher_alg), "%s-%u",
				known[i].name, (unsigned)known[i].bits);
			return 0;
		}
	}
	return unknown(e, "cipher", name);
}

int
luks_decode(struct span head, struct info_luks *ret, struct err *e)
{
	struct cursor c = cursor_over(head);
	const uint8_t *magic = cursor_take(&c, 6);
	char name[32], mode[32], hash[32], uuid[40];
	struct info_luks l = {0};
	uint32_t key_bytes, state;
	uint16_t version;
	bool text;
	unsigned i;

	version = cursor_be16(&c);
	if (!magic || memcmp(magic, "LUKS\xba\xbe", 6) != 0)
		return err_set(e, ERR_FORMAT, "LUKS header: no magic");
	if (version != 1)
		return err_set(e, ERR_UNSUPPORTED, "LUKS header: version %u "
			"is not 1", version);
	text = text_field(&c, 32, name) && text_field(&c, 32, mode) &&
		text_field(&c, 32, hash);
	l.payload_offset = (uint64_t)cursor_be32(&c) * 512;
	key_bytes = cursor_be32(&c);
	cursor_skip(&c, 20 + 32);
	l.iterations = cursor_be32(&c);
	text = text && text_field(&c, 40, uuid);
	for (i = 0; i < INFO_LUKS_SLOTS; i++) {
		state = cursor_be32(&c);
		l.slots[i].active = state == SLOT_ACTIVE;
		l.slots[i].iterations = cursor_be32(&c);
		cursor_skip(&c, 32);
		l.slots[i].key_offset = (uint64_t)cursor_be32(&c) * 512;
		l.slots[i].stripes = cursor_be32(&c);
		if (!c.overrun && state != SLOT_ACTIVE && state != SLOT_IDLE)
			return err_set(e, ERR_CORRUPT, "LUKS header: key slot "
				"%u has state 0x%x", i, state);
	}
	if (c.overrun || !text)
		return err_set(e, ERR_CORRUPT, "LUKS header: cut short, or a "
			"name without an end");
	if (mode_split(mode, &l, e) || cipher_name(name, key_bytes, &l, e))
		return -1;
	snprintf(l.hash_alg, sizeof(l.hash_alg), "%s", hash);
	snprintf(l.uuid, sizeof(l.uuid), "%s", uuid);
	*ret = l;
	return 0;
}

int
luks_load(struct file *f, uint64_t hoff, struct info_luks **ret,
	struct err *e)
{
	uint8_t head[LUKS_HEADER];
	struct info_luks *l;
	size_t got;

	if (file_read_padded(f, head, sizeof(head), hoff, &got, e))
		return -1;
	l = malloc(sizeof(*l));
	if (!l)
		return err_sys(e, ENOMEM, "cannot keep a LUKS header");
	if (luks_decode((struct span){head, got}, l, e)) {
		free(l);
		return -1;
	}
	*ret = l;
	return 0;
}
