/* SPDX-License-Identifier: MIT */
/* byre cache blank: a base that is an empty swap area or file system. */
#include "config.h"

#include "cli/cmd.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/units.h"
#include "cache/blank.h"
#include "cli/cache.h"
#include "cli/native.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/tool.h"

#define FS_DEFAULT "ext4" /* Nova's where nothing is configured */
#define LABEL_DEFAULT "ephemeral0"

struct job {
	const char *fs, *label;
	bool swap;
	const struct watch *watch;
};

/* mkfs as Nova calls it: forced for those that ask, the label's letter by the
 * kind. */
static int
format(void *arg, int fd, struct err *e)
{
	static const char *const mkswap[] = {"mkswap", TOOL_FILE, NULL};
	const struct job *j = arg;
	const char *argv[10];
	unsigned n = 0;
	bool fat = strcmp(j->fs, "vfat") == 0 || strcmp(j->fs, "msdos") == 0;

	if (j->swap)
		return tool_run(mkswap, fd, 1 << 0, j->watch, e);
	argv[n++] = "mkfs";
	argv[n++] = "-t";
	argv[n++] = j->fs;
	if (strncmp(j->fs, "ext", 3) == 0 || strcmp(j->fs, "ntfs") == 0)
		argv[n++] = "-F";
	if (*j->label) {
		argv[n++] = fat ? "-n" : "-L";
		argv[n++] = j->label;
	}
	argv[n++] = TOOL_FILE;
	argv[n] = NULL;
	return tool_run(argv, fd, 1 << 0, j->watch, e);
}

static bool
is_word(const char *s)
{
	return *s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.") ==
		strlen(s);
}

static int
options(const struct options_args *a, struct blank_request *rq, struct job *j,
	struct journal *journal, struct err *e)
{
	static const char *const words[] = {"swap", "ephemeral", NULL};
	unsigned i = 0;
	uint64_t unit;

	if (native_word(a->operands.v[0], "kind", words, &i, e))
		return -1;
	j->swap = i == 0;
	j->fs = a->fs ? a->fs : FS_DEFAULT;
	j->label = a->label ? a->label : LABEL_DEFAULT;
	rq->kind = j->swap ? LAYOUT_SWAP : LAYOUT_EPHEMERAL;
	if (j->swap && (a->fs || a->label))
		return err_set(e, ERR_USAGE,
			"--fs and --label are for ephemeral disks");
	if (!is_word(j->fs))
		return err_set(e, ERR_USAGE, "--fs: no name of a file system");
	if (!a->size)
		return err_set(e, ERR_USAGE, "--size is needed");
	if (parse_size(a->size, &rq->size, e))
		return err_prefix(e, "--size");
	unit = j->swap ? MIB : GIB;
	if (rq->size == 0 || rq->size % unit)
		return err_set(e, ERR_USAGE, "--size: %" PRIu64 " bytes are no "
			"whole %s", rq->size, j->swap ? "MiB" : "GiB");
	rq->size /= unit;
	rq->mkfs = j->fs;
	rq->format = format;
	rq->format_arg = j;
	if (cache_journal(a, journal, e))
		return -1;
	rq->journal = journal;
	return 0;
}

static int
run(const struct options_args *a, struct store *s, struct blank_result *ret,
	struct err *e)
{
	struct blank_request rq = {.store = s};
	struct journal journal;
	struct progress p;
	struct job j;
	int r;

	if (options(a, &rq, &j, &journal, e))
		return -1;
	report_started();
	if (cache_open(a, true, s, e))
		return -1;
	progress_start(&p, "cache blank", false, false, a->quiet, -1,
		report_warning);
	rq.watch = j.watch = &p.watch;
	r = blank_run(&rq, ret, e);
	progress_end(&p, r == 0);
	return r;
}

int
cmd_cache_blank(struct options_args *a)
{
	struct blank_result result;
	struct store s = STORE_NONE;
	struct buf out = BUF_INIT;
	struct err e = {0};
	char q[4096];
	int r;

	if (a->operands.n != 1)
		return report_usage("swap or ephemeral is needed");
	if (run(a, &s, &result, &e)) {
		r = report_error(&e);
	} else {
		err_quote(q, sizeof(q), s.base, (unsigned)strlen(s.base));
		buf_fmt(&out, "%s/%s\n", q, result.name);
		if (a->quiet)
			buf_clear(&out);
		r = report_output(&out);
	}
	store_close(&s);
	return r;
}
