/* SPDX-License-Identifier: MIT */
/*
 * mkimage DIR RECIPES...: builds every image of the recipe files. An image
 * NAME becomes DIR/NAME/img, with the guest's bytes as they must be read in
 * DIR/NAME/want.raw and the recipe's expectations in DIR/NAME/expect. The
 * language is described in README.recipes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mkimage.h"

static const char *
rest_of(struct image *im, const struct line *l, unsigned i)
{
	if (i >= l->n)
		mkimage_die(im, "a word is missing");
	return l->w[i].p;
}

static int
create_at(struct image *im, const char *name)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", im->dir, name);
	fd = open(path, O_RDWR | O_CREAT, 0644);
	if (fd < 0)
		mkimage_die(im, "%s: %s", path, strerror(errno));
	return fd;
}

static void
range_of(struct image *im, const char *s, uint64_t *first, uint64_t *last)
{
	char from[64];
	const char *dash = strchr(s, '-');

	snprintf(from, sizeof(from), "%.*s",
		dash ? (int)(dash - s) : (int)strlen(s), s);
	*first = mkimage_number(im, from);
	*last = dash ? mkimage_number(im, dash + 1) : *first;
}

static void
want(struct image *im, const void *p, size_t len, uint64_t off)
{
	uint64_t size = im->size & ~(uint64_t)511;

	if (off >= size)
		return;
	mkimage_write(im, im->want, p, len < size - off ? len : size - off,
		off);
}

static void
op_clusters(struct image *im, const struct line *l, uint8_t *buf)
{
	uint64_t first, last, host;
	bool data = !strcmp(l->w[0].p, "data");

	range_of(im, rest_of(im, l, 1), &first, &last);
	for (uint64_t g = first; g <= last; g++) {
		if (!strcmp(l->w[0].p, "zero")) {
			mkqcow2_map(im, g, im->extended ? 0 : 1,
				UINT64_C(0xffffffff00000000));
			memset(buf, 0, im->cluster);
			want(im, buf, im->cluster, g * im->cluster);
			continue;
		}
		rest_of(im, l, 2);
		mkimage_pattern(im, &l->w[2], g - first, buf, im->cluster);
		mkqcow2_table(im, g / im->n_l2);
		if (im->data_fd >= 0) {
			host = g * im->cluster;
			mkimage_write(im, im->data_fd, buf, im->cluster, host);
			mkqcow2_map(im, g, host | UINT64_C(1) << 63 | !data,
				UINT64_C(0xffffffff));
		} else {
			host = mkqcow2_take(im, 1);
			mkimage_write(im, im->fd, buf, im->cluster, host);
			mkqcow2_map(im, g, host | (!data && !im->extended),
				data ? UINT64_C(0xffffffff) :
				UINT64_C(0xffffffff00000000));
		}
		if (!data)
			memset(buf, 0, im->cluster);
		want(im, buf, im->cluster, g * im->cluster);
	}
	im->pack_at = 0;
}

/* sub CLUSTER alloc=BITS zero=BITS PATTERN */
static void
op_sub(struct image *im, const struct line *l, uint8_t *buf)
{
	uint64_t g = mkimage_number(im, rest_of(im, l, 1)), host;
	uint64_t alloc = mkimage_option_number(im, l, "alloc", 0);
	uint64_t zero = mkimage_option_number(im, l, "zero", 0);
	uint64_t sub = im->cluster / 32;

	rest_of(im, l, 4);
	mkimage_pattern(im, &l->w[4], 0, buf, im->cluster);
	mkqcow2_table(im, g / im->n_l2);
	host = alloc ? mkqcow2_take(im, 1) : 0;
	if (alloc)
		mkimage_write(im, im->fd, buf, im->cluster, host);
	mkqcow2_map(im, g, host, alloc | zero << 32);
	for (unsigned i = 0; i < 32; i++)
		if (!(alloc >> i & 1))
			memset(buf + i * sub, 0, sub);
	want(im, buf, im->cluster, g * im->cluster);
	im->pack_at = 0;
}

