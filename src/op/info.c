/* SPDX-License-Identifier: MIT */
/*
 * The facts of `info`, and their two texts. The order of members is that of
 * QEMU's hash table, so it follows no rule but the samples in tests/compat.
 */
#include "op/info.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/units.h"
#include "io/lock.h"

/* What QEMU keeps of a snapshot's id and name, bytes. */
#define ID_MAX 127
#define NAME_MAX_SHOWN 255

#define NSEC UINT64_C(1000000000)

static int
fill(struct info_image *v, struct image *im, struct err *e)
{
	if (image_info(im, &v->i, e) ||
		file_allocated(im->file, &v->actual_size, e))
		return -1;
	v->file_size = units_align_up(im->file->size, 512);
	v->name = strdup(im->file->name);
	if (v->i.backing)
		v->full_backing = chain_full_name(im->file->name,
			v->i.backing);
	if (!v->name || (v->i.backing && !v->full_backing))
		return err_sys(e, ENOMEM, "cannot keep an image's name");
	return 0;
}

/* Takes f. Appends its facts; *ret is the open image. */
static int
add(struct info_result *r, struct file *f, enum format format, bool share,
	const struct watch *w, struct image **ret, struct err *e)
{
	struct info_image *v;
	struct image *im = NULL;

	if (image_open(&im, f, format, IMAGE_INFO, w, e))
		return -1;
	/* a raw image has nothing that a writer could be changing */
	if (!share && im->ops->format == FORMAT_QCOW2 &&
		lock_image(im->file, LOCK_INFO_USE, LOCK_INFO_KEEP, e)) {
		err_file(e, im->file->name);
		image_close(im);
		return -1;
	}
	v = realloc(r->v, (r->n + 1) * sizeof(*v));
	if (!v) {
		image_close(im);
		return err_sys(e, ENOMEM, "cannot keep an image's facts");
	}
	r->v = v;
	memset(&v[r->n], 0, sizeof(*v));
	if (fill(&v[r->n++], im, e)) {
		err_file(e, im->file->name);
		image_close(im);
		return -1;
	}
	*ret = im;
	return 0;
}

struct identity {
	dev_t dev;
	ino_t ino;
};

/* Opens the backing file of *im, which it closes and replaces. */
static int
step(struct info_result *r, const struct gate *g, bool share,
	const struct watch *w, struct identity *seen, struct image **im,
	struct err *e)
{
	enum format format = FORMAT_PROBE;
	struct image *next;
	struct file *f;
	unsigned i;
	char q[256];

	if ((*im)->backing_format) {
		format = probe_format_from_name((*im)->backing_format);
		if (strcmp((*im)->backing_format, "file") == 0)
			format = FORMAT_RAW;
		if (format == FORMAT_PROBE)
			return err_set(e, ERR_UNSUPPORTED, "Unknown driver '%s'",
				err_quote(q, sizeof(q), (*im)->backing_format,
					(unsigned)strlen(
						(*im)->backing_format)));
	}
	if (gate_open(g, *im, (*im)->backing, "backing file", &f, e))
		return -1;
	for (i = 0; i < r->n; i++) {
		if (seen[i].dev == f->dev && seen[i].ino == f->ino) {
			err_quote(q, sizeof(q), f->name,
				(unsigned)strlen(f->name));
			file_close(f);
			return err_set(e, ERR_LIMIT, "Backing file '%s' "
				"creates an infinite loop.", q);
		}
	}
	seen[r->n].dev = f->dev;
	seen[r->n].ino = f->ino;
	if (add(r, f, format, share, w, &next, e))
		return -1;
	image_close(*im);
	*im = next;
	return 0;
}

static int
walk(const struct source *s, const struct gate *g, bool chain,
	const struct watch *w, struct info_result *r, struct identity *seen,
	struct image **im, unsigned depth_max, struct err *e)
{
	bool share = s->force_share || s->no_locks;
	struct file *f;

	if (source_file(s, &f, e))
		return -1;
	seen[0].dev = f->dev;
	seen[0].ino = f->ino;
	if (add(r, f, s->format, share, w, im, e))
		return -1;
	while (chain && (*im)->backing) {
		if (r->n >= depth_max)
			return err_set(e, ERR_LIMIT, "the backing chain has "
				"more than %u images", depth_max);
		if (step(r, g, share, w, seen, im, e))
			return -1;
	}
	return 0;
}

