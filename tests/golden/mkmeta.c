/* SPDX-License-Identifier: MIT */
/*
 * The header with its extensions, the snapshot table and the bitmap
 * directory, byte by byte from the specification, with every length open to
 * being overridden by the recipe.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "mkimage.h"

#define META_MAX (4u << 20)

static const struct {
	const char *name;
	uint32_t type;
} ext_names[] = {
	{"end", 0}, {"fmt", 0xe2792aca}, {"features", 0x6803f857},
	{"bitmaps", 0x23852875}, {"crypto", 0x0537be77},
	{"data-file", 0x44415441},
};

static size_t
put_ext(uint8_t *p, uint32_t type, const void *value, size_t len,
	uint64_t said)
{
	put32(p, type);
	put32(p + 4, (uint32_t)said);
	memcpy(p + 8, value, len);
	return 8 + ((len + 7) & ~(size_t)7);
}

static size_t
put_recipe_ext(struct image *im, const struct line *l, uint8_t *p)
{
	uint32_t type = 0;
	bool known = false;
	struct word value = {0};

	im->line = l;
	for (size_t i = 0; i < sizeof(ext_names) / sizeof(ext_names[0]); i++) {
		if (!strcmp(l->w[1].p, ext_names[i].name)) {
			type = ext_names[i].type;
			known = true;
		}
	}
	if (!known)
		type = (uint32_t)mkimage_number(im, l->w[1].p);
	if (l->n > 2)
		value = l->w[2];
	if (value.len >= 4 && !memcmp(value.p, "len=", 4))
		value.len = 0;
	return put_ext(p, type, value.p ? value.p : "", value.len,
		mkimage_option_number(im, l, "len", value.len));
}

static void
put_fields(struct image *im, uint8_t *h)
{
	put32(h, 0x514649fb);
	put32(h + 4, im->version);
	put32(h + 20, im->bits);
	put64(h + 24, im->size);
	put32(h + 32, im->crypt);
	put32(h + 36, (uint32_t)im->n_l1);
	put64(h + 40, im->l1_off);
	put64(h + 48, im->cluster);
	put32(h + 56, (uint32_t)im->rt_clusters);
	put32(h + 60, im->n_snaps);
	put64(h + 64, im->snaps_off);
	if (im->version < 3)
		return;
	put64(h + 72, im->incompatible);
	put64(h + 80, im->compatible);
	put64(h + 88, im->autoclear);
	put32(h + 96, im->order);
	put32(h + 100, im->header_length);
	h[104] = im->zstd;
}

void
mkmeta_header(struct image *im)
{
	/* twice a cluster at least: recipes make extensions that run over */
	size_t cap = im->cluster * 2 + 65536, at = im->header_length;
	uint8_t *h = mkimage_alloc(1, cap), b[24];

	if (at > cap / 2)
		at = 112;
	put_fields(im, h);
	if (im->format.p)
		at += put_ext(h + at, 0xe2792aca, im->format.p,
			im->format.len, im->format.len);
	if (im->data_name.p)
		at += put_ext(h + at, 0x44415441, im->data_name.p,
			im->data_name.len, im->data_name.len);
	for (unsigned i = 0; i < im->n_exts; i++)
		at += put_recipe_ext(im, &im->exts[i], h + at);
	if (im->n_bitmaps) {
		put32(b, im->n_bitmaps);
		put32(b + 4, 0);
		put64(b + 8, im->bitmaps_len);
		put64(b + 16, im->bitmaps_off);
		at += put_ext(h + at, 0x23852875, b, 24, 24);
	}
	if (!im->no_end)
		at += put_ext(h + at, 0, "", 0, 0);
	if (im->backing.p) {
		put64(h + 8, at);
		put32(h + 16, (uint32_t)im->backing.len);
		memcpy(h + at, im->backing.p, im->backing.len);
		at += im->backing.len;
	}
	if (at > im->cluster && !im->overlong)
		mkimage_die(im, "the header does not fit into its cluster");
	mkimage_write(im, im->fd, h, at, 0);
	free(h);
}

/* Freezes the active L1: what it refers to is now referred to twice. */
void
mkmeta_snapshot(struct image *im, const struct line *l)
{
	struct snap *s;

	if (im->n_snaps == sizeof(im->snaps) / sizeof(im->snaps[0]))
		mkimage_die(im, "too many snapshots");
	s = &im->snaps[im->n_snaps++];
	s->line = *l;
	s->l1 = mkimage_alloc(im->n_l1 + 1, 8);
	memcpy(s->l1, im->l1, im->n_l1 * 8);
	s->l1_off = mkqcow2_take(im,
		(im->n_l1 * 8 + im->cluster - 1) / im->cluster);
	for (uint64_t i = 0; i < im->n_l1; i++) {
		const struct table *t = im->l2[i];

		if (!im->l1[i])
			continue;
		mkqcow2_refer(im, im->l1[i], 1);
		for (uint64_t j = 0; j < im->n_l2; j++) {
			uint64_t e = t->entry[j];

			if (e >> 62 & 1)
				mkimage_die(im, "packed clusters come after "
					"the snapshot");
			if (e & UINT64_C(0x00fffffffffffe00))
				mkqcow2_refer(im,
					e & UINT64_C(0x00fffffffffffe00), 1);
		}
		/* the table is written as the snapshot sees it, now: the
		 * active one is copied before it is changed */
		uint8_t *buf = mkimage_alloc(1, im->cluster);

		for (uint64_t j = 0; j < im->n_l2; j++)
			put64(buf + j * 8, t->entry[j]);
		mkimage_write(im, im->fd, buf, im->cluster, t->off);
		free(buf);
	}
}

