/* SPDX-License-Identifier: MIT */
/*
 * The snapshot table (section "Snapshots"): a packed list of entries whose
 * length is only known by reading them. Limits are QEMU's.
 */
#include "format/qcow2.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define SNAPSHOT_FIXED QCOW2_SNAPSHOT_FIXED
/* the longest entry: fixed part, extra data, id and name of 16-bit lengths */
#define SNAPSHOT_LONGEST \
	(SNAPSHOT_FIXED + QCOW2_SNAPSHOT_EXTRA_MAX + 2u * 65535u + 8u)

/* Cut at a NUL, as C programs that read it do. */
static char *
copy_text(const uint8_t *p, unsigned len)
{
	return p ? strndup((const char *)p, len) : strdup("");
}

static void
clear(struct info_snapshot *s)
{
	free(s->id);
	free(s->name);
	free(s->more);
	*s = (struct info_snapshot){0};
}

static void
decode_extra(const uint8_t *p, uint32_t len, struct info_snapshot *s)
{
	s->short_extra = len < 16;
	if (len >= 8)
		s->vm_state_size = load_be64(p);
	if (len >= 16)
		s->disk_size = load_be64(p + 8);
	if (len >= 24) {
		s->icount = load_be64(p + 16);
		s->has_icount = s->icount != UINT64_MAX;
	}
}

int
qcow2_snapshot_decode(struct cursor *c, const struct qcow2_header *h,
	struct info_snapshot *ret, struct err *e)
{
	struct info_snapshot s = {0};
	uint16_t id_len, name_len;
	uint32_t extra_len;
	size_t start = c->left, used;
	const uint8_t *extra, *id, *name;

	s.l1_offset = cursor_be64(c);
	s.l1_entries = cursor_be32(c);
	id_len = cursor_be16(c);
	name_len = cursor_be16(c);
	s.date_sec = cursor_be32(c);
	s.date_nsec = cursor_be32(c);
	s.vm_clock_nsec = cursor_be64(c);
	s.vm_state_size = cursor_be32(c);
	extra_len = cursor_be32(c);
	if (extra_len > QCOW2_SNAPSHOT_EXTRA_MAX)
		return err_set(e, ERR_LIMIT, "Too much extra metadata in "
			"snapshot table entry (%" PRIu32 " bytes, at most %u)",
			extra_len, QCOW2_SNAPSHOT_EXTRA_MAX);
	extra = cursor_take(c, extra_len);
	id = cursor_take(c, id_len);
	name = cursor_take(c, name_len);
	if (c->overrun)
		return err_set(e, ERR_CORRUPT,
			"snapshot table entry ends past the table");
	/* images without the field have snapshots of the disk's size */
	s.disk_size = units_align_down(h->size, 512);
	decode_extra(extra, extra_len, &s);
	s.id = copy_text(id, id_len);
	s.name = copy_text(name, name_len);
	if (extra_len > QCOW2_SNAPSHOT_EXTRA) {
		s.more_len = extra_len - QCOW2_SNAPSHOT_EXTRA;
		s.more = malloc(s.more_len);
		if (s.more)
			memcpy(s.more, extra + QCOW2_SNAPSHOT_EXTRA,
				s.more_len);
	}
	if (!s.id || !s.name || (s.more_len && !s.more)) {
		clear(&s);
		return err_set(e, ERR_NOMEM, "no memory for a snapshot entry");
	}
	used = start - c->left;
	cursor_skip(c, units_min(-used & 7, c->left));
	*ret = s;
	return 0;
}

struct walk {
	struct qcow2_table t;
	const struct qcow2_header *h;
	uint32_t i; /* entries decoded */
};

static int
walk_open(struct walk *w, struct file *f, const struct qcow2_header *h,
	struct err *e)
{
	*w = (struct walk){.h = h};
	/* one byte more than allowed, so that an entry may be seen to be it */
	return qcow2_table_open(&w->t, f, h->snapshots_offset,
		QCOW2_SNAPSHOT_TABLE_MAX + SNAPSHOT_LONGEST, e);
}

static int
walk_next(struct walk *w, struct info_snapshot *ret, struct err *e)
{
	struct info_snapshot s = {0};
	struct cursor c;
	struct span view;
	uint64_t len;

	if (qcow2_table_view(&w->t, SNAPSHOT_LONGEST, &view, e))
		return -1;
	c = cursor_over(view);
	if (qcow2_snapshot_decode(&c, w->h, &s, e))
		return err_prefix(e, "snapshot %" PRIu32, w->i);
	len = view.len - c.left;
	qcow2_table_skip(&w->t, len);
	if (w->t.done > QCOW2_SNAPSHOT_TABLE_MAX) {
		clear(&s);
		return err_set(e, ERR_LIMIT,
			"Snapshot table is too big (%" PRIu32 " snapshots lie "
			"past %u bytes)", w->h->n_snapshots - w->i,
			QCOW2_SNAPSHOT_TABLE_MAX);
	}
	w->i++;
	*ret = s;
	return 0;
}