int
info_run(const struct source *s, const struct gate *g, bool chain,
	const struct watch *w, struct info_result *ret, struct err *e)
{
	unsigned depth_max = g && g->depth_max ? g->depth_max : GATE_DEPTH_MAX;
	struct info_result r = {0};
	struct image *im = NULL;
	struct identity *seen;
	int status;

	seen = calloc(depth_max + 1, sizeof(*seen));
	if (!seen)
		return err_sys(e, ENOMEM, "cannot follow a backing chain");
	status = walk(s, g, chain, w, &r, seen, &im, depth_max, e);
	image_close(im);
	free(seen);
	if (status) {
		info_result_free(&r);
		return -1;
	}
	*ret = r;
	return 0;
}

void
info_result_free(struct info_result *r)
{
	unsigned i;

	for (i = 0; i < r->n; i++) {
		free(r->v[i].name);
		free(r->v[i].full_backing);
		image_info_free(&r->v[i].i);
	}
	free(r->v);
	memset(r, 0, sizeof(*r));
}

/*
 * One description, two texts. As text a member is "key: value", dashes in keys
 * become blanks, list members are "[0]", and composites are indented.
 */
struct face {
	struct json_out *json; /* or NULL: text into out */
	struct buf *out;
	unsigned depth;        /* text: levels of 4 blanks */
	bool in_list;
	unsigned index;        /* text: number of the next list member */
};

static void
face_key(struct face *f, const char *key)
{
	unsigned i;

	for (i = 0; i < f->depth; i++)
		buf_str(f->out, "    ");
	if (f->in_list)
		buf_fmt(f->out, "[%u]:", f->index++);
	else
		for (; *key; key++)
			buf_char(f->out, *key == '-' ? ' ' : *key);
	if (!f->in_list)
		buf_char(f->out, ':');
}

static void
face_str(struct face *f, const char *key, const char *value)
{
	if (f->json) {
		json_str(f->json, key, value);
		return;
	}
	face_key(f, key);
	buf_fmt(f->out, " %s\n", value);
}

static void
face_u64(struct face *f, const char *key, uint64_t value)
{
	if (f->json) {
		json_u64(f->json, key, value);
		return;
	}
	face_key(f, key);
	buf_fmt(f->out, " %" PRIu64 "\n", value);
}

static void
face_bool(struct face *f, const char *key, bool value)
{
	if (f->json) {
		json_bool(f->json, key, value);
		return;
	}
	face_key(f, key);
	buf_str(f->out, value ? " true\n" : " false\n");
}

/* Returns the outer state, which face_leave puts back. */
static struct face
face_enter(struct face *f, const char *key, bool list)
{
	struct face outer;

	if (f->json) {
		if (list)
			json_open_array(f->json, key);
		else
			json_open_object(f->json, key);
		return *f;
	}
	face_key(f, key);
	buf_char(f->out, '\n');
	outer = *f;
	f->depth++;
	f->in_list = list;
	f->index = 0;
	return outer;
}

static void
face_leave(struct face *f, struct face outer, bool list)
{
	if (f->json) {
		if (list)
			json_close_array(f->json);
		else
			json_close_object(f->json);
	}
	*f = outer;
}

static void
bitmap_list(struct face *f, const struct image_info *i)
{
	struct face a, b, c;
	size_t k;

	a = face_enter(f, "bitmaps", true);
	for (k = 0; k < i->n_bitmaps; k++) {
		b = face_enter(f, NULL, false);
		c = face_enter(f, "flags", true);
		if (i->bitmaps[k].in_use)
			face_str(f, NULL, "in-use");
		if (i->bitmaps[k].is_auto)
			face_str(f, NULL, "auto");
		face_leave(f, c, true);
		face_str(f, "name", i->bitmaps[k].name);
		face_u64(f, "granularity", i->bitmaps[k].granularity);
		face_leave(f, b, false);
	}
	face_leave(f, a, true);
}

static void
luks_members(struct face *f, const struct info_luks *l)
{
	struct face a, b;
	unsigned k;

	face_str(f, "ivgen-alg", l->ivgen_alg);
	face_str(f, "hash-alg", l->hash_alg);
	face_str(f, "cipher-alg", l->cipher_alg);
	face_str(f, "uuid", l->uuid);
	if (l->ivgen_hash_alg[0])
		face_str(f, "ivgen-hash-alg", l->ivgen_hash_alg);
	face_str(f, "format", "luks");
	face_str(f, "cipher-mode", l->cipher_mode);
	a = face_enter(f, "slots", true);
	for (k = 0; k < INFO_LUKS_SLOTS; k++) {
		b = face_enter(f, NULL, false);
		face_bool(f, "active", l->slots[k].active);
		if (l->slots[k].active)
			face_u64(f, "iters", l->slots[k].iterations);
		face_u64(f, "key-offset", l->slots[k].key_offset);
		if (l->slots[k].active)
			face_u64(f, "stripes", l->slots[k].stripes);
		face_leave(f, b, false);
	}
	face_leave(f, a, true);
	face_u64(f, "payload-offset", l->payload_offset);
	face_u64(f, "master-key-iters", l->iterations);
}