static size_t
put_snapshot(struct image *im, const struct snap *s, uint8_t *p)
{
	const struct line *l = &s->line;
	const struct word *id = &l->w[1], *name = &l->w[2];
	uint64_t extra = mkimage_option_number(im, l, "extra",
		im->version == 2 ? 0 : 24);
	uint64_t x = extra < 4096 ? extra : 4096;
	size_t at = 40;

	im->line = l;
	put64(p, mkimage_option_number(im, l, "l1_offset", s->l1_off));
	put32(p + 8, (uint32_t)mkimage_option_number(im, l, "l1_size",
		im->n_l1));
	p[13] = (uint8_t)id->len;
	p[12] = (uint8_t)(id->len >> 8);
	p[15] = (uint8_t)name->len;
	p[14] = (uint8_t)(name->len >> 8);
	put32(p + 16, (uint32_t)mkimage_option_number(im, l, "date",
		1700000000));
	put64(p + 24, mkimage_option_number(im, l, "clock", 0));
	put32(p + 36, (uint32_t)extra);
	if (x >= 16)
		put64(p + at + 8, mkimage_option_number(im, l, "disk_size",
			im->size));
	if (x >= 24)
		put64(p + at + 16, mkimage_option_number(im, l, "icount",
			UINT64_MAX));
	at += x;
	memcpy(p + at, id->p, id->len);
	at += id->len;
	memcpy(p + at, name->p, name->len);
	at += name->len;
	return (at + 7) & ~(size_t)7;
}

void
mkmeta_snapshots(struct image *im)
{
	uint8_t *p, be[8];

	if (!im->n_snaps)
		return;
	p = mkimage_alloc(1, META_MAX);
	for (unsigned i = 0; i < im->n_snaps; i++)
		im->snaps_len += put_snapshot(im, &im->snaps[i],
			p + im->snaps_len);
	im->snaps_off = mkqcow2_take(im,
		(im->snaps_len + im->cluster - 1) / im->cluster);
	mkimage_write(im, im->fd, p, im->snaps_len, im->snaps_off);
	free(p);
	for (unsigned i = 0; i < im->n_snaps; i++) {
		for (uint64_t j = 0; j < im->n_l1; j++) {
			if (!im->snaps[i].l1[j])
				continue;
			put64(be, im->snaps[i].l1[j]);
			mkimage_write(im, im->fd, be, 8,
				im->snaps[i].l1_off + 8 * j);
		}
	}
}

/* bitmap NAME [gran=16] [flags=0] [type=1] [entries=N] [extra=N] */
void
mkmeta_bitmaps(struct image *im)
{
	uint8_t *p;

	if (!im->n_bitmaps)
		return;
	im->autoclear |= 1;
	p = mkimage_alloc(1, META_MAX);
	for (unsigned i = 0; i < im->n_bitmaps; i++) {
		const struct line *l = &im->bitmaps[i];
		uint8_t *d = p + im->bitmaps_len;
		uint64_t gran = mkimage_option_number(im, l, "gran", 16);
		uint64_t per = (im->cluster * 8) << (gran & 31);
		uint64_t entries = mkimage_option_number(im, l, "entries",
			(im->size + per - 1) / per);
		uint64_t extra = mkimage_option_number(im, l, "extra", 0);
		uint64_t table = mkqcow2_take(im, 1);

		im->line = l;
		put64(d, mkimage_option_number(im, l, "table", table));
		put32(d + 8, (uint32_t)entries);
		put32(d + 12, (uint32_t)mkimage_option_number(im, l,
			"flags", 0));
		d[16] = (uint8_t)mkimage_option_number(im, l, "type", 1);
		d[17] = (uint8_t)gran;
		d[18] = (uint8_t)(l->w[1].len >> 8);
		d[19] = (uint8_t)l->w[1].len;
		put32(d + 20, (uint32_t)extra);
		memcpy(d + 24 + extra, l->w[1].p, l->w[1].len);
		im->bitmaps_len += (24 + extra + l->w[1].len + 7) &
			~(uint64_t)7;
	}
	im->bitmaps_off = mkqcow2_take(im,
		(im->bitmaps_len + im->cluster - 1) / im->cluster);
	mkimage_write(im, im->fd, p, im->bitmaps_len, im->bitmaps_off);
	free(p);
}