static void
op_packed(struct image *im, const struct line *l, uint8_t *buf)
{
	uint64_t g, last, at, sectors, align;
	unsigned x = 62 - (im->bits - 8);
	size_t cap = im->cluster * 4 + 65536, n;
	uint8_t *out = mkimage_alloc(1, cap);

	range_of(im, rest_of(im, l, 1), &g, &last);
	rest_of(im, l, 3);
	for (uint64_t i = 0; g <= last; g++, i++) {
		mkimage_pattern(im, &l->w[3], i, buf, im->cluster);
		n = mkpack(im, l, buf, out, cap);
		mkqcow2_table(im, g / im->n_l2);
		align = mkimage_option_number(im, l, "align", 1);
		at = im->pack_at ? (im->pack_at + align - 1) / align * align :
			0;
		if (!at || (at % im->cluster && at / im->cluster !=
				(at + n - 1) / im->cluster)) {
			uint64_t c = (n + im->cluster - 1) / im->cluster;

			at = mkqcow2_take(im, c);
			/* taken counts as referred; undone below */
			for (uint64_t k = 0; k < c; k++)
				im->ref[at / im->cluster + k]--;
		} else if (at % im->cluster == 0) {
			mkqcow2_take(im, (n + im->cluster - 1) / im->cluster);
			im->ref[at / im->cluster]--;
		}
		at += mkimage_option_number(im, l, "skew", 0);
		if (mkimage_flag(l, "to-sector-end"))
			at += -(at + n) & 511;
		at = mkimage_option_number(im, l, "at", at);
		mkimage_write(im, im->fd, out, n, at);
		sectors = mkimage_option_number(im, l, "sectors",
			((at + n - 1) >> 9) - (at >> 9));
		mkqcow2_map(im, g, UINT64_C(1) << 62 | sectors << x | at, 0);
		mkqcow2_refer(im, at, (sectors + 1) * 512 - (at & 511));
		im->pack_at = at + n;
		want(im, buf, im->cluster, g * im->cluster);
	}
	free(out);
}

static void
op_file(struct image *im, const struct line *l)
{
	int fd = create_at(im, rest_of(im, l, 1));
	uint64_t size = mkimage_option_number(im, l, "size", 0);
	uint64_t at = mkimage_option_number(im, l, "at", 0);
	uint64_t len = mkimage_option_number(im, l, "len", size);
	uint8_t *buf;

	if (size && ftruncate(fd, (off_t)size))
		mkimage_die(im, "cannot set the file's size");
	if (strchr(l->w[l->n - 1].p, ':')) {
		buf = mkimage_alloc(1, len);
		mkimage_pattern(im, &l->w[l->n - 1], 0, buf, len);
		mkimage_write(im, fd, buf, len, at);
		free(buf);
	}
	close(fd);
}

/* What is no regular file at all. */
static void
op_special(struct image *im, const struct line *l)
{
	char path[512];
	int r = -1, s;

	snprintf(path, sizeof(path), "%s/img", im->dir);
	unlink(path);
	if (!strcmp(rest_of(im, l, 1), "fifo")) {
		r = mkfifo(path, 0644);
	} else if (!strcmp(l->w[1].p, "directory")) {
		r = mkdir(path, 0755);
	} else if (!strcmp(l->w[1].p, "symlink")) {
		r = symlink(rest_of(im, l, 2), path);
	} else if (!strcmp(l->w[1].p, "socket")) {
		struct sockaddr_un a = {.sun_family = AF_UNIX};

		s = socket(AF_UNIX, SOCK_STREAM, 0);
		if (strlen(path) >= sizeof(a.sun_path))
			mkimage_die(im, "the name is too long for a socket");
		strcpy(a.sun_path, path);
		r = bind(s, (struct sockaddr *)&a, sizeof(a));
		close(s);
	}
	if (r)
		mkimage_die(im, "%s: %s", path, strerror(errno));
}

static void
op_raw(struct image *im, const struct line *l)
{
	uint8_t *buf;

	im->raw = true;
	im->cluster = 65536;
	im->size = mkimage_option_number(im, l, "size", 1 << 20);
	if (ftruncate(im->fd, (off_t)im->size))
		mkimage_die(im, "cannot set the image's size");
	if (l->n > 2) {
		buf = mkimage_alloc(1, im->size);
		mkimage_pattern(im, &l->w[2], 0, buf, im->size);
		mkimage_write(im, im->fd, buf, im->size, 0);
		mkimage_write(im, im->want, buf, im->size, 0);
		free(buf);
	}
}

