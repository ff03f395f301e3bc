/* SPDX-License-Identifier: MIT */
/*
 * byre cache list and status: what lies in _base, from inodes, records and
 * the headers of the instances' disks. No image is opened.
 */
#include "config.h"

#include "cli/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/json.h"
#include "cache/entries.h"
#include "cache/users.h"
#include "cli/cache.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "op/info.h"

/* A line around the number of users. */
#define LINE_FORMAT "%-43s %-9s %9s %9s "
#define REST_FORMAT "%8s %-9s %-3s %s\n"

static const char *
kind_name(const struct entry *n)
{
	switch (n->layout.kind) {
	case LAYOUT_IMAGE:
		return n->recorded && n->record.kind == RECORD_KERNEL
			? "kernel" : "image";
	case LAYOUT_SIZED:
	case LAYOUT_SIZED_OLD:
		return "sized";
	case LAYOUT_SWAP:
		return "swap";
	case LAYOUT_EPHEMERAL:
		return "ephemeral";
	case LAYOUT_PART:
		return "part";
	case LAYOUT_CONVERTED:
		return "converted";
	case LAYOUT_OLD_INFO:
		return "old-info";
	default:
		return "foreign";
	}
}

/* What is known of its content. */
static const char *
state_name(const struct entry *n)
{
	if (!n->regular)
		return "no-file";
	if (!layout_is_base(n->layout.kind))
		return "none";
	if (!n->recorded)
		return "no-record";
	if (n->record.rotten)
		return "rotten";
	if (n->record.verified && n->record.kind != RECORD_ADOPTED)
		return "verified";
	if (n->record.kind == RECORD_ADOPTED)
		return "adopted";
	return n->record.has_digest ? "digest" : "no-digest";
}

static uint64_t
on_disk(const struct entry *n)
{
	return (uint64_t)n->st.st_blocks * 512;
}

/* A raw file of Nova's is as long as its disk; of a qcow2 only a record
 * knows. */
static uint64_t
virtual_size(const struct entry *n)
{
	return n->recorded ? n->record.virtual_size : (uint64_t)n->st.st_size;
}

static void
put_json(struct json_out *j, const struct entry *n, const struct users *u)
{
	struct users_answer a = users_of(u, n->name, &n->st);
	char text[DIGEST_TEXT];

	json_open_object(j, NULL);
	json_str(j, "name", n->name);
	json_str(j, "kind", kind_name(n));
	json_str(j, "state", state_name(n));
	json_u64(j, "virtual-size", virtual_size(n));
	json_u64(j, "actual-size", on_disk(n));
	json_u64(j, "users", a.disks);
	if (a.disks)
		json_str(j, "used-by", a.disk);
	json_i64(j, "last-used", n->st.st_mtim.tv_sec);
	json_bool(j, "pinned", n->recorded && n->record.pinned);
	if (n->recorded) {
		if (*n->record.id)
			json_str(j, "image-id", n->record.id);
		json_str(j, "format", probe_format_name(n->record.format));
		json_i64(j, "created", n->record.created);
		if (n->record.has_digest)
			json_str(j, "content-digest",
				digest_text(&n->record.digest, text));
		if (n->record.verified)
			json_i64(j, "verified", n->record.verified);
		if (n->record.verify_at)
			json_u64(j, "verify-at", n->record.verify_at);
		if (n->record.rotten)
			json_u64(j, "rotten-blocks", n->record.rotten);
	}
	json_close_object(j);
}

/* "3d 4h", "17m" */
static void
age_text(int64_t now, int64_t then, char *out, unsigned cap)
{
	int64_t s = now > then ? now - then : 0;

	if (s >= 86400)
		snprintf(out, cap, "%" PRId64 "d %" PRId64 "h", s / 86400,
			s % 86400 / 3600);
	else if (s >= 3600)
		snprintf(out, cap, "%" PRId64 "h %" PRId64 "m", s / 3600,
			s % 3600 / 60);
	else
		snprintf(out, cap, "%" PRId64 "m", s / 60);
}

static void
put_line(struct buf *out, const struct entry *n, const struct users *u,
	int64_t now)
{
	struct buf size = BUF_INIT, disk = BUF_INIT;
	char name[3 * LAYOUT_NAME], id[512] = "-", age[40];

	err_quote(name, sizeof(name), n->name, (unsigned)strlen(n->name));
	if (n->recorded && *n->record.id)
		err_quote(id, sizeof(id), n->record.id,
			(unsigned)strlen(n->record.id));
	age_text(now, n->st.st_mtim.tv_sec, age, sizeof(age));
	info_size_text(virtual_size(n), &size);
	info_size_text(on_disk(n), &disk);
	buf_fmt(out, LINE_FORMAT "%5u " REST_FORMAT, name,
		kind_name(n), size.p ? size.p : "", disk.p ? disk.p : "",
		users_of(u, n->name, &n->st).disks, age,
		state_name(n), n->recorded && n->record.pinned ? "pin" : "-",
		id);
	buf_free(&size);
	buf_free(&disk);
}

static void
list(const struct options_args *a, const struct entries *l,
	const struct users *u, struct buf *out)
{
	struct json_out j = {.out = out, .pretty = true};
	int64_t now = time(NULL);
	size_t i;

	if (a->json)
		json_open_array(&j, NULL);
	else
		buf_fmt(out, LINE_FORMAT "%5s " REST_FORMAT, "NAME", "KIND",
			"VIRTUAL", "DISK", "USERS", "UNUSED", "STATE", "PIN",
			"IMAGE");
	for (i = 0; i < l->n; i++) {
		if (a->json)
			put_json(&j, &l->v[i], u);
		else
			put_line(out, &l->v[i], u, now);
	}
	if (a->json) {
		json_close_array(&j);
		buf_char(out, '\n');
	}
}

