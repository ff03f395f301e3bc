/* SPDX-License-Identifier: MIT */
/*
 * A broken snapshot table, stored anew as QEMU would store it: every entry
 * with the extra data that is known, ids and names up to a NUL. The refcounts
 * are right by then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_check_int.h"
#include "format/qcow2_refs.h"

#define FIXED 40u
#define EXTRA_KNOWN 24u
#define POINTER_AT 60 /* in the header: number, then offset */
/* what the buffer needs behind the place of an entry */
#define LONGEST (FIXED + QCOW2_SNAPSHOT_EXTRA_MAX + 2 * 65535u + 8)

/* One entry to out + *at, which moves behind it. */
static int
copy_record(struct qcow2_check *c, uint64_t from, uint8_t *out, uint64_t *at,
	struct err *e)
{
	uint64_t id_len, name_len, extra, keep, vm_state;
	uint8_t *p;

	*at = units_align_up(*at, 8);
	p = out + *at;
	if (qcow2_check_io_read(c, from, p, FIXED, NULL, e))
		return -1;
	id_len = load_be16(p + 12);
	name_len = load_be16(p + 14);
	extra = load_be32(p + 36);
	keep = units_min(extra, QCOW2_SNAPSHOT_EXTRA_MAX);
	if (qcow2_check_io_read(c, from + FIXED, p + FIXED, keep, NULL, e))
		return -1;
	/* what an older writer left out: the state's size is in the old
	 * field, the disk had this one's size, and there was no icount */
	if (keep < 8)
		store_be64(p + FIXED, load_be32(p + 32));
	if (keep < 16)
		store_be64(p + FIXED + 8, units_align_down(c->h->size, 512));
	if (keep < 24)
		store_be64(p + FIXED + 16, UINT64_MAX);
	keep = units_max(keep, EXTRA_KNOWN);
	vm_state = load_be64(p + FIXED);
	store_be32(p + 32, vm_state <= UINT32_MAX ? (uint32_t)vm_state : 0);
	store_be32(p + 36, (uint32_t)keep);
	from += FIXED + extra;
	*at += FIXED + keep;
	if (qcow2_check_io_read(c, from, out + *at, id_len, NULL, e))
		return -1;
	from += id_len;
	id_len = strnlen((char *)out + *at, id_len);
	*at += id_len;
	if (qcow2_check_io_read(c, from, out + *at, name_len, NULL, e))
		return -1;
	name_len = strnlen((char *)out + *at, name_len);
	*at += name_len;
	store_be16(p + 12, (uint16_t)id_len);
	store_be16(p + 14, (uint16_t)name_len);
	return 0;
}

static int
copy_all(struct qcow2_check *c, uint8_t **ret, uint64_t *ret_len,
	struct err *e)
{
	uint64_t cap = 0, at = 0;
	uint8_t *out = NULL, *v;

	for (uint64_t i = 0; i < c->n_snapshots; i++) {
		if (at + LONGEST > cap) {
			cap = units_max(cap * 2, at + LONGEST);
			v = realloc(out, cap);
			if (!v) {
				free(out);
				return err_set(e, ERR_NOMEM, "no memory for "
					"the snapshot table");
			}
			out = v;
			if (at > QCOW2_SNAPSHOT_TABLE_MAX)
				break;
			memset(out + at, 0, cap - at);
		}
		if (copy_record(c, c->snapshots[i].at, out, &at, e)) {
			free(out);
			return -1;
		}
	}
	*ret = out;
	*ret_len = at;
	return 0;
}

/* The place must be free, whatever the counts say: the old table may claim
 * more than it has. */
static int
check_place(struct qcow2_check *c, uint64_t hoff, uint64_t len, struct err *e)
{
	const char *what;

	if (qcow2_check_io_overlap(c, QCOW2_META_NONE, hoff, len, &what, e))
		return -1;
	if (!what)
		return 0;
	if (qcow2_check_io_signal(c, e, "Preventing invalid write on metadata "
		"(overlaps with %s)", what))
		return -1;
	return qcow2_check_io_stop(c, EIO, e);
}

/* What lay behind the end of the file was never counted. */
static int
drop_old(struct qcow2_check *c, struct qcow2_refs *refs, uint64_t hoff,
	struct err *e)
{
	uint64_t end = hoff + c->snapshots_len, count;
	bool known = true;

	for (uint64_t at = hoff; at < end; at += c->cluster) {
		if (qcow2_refs_get(refs, at >> c->h->cluster_bits, &count, e) ||
			(count && qcow2_refs_drop(refs, at, 1, e)))
			return -1;
		known &= count != 0;
	}
	if (!known)
		qcow2_check_io_say(c, "qcow2_free_clusters failed: %s",
			strerror(EINVAL));
	return 0;
}

static int
store(struct qcow2_check *c, struct qcow2_refs *refs, struct err *e)
{
	CLEANUP_FREE uint8_t *out = NULL;
	uint64_t len = 0, hoff = 0, old = c->h->snapshots_offset;
	uint8_t b[12];

	if (copy_all(c, &out, &len, e))
		return -1;
	if (len > QCOW2_SNAPSHOT_TABLE_MAX)
		return qcow2_check_io_stop(c, EFBIG, e);
	if (len && (qcow2_refs_alloc(refs, units_div_up(len, c->cluster),
			    &hoff, e) ||
		    check_place(c, hoff, len, e) ||
		    plan_write(&c->plan, PLAN_IMAGE, hoff, out, len, e) ||
		    qcow2_refs_flush(refs, e)))
		return -1;
	c->h->n_snapshots = (uint32_t)c->n_snapshots;
	c->h->snapshots_offset = hoff;
	store_be32(b, c->h->n_snapshots);
	store_be64(b + 4, hoff);
	if (plan_write(&c->plan, PLAN_IMAGE, POINTER_AT, b, sizeof(b), e) ||
		plan_barrier(&c->plan, "snapshot table switched", e) ||
		drop_old(c, refs, old, e) ||
		qcow2_refs_write(refs, e))
		return -1;
	c->snapshots_len = len;
	/* it may lie where a leak was: those stay as they are */
	c->n_freed = 0;
	return 0;
}

int
qcow2_check_table(struct qcow2_check *c, struct err *e)
{
	struct qcow2_check_result *r = &c->snapshot_r;
	uint8_t head[QCOW2_V3_HEADER];
	size_t head_len = c->h->version < 3 ? QCOW2_V2_HEADER
		: QCOW2_V3_HEADER;
	struct qcow2_refs refs = {0};
	int status;

	if (r->corruptions == 0 || !(c->fix & QCOW2_FIX_ERRORS))
		return 0;
	if (qcow2_check_io_run(c, e) ||
		qcow2_check_io_read(c, 0, head, head_len, NULL, e))
		return -1;
	status = qcow2_refs_open(&refs, &c->plan, c->h, head, head_len, e);
	if (status == 0) {
		qcow2_overlap_put(&refs.overlap, QCOW2_META_L1,
			c->h->l1_offset, (uint64_t)c->h->l1_entries * 8);
		qcow2_overlap_seal(&refs.overlap);
		status = store(c, &refs, e);
	}
	qcow2_refs_close(&refs);
	if (status) {
		if (!c->eno)
			c->eno = e->kind == ERR_NOMEM ? ENOMEM
				: e->eno ? e->eno : EIO;
		r->errors++;
		qcow2_check_io_say(c, "ERROR failed to update snapshot table: "
			"%s", strerror(c->eno));
		return -1;
	}
	r->corruptions_fixed += r->corruptions;
	r->corruptions = 0;
	return 0;
}
