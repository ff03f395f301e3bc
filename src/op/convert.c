/* SPDX-License-Identifier: MIT */
/*
 * Sources are opened and judged, then the target, then every contradiction is
 * refused, and only then is a byte changed. The work itself is the pipeline's.
 */
#include "op/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "format/qcow2_guest.h"
#include "op/inplace.h"
#include "op/pipeline.h"
#include "op/target.h"

#define SOURCES_MAX 1024

struct job {
	const struct convert_request *rq;
	struct scan_source *src;
	unsigned n_src; /* opened so far */
	uint64_t size;  /* guest bytes of the target */
	struct chain *cow;
	uint64_t cow_size;
	struct qcow2_options qcow2;
	struct target target, data;
	struct inplace old; /* -n into a qcow2 */
	struct sink sink;
};

static int
open_sources(struct job *j, struct err *e)
{
	const struct convert_request *rq = j->rq;
	struct chain *c;
	uint64_t size;
	unsigned i;

	if (rq->n_sources == 0 || rq->n_sources > SOURCES_MAX)
		return err_set(e, ERR_USAGE, "%u source images, limit 1 to %d",
			rq->n_sources, SOURCES_MAX);
	j->src = calloc(rq->n_sources, sizeof(*j->src));
	if (!j->src)
		return err_set(e, ERR_NOMEM, "no memory for the sources");
	for (i = 0; i < rq->n_sources; i++) {
		if (source_open(&rq->sources[i], rq->gate, false, rq->watch,
			    &c, e))
			return -1;
		j->src[i].chain = c;
		j->n_src = i + 1;
		size = units_align_up(c->size, 512);
		j->src[i].start = j->size;
		j->src[i].size = size;
		if (size > INT64_MAX - j->size)
			return err_set(e, ERR_LIMIT,
				"the sources are %" PRIu64 " + %" PRIu64
				" bytes long together, limit %" PRId64,
				j->size, size, INT64_MAX);
		j->size += size;
	}
	if (rq->gate->size_max && j->size > rq->gate->size_max)
		return err_set(e, ERR_LIMIT, "virtual size %" PRIu64
			" bytes, limit %" PRIu64, j->size,
			rq->gate->size_max);
	return 0;
}

/* The backing file of the target: named by the caller, so it is opened
 * without the gate's leave; what it names in turn is the gate's business. */
static int
open_cow(struct job *j, struct err *e)
{
	const struct convert_request *rq = j->rq;
	struct source s = {.dirfd = rq->target_dirfd, .fd = -1,
		.force_share = true};
	struct gate g = *rq->gate;
	char *path;
	int r;

	if (!rq->target)
		return err_set(e, ERR_USAGE,
			"a backing file needs a target with a name");
	if (source_backing_path(&path, rq->target, rq->qcow2.backing, e))
		return -1;
	s.path = path;
	s.format = rq->qcow2.backing_format
		? probe_format_from_name(rq->qcow2.backing_format)
		: FORMAT_PROBE;
	if (rq->qcow2.backing_format && s.format == FORMAT_PROBE) {
		free(path);
		return err_set(e, ERR_USAGE, "Unknown driver '%s'",
			rq->qcow2.backing_format);
	}
	g.safe = false;
	r = source_open(&s, &g, false, rq->watch, &j->cow, e);
	free(path);
	if (r)
		return err_prefix(e, "backing file of the target");
	j->cow_size = j->cow->size;
	return 0;
}

static int
check_usage(const struct convert_request *rq, struct err *e)
{
	bool qcow2 = rq->target_format == FORMAT_QCOW2;

	if (rq->target_format != FORMAT_RAW && !qcow2)
		return err_set(e, ERR_UNSUPPORTED, "%s: not supported",
			probe_format_name(rq->target_format));
	if (!qcow2 && rq->raw_preallocation == PREALLOC_METADATA)
		return err_set(e, ERR_USAGE,
			"raw images have no metadata to preallocate");
	if (rq->compress && !qcow2)
		return err_set(e, ERR_USAGE,
			"Compression not supported for this file format");
	if (rq->no_create && qcow2 && rq->digest)
		return err_set(e, ERR_UNSUPPORTED, "a digest while writing into "
			"an existing qcow2 is not supported");
	if (rq->no_create && qcow2 && rq->compress && rq->qcow2.backing)
		return err_set(e, ERR_UNSUPPORTED, "compressing into an existing "
			"qcow2 with -B is not supported");
	if (rq->target_is_zero && !rq->no_create)
		return err_set(e, ERR_USAGE,
			"--target-is-zero requires use of -n flag");
	if (qcow2 && rq->qcow2.backing && rq->n_sources > 1)
		return err_set(e, ERR_USAGE, "Having a backing file for the "
			"target makes no sense when concatenating multiple "
			"input images");
	if (rq->compress && rq->qcow2.data_file)
		return err_set(e, ERR_USAGE,
			"compression and an external data file");
	if (rq->compress && rq->qcow2.preallocation != PREALLOC_OFF)
		return err_set(e, ERR_USAGE, "Compression and preallocation "
			"not supported at the same time");
	if (rq->sparse_size > CONVERT_SPARSE_MAX || rq->sparse_size % 512)
		return err_set(e, ERR_USAGE, "sparse size %" PRIu64
			" is no multiple of 512 up to %u", rq->sparse_size,
			CONVERT_SPARSE_MAX);
	return 0;
}

