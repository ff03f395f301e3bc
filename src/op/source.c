/* SPDX-License-Identifier: MIT */
/* Opens what an operation reads, behind the safe policy where it is on. */
#include "op/source.h"

#include <errno.h>
#include <string.h>

int
source_backing_path(char **ret, const char *target, const char *name,
	struct err *e)
{
	const char *path = gate_path(name);
	enum format format;
	char *full, q[128];

	if (gate_is_json(name))
		return gate_json(name, ret, &format, e);
	if (!path)
		return err_set(e, ERR_UNSUPPORTED, "Could not open '%s': only "
			"files are opened, no other protocol", err_quote(q,
				sizeof(q), name, (unsigned)strlen(name)));
	/* as in QEMU, behind "file:" from the working directory */
	full = path == name ? chain_full_name(target, name) : strdup(path);
	if (!full)
		return err_sys(e, ENOMEM, "cannot name the backing file");
	*ret = full;
	return 0;
}

int
source_file(const struct source *s, struct file **ret, struct err *e)
{
	if (!s->path)
		return file_from_fd(ret, s->fd, "(descriptor)", e);
	return file_open(ret, s->dirfd, s->path,
		FILE_READ | (s->direct ? FILE_DIRECT : 0), e);
}

int
source_open(const struct source *s, const struct gate *g, bool no_backing,
	const struct watch *w, struct chain **ret, struct err *e)
{
	struct chain_request rq = {
		.format = s->format,
		.snapshot = s->snapshot,
		.snapshot_id = s->snapshot_id,
		.snapshot_name = s->snapshot_name,
		.data_path = s->data_path,
		.no_backing = no_backing,
		.force_share = s->force_share || s->no_locks,
		.share_raw = s->share_raw,
		.direct = s->direct,
		.verbatim = s->verbatim,
		.gate = g,
		.watch = w,
	};
	struct gate_report report;
	struct chain *c;
	struct file *f;

	if (source_file(s, &f, e))
		return -1;
	if (g->safe) {
		if (gate_inspect(g, f, s->format, true, w, &report, e) ||
			gate_verdict(&report, e)) {
			err_file(e, f->name);
			file_close(f);
			return -1;
		}
		/* what was looked at is what is read */
		rq.format = report.probe.format;
	}
	if (chain_open(&c, f, &rq, e))
		return -1;
	/* the judgement was on the active state */
	if (g->safe && s->snapshot && gate_guest(c->im[0], e)) {
		err_file(e, c->im[0]->file->name);
		chain_close(c);
		return -1;
	}
	*ret = c;
	return 0;
}
