/* SPDX-License-Identifier: MIT */
/*
 * The golden images' builder: it emits every byte by itself, from the
 * specification, and knows nothing of libbyre, so that the two can be wrong
 * only independently. Errors end the program: it is a tool of the tests.
 */
#ifndef GOLDEN_MKIMAGE_H
#define GOLDEN_MKIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORDS_MAX 24

/* A recipe's line cut into words; a word keeps its length, for names with
 * NULs in them. */
struct line {
	const char *path;
	unsigned no;
	unsigned n;
	struct word {
		char *p; /* NUL-terminated as well */
		size_t len;
	} w[WORDS_MAX];
};

/* An L2 table and where it is. */
struct table {
	uint64_t off;
	uint64_t *entry;
	uint64_t *bitmap; /* extended L2, else NULL */
};

struct snap {
	uint64_t l1_off;
	uint64_t *l1; /* a copy of the active L1 */
	struct line line;
};

struct image {
	int fd;      /* the image */
	int want;    /* the guest's bytes as they must be read */
	int data_fd; /* external data file, or -1 */
	const char *dir;
	bool raw;
	unsigned version, bits, order, header_length, crypt;
	bool extended, zstd, no_end;
	bool overlong; /* the header may leave its cluster */
	uint64_t cluster, size, rt_clusters;
	uint64_t incompatible, compatible, autoclear;
	struct word backing, format, data_name;
	uint64_t next; /* first host cluster never given out */
	uint64_t *ref;
	uint64_t n_ref;
	uint64_t *l1;
	uint64_t n_l1, l1_off;
	struct table **l2; /* by L1 index */
	uint64_t n_l2;     /* entries per table */
	uint64_t pack_at;  /* next byte for packed data, 0: none */
	struct snap snaps[8];
	unsigned n_snaps;
	uint64_t snaps_off, snaps_len;
	struct line bitmaps[8];
	unsigned n_bitmaps;
	uint64_t bitmaps_off, bitmaps_len;
	struct line exts[24];
	unsigned n_exts;
	const struct line *line; /* being worked on, for messages */
};

void mkimage_die(const struct image *im, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
void *mkimage_alloc(size_t n, size_t size);
void mkimage_write(struct image *im, int fd, const void *p, size_t len,
	uint64_t off);
/* Cuts a recipe file into lines; how many. */
unsigned mkimage_lines(const char *path, struct line *ret, unsigned cap);
/* "1m", "0x200", "@end+64k|copied" ... */
uint64_t mkimage_number(struct image *im, const char *s);
/* The value of "key=..." among the line's words, or NULL. */
const struct word *mkimage_option(const struct line *l, const char *key);
uint64_t mkimage_option_number(struct image *im, const struct line *l,
	const char *key, uint64_t otherwise);
bool mkimage_flag(const struct line *l, const char *word);
/* Fills len bytes by a pattern word; i counts clusters of a range. */
void mkimage_pattern(struct image *im, const struct word *w, uint64_t i,
	uint8_t *out, size_t len);

/* mkqcow2.c: the model of one qcow2 image. */
void mkqcow2_begin(struct image *im, const struct line *l);
uint64_t mkqcow2_take(struct image *im, uint64_t clusters);
void mkqcow2_refer(struct image *im, uint64_t off, uint64_t len);
void mkqcow2_map(struct image *im, uint64_t gx, uint64_t entry,
	uint64_t bitmap);
uint64_t mkqcow2_entry(struct image *im, uint64_t gx);
struct table *mkqcow2_table(struct image *im, uint64_t l1x);
/* Writes all of it. */
void mkqcow2_finish(struct image *im);
/* Width in bytes (0: no such field) and place of a header field. */
unsigned mkqcow2_field(const char *name, uint64_t *ret_off);

/* mkmeta.c: header extensions, snapshot table, bitmap directory. */
void mkmeta_header(struct image *im);
void mkmeta_snapshot(struct image *im, const struct line *l);
void mkmeta_snapshots(struct image *im);
void mkmeta_bitmaps(struct image *im);

/* mkpack.c: the only one that knows zlib and zstd. Packs the cluster in `in`
 * as the line's words say; returns the length, out has room for 4 clusters
 * and 64 KiB. */
size_t mkpack(struct image *im, const struct line *l, const uint8_t *in,
	uint8_t *out, size_t out_cap);

/* Big-endian stores at a byte pointer. */
static inline void
put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static inline void
put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}

#endif