/* O_DIRECT pays for what the page cache could not hold anyway. */
static bool
direct_pays(uint64_t size)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

	return pages > 0 && page > 0 &&
		size / (uint64_t)page > (uint64_t)pages / 2;
}

static int
not_of(const struct chain *c, const struct file *f, const char *role,
	struct err *e)
{
	unsigned k;

	for (k = 0; k < c->n_files; k++)
		if (file_same(f, c->files[k])) {
			err_set(e, ERR_USAGE, "is a %s and the target", role);
			return err_file(e, f->name);
		}
	return 0;
}

/* What is about to be emptied is read by nobody. Locks alone do not tell:
 * backing files are opened without, and so is everything under -U. */
static int
check_apart(const struct job *j, const struct file *f, struct err *e)
{
	unsigned i;

	for (i = 0; i < j->n_src; i++)
		if (not_of(j->src[i].chain, f, "source", e))
			return -1;
	return j->cow ? not_of(j->cow, f, "backing file", e) : 0;
}

static int
open_data_target(struct job *j, unsigned flags, struct err *e)
{
	const struct convert_request *rq = j->rq;

	if (rq->target && strcmp(rq->target, rq->qcow2.data_file) == 0)
		return err_set(e, ERR_USAGE,
			"the image cannot be its own data file");
	if (target_open(&j->data, rq->target_dirfd, rq->qcow2.data_file, -1,
		    flags, e) ||
		check_apart(j, j->data.file, e) ||
		target_fits(&j->data, j->size, e))
		return -1;
	if (!file_same(j->data.file, j->target.file))
		return 0;
	err_set(e, ERR_USAGE, "is the image and its data file");
	return err_file(e, j->data.file->name);
}

static int
check_room(const struct job *j, const char *name, uint64_t room,
	struct err *e)
{
	if (room >= j->size)
		return 0;
	err_set(e, ERR_USAGE, "output file is smaller than input file: %" PRIu64
		" bytes, needed %" PRIu64, room, j->size);
	return err_file(e, name);
}

/* Clusters are packed whole: as in QEMU only the image's last one may be cut. */
static int
check_packing(struct job *j, struct err *e)
{
	const struct image *im = j->old.chain->im[0];
	uint64_t cut = j->size % im->cluster_size;

	j->qcow2.compression = qcow2_of(j->old.chain->im[0])->h.compression
		? CODEC_ZSTD : CODEC_DEFLATE;
	if (cut == 0 || j->size == im->size)
		return 0;
	return err_sys(e, EINVAL, "cannot write %" PRIu64 " bytes at %" PRIu64,
		cut, j->size - cut);
}

/* An existing qcow2 is named by the caller, and so is what it names: its
 * backing files are not those of a source. */
static int
open_old(struct job *j, struct err *e)
{
	const struct convert_request *rq = j->rq;
	struct gate g = *rq->gate;
	struct inplace_request ir = {
		.dirfd = rq->target_dirfd,
		.path = rq->target,
		.format = FORMAT_QCOW2,
		.must_be_clean = rq->gate->safe,
		.no_locks = rq->target_no_locks,
		.gate = &g,
		.watch = rq->watch,
	};

	g.safe = false;
	if (!rq->target &&
		file_from_fd(&ir.file, rq->target_fd, "target", e) < 0)
		return -1;
	if (inplace_open(&j->old, &ir, e) < 0)
		return rq->target ? err_file(e, rq->target) : -1;
	if (check_apart(j, j->old.file, e) ||
		(j->old.data && check_apart(j, j->old.data, e)))
		return -1;
	if (check_room(j, j->old.file->name, j->old.chain->size, e))
		return -1;
	return rq->compress ? check_packing(j, e) : 0;
}

