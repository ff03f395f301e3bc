/* SPDX-License-Identifier: MIT */
/* Opens what an operation reads, behind the safe policy where it is on. */
#include "op/source.h"

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
		.no_backing = no_backing,
		.force_share = s->force_share,
		.direct = s->direct,
		.gate = g,
		.watch = w,
	};
	struct gate_report report;
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
	return chain_open(ret, f, &rq, e);
}
