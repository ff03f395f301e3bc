/* SPDX-License-Identifier: MIT */
/*
 * The header cluster, rewritten in place. Sector 0 is atomic and decides; what
 * it refers to must be there before it does. Where old and new use the same
 * bytes behind it, the new parts are first parked in unused bytes and reached
 * from sector 0 by one long extension that readers skip.
 */
#include "format/qcow2_reheader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_place.h"

#define SECTOR 512u
#define EXT_HEADER 8u
#define FIXED_KNOWN (QCOW2_V3_HEADER + 8u) /* what QEMU 7.2 knows of v3 */

/* The bytes of a cluster that its header makes anything of. */
struct used {
	uint64_t ext_end; /* from 0 to behind the END entry */
	uint64_t name, name_end;
	uint64_t ext; /* where the extensions start */
};

static int
used_of(const uint8_t *p, uint64_t len, struct used *ret, struct err *e)
{
	struct qcow2_header h;
	uint64_t limit;

	if (qcow2_header_decode((struct span){p, len}, true, &h, e) < 0)
		return -1;
	limit = h.backing_offset ? h.backing_offset : len;
	*ret = (struct used){
		.ext = h.extensions_at,
		.ext_end = units_max(h.extensions_at,
			units_min(h.extensions_end + EXT_HEADER, limit)),
		.name = h.backing_offset,
		.name_end = h.backing_offset + h.backing_len,
	};
	return 0;
}

static uint64_t
end_of(const struct used *u)
{
	return units_max(u->ext_end, u->name_end);
}

/* Whether the two differ, behind sector 0, in bytes that u makes use of. */
static bool
touches(const struct used *u, const uint8_t *a, const uint8_t *b)
{
	uint64_t name = units_max(u->name, SECTOR);

	return (u->ext_end > SECTOR &&
		       memcmp(a + SECTOR, b + SECTOR, u->ext_end - SECTOR)) ||
		(u->name_end > name &&
			memcmp(a + name, b + name, u->name_end - name));
}

/* One more stage, a copy of p; NULL without memory. */
static uint8_t *
stage(struct qcow2_stages *s, const uint8_t *p, uint64_t len)
{
	uint8_t *v = malloc(len);

	if (!v)
		return NULL;
	memcpy(v, p, len);
	s->v[s->n++] = v;
	return v;
}

/*
 * The way round: a copy of the new parts behind all that is in use; sector 0
 * turns to them; the rest gets its final form; sector 0 gets its own; the copy
 * goes. The extension that is skipped is a feature name table: it is only
 * looked at by a reader that finds an unknown feature bit.
 */
static int
stages_parked(const uint8_t *old, const uint8_t *new, uint64_t len,
	const struct used *o, const struct used *n, struct qcow2_stages *s,
	struct err *e)
{
	uint64_t end = units_max(end_of(o), end_of(n)), at;
	uint64_t ext_len = n->ext_end - n->ext;
	uint64_t name_len = n->name_end - n->name;
	uint8_t *p, *with_copy;

	at = n->ext + EXT_HEADER +
		units_align_up(end - units_min(end, n->ext + EXT_HEADER), 8);
	if (n->ext + EXT_HEADER > SECTOR || at + ext_len + name_len > len)
		return err_set(e, ERR_LIMIT, "no room in a cluster of %" PRIu64
			" bytes to rewrite its header safely", len);
	with_copy = stage(s, old, len);
	if (!with_copy)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(with_copy + at, new + n->ext, ext_len);
	memcpy(with_copy + at + ext_len, new + n->name, name_len);

	p = stage(s, with_copy, len);
	if (!p)
		return err_set(e, ERR_NOMEM, "out of memory");
	memset(p, 0, SECTOR);
	memcpy(p, new, n->ext);
	store_be32(p + n->ext, QCOW2_EXT_FEATURES);
	store_be32(p + n->ext + 4, (uint32_t)(at - n->ext - EXT_HEADER));
	if (name_len)
		store_be64(p + 8, at + ext_len);

	p = stage(s, p, len);
	if (!p)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(p + SECTOR, new + SECTOR, at - SECTOR);

	p = stage(s, p, len);
	if (!p)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(p, new, SECTOR);
	s->turn = 1;
	return 0;
}

int
qcow2_reheader_stages(const uint8_t *old, const uint8_t *new, uint64_t len,
	struct qcow2_stages *ret, struct err *e)
{
	CLEANUP(qcow2_stages_free) struct qcow2_stages s = {0};
	struct used o, n;
	unsigned differ = 0;
	uint8_t *p;

	if (used_of(old, len, &o, e) < 0 || used_of(new, len, &n, e) < 0)
		return -1;
	for (uint64_t i = 0; i < len; i += SECTOR)
		differ += memcmp(old + i, new + i, SECTOR) != 0;
	if (differ <= 1) {
		s.turn = 0;
	} else if (!touches(&o, old, new)) {
		p = stage(&s, new, len);
		if (!p)
			return err_set(e, ERR_NOMEM, "out of memory");
		memcpy(p, old, SECTOR);
		s.turn = 1;
	} else if (!touches(&n, old, new)) {
		p = stage(&s, old, len);
		if (!p)
			return err_set(e, ERR_NOMEM, "out of memory");
		memcpy(p, new, SECTOR);
		s.turn = 0;
	} else if (stages_parked(old, new, len, &o, &n, &s, e) < 0) {
		return -1;
	}
	if (differ > 0 && !stage(&s, new, len))
		return err_set(e, ERR_NOMEM, "out of memory");
	*ret = s;
	s = (struct qcow2_stages){0};
	return 0;
}

void
qcow2_stages_free(struct qcow2_stages *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->v[i]);
	*s = (struct qcow2_stages){0};
}