static int
open_target(struct job *j, struct err *e)
{
	const struct convert_request *rq = j->rq;
	unsigned how = TARGET_NEW, flags;

	if (rq->no_create && rq->target_shared) {
		err_set(e, ERR_USAGE, "force-share=on can only be used with "
			"read-only images");
		return rq->target ? err_file(e, rq->target) : -1;
	}
	if (rq->no_create && rq->target_format == FORMAT_QCOW2)
		return open_old(j, e);
	if (rq->cache == CACHE_NONE || rq->cache == CACHE_DIRECTSYNC)
		how = TARGET_DIRECT;
	else if (rq->cache == CACHE_AUTO && direct_pays(j->size))
		how = TARGET_PREFER_DIRECT;
	flags = how | (rq->no_create ? TARGET_MUST_EXIST : 0) |
		(rq->target_no_locks ? TARGET_NO_LOCKS : 0);
	if (target_open(&j->target, rq->target_dirfd, rq->target,
		    rq->target_fd, flags, e) ||
		check_apart(j, j->target.file, e))
		return -1;
	if ((rq->no_create || j->target.file->is_block) && check_room(j,
		j->target.file->name, j->target.file->size, e))
		return -1;
	if (j->target.file->is_block && rq->target_format == FORMAT_QCOW2)
		return err_set(e, ERR_UNSUPPORTED,
			"qcow2 on a block device is not supported");
	if (rq->target_format == FORMAT_QCOW2 && rq->qcow2.data_file)
		return open_data_target(j, how, e);
	return 0;
}

/* Largest power of two that is at most v, 512 at least. */
static uint64_t
unit_of(uint64_t v)
{
	uint64_t unit = 512;

	while (unit * 2 <= v)
		unit *= 2;
	return unit;
}

static int
open_old_sink(struct job *j, struct err *e)
{
	const struct convert_request *rq = j->rq;
	const struct qcow2_guest_request g = {
		.edit = {
			.durable = rq->cache != CACHE_UNSAFE,
			.data_file = j->old.data,
			.watch = rq->watch,
		},
		.keep_holes = !rq->explicit_zeros,
	};

	return sink_inplace_open(&j->sink, j->old.chain, &g,
		rq->target_is_zero ? unit_of(rq->sparse_size) : 0,
		rq->target_is_zero, rq->compress, e);
}

static int
open_sink(struct job *j, struct err *e)
{
	const struct convert_request *rq = j->rq;
	bool durable = rq->cache != CACHE_UNSAFE;
	bool fresh = rq->no_create ? rq->target_is_zero
				   : !j->target.file->is_block;

	if (j->old.chain) {
		j->target.changed = true;
		return open_old_sink(j, e);
	}
	if (!rq->no_create && target_clear(&j->target, e))
		return -1;
	/* what its caller keeps nameless is seen by nobody */
	j->target.changed = j->target.publish == NULL && !rq->caller_syncs;
	if (rq->target_format == FORMAT_RAW) {
		if (!rq->no_create && preallocate_range(j->target.file, 0,
			j->size, rq->raw_preallocation, rq->watch, false, e))
			return -1;
		return sink_raw_open(&j->sink, j->target.file, j->size,
			unit_of(rq->sparse_size), fresh, e);
	}
	if (j->data.file && target_clear(&j->data, e))
		return -1;
	return sink_qcow2_open(&j->sink, j->target.file, j->data.file,
		&j->qcow2, j->cow_size, rq->compress, durable, e);
}

static int
run(struct job *j, struct convert_result *ret, struct err *e)
{
	const struct convert_request *rq = j->rq;
	/* only what the source leaves to a backing file of its own is taken
	 * to be in the target's, too; other holes are zeros */
	bool over = j->cow || (j->old.chain && rq->qcow2.backing);
	bool share = over && j->src[0].chain->n > 1;
	struct pipeline_result pr = {0};
	struct pipeline_request p = {
		.src = j->src,
		.n_src = j->n_src,
		.base = share ? 1 : UINT32_MAX,
		.cow = j->cow,
		.size = j->size,
		.sink = &j->sink,
		.every_byte = rq->sparse_size == 0,
		.find_unit = unit_of(rq->sparse_size),
		.compress = rq->compress,
		.codec = j->qcow2.compression,
		.codec_params = rq->codec,
		/* a shared block would be as bad as the source's, and is no
		 * room of the target's own */
		.clone = !rq->sparse_given && !rq->salvage &&
			rq->raw_preallocation == PREALLOC_OFF,
		.copy_range = rq->copy_range,
		.salvage = rq->salvage,
		.digest = rq->digest,
		.digest_tap = rq->digest_tap,
		.rate_limit = rq->rate_limit,
		.max_bytes = rq->max_size,
		.max_what = rq->max_what,
		.flush_early = rq->cache == CACHE_AUTO &&
			j->target.file && !j->target.file->direct,
		.engine = rq->engine,
		.workers = rq->workers,
		.count_data = rq->count_data && rq->sparse_size > 0 &&
			!rq->salvage && !j->old.chain,
		.watch = rq->watch,
	};

	do { /* one pass, but for an existing qcow2 that fills up */
		if (p.from > 0 && sink_inplace_settle(&j->sink, e))
			return -1;
		if (pipeline_run(&p, &pr, e))
			return -1;
		ret->bytes_data += pr.bytes_data;
		ret->bytes_zero += pr.bytes_zero;
		ret->bytes_read += pr.bytes_read;
		if (rq->max_size)
			p.max_bytes = rq->max_size > ret->bytes_data
				? rq->max_size - ret->bytes_data : 1;
		p.from = pr.end;
	} while (pr.end < j->size);
	ret->virtual_size = j->size;
	ret->has_digest = rq->digest;
	ret->digest = pr.digest;
	return sink_finish(&j->sink, e);
}