static void
qcow2_members(struct face *f, const struct image_info *i)
{
	struct face a;

	face_str(f, "compat", i->version == 2 ? "0.10" : "1.1");
	face_str(f, "compression-type",
		i->compression == INFO_ZSTD ? "zstd" : "zlib");
	if (i->version > 2) {
		face_bool(f, "lazy-refcounts", i->lazy_refcounts);
		if (i->has_bitmaps)
			bitmap_list(f, i);
	}
	face_u64(f, "refcount-bits", i->refcount_bits);
	if (i->version > 2 && i->data_file)
		face_str(f, "data-file", i->data_file);
	if (i->crypt_method) {
		a = face_enter(f, "encrypt", false);
		if (i->crypt_method == 2 && i->luks)
			luks_members(f, i->luks);
		else
			face_str(f, "format",
				i->crypt_method == 2 ? "luks" : "aes");
		face_leave(f, a, false);
	}
	if (i->version > 2) {
		if (i->data_file_bit)
			face_bool(f, "data-file-raw", i->data_file_raw);
		face_bool(f, "corrupt", i->corrupt);
		face_bool(f, "extended-l2", i->extended_l2);
	}
}

static unsigned
shown(const char *s, unsigned max)
{
	return (unsigned)strnlen(s, max);
}

static void
snapshots_json(struct json_out *j, const struct image_info *i)
{
	const struct info_snapshot *s;

	json_open_array(j, "snapshots");
	for (s = i->snapshots; s < i->snapshots + i->n_snapshots; s++) {
		json_open_object(j, NULL);
		/* QEMU keeps these as signed numbers */
		if (s->has_icount)
			json_i64(j, "icount", (int64_t)s->icount);
		json_u64(j, "vm-clock-nsec", s->vm_clock_nsec % NSEC);
		json_strn(j, "name", s->name, shown(s->name, NAME_MAX_SHOWN));
		json_u64(j, "date-sec", s->date_sec);
		json_u64(j, "date-nsec", s->date_nsec);
		json_u64(j, "vm-clock-sec", s->vm_clock_nsec / NSEC);
		json_strn(j, "id", s->id, shown(s->id, ID_MAX));
		json_i64(j, "vm-state-size", (int64_t)s->vm_state_size);
		json_close_object(j);
	}
	json_close_array(j);
}

/* The file below the image, as an image of its own. */
static void
file_json(struct json_out *j, const struct info_image *v)
{
	json_open_array(j, "children");
	json_open_object(j, NULL);
	json_str(j, "name", "file");
	json_open_object(j, "info");
	json_open_array(j, "children");
	json_close_array(j);
	json_u64(j, "virtual-size", v->file_size);
	json_str(j, "filename", v->name);
	json_str(j, "format", "file");
	json_u64(j, "actual-size", v->actual_size);
	json_open_object(j, "format-specific");
	json_str(j, "type", "file");
	json_open_object(j, "data");
	json_close_object(j);
	json_close_object(j);
	json_bool(j, "dirty-flag", false);
	json_close_object(j);
	json_close_object(j);
	json_close_array(j);
}

static void
one_json(struct json_out *j, const struct info_image *v, bool newer)
{
	const struct image_info *i = &v->i;
	struct face f = {.json = j};

	json_open_object(j, NULL);
	if (newer)
		file_json(j, v);
	if (i->backing && i->backing_format)
		json_str(j, "backing-filename-format", i->backing_format);
	if (i->n_snapshots)
		snapshots_json(j, i);
	json_u64(j, "virtual-size", i->virtual_size);
	json_str(j, "filename", v->name);
	if (i->cluster_size)
		json_u64(j, "cluster-size", i->cluster_size);
	json_str(j, "format", probe_format_name(i->format));
	json_u64(j, "actual-size", v->actual_size);
	if (i->format == FORMAT_QCOW2) {
		json_open_object(j, "format-specific");
		json_str(j, "type", "qcow2");
		json_open_object(j, "data");
		qcow2_members(&f, i);
		json_close_object(j);
		json_close_object(j);
	}
	if (v->full_backing)
		json_str(j, "full-backing-filename", v->full_backing);
	if (i->encrypted)
		json_bool(j, "encrypted", true);
	if (i->backing)
		json_str(j, "backing-filename", i->backing);
	json_bool(j, "dirty-flag", i->dirty);
	json_close_object(j);
}

