/* SPDX-License-Identifier: MIT */
/* qemu-img snapshot. It opens the whole chain, though it needs only the
 * image. */
#include "config.h"

#include "cli/compat.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/compat_file.h"
#include "cli/progress.h"
#include "op/info.h"
#include "op/snapshot.h"

static int
list(const struct source *s, const char *shown, const struct gate *g)
{
	struct info_result r = {0};
	struct buf out = BUF_INIT;
	struct err e = {0};
	struct chain *c;

	if (source_open(s, g, false, &compat_notes, &c, &e))
		return compat_open_failed(shown, s->path, &e);
	chain_close(c);
	if (info_run(s, g, false, NULL, &r, &e))
		return compat_open_failed(shown, s->path, &e);
	if (r.v[0].i.n_snapshots)
		info_snapshots(&r.v[0].i, compat_newer(), &out);
	info_result_free(&r);
	return compat_output(&out);
}

static bool
starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* The errno that QEMU has for a fault that has none here. */
static int
errno_of(const struct err *e)
{
	unsigned long long at;

	if (e->eno)
		return e->eno;
	if (e->kind == ERR_NOMEM)
		return ENOMEM;
	if (starts(e->msg, "Snapshot L1 table offset"))
		return EINVAL;
	if (starts(e->msg, "Snapshot L1 table too large"))
		return EFBIG;
	/* a count for a cluster far away: QEMU grows its refcount table for
	 * it, up to 8 MiB of table (for 64 KiB clusters, 2^51 bytes) */
	if (sscanf(e->msg, "clusters at %llu lie beyond", &at) == 1)
		return at >> 51 ? EFBIG : EAGAIN;
	return EIO;
}

static int
failed(const struct snapshot_request *rq, const struct snapshot_result *r,
	const char *shown, const struct err *e)
{
	bool raw = r->format != FORMAT_QCOW2;
	int eno = errno_of(e);
	struct err said = *e; /* the sentence without an errno */
	char before[512];

	said.eno = 0;
	if (e->kind == ERR_CANCELLED)
		return compat_fault("", e, false);
	switch (rq->action) {
	case SNAPSHOT_CREATE:
		return compat_fail("Could not create snapshot '%s': %d (%s)",
			rq->name, -eno, strerror(eno));
	case SNAPSHOT_APPLY:
		if (raw)
			/* it is opened once more, and warned of again */
			compat_file_probed_raw(shown);
		if (raw)
			return compat_fail("Could not apply snapshot '%s': "
				"Block driver does not support snapshots",
				rq->name);
		if (eno == EBUSY)
			return compat_fail("Could not apply snapshot '%s': %s",
				rq->name, e->msg);
		/* what stops QEMU's resize, or its look at the table */
		if (e->kind == ERR_CORRUPT || starts(e->msg, "Can't resize") ||
			starts(e->msg, "Snapshot L1"))
			compat_fault("", &said, false);
		return compat_fail("Could not apply snapshot '%s': Failed to "
			"load snapshot: %s", rq->name, strerror(eno));
	case SNAPSHOT_DELETE:
		if (raw || strcmp(e->msg, SNAPSHOT_NONE) == 0 ||
			eno == ENOTSUP)
			return compat_fail("Could not delete snapshot '%s': "
				"snapshot not found", rq->name);
		snprintf(before, sizeof(before), "Could not delete snapshot "
			"'%s': ", rq->name);
		return compat_fault(before, &said, false);
	}
	return 1;
}

/* QEMU keeps so much of a name. */
#define NAME_KEPT 255

static int
change(const struct options_args *a, const struct source *s, const char *shown,
	const struct gate *g)
{
	struct snapshot_request rq = {
		.image = inplace_of(s, g),
		.name = a->steps.v[1],
		/* qemu-img flushes when it closes a writeback image */
		.durable = true,
	};
	struct snapshot_result r;
	char kept[NAME_KEPT + 1];
	struct timespec now;
	struct err e = {0};
	struct progress p;
	int status;

	rq.action = strcmp(a->steps.v[0], "create") == 0 ? SNAPSHOT_CREATE
		: strcmp(a->steps.v[0], "apply") == 0 ? SNAPSHOT_APPLY
		: SNAPSHOT_DELETE;
	if (rq.action == SNAPSHOT_CREATE) {
		snprintf(kept, sizeof(kept), "%s", rq.name);
		rq.name = kept;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	rq.date_sec = (uint32_t)now.tv_sec;
	rq.date_nsec = (uint32_t)now.tv_nsec / 1000 * 1000;
	progress_start(&p, "snapshot", false, false, a->quiet, -1,
		compat_warn);
	rq.image.allow_probed = !g->safe;
	rq.image.watch = &p.watch;
	status = snapshot_run(&rq, &r, &e);
	if (status && !r.opened)
		return compat_inplace_failed(shown, s->path, &e);
	if (s->format == FORMAT_PROBE && r.format == FORMAT_RAW)
		compat_file_probed_raw(shown);
	rq.name = a->steps.v[1];
	return status ? failed(&rq, &r, shown, &e) : 0;
}

int
compat_snapshot(const struct options_args *a)
{
	const char *shown = a->operands.n ? a->operands.v[0] : "";
	bool lists = a->steps.n == 0 || strcmp(a->steps.v[0], "list") == 0;
	struct name n = {0};
	struct source s;
	struct gate g;
	int status;

	if (a->steps.n > (lists ? 1 : 2))
		return compat_try("Cannot mix '-l', '-a', '-c', '-d'");
	if (a->operands.n != 1)
		return compat_try("Expecting one image file name");
	if (compat_source(a, shown, &n, &s, &g))
		status = 1;
	else if ((!lists || a->steps.n == 0) &&
		compat_inplace_writable(shown, &n, &s, &g))
		status = 1;
	else if (s.force_share && (!lists || a->steps.n == 0))
		status = compat_fail("Could not open '%s': force-share=on can "
			"only be used with read-only images", shown);
	else if (a->steps.n == 0)
		status = 0;
	else
		status = lists ? list(&s, shown, &g)
			: change(a, &s, shown, &g);
	name_free(&n);
	return status;
}