struct totals {
	uint64_t bases, virtual, disk, pinned, unrecorded, rotten;
	uint64_t used, used_disk;
	uint64_t others, others_disk;
	uint64_t free, total;
};

static int
add_up(const struct store *s, const struct entries *l, const struct users *u,
	struct totals *t, struct err *e)
{
	struct statvfs fs;
	size_t i;

	for (i = 0; i < l->n; i++) {
		const struct entry *n = &l->v[i];

		if (!n->regular || !layout_is_base(n->layout.kind)) {
			t->others++;
			t->others_disk += on_disk(n);
			continue;
		}
		t->bases++;
		t->virtual += virtual_size(n);
		t->disk += on_disk(n);
		if (users_of(u, n->name, &n->st).disks) {
			t->used++;
			t->used_disk += on_disk(n);
		}
		t->pinned += n->recorded && n->record.pinned;
		t->unrecorded += !n->recorded;
		t->rotten += n->recorded && n->record.rotten;
	}
	if (fstatvfs(s->base_fd, &fs)) {
		err_sys(e, errno, "cannot tell the free space");
		return err_file(e, s->base);
	}
	t->free = (uint64_t)fs.f_bavail * fs.f_frsize;
	t->total = (uint64_t)fs.f_blocks * fs.f_frsize;
	return 0;
}

static void
put_amount(struct buf *out, const char *label, uint64_t n, uint64_t bytes)
{
	buf_fmt(out, "%-18s %6" PRIu64 "  ", label, n);
	info_size_text(bytes, out);
	buf_char(out, '\n');
}

static void
status(const struct options_args *a, const struct store *s,
	const struct totals *t, struct buf *out)
{
	struct json_out j = {.out = out, .pretty = true};
	char q[4096];

	if (a->json) {
		json_open_object(&j, NULL);
		json_str(&j, "directory", s->base);
		json_u64(&j, "bases", t->bases);
		json_u64(&j, "virtual-size", t->virtual);
		json_u64(&j, "actual-size", t->disk);
		json_u64(&j, "used", t->used);
		json_u64(&j, "used-size", t->used_disk);
		json_u64(&j, "pinned", t->pinned);
		json_u64(&j, "without-record", t->unrecorded);
		json_u64(&j, "rotten", t->rotten);
		json_u64(&j, "other-files", t->others);
		json_u64(&j, "other-size", t->others_disk);
		json_u64(&j, "free", t->free);
		json_u64(&j, "total", t->total);
		json_close_object(&j);
		buf_char(out, '\n');
		return;
	}
	err_quote(q, sizeof(q), s->base, (unsigned)strlen(s->base));
	buf_fmt(out, "%s\n", q);
	put_amount(out, "bases", t->bases, t->disk);
	put_amount(out, "  in use", t->used, t->used_disk);
	buf_fmt(out, "%-18s %6" PRIu64 "\n", "  pinned", t->pinned);
	buf_fmt(out, "%-18s %6" PRIu64 "\n", "  without record",
		t->unrecorded);
	buf_fmt(out, "%-18s %6" PRIu64 "\n", "  rotten", t->rotten);
	put_amount(out, "other files", t->others, t->others_disk);
	buf_str(out, "free                       ");
	info_size_text(t->free, out);
	buf_str(out, " of ");
	info_size_text(t->total, out);
	buf_char(out, '\n');
}

static int
look(const struct options_args *a, const struct store *s,
	const struct watch *w, struct entries *l, struct users *u,
	struct err *e)
{
	const struct users_request rq = {
		.store = s,
		.roots = a->roots.v,
		.n_roots = a->roots.n,
		.watch = w,
	};
	char line[512], q[300];
	size_t i;

	if (entries_load(s, true, w, l, e) || users_scan(&rq, u, e))
		return -1;
	for (i = 0; i < u->n_dark; i++) {
		snprintf(line, sizeof(line), "%s: %s; it may use any base",
			err_quote(q, sizeof(q), u->dark[i].disk,
				(unsigned)strlen(u->dark[i].disk)),
			u->dark[i].why);
		watch_note(w, line);
	}
	return 0;
}

static int
show(const struct options_args *a, bool totals, struct buf *out,
	struct err *e)
{
	struct store s = STORE_NONE;
	struct entries l = {0};
	struct users u = {0};
	struct totals t = {0};
	struct progress p;
	int r;

	if (a->operands.n)
		return err_set(e, ERR_USAGE, "no argument is taken");
	report_started();
	if (cache_open(a, false, &s, e))
		return -1;
	progress_start(&p, "cache list", false, false, a->quiet, -1,
		report_warning);
	r = look(a, &s, &p.watch, &l, &u, e);
	progress_end(&p, r == 0);
	if (r == 0 && totals) {
		r = add_up(&s, &l, &u, &t, e);
		if (r == 0)
			status(a, &s, &t, out);
	} else if (r == 0) {
		list(a, &l, &u, out);
	}
	users_free(&u);
	entries_free(&l);
	store_close(&s);
	return r;
}

int
cmd_cache_list(struct options_args *a)
{
	struct buf out = BUF_INIT;
	struct err e = {0};

	if (show(a, false, &out, &e))
		return report_error(&e);
	return report_output(&out);
}

int
cmd_cache_status(struct options_args *a)
{
	struct buf out = BUF_INIT;
	struct err e = {0};

	if (show(a, true, &out, &e))
		return report_error(&e);
	return report_output(&out);
}
