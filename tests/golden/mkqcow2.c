/* SPDX-License-Identifier: MIT */
/*
 * The model of one qcow2 image while its recipe is read: which host clusters
 * are taken, refcounts, L1 and L2 entries. The layout is qemu-img's (header,
 * refcount table, refcount block, L1, then in order of need); a consistent
 * image comes out, which the recipe's later lines may then deform.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mkimage.h"

#define COPIED (UINT64_C(1) << 63)
#define PACKED (UINT64_C(1) << 62)
#define OFFSET UINT64_C(0x00fffffffffffe00)

static const struct {
	const char *name;
	unsigned off, width;
} fields[] = {
	{"magic", 0, 4}, {"version", 4, 4}, {"backing_offset", 8, 8},
	{"backing_size", 16, 4}, {"cluster_bits", 20, 4}, {"size", 24, 8},
	{"crypt", 32, 4}, {"l1_size", 36, 4}, {"l1_offset", 40, 8},
	{"rt_offset", 48, 8}, {"rt_clusters", 56, 4},
	{"nb_snapshots", 60, 4}, {"snapshots_offset", 64, 8},
	{"incompatible", 72, 8}, {"compatible", 80, 8}, {"autoclear", 88, 8},
	{"refcount_order", 96, 4}, {"header_length", 100, 4},
	{"compression", 104, 1},
};

unsigned
mkqcow2_field(const char *name, uint64_t *ret_off)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (!strcmp(fields[i].name, name)) {
			*ret_off = fields[i].off;
			return fields[i].width;
		}
	}
	return 0;
}

static void
ref_add(struct image *im, uint64_t clu, int64_t by)
{
	if (clu >= im->n_ref) {
		uint64_t n = clu * 2 + 64;

		if (n > 1u << 26)
			mkimage_die(im, "host cluster too far away");
		im->ref = realloc(im->ref, n * sizeof(*im->ref));
		if (!im->ref)
			mkimage_die(im, "out of memory");
		memset(im->ref + im->n_ref, 0,
			(n - im->n_ref) * sizeof(*im->ref));
		im->n_ref = n;
	}
	im->ref[clu] += (uint64_t)by;
}

uint64_t
mkqcow2_take(struct image *im, uint64_t clusters)
{
	uint64_t first = im->next;

	for (uint64_t i = 0; i < clusters; i++)
		ref_add(im, first + i, 1);
	im->next += clusters;
	return first * im->cluster;
}

void
mkqcow2_refer(struct image *im, uint64_t off, uint64_t len)
{
	for (uint64_t c = off / im->cluster;
			c <= (off + len - 1) / im->cluster; c++)
		ref_add(im, c, 1);
}

/* Entries for all clusters of the image, and room for overrides. */
static uint64_t
l1_needed(const struct image *im)
{
	uint64_t per = im->n_l2 * im->cluster;

	return im->size / per + (im->size % per != 0);
}

void
mkqcow2_begin(struct image *im, const struct line *l)
{
	const struct word *w;

	im->cluster = mkimage_option_number(im, l, "cluster", 65536);
	im->bits = (unsigned)__builtin_ctzll(im->cluster);
	im->size = mkimage_option_number(im, l, "size", 1 << 20);
	im->version = mkimage_flag(l, "v2") ? 2 : 3;
	im->order = (unsigned)__builtin_ctzll(
		mkimage_option_number(im, l, "refcount_bits", 16));
	im->header_length = (unsigned)mkimage_option_number(im, l, "hlen",
		im->version == 2 ? 72 : 112);
	im->crypt = (unsigned)mkimage_option_number(im, l, "crypt", 0);
	im->rt_clusters = mkimage_option_number(im, l, "rt_clusters", 1);
	im->extended = mkimage_flag(l, "extended_l2");
	im->zstd = mkimage_flag(l, "zstd");
	im->overlong = mkimage_flag(l, "overlong");
	im->no_end = mkimage_flag(l, "noend");
	if (im->extended)
		im->incompatible |= 16;
	if (im->zstd)
		im->incompatible |= 8;
	if (mkimage_flag(l, "lazy"))
		im->compatible |= 1;
	if (mkimage_flag(l, "dirty"))
		im->incompatible |= 1;
	if (mkimage_flag(l, "corrupt"))
		im->incompatible |= 2;
	if ((w = mkimage_option(l, "backing")))
		im->backing = *w;
	if ((w = mkimage_option(l, "fmt")))
		im->format = *w;
	if ((w = mkimage_option(l, "datafile"))) {
		im->data_name = *w;
		im->incompatible |= 4;
		if (mkimage_flag(l, "data_raw"))
			im->autoclear |= 2;
	}
	im->n_l2 = im->cluster / (im->extended ? 16 : 8);
	im->n_l1 = mkimage_option_number(im, l, "l1_size", l1_needed(im));
	im->l1 = mkimage_alloc(im->n_l1 + 1, sizeof(*im->l1));
	im->l2 = mkimage_alloc(im->n_l1 + 1, sizeof(*im->l2));
	mkqcow2_take(im, 1);               /* header */
	mkqcow2_take(im, im->rt_clusters); /* refcount table */
	mkqcow2_take(im, 1);               /* its first block */
	im->l1_off = mkqcow2_take(im,
		(im->n_l1 * 8 + im->cluster - 1) / im->cluster);
}

