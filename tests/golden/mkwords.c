/* SPDX-License-Identifier: MIT */
/* The words of the recipe language: lines, quotes, numbers, patterns. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mkimage.h"

void
mkimage_die(const struct image *im, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (im && im->line)
		fprintf(stderr, "%s:%u: ", im->line->path, im->line->no);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(2);
}

void *
mkimage_alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		mkimage_die(NULL, "out of memory");
	return p;
}

void
mkimage_write(struct image *im, int fd, const void *p, size_t len,
	uint64_t off)
{
	const char *c = p;

	while (len) {
		ssize_t n = pwrite(fd, c, len, (off_t)off);

		if (n <= 0)
			mkimage_die(im, "write at %llu: %s",
				(unsigned long long)off, strerror(errno));
		c += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
}

/* "@name" or "@name:N" */
static uint64_t
symbol(struct image *im, const char *s, size_t len)
{
	char name[64];
	char *colon;
	uint64_t n = 0;
	struct stat st;

	snprintf(name, sizeof(name), "%.*s", (int)len - 1, s + 1);
	colon = strchr(name, ':');
	if (colon) {
		n = strtoull(colon + 1, NULL, 0);
		*colon = '\0';
	}
	if (!strcmp(name, "end"))
		return im->next * im->cluster;
	if (!strcmp(name, "eof") && !fstat(im->fd, &st))
		return (uint64_t)st.st_size;
	if (!strcmp(name, "l1"))
		return im->l1_off;
	if (!strcmp(name, "rt"))
		return im->cluster;
	if (!strcmp(name, "rb"))
		return (1 + im->rt_clusters) * im->cluster;
	if (!strcmp(name, "snaps"))
		return im->snaps_off;
	if (!strcmp(name, "bitmaps"))
		return im->bitmaps_off;
	if (!strcmp(name, "taken"))
		return (im->next - 1) * im->cluster;
	if (!strcmp(name, "packed"))
		return im->pack_at;
	if (!strcmp(name, "l2") && n < im->n_l1 && im->l2[n])
		return im->l2[n]->off;
	if (!strcmp(name, "data")) {
		uint64_t entry = mkqcow2_entry(im, n);

		return entry & (entry >> 62 & 1 ?
			(UINT64_C(1) << (62 - (im->bits - 8))) - 1 :
			UINT64_C(0x00fffffffffffe00));
	}
	if (!strcmp(name, "entry"))
		return mkqcow2_entry(im, n);
	mkimage_die(im, "no such symbol: %s", s);
}

static uint64_t
term(struct image *im, const char *s, size_t len)
{
	char *end;
	const char *suffix = "kmgtpe", *k;
	uint64_t v;

	if (*s == '@')
		return symbol(im, s, len);
	if (len == 6 && !memcmp(s, "copied", len))
		return UINT64_C(1) << 63;
	if (len == 6 && !memcmp(s, "packed", len))
		return UINT64_C(1) << 62;
	if (len == 6 && !memcmp(s, "sector", len))
		return UINT64_C(1) << (62 - (im->bits - 8));
	v = strtoull(s, &end, 0);
	if (end == s)
		mkimage_die(im, "not a number: %s", s);
	if (end < s + len && (k = strchr(suffix, tolower(*end)))) {
		v <<= 10 * (k - suffix + 1);
		end++;
	}
	if (end != s + len)
		mkimage_die(im, "not a number: %s", s);
	return v;
}

uint64_t
mkimage_number(struct image *im, const char *s)
{
	uint64_t v = 0;
	char op = '+';

	while (*s) {
		size_t n = strcspn(s, "+|~");
		uint64_t t = term(im, s, n);

		v = op == '+' ? v + t : op == '|' ? v | t : v - t;
		s += n;
		if (*s)
			op = *s++;
	}
	return v;
}

const struct word *
mkimage_option(const struct line *l, const char *key)
{
	static struct word found[4];
	static unsigned turn;
	size_t n = strlen(key);

	for (unsigned i = 1; i < l->n; i++) {
		if (strncmp(l->w[i].p, key, n) || l->w[i].p[n] != '=')
			continue;
		turn = (turn + 1) % 4;
		found[turn].p = l->w[i].p + n + 1;
		found[turn].len = l->w[i].len - n - 1;
		return &found[turn];
	}
	return NULL;
}

