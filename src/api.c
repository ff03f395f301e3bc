/* SPDX-License-Identifier: MIT */
/*
 * The public API: it translates between byre.h's structs and the operations'
 * requests and knows nothing of its own. Structs from outside are copied by
 * the size that they say, so that older and newer callers both fit; what a
 * newer caller asks for and this library does not know is refused.
 */
#include "byre.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/api_int.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/units.h"
#include "format/chain.h"
#include "op/compare.h"
#include "op/convert.h"
#include "op/create.h"
#include "op/info.h"
#include "op/inspect.h"
#include "op/read.h"
#include "op/resize.h"
#include "op/source.h"

#include "config.h"

_Static_assert(BYRE_DIGEST_TEXT == DIGEST_TEXT, "byre.h: digest text");
_Static_assert((int)BYRE_CANCELLED == (int)ERR_CANCELLED, "byre.h: kinds");
_Static_assert(sizeof(atomic_int) == sizeof(int), "byre.h: cancel");

struct byre_image {
	struct chain *chain;
	struct reader reader;
};

/* What the operations want, made from a policy; owns nothing. */
const char *
byre_version(void)
{
	return PACKAGE_VERSION;
}

const char *
byre_error_kind_name(int kind)
{
	return err_kind_name((enum err_kind)kind);
}

void
byre_text_free(char *text)
{
	free(text);
}

int
api_fail(struct byre_error *to, const struct err *e)
{
	if (to) {
		to->kind = (int)e->kind;
		to->errno_value = e->eno;
		err_text(e, to->message, sizeof(to->message));
	}
	return -1;
}

static int
usage(struct byre_error *to, const char *what)
{
	struct err e = {0};

	err_set(&e, ERR_USAGE, "%s", what);
	return api_fail(to, &e);
}

/* Copies an options struct of the caller's over ours, which holds defaults. */
int
api_take_options(void *to, size_t known, const void *from, const char *what,
	struct byre_error *e)
{
	const uint8_t *p = from;
	size_t size, i;

	if (!from)
		return 0;
	memcpy(&size, from, sizeof(size));
	if (size < sizeof(size) || size > 4096)
		return usage(e, what);
	for (i = known; i < size; i++)
		if (p[i])
			return usage(e, what);
	memcpy(to, from, units_min(size, known));
	return 0;
}

int
api_take_policy(struct api_policy *to, const struct byre_policy *from,
	struct byre_error *e)
{
	to->p = (struct byre_policy)BYRE_POLICY_INIT;
	if (api_take_options(&to->p, sizeof(to->p), from,
		    "struct byre_policy is of a newer version", e))
		return -1;
	if (to->p.n_allow_dirs > UINT32_MAX)
		return usage(e, "too many allow_dirs");
	to->gate = (struct gate){
		.trusted = to->p.trusted != 0,
		.allow_dirs = to->p.allow_dirs,
		.n_allow = (unsigned)to->p.n_allow_dirs,
		.depth_max = to->p.max_depth,
		.size_max = to->p.max_size,
		.lenient = to->p.lenient != 0,
		.safe = !to->p.trusted,
	};
	return 0;
}

int
api_take_source(struct source *to, bool *ret_no_backing,
	const struct byre_source *from, struct byre_error *e)
{
	struct byre_source s = BYRE_SOURCE_INIT;
	enum format format = FORMAT_PROBE;

	if (api_take_options(&s, sizeof(s), from,
		    "struct byre_source is of a newer version", e))
		return -1;
	if (!s.path && s.fd < 0)
		return usage(e, "a source needs a path or a descriptor");
	if (s.format) {
		format = probe_format_from_name(s.format);
		if (format == FORMAT_PROBE)
			return usage(e, "unknown format of the source");
	}
	*to = (struct source){
		.dirfd = AT_FDCWD,
		.path = s.path,
		.fd = s.fd,
		.format = format,
		.snapshot = s.snapshot,
		.force_share = s.force_share != 0,
	};
	if (ret_no_backing)
		*ret_no_backing = s.no_backing != 0;
	return 0;
}

int
api_take_watch(struct watch *to, const struct byre_watch *from,
	struct byre_error *e)
{
	struct byre_watch w = BYRE_WATCH_INIT;