/* First round: what builds the image. False: a line of the second round. */
static bool
build(struct image *im, const struct line *l, uint8_t *buf)
{
	const char *op = l->w[0].p;

	if (!strcmp(op, "qcow2")) {
		mkqcow2_begin(im, l);
		if (im->data_name.p)
			im->data_fd = create_at(im, im->data_name.p);
	} else if (!strcmp(op, "raw")) {
		op_raw(im, l);
	} else if (!strcmp(op, "special")) {
		op_special(im, l);
	} else if (!strcmp(op, "file")) {
		op_file(im, l);
	} else if (!strcmp(op, "data") || !strcmp(op, "zero") ||
			!strcmp(op, "zeroalloc")) {
		op_clusters(im, l, buf);
	} else if (!strcmp(op, "sub")) {
		op_sub(im, l, buf);
	} else if (!strcmp(op, "packed")) {
		op_packed(im, l, buf);
	} else if (!strcmp(op, "table")) {
		mkqcow2_table(im, mkimage_number(im, rest_of(im, l, 1)));
	} else if (!strcmp(op, "take")) {
		mkqcow2_take(im, mkimage_number(im, rest_of(im, l, 1)));
		im->pack_at = 0;
	} else if (!strcmp(op, "snapshot")) {
		rest_of(im, l, 2);
		mkmeta_snapshot(im, l);
	} else if (!strcmp(op, "bitmap")) {
		im->bitmaps[im->n_bitmaps++ & 7] = *l;
	} else if (!strcmp(op, "ext")) {
		if (im->n_exts == 24)
			mkimage_die(im, "too many extensions");
		im->exts[im->n_exts++] = *l;
	} else {
		return false;
	}
	return true;
}

static void
poke(struct image *im, uint64_t off, unsigned width, uint64_t v)
{
	uint8_t be[8];

	put64(be, v);
	mkimage_write(im, im->fd, be + 8 - width, width, off);
}

/* u32 OFFSET VALUE [times=N every=BYTES] */
static void
op_number(struct image *im, const struct line *l)
{
	uint64_t off = mkimage_number(im, rest_of(im, l, 1));
	uint64_t v = mkimage_number(im, rest_of(im, l, 2));
	uint64_t times = mkimage_option_number(im, l, "times", 1);

	for (; times; times--) {
		poke(im, off, (unsigned)atoi(l->w[0].p + 1) / 8, v);
		off += mkimage_option_number(im, l, "every", 0);
	}
}

static void
op_bytes(struct image *im, const struct line *l)
{
	uint64_t off = mkimage_number(im, rest_of(im, l, 1));

	for (unsigned i = 2; i < l->n; i++) {
		for (const char *p = l->w[i].p; p[0] && p[1]; p += 2) {
			char hex[3] = {p[0], p[1], 0};

			poke(im, off++, 1, strtoul(hex, NULL, 16));
		}
	}
}

/* fill and text change the image; guest only what is wanted. */
static void
op_fill(struct image *im, const struct line *l)
{
	uint64_t off = mkimage_number(im, rest_of(im, l, 1));
	uint64_t len = mkimage_number(im, rest_of(im, l, 2));
	bool guest = !strcmp(l->w[0].p, "guest");
	uint8_t *p = mkimage_alloc(1, len);

	rest_of(im, l, 3);
	mkimage_pattern(im, &l->w[3], 0, p, len);
	if (!guest)
		mkimage_write(im, im->fd, p, len, off);
	if (guest || im->raw)
		want(im, p, len, off);
	free(p);
}

static void
op_entries(struct image *im, const struct line *l)
{
	uint64_t first, last, v, off;
	const char *op = l->w[0].p;

	range_of(im, rest_of(im, l, 1), &first, &last);
	for (uint64_t i = first; i <= last; i++) {
		unsigned width = 8;

		v = mkimage_number(im, rest_of(im, l, 2));
		if (!strcmp(op, "l1")) {
			off = im->l1_off + 8 * i;
		} else if (!strcmp(op, "rt")) {
			off = im->cluster + 8 * i;
		} else if (!strcmp(op, "refcount")) {
			off = (2 + im->rt_clusters - 1) * im->cluster + 2 * i;
			width = 2;
		} else {
			struct table *t = i / im->n_l2 < im->n_l1 ?
				im->l2[i / im->n_l2] : NULL;

			if (!t)
				mkimage_die(im, "no L2 table: use `table`");
			off = t->off + (i % im->n_l2) *
				(im->extended ? 16 : 8);
			if (!strcmp(op, "subs"))
				off += 8;
		}
		poke(im, off, width, v);
	}
}

