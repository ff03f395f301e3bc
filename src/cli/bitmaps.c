/* SPDX-License-Identifier: MIT */
/*
 * A caller who asks for bitmaps must not lose them silently; one whose source
 * has none has lost nothing.
 */
#include "config.h"

#include "cli/bitmaps.h"

#include "op/info.h"

int
bitmaps_check(const struct convert_request *rq, bool skip_broken,
	struct err *e)
{
	struct info_result r = {0};
	const struct image_info *i;
	size_t k, n = 0;
	int ret = 0;

	if (rq->target_format != FORMAT_QCOW2)
		return err_set(e, ERR_USAGE,
			"Format driver 'raw' does not support bitmaps");
	if (rq->n_sources != 1)
		return err_set(e, ERR_USAGE,
			"--bitmaps is for one source");
	if (info_run(&rq->sources[0], rq->gate, false, &r, e))
		return -1;
	i = &r.v[0].i;
	for (k = 0; k < i->n_bitmaps; k++)
		n += !(skip_broken && i->bitmaps[k].in_use);
	if (i->format != FORMAT_QCOW2)
		ret = err_set(e, ERR_USAGE, "Source lacks bitmap support");
	else if (n)
		ret = err_set(e, ERR_UNSUPPORTED, "--bitmaps: copying bitmaps "
			"is not supported, and the source has %zu of them", n);
	info_result_free(&r);
	return ret;
}