	if (api_take_options(&w, sizeof(w), from,
		    "struct byre_watch is of a newer version", e))
		return -1;
	*to = (struct watch){
		.progress = w.progress,
		.note = w.note,
		.arg = w.arg,
		.cancel = (const atomic_int *)(const void *)w.cancel,
	};
	return 0;
}

static int
take_qcow2(struct qcow2_options *to, const struct byre_qcow2 *from,
	struct byre_error *e)
{
	struct byre_qcow2 q = BYRE_QCOW2_INIT;

	if (api_take_options(&q, sizeof(q), from,
		    "struct byre_qcow2 is of a newer version", e))
		return -1;
	*to = (struct qcow2_options){
		.cluster_size = q.cluster_size,
		.version = q.version,
		.refcount_bits = q.refcount_bits,
		.extended_l2 = q.extended_l2 != 0,
		.lazy_refcounts = q.lazy_refcounts != 0,
		.compression = q.zstd ? CODEC_ZSTD : CODEC_DEFLATE,
		.backing = q.backing,
		.backing_format = q.backing_format,
	};
	return 0;
}

/* "raw" or "qcow2", the formats that are written. */
static int
take_target_format(enum format *to, const char *name, struct byre_error *e)
{
	enum format f = name ? probe_format_from_name(name) : FORMAT_RAW;

	if (f != FORMAT_RAW && f != FORMAT_QCOW2)
		return usage(e, "the format to write is raw or qcow2");
	*to = f;
	return 0;
}

int
byre_image_open(struct byre_image **ret, const struct byre_source *source,
	const struct byre_policy *policy, struct byre_error *e)
{
	struct byre_image *im;
	struct api_policy p;
	struct source s;
	bool no_backing;
	struct err err = {0};

	if (api_take_source(&s, &no_backing, source, e) ||
		api_take_policy(&p, policy, e))
		return -1;
	im = calloc(1, sizeof(*im));
	if (!im) {
		err_set(&err, ERR_NOMEM, "no memory for an image");
		return api_fail(e, &err);
	}
	if (source_open(&s, &p.gate, no_backing, NULL, &im->chain, &err)) {
		free(im);
		return api_fail(e, &err);
	}
	read_open(&im->reader, im->chain);
	/* the policy's directories were the caller's; nothing opens files
	 * any more */
	*ret = im;
	return 0;
}

int
byre_image_open_path(struct byre_image **ret, const char *path,
	const struct byre_policy *policy, struct byre_error *e)
{
	struct byre_source s = BYRE_SOURCE_INIT;

	s.path = path;
	return byre_image_open(ret, &s, policy, e);
}

int
byre_image_open_fd(struct byre_image **ret, int fd,
	const struct byre_policy *policy, struct byre_error *e)
{
	struct byre_source s = BYRE_SOURCE_INIT;

	s.fd = fd;
	return byre_image_open(ret, &s, policy, e);
}

void
byre_image_close(struct byre_image *im)
{
	if (!im)
		return;
	read_close(&im->reader);
	chain_close(im->chain);
	free(im);
}

uint64_t
byre_image_size(const struct byre_image *im)
{
	return im->chain->size;
}

const char *
byre_image_format(const struct byre_image *im)
{
	return im->chain->im[0]->ops->name;
}

int
byre_image_read(struct byre_image *im, void *buf, size_t len,
	uint64_t offset, struct byre_error *e)
{
	struct err err = {0};

	if (read_at(&im->reader, buf, len, offset, &err))
		return api_fail(e, &err);
	return 0;
}

int
byre_image_map(struct byre_image *im, uint64_t offset, uint64_t length,
	struct byre_extent *ret, size_t cap, size_t *ret_n,
	struct byre_error *e)
{
	static const uint8_t kinds[] = {
		[EXTENT_HOLE] = BYRE_HOLE,
		[EXTENT_ZERO] = BYRE_ZERO,
		[EXTENT_DATA] = BYRE_DATA,
		[EXTENT_PACKED] = BYRE_PACKED,
	};
	struct extent x[64];
	struct err err = {0};
	size_t n, i;