/* What nobody here knows and a rewritten header keeps. QEMU collects unknown
 * extensions in a list that grows at its head: their order is turned round
 * once per session. */
static int
load_kept(struct qcow2_edit *d, const uint8_t *p, uint64_t len,
	struct err *e)
{
	uint64_t at = d->now.extensions_at, end = d->now.extensions_end, known;
	uint64_t to;

	known = d->now.version < 3 ? QCOW2_V2_HEADER : FIXED_KNOWN;
	d->kept_len[0] = at > known ? at - known : 0;
	d->kept_len[1] = 0;
	d->kept = malloc(len);
	if (!d->kept)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(d->kept, p + known, d->kept_len[0]);
	for (to = len; at + EXT_HEADER <= end;) {
		uint32_t type = load_be32(p + at), n = load_be32(p + at + 4);
		uint64_t size = EXT_HEADER +
			units_min(units_align_up(n, 8), len - at - EXT_HEADER);

		if (type != QCOW2_EXT_BACKING_FORMAT &&
			type != QCOW2_EXT_FEATURES &&
			type != QCOW2_EXT_BITMAPS &&
			type != QCOW2_EXT_CRYPTO &&
			type != QCOW2_EXT_DATA_FILE) {
			to -= size;
			memcpy(d->kept + to, p + at, size);
			/* what pads it need not have been zeros */
			memset(d->kept + to + EXT_HEADER + n, 0,
				size - EXT_HEADER - n);
		}
		at += size;
	}
	d->kept_len[1] = len - to;
	memmove(d->kept + d->kept_len[0], d->kept + to, d->kept_len[1]);
	return 0;
}

/* The tables' places are what the session has made of them. */
static void
take_tables(struct qcow2_header *h, const uint8_t *head)
{
	h->l1_entries = load_be32(head + 36);
	h->l1_offset = load_be64(head + 40);
	h->reftable_offset = load_be64(head + 48);
	h->reftable_clusters = load_be32(head + 56);
	h->n_snapshots = load_be32(head + 60);
	h->snapshots_offset = load_be64(head + 64);
}

static int
encode(struct qcow2_edit *d, const struct qcow2_header *want, uint8_t *out,
	uint64_t len, struct err *e)
{
	struct qcow2_header h = *want;
	struct qcow2_kept kept = {
		.fields = {d->kept, d->kept_len[0]},
		.extensions = {d->kept + d->kept_len[0], d->kept_len[1]},
	};

	take_tables(&h, d->head);
	h.size = units_align_down(h.size, SECTOR);
	h.has_data_file = h.has_data_file &&
		(h.incompatible & QCOW2_DATA_FILE);
	if (h.has_data_file && h.data_file_len >= sizeof(h.data_file))
		return err_set(e, ERR_LIMIT, "the data file's name of %" PRIu32
			" bytes is too long", h.data_file_len);
	if (h.version < 3)
		kept.fields.len = 0;
	return qcow2_header_encode(&h, qcow2_options_features(&h), &kept, out,
		len, e);
}

/* Writes the sectors of b that differ from a's, runs at once. */
static int
write_stage(struct plan *p, const uint8_t *a, const uint8_t *b, uint64_t len,
	struct err *e)
{
	uint64_t from, at = 0;

	while (at < len) {
		if (memcmp(a + at, b + at, SECTOR) == 0) {
			at += SECTOR;
			continue;
		}
		for (from = at; at < len; at += SECTOR) {
			if (memcmp(a + at, b + at, SECTOR) == 0)
				break;
		}
		if (plan_write(p, PLAN_IMAGE, from, b + from, at - from, e) <
			0)
			return -1;
	}
	return 0;
}

static int
write_stages(struct qcow2_edit *d, const uint8_t *old,
	const struct qcow2_stages *s, uint64_t len, struct err *e)
{
	for (unsigned i = 0; i < s->n; i++) {
		/* a flush ends with a barrier, dirty or not */
		if (i == s->turn ? qcow2_refs_flush(&d->refs, e) < 0
				: i > 0 && plan_barrier(&d->plan,
					"the header step by step", e) < 0)
			return -1;
		if (write_stage(&d->plan, i ? s->v[i - 1] : old, s->v[i], len,
			    e) < 0)
			return -1;
	}
	return 0;
}

int
qcow2_edit_reheader(struct qcow2_edit *d, const struct qcow2_header *want,
	struct err *e)
{
	uint64_t len = qcow2_cluster_size(d->h);
	CLEANUP(qcow2_stages_free) struct qcow2_stages s = {0};
	CLEANUP_FREE uint8_t *old = malloc(len), *new = malloc(len);
	struct qcow2_header h;

	if (!old || !new)
		return err_set(e, ERR_NOMEM, "out of memory");
	/* A flush then would write to the old header. */
	if (d->refs.moved && qcow2_refs_flush(&d->refs, e) < 0)
		return -1;
	if (plan_run(&d->plan, e) < 0 ||
		file_read_padded(d->plan.file[PLAN_IMAGE], old, len, 0, NULL,
			e) < 0)
		return -1;
	if (!d->kept && load_kept(d, old, len, e) < 0)
		return -1;
	if (encode(d, want, new, len, e) < 0 ||
		qcow2_header_decode((struct span){new, len}, true, &h, e) <
			0 ||
		qcow2_reheader_stages(old, new, len, &s, e) < 0 ||
		write_stages(d, old, &s, len, e) < 0)
		return -1;
	d->now = h;
	d->head_len = h.version < 3 ? QCOW2_V2_HEADER : QCOW2_V3_HEADER;
	d->refs.head_len = d->head_len;
	memcpy(d->head, new, d->head_len);
	return 0;
}