/* Second round: what deforms the finished image. */
static bool
deform(struct image *im, const struct line *l)
{
	const char *op = l->w[0].p;
	uint64_t off = 0;
	unsigned width;

	if (!strcmp(op, "header")) {
		width = mkqcow2_field(rest_of(im, l, 1), &off);
		if (!width)
			mkimage_die(im, "no such header field");
		poke(im, off, width, mkimage_number(im, rest_of(im, l, 2)));
	} else if (!strcmp(op, "u8") || !strcmp(op, "u16") ||
			!strcmp(op, "u32") || !strcmp(op, "u64")) {
		op_number(im, l);
	} else if (!strcmp(op, "l1") || !strcmp(op, "l2") ||
			!strcmp(op, "subs") || !strcmp(op, "rt") ||
			!strcmp(op, "refcount")) {
		op_entries(im, l);
	} else if (!strcmp(op, "bytes")) {
		op_bytes(im, l);
	} else if (!strcmp(op, "fill") || !strcmp(op, "guest")) {
		op_fill(im, l);
	} else if (!strcmp(op, "text")) {
		off = mkimage_number(im, rest_of(im, l, 1));
		rest_of(im, l, 2);
		mkimage_write(im, im->fd, l->w[2].p, l->w[2].len, off);
		if (im->raw)
			want(im, l->w[2].p, l->w[2].len, off);
	} else if (!strcmp(op, "truncate")) {
		if (ftruncate(im->fd, (off_t)mkimage_number(im,
				rest_of(im, l, 1))))
			mkimage_die(im, "truncate: %s", strerror(errno));
	} else {
		return false;
	}
	return true;
}

static bool
expects(const struct line *l)
{
	static const char *const words[] = {"accept", "refuse", "refuse-deep",
		"convert", "trusted", "front", "lenient", "info", "qemu",
		"option", "option-native", "class"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(words[i], l->w[0].p))
			return true;
	return false;
}

static void
write_expectations(struct image *im, const struct line *lines, unsigned n)
{
	int fd = create_at(im, "expect");
	FILE *f = fdopen(fd, "w");

	if (!f)
		mkimage_die(im, "fdopen");
	for (unsigned i = 0; i < n; i++) {
		if (!expects(&lines[i]))
			continue;
		for (unsigned k = 0; k < lines[i].n; k++)
			fprintf(f, "%s%s", lines[i].w[k].p,
				k + 1 < lines[i].n ? " " : "\n");
	}
	fprintf(f, "virtual %llu\n", (unsigned long long)
		(im->size & ~511ull));
	if (im->raw || im->n_ref)
		fprintf(f, "format %s\n", im->raw ? "raw" : "qcow2");
	fclose(f);
}

/* lines[0] is "image NAME". */
static void
make_image(const char *dir, const struct line *lines, unsigned n)
{
	char path[400];
	struct image im = {.data_fd = -1, .line = lines};
	uint8_t *buf = mkimage_alloc(1, 4u << 20);

	snprintf(path, sizeof(path), "%s/%s", dir,
		rest_of(&im, &lines[0], 1));
	im.dir = path;
	if (mkdir(path, 0755))
		mkimage_die(&im, "%s: %s", path, strerror(errno));
	im.fd = create_at(&im, "img");
	im.want = create_at(&im, "want.raw");
	for (unsigned i = 1; i < n; i++) {
		im.line = &lines[i];
		build(&im, &lines[i], buf);
	}
	im.line = &lines[1];
	if (im.n_ref)
		mkqcow2_finish(&im);
	if (im.data_fd >= 0 && ftruncate(im.data_fd, (off_t)im.size))
		mkimage_die(&im, "cannot set the data file's size");
	for (unsigned i = 1; i < n; i++) {
		im.line = &lines[i];
		if (!deform(&im, &lines[i]) && !expects(&lines[i]) &&
				!strstr(" qcow2 raw special file data zero "
				"zeroalloc sub packed table take snapshot "
				"bitmap ext ", lines[i].w[0].p))
			mkimage_die(&im, "what is '%s'?", lines[i].w[0].p);
	}
	/* qcow2 shows whole sectors, raw rounds up to one */
	if (im.size < UINT64_C(4) << 40 && ftruncate(im.want, (off_t)(im.raw ? (im.size + 511) & ~511ull :
			im.size & ~511ull)))
		mkimage_die(&im, "cannot set the guest's size");
	write_expectations(&im, lines, n);
	free(buf);
	/* the model itself (tables, words) lives as long as the program */
	close(im.fd);
	close(im.want);
	if (im.data_fd >= 0)
		close(im.data_fd);
}

int
main(int argc, char **argv)
{
	static struct line lines[4096];

	if (argc < 3) {
		fprintf(stderr, "usage: mkimage DIR RECIPES...\n");
		return 2;
	}
	for (int a = 2; a < argc; a++) {
		unsigned n = mkimage_lines(argv[a], lines, 4096);
		unsigned from = 0;

		for (unsigned i = 1; i <= n; i++) {
			if (i < n && strcmp(lines[i].w[0].p, "image"))
				continue;
			make_image(argv[1], lines + from, i - from);
			from = i;
		}
	}
	return 0;
}