/* The L2 table behind an L1 entry, made on demand, and unshared from the
 * snapshots that hold it. */
struct table *
mkqcow2_table(struct image *im, uint64_t l1x)
{
	struct table *t;
	const struct table *old;

	if (l1x >= im->n_l1)
		mkimage_die(im, "guest cluster beyond the L1 table");
	old = im->l2[l1x];
	if (old && im->ref[old->off / im->cluster] == 1)
		return im->l2[l1x];
	t = mkimage_alloc(1, sizeof(*t));
	t->entry = mkimage_alloc(im->n_l2, 8);
	if (im->extended)
		t->bitmap = mkimage_alloc(im->n_l2, 8);
	t->off = mkqcow2_take(im, 1);
	if (old) {
		memcpy(t->entry, old->entry, im->n_l2 * 8);
		if (im->extended)
			memcpy(t->bitmap, old->bitmap, im->n_l2 * 8);
		ref_add(im, old->off / im->cluster, -1);
	}
	im->l2[l1x] = t;
	im->l1[l1x] = t->off;
	im->pack_at = 0;
	return t;
}

void
mkqcow2_map(struct image *im, uint64_t gx, uint64_t entry, uint64_t bitmap)
{
	struct table *t = mkqcow2_table(im, gx / im->n_l2);
	uint64_t old = t->entry[gx % im->n_l2];

	if (!(old & PACKED) && (old & OFFSET) && im->data_fd < 0)
		ref_add(im, (old & OFFSET) / im->cluster, -1);
	t->entry[gx % im->n_l2] = entry;
	if (t->bitmap)
		t->bitmap[gx % im->n_l2] = bitmap;
}

uint64_t
mkqcow2_entry(struct image *im, uint64_t gx)
{
	const struct table *t = gx / im->n_l2 < im->n_l1 ?
		im->l2[gx / im->n_l2] : NULL;

	if (!t || !t->entry[gx % im->n_l2])
		mkimage_die(im, "guest cluster is not mapped yet");
	return t->entry[gx % im->n_l2];
}

static void
put_refcount(uint8_t *block, unsigned order, uint64_t i, uint64_t v)
{
	unsigned bits = 1u << order;

	if (bits >= 8) {
		for (unsigned b = 0; b < bits / 8; b++)
			block[i * (bits / 8) + b] =
				(uint8_t)(v >> (bits - 8 - 8 * b));
	} else {
		block[i * bits / 8] |= (uint8_t)(v << (i * bits % 8));
	}
}

static void
write_refcounts(struct image *im)
{
	uint64_t per = (im->cluster * 8) >> im->order, blocks = 1;
	uint64_t first = im->next;
	uint8_t *buf = mkimage_alloc(1, im->cluster);

	/* the blocks need refcounts themselves */
	while (blocks * per < im->next) {
		mkqcow2_take(im, 1);
		blocks++;
	}
	if (blocks * 8 > im->rt_clusters * im->cluster)
		mkimage_die(im, "refcount table too small: rt_clusters=");
	for (uint64_t b = 0; b < blocks; b++) {
		uint64_t off = (b ? first + b - 1 : 1 + im->rt_clusters) *
			im->cluster;
		uint8_t be[8];

		put64(be, off);
		mkimage_write(im, im->fd, be, 8, im->cluster + b * 8);
		memset(buf, 0, im->cluster);
		for (uint64_t i = 0; i < per && b * per + i < im->n_ref; i++)
			put_refcount(buf, im->order, i, im->ref[b * per + i]);
		mkimage_write(im, im->fd, buf, im->cluster, off);
	}
	free(buf);
}

static uint64_t
flagged(const struct image *im, uint64_t entry, bool l1)
{
	uint64_t off = entry & OFFSET;

	if (entry & PACKED)
		return entry;
	/* an external data file's first cluster has offset 0 and COPIED */
	if (im->data_fd >= 0 && !l1)
		return entry;
	if (off && im->ref[off / im->cluster] == 1)
		return entry | COPIED;
	return entry;
}

static void
write_table(struct image *im, const struct table *t)
{
	unsigned size = im->extended ? 16 : 8;
	uint8_t *buf = mkimage_alloc(1, im->cluster);

	for (uint64_t i = 0; i < im->n_l2; i++) {
		put64(buf + i * size, flagged(im, t->entry[i], false));
		if (im->extended)
			put64(buf + i * size + 8, t->bitmap[i]);
	}
	mkimage_write(im, im->fd, buf, im->cluster, t->off);
	free(buf);
}

void
mkqcow2_finish(struct image *im)
{
	uint8_t be[8];

	mkmeta_snapshots(im);
	mkmeta_bitmaps(im);
	write_refcounts(im);
	for (uint64_t i = 0; i < im->n_l1; i++) {
		if (!im->l1[i])
			continue;
		write_table(im, im->l2[i]);
		put64(be, flagged(im, im->l1[i], true));
		mkimage_write(im, im->fd, be, 8, im->l1_off + i * 8);
	}
	mkmeta_header(im);
	if (ftruncate(im->fd, (off_t)(im->next * im->cluster)))
		mkimage_die(im, "cannot set the image's size");
}