static void
walk_close(struct walk *w)
{
	qcow2_table_close(&w->t);
}

int
qcow2_snapshot_load(struct file *f, const struct qcow2_header *h,
	struct info_snapshot **ret, size_t *ret_n, struct err *e)
{
	uint64_t len;

	return qcow2_snapshot_table(f, h, ret, ret_n, &len, e);
}

int
qcow2_snapshot_table(struct file *f, const struct qcow2_header *h,
	struct info_snapshot **ret, size_t *ret_n, uint64_t *ret_len,
	struct err *e)
{
	CLEANUP(walk_close) struct walk w = {0};
	struct info_snapshot *v;
	size_t n;

	if (h->n_snapshots == 0) {
		*ret = NULL;
		*ret_n = 0;
		*ret_len = 0;
		return 0;
	}
	if (walk_open(&w, f, h, e))
		return -1;
	v = calloc(h->n_snapshots, sizeof(*v));
	if (!v)
		return err_set(e, ERR_NOMEM, "no memory for %" PRIu32
			" snapshots", h->n_snapshots);
	for (n = 0; n < h->n_snapshots; n++)
		if (walk_next(&w, &v[n], e)) {
			qcow2_snapshot_free(v, n);
			return -1;
		}
	*ret = v;
	*ret_n = n;
	*ret_len = w.t.done;
	return 0;
}

static bool
is_same(const char *s, const char *wanted)
{
	return wanted && strcmp(s, wanted) == 0;
}

int
qcow2_snapshot_find(struct file *f, const struct qcow2_header *h,
	const char *id, const char *name, bool both, bool *ret_found,
	struct info_snapshot *ret, struct err *e)
{
	CLEANUP(walk_close) struct walk w = {0};
	CLEANUP(clear) struct info_snapshot named = {0};
	bool has_named = false;
	uint32_t i;

	if (h->n_snapshots && walk_open(&w, f, h, e))
		return -1;
	for (i = 0; i < h->n_snapshots; i++) {
		struct info_snapshot s = {0};
		bool by_id, by_name;

		if (walk_next(&w, &s, e))
			return -1;
		by_id = is_same(s.id, id);
		by_name = is_same(s.name, name);
		if (both) {
			by_id = (by_id || !id) && (by_name || !name);
			by_name = false;
		}
		if (by_id) {
			*ret = s;
			*ret_found = true;
			return 0;
		}
		if (by_name && !has_named) {
			named = s;
			has_named = true;
		} else {
			clear(&s);
		}
	}
	*ret_found = has_named;
	if (has_named) {
		*ret = named;
		named = (struct info_snapshot){0};
	}
	return 0;
}

int
qcow2_snapshot_encode(const struct info_snapshot *v, size_t n, struct buf *out,
	struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct info_snapshot *s = &v[i];
		size_t id = strlen(s->id), name = strlen(s->name);
		uint64_t len = (uint64_t)SNAPSHOT_FIXED + QCOW2_SNAPSHOT_EXTRA +
			s->more_len + id + name;
		uint8_t *p = buf_grow(out, (-out->len & 7) + len);

		if (!p)
			return err_set(e, ERR_NOMEM, "out of memory");
		p = (uint8_t *)out->p + out->len - len;
		store_be64(p, s->l1_offset);
		store_be32(p + 8, s->l1_entries);
		store_be16(p + 12, (uint16_t)id);
		store_be16(p + 14, (uint16_t)name);
		store_be32(p + 16, s->date_sec);
		store_be32(p + 20, s->date_nsec);
		store_be64(p + 24, s->vm_clock_nsec);
		/* too long for the old field: a snapshot without state to
		 * programs that know no other */
		if (s->vm_state_size <= UINT32_MAX)
			store_be32(p + 32, (uint32_t)s->vm_state_size);
		store_be32(p + 36, QCOW2_SNAPSHOT_EXTRA + s->more_len);
		p += SNAPSHOT_FIXED;
		store_be64(p, s->vm_state_size);
		store_be64(p + 8, s->disk_size);
		store_be64(p + 16, s->has_icount ? s->icount : UINT64_MAX);
		p += QCOW2_SNAPSHOT_EXTRA;
		if (s->more_len)
			memcpy(p, s->more, s->more_len);
		memcpy(p + s->more_len, s->id, id);
		memcpy(p + s->more_len + id, s->name, name);
		if (out->len > QCOW2_SNAPSHOT_TABLE_MAX)
			return err_set(e, ERR_LIMIT, "the snapshot table would "
				"exceed %u bytes", QCOW2_SNAPSHOT_TABLE_MAX);
	}
	return 0;
}

void
qcow2_snapshot_free(struct info_snapshot *v, size_t n)
{
	size_t i;

	for (i = 0; v && i < n; i++)
		clear(&v[i]);
	free(v);
}