void
info_json(const struct info_result *r, bool chain, struct buf *out)
{
	struct json_out j = {.out = out, .pretty = true};
	unsigned k;

	if (chain)
		json_open_array(&j, NULL);
	for (k = 0; k < (chain ? r->n : 1); k++)
		one_json(&j, &r->v[k], r->newer);
	if (chain)
		json_close_array(&j);
	buf_char(out, '\n');
}

void
info_size_text(uint64_t bytes, struct buf *out)
{
	static const char *const units[] = {
		"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"
	};
	double v = (double)bytes;
	unsigned i = 0;

	/* three digits at most before the point, though rounding may still
	 * give "1e+03 KiB" */
	while (v >= 1000 && i < 6) {
		v /= 1024;
		i++;
	}
	buf_fmt(out, "%0.3g %s", v, units[i]);
}

void
info_snapshots(const struct image_info *i, bool newer, struct buf *out)
{
	const struct info_snapshot *s;
	struct buf size = BUF_INIT;
	char date[64], clock[64], icount[32];
	struct tm tm;
	uint64_t sec;
	time_t t;

	buf_str(out, "Snapshot list:\n");
	if (newer)
		buf_fmt(out, "%-7s %-16s %8s %19s %15s %10s\n", "ID", "TAG",
			"VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT");
	else
		buf_fmt(out, "%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG",
			"VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
	for (s = i->snapshots; s < i->snapshots + i->n_snapshots; s++) {
		t = (time_t)s->date_sec;
		date[0] = icount[0] = '\0';
		if (localtime_r(&t, &tm))
			strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
		sec = s->vm_clock_nsec / NSEC;
		snprintf(clock, sizeof(clock), "%0*u:%02u:%02u.%03u",
			newer ? 4 : 2, (unsigned)(sec / 3600), (unsigned)(sec / 60 % 60),
			(unsigned)(sec % 60),
			(unsigned)(s->vm_clock_nsec / 1000000 % 1000));
		if (s->has_icount)
			snprintf(icount, sizeof(icount), "%" PRId64,
				(int64_t)s->icount);
		else if (newer)
			strcpy(icount, "--");
		buf_clear(&size);
		info_size_text(s->vm_state_size, &size);
		buf_fmt(out, newer
				? "%-7.*s %-16.*s %8s %19s %15s %10s\n"
				: "%-9.*s %-16.*s %8s%20s%13s%11s\n",
			ID_MAX, s->id, NAME_MAX_SHOWN, s->name, size.p ? size.p : "", date,
			clock, icount);
	}
	buf_free(&size);
}

static void
file_human(const struct info_image *v, struct buf *out)
{
	buf_fmt(out, "Child node '/file':\n    filename: %s\n"
		"    protocol type: file\n    file length: ", v->name);
	info_size_text(v->file_size, out);
	buf_fmt(out, " (%" PRIu64 " bytes)\n    disk size: ", v->file_size);
	info_size_text(v->actual_size, out);
	buf_char(out, '\n');
}

static void
one_human(const struct info_image *v, bool newer, struct buf *out)
{
	const struct image_info *i = &v->i;
	struct face f = {.out = out, .depth = 1};

	buf_fmt(out, "image: %s\nfile format: %s\nvirtual size: ", v->name,
		probe_format_name(i->format));
	info_size_text(i->virtual_size, out);
	buf_fmt(out, " (%" PRIu64 " bytes)\ndisk size: ", i->virtual_size);
	info_size_text(v->actual_size, out);
	buf_char(out, '\n');
	if (i->encrypted)
		buf_str(out, "encrypted: yes\n");
	if (i->cluster_size)
		buf_fmt(out, "cluster_size: %" PRIu32 "\n", i->cluster_size);
	if (i->dirty)
		buf_str(out, "cleanly shut down: no\n");
	if (i->backing) {
		buf_fmt(out, "backing file: %s", i->backing);
		if (!v->full_backing)
			buf_str(out, " (cannot determine actual path)");
		else if (strcmp(v->full_backing, i->backing) != 0)
			buf_fmt(out, " (actual path: %s)", v->full_backing);
		buf_char(out, '\n');
		if (i->backing_format)
			buf_fmt(out, "backing file format: %s\n",
				i->backing_format);
	}
	if (i->n_snapshots)
		info_snapshots(i, newer, out);
	if (i->format == FORMAT_QCOW2) {
		buf_str(out, "Format specific information:\n");
		qcow2_members(&f, i);
	}
	if (newer)
		file_human(v, out);
}

void
info_human(const struct info_result *r, bool chain, struct buf *out)
{
	unsigned k;

	for (k = 0; k < (chain ? r->n : 1); k++) {
		if (k)
			buf_char(out, '\n');
		one_human(&r->v[k], r->newer, out);
	}
}