static int
convert_job(struct job *j, struct convert_result *ret, struct err *e)
{
	const struct convert_request *rq = j->rq;
	bool durable = rq->cache != CACHE_UNSAFE && !rq->caller_syncs;
	bool new_data;

	if (check_usage(rq, e) || open_sources(j, e))
		return -1;
	j->qcow2 = rq->qcow2;
	j->qcow2.size = j->size;
	j->qcow2.watch = rq->watch;
	if (rq->target_format == FORMAT_QCOW2 && !rq->no_create &&
		(qcow2_options_check(&j->qcow2, e) ||
			(rq->qcow2.backing && open_cow(j, e))))
		return -1;
	if (open_target(j, e) || open_sink(j, e) || run(j, ret, e))
		return -1;
	if (j->old.chain) {
		j->target.changed = false;
		return 0;
	}
	new_data = j->data.publish != NULL;
	if (j->data.file &&
		target_commit(&j->data, durable, &ret->sync_nsec, e))
		return -1;
	if (target_commit(&j->target, durable, &ret->sync_nsec, e)) {
		/* a new data file without its image is of no use */
		if (new_data)
			target_retract(rq->target_dirfd, rq->qcow2.data_file);
		return -1;
	}
	return 0;
}

int
convert_run(const struct convert_request *rq, struct convert_result *ret,
	struct err *e)
{
	struct convert_result result = {0};
	struct job j = {.rq = rq};
	struct err why = {0};
	unsigned i;
	int r;

	r = convert_job(&j, &result, &why);
	sink_close(&j.sink);
	target_close(&j.data, NULL);
	target_close(&j.target, &why);
	inplace_close(&j.old);
	chain_close(j.cow);
	for (i = 0; i < j.n_src; i++)
		chain_close(j.src[i].chain);
	free(j.src);
	if (r == 0)
		*ret = result;
	else if (e)
		*e = why;
	return r;
}

int
convert_read(const struct convert_read_request *rq, struct convert_result *ret,
	struct err *e)
{
	struct pipeline_result pr = {0};
	struct scan_source src = {0};
	struct sink sink = {0};
	struct chain *c;
	int r;

	if (source_open(rq->source, rq->gate, false, rq->watch, &c, e))
		return -1;
	src.chain = c;
	src.size = units_align_up(c->size, 512);
	r = sink_null_open(&sink, src.size, e);
	if (r == 0) {
		struct pipeline_request p = {
			.src = &src,
			.n_src = 1,
			.base = UINT32_MAX,
			.from = units_min(rq->from, src.size),
			.size = src.size,
			.sink = &sink,
			.keep_kinds = true,
			.digest = true,
			.digest_tap = rq->tap,
			.rate_limit = rq->rate_limit,
			.rate_reads = true,
			.engine = rq->engine,
			.workers = rq->workers,
			.watch = rq->watch,
		};

		r = pipeline_run(&p, &pr, e);
	}
	sink_close(&sink);
	chain_close(c);
	if (r)
		return -1;
	*ret = (struct convert_result){
		.virtual_size = src.size,
		.bytes_data = pr.bytes_data,
		.bytes_zero = pr.bytes_zero,
		.bytes_read = pr.bytes_read,
		.has_digest = rq->from == 0,
		.digest = pr.digest,
	};
	return 0;
}

int
convert_digest(const struct source *s, const struct gate *g, unsigned workers,
	enum engine_kind engine, const struct digest_tap *tap,
	const struct watch *w, struct convert_result *ret, struct err *e)
{
	const struct convert_read_request rq = {
		.source = s,
		.gate = g,
		.workers = workers,
		.engine = engine,
		.tap = tap,
		.watch = w,
	};

	return convert_read(&rq, ret, e);
}