	if (cap == 0 || length == 0 || offset > im->chain->size ||
		length > im->chain->size - offset)
		return usage(e, "no such range in the image");
	if (chain_describe(im->chain, UINT32_MAX, offset, length, x,
		    units_min(cap, COUNT_OF(x)), &n, &err))
		return api_fail(e, &err);
	for (i = 0; i < n; i++) {
		ret[i] = (struct byre_extent){
			.offset = x[i].voff,
			.length = x[i].len,
			.host_offset = x[i].kind == EXTENT_DATA ?
				x[i].hoff : 0,
			.depth = x[i].depth,
			.kind = kinds[x[i].kind],
		};
	}
	*ret_n = n;
	return 0;
}

/* Gives a finished text to the caller. */
static int
give_text(struct buf *b, char **ret, struct byre_error *e)
{
	struct err err = {0};

	if (buf_failed(b)) {
		buf_free(b);
		err_set(&err, ERR_NOMEM, "no memory for the answer");
		return api_fail(e, &err);
	}
	*ret = buf_take(b);
	return 0;
}

int
byre_info_json(const struct byre_source *source, char **ret,
	struct byre_error *e)
{
	struct info_result r = {0};
	struct gate none = {0};
	struct source s;
	struct buf b = BUF_INIT;
	struct err err = {0};

	if (api_take_source(&s, NULL, source, e))
		return -1;
	if (info_run(&s, &none, false, NULL, &r, &err))
		return api_fail(e, &err);
	info_json(&r, false, &b);
	info_result_free(&r);
	return give_text(&b, ret, e);
}

int
byre_inspect(const struct byre_source *source,
	const struct byre_policy *policy, int deep, int *ret_safe,
	char **ret_json, struct byre_error *e)
{
	struct gate_report report;
	struct api_policy p;
	struct source s;
	struct buf b = BUF_INIT;
	struct err err = {0};

	if (api_take_source(&s, NULL, source, e) || api_take_policy(&p, policy, e))
		return -1;
	if (inspect_run(&s, &p.gate, deep != 0, NULL, &report, &err))
		return api_fail(e, &err);
	if (ret_json) {
		inspect_json(s.path ? s.path : "", &report, &b);
		if (give_text(&b, ret_json, e))
			return -1;
	}
	*ret_safe = report.n_reasons == 0;
	return 0;
}

int
byre_digest(const struct byre_source *source,
	const struct byre_policy *policy, const struct byre_watch *watch,
	char ret[BYRE_DIGEST_TEXT], struct byre_error *e)
{
	struct convert_result r = {0};
	struct api_policy p;
	struct source s;
	struct watch w;
	struct err err = {0};

	if (api_take_source(&s, NULL, source, e) || api_take_policy(&p, policy, e) ||
		api_take_watch(&w, watch, e))
		return -1;
	if (convert_digest(&s, &p.gate, 0, ENGINE_AUTO, NULL, &w, &r, &err))
		return api_fail(e, &err);
	digest_text(&r.digest, ret);
	return 0;
}

int
byre_compare(const struct byre_source *first,
	const struct byre_source *second, const struct byre_policy *policy,
	const struct byre_watch *watch, int *ret_same, uint64_t *ret_offset,
	struct byre_error *e)
{
	struct compare_request rq = {0};
	struct compare_result r;
	struct api_policy p;
	struct watch w;
	struct err err = {0};

	if (api_take_source(&rq.source[0], NULL, first, e) ||
		api_take_source(&rq.source[1], NULL, second, e) ||
		api_take_policy(&p, policy, e) || api_take_watch(&w, watch, e))
		return -1;
	rq.gate[0] = rq.gate[1] = p.gate;
	rq.watch = &w;
	if (compare_run(&rq, &r, &err))
		return api_fail(e, &err);
	if (r.verdict != COMPARE_SAME && r.verdict != COMPARE_DIFFERENT)
		return api_fail(e, &r.why);
	*ret_same = r.verdict == COMPARE_SAME;
	if (ret_offset && r.verdict == COMPARE_DIFFERENT)
		*ret_offset = r.voff;
	return 0;
}