uint64_t
mkimage_option_number(struct image *im, const struct line *l, const char *key,
	uint64_t otherwise)
{
	const struct word *w = mkimage_option(l, key);

	return w ? mkimage_number(im, w->p) : otherwise;
}

bool
mkimage_flag(const struct line *l, const char *word)
{
	for (unsigned i = 1; i < l->n; i++)
		if (!strcmp(l->w[i].p, word))
			return true;
	return false;
}

static uint32_t
next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) +
		UINT64_C(1442695040888963407);
	return (uint32_t)(*state >> 33);
}

/* zeros | fill:HEX | rand:SEED | words:SEED (packs well) | text:STRING |
 * rep:N (random bytes that repeat at distance N) */
void
mkimage_pattern(struct image *im, const struct word *w, uint64_t i,
	uint8_t *out, size_t len)
{
	const char *colon = strchr(w->p, ':');
	uint64_t v = colon && strncmp(w->p, "text", 4) ?
		strtoull(colon + 1, NULL, 16) : 0;
	uint64_t state = (v + i) * UINT64_C(0x9e3779b97f4a7c15) + 1;

	memset(out, 0, len);
	if (!strcmp(w->p, "zeros"))
		return;
	if (!strncmp(w->p, "fill:", 5)) {
		memset(out, (int)v, len);
	} else if (!strncmp(w->p, "rand:", 5)) {
		for (size_t k = 0; k < len; k++)
			out[k] = (uint8_t)next_random(&state);
	} else if (!strncmp(w->p, "words:", 6)) {
		for (size_t k = 0; k < len; k++)
			out[k] = (uint8_t)("etaoin shrdlu"[k % 13] +
				(next_random(&state) % 8 == 0));
	} else if (!strncmp(w->p, "rep:", 4)) {
		size_t period = strtoull(colon + 1, NULL, 0);

		state = i + 1;
		for (size_t k = 0; k < len; k++)
			out[k] = k < period ? (uint8_t)next_random(&state) :
				out[k - period];
	} else if (!strncmp(w->p, "text:", 5)) {
		size_t n = w->len - 5;

		memcpy(out, w->p + 5, n < len ? n : len);
	} else {
		mkimage_die(im, "no such pattern: %s", w->p);
	}
}

/* One word at *s; quotes may stand anywhere in it, \xNN and \n inside them;
 * "..."*N repeats the quoted part. */
static bool
take_word(const char **s, struct word *ret)
{
	const char *p = *s + strspn(*s, " \t\r\n");
	char *out = mkimage_alloc(1, strlen(p) * 4096 + 8);
	size_t n = 0;

	if (!*p || *p == '#') {
		free(out);
		return false;
	}
	while (*p && !isspace((unsigned char)*p)) {
		size_t from = n;

		if (*p != '"') {
			out[n++] = *p++;
			continue;
		}
		for (p++; *p && *p != '"'; p++) {
			if (*p == '\\' && p[1] == 'x') {
				char hex[3] = {p[2], p[3], 0};

				out[n++] = (char)strtoul(hex, NULL, 16);
				p += 3;
			} else if (*p == '\\' && p[1] == 'n') {
				out[n++] = '\n';
				p++;
			} else {
				out[n++] = *p;
			}
		}
		p += *p == '"';
		if (*p == '*') {
			size_t part = n - from, times;
			char *end;

			times = strtoul(p + 1, &end, 10);
			for (size_t k = 1; k < times && times <= 4096; k++) {
				memcpy(out + n, out + from, part);
				n += part;
			}
			p = end;
		}
	}
	ret->p = realloc(out, n + 1);
	ret->len = n;
	*s = p;
	return true;
}

unsigned
mkimage_lines(const char *path, struct line *ret, unsigned cap)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;
	unsigned n = 0, no = 0;

	if (!f)
		mkimage_die(NULL, "%s: %s", path, strerror(errno));
	while (getline(&text, &size, f) >= 0) {
		const char *s = text;
		struct line *l = &ret[n];

		if (n == cap)
			mkimage_die(NULL, "%s: too long", path);
		*l = (struct line){.path = path, .no = ++no};
		while (l->n < WORDS_MAX && take_word(&s, &l->w[l->n]))
			l->n++;
		n += l->n > 0;
	}
	free(text);
	fclose(f);
	if (n && strcmp(ret[0].w[0].p, "image"))
		mkimage_die(NULL, "%s: does not begin with `image`", path);
	return n;
}