static int
convert_with(const struct byre_convert_options *o, struct source *sources,
	struct byre_convert_result *ret, struct byre_error *e)
{
	struct convert_request rq = {
		.sources = sources,
		.n_sources = (unsigned)o->n_sources,
		.target_dirfd = AT_FDCWD,
		.target = o->target,
		.target_fd = o->target_fd,
		.compress = o->compress != 0,
		.sparse_size = CONVERT_SPARSE_DEFAULT,
		.max_size = o->max_size,
		.digest = o->with_digest != 0,
		.codec = {.window_bits = 12},
		.cache = o->not_durable ? CACHE_UNSAFE : CACHE_AUTO,
		.workers = o->workers,
	};
	struct convert_result r = {0};
	const struct byre_source *next = o->sources;
	struct api_policy p;
	struct watch w;
	struct err err = {0};
	unsigned i;

	/* the sources are an array of the caller's size, whatever ours is */
	for (i = 0; i < rq.n_sources; i++) {
		if (api_take_source(&sources[i], NULL, next, e))
			return -1;
		next = (const void *)((const char *)next +
			o->sources->size);
	}
	if (api_take_policy(&p, o->policy, e) || api_take_watch(&w, o->watch, e) ||
		take_qcow2(&rq.qcow2, o->qcow2, e) ||
		take_target_format(&rq.target_format, o->target_format, e))
		return -1;
	if (!o->target && o->target_fd < 0)
		return usage(e, "a target needs a path or a descriptor");
	rq.gate = &p.gate;
	rq.watch = &w;
	if (convert_run(&rq, &r, &err))
		return api_fail(e, &err);
	if (!ret)
		return 0;
	*ret = (struct byre_convert_result){
		.virtual_size = r.virtual_size,
		.bytes_data = r.bytes_data,
		.bytes_zero = r.bytes_zero,
	};
	if (r.has_digest)
		digest_text(&r.digest, ret->digest);
	return 0;
}

int
byre_convert(const struct byre_convert_options *o,
	struct byre_convert_result *ret, struct byre_error *e)
{
	struct byre_convert_options mine = BYRE_CONVERT_INIT;
	CLEANUP_FREE struct source *sources = NULL;
	struct err err = {0};

	if (!o)
		return usage(e, "no options");
	if (api_take_options(&mine, sizeof(mine), o,
		    "struct byre_convert_options is of a newer version", e))
		return -1;
	if (!mine.sources || mine.n_sources == 0 || mine.n_sources > 4096)
		return usage(e, "convert needs a source");
	sources = calloc(mine.n_sources, sizeof(*sources));
	if (!sources) {
		err_set(&err, ERR_NOMEM, "no memory for %zu sources",
			mine.n_sources);
		return api_fail(e, &err);
	}
	return convert_with(&mine, sources, ret, e);
}

int
byre_create(const char *path, const char *format, uint64_t virtual_size,
	const struct byre_qcow2 *qcow2, const struct byre_policy *policy,
	struct byre_error *e)
{
	struct create_request rq = {
		.dirfd = AT_FDCWD,
		.path = path,
		.has_size = virtual_size != UINT64_MAX,
		.size = virtual_size,
		.exclusive = true,
		.durable = true,
	};
	struct create_result r;
	struct api_policy p;
	struct err err = {0};

	if (api_take_policy(&p, policy, e) || take_qcow2(&rq.qcow2, qcow2, e) ||
		take_target_format(&rq.format, format, e))
		return -1;
	if (!rq.has_size)
		rq.size = 0;
	rq.gate = &p.gate;
	if (create_run(&rq, &r, &err))
		return api_fail(e, &err);
	return 0;
}

int
byre_resize(const char *path, const char *format, uint64_t virtual_size,
	int shrink, const struct byre_policy *policy, struct byre_error *e)
{
	struct resize_request rq = {
		.dirfd = AT_FDCWD,
		.path = path,
		.size = virtual_size,
		.shrink = shrink != 0,
		.durable = true,
	};
	struct resize_result r;
	struct api_policy p;
	struct err err = {0};

	if (!format)
		return usage(e, "resize must be told the format");
	if (api_take_policy(&p, policy, e) ||
		take_target_format(&rq.format, format, e))
		return -1;
	rq.gate = &p.gate;
	if (resize_run(&rq, &r, &err))
		return api_fail(e, &err);
	return 0;
}
