/* SPDX-License-Identifier: MIT */
/*
 * Records as JSON, checked on the way in as anything from a disk is: sizes are
 * bounded, every field has its form, and the image's id must have the file's
 * name as its hash. Leaves are record_leaves.c's. What a record means for a
 * base is the caller's business.
 */
#include "config.h"

#include "cache/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cache/record_int.h"
#include "io/file.h"

#define DIGEST_PREFIX "byre1:"

static const char *const kinds[] = {
	[RECORD_IMAGE] = "image",
	[RECORD_KERNEL] = "kernel",
	[RECORD_SIZED] = "sized",
	[RECORD_BLANK] = "blank",
	[RECORD_ADOPTED] = "adopted",
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

const char *
record_kind_name(enum record_kind k)
{
	return (unsigned)k < N_KINDS ? kinds[k] : "unknown";
}

void
record_free(struct record *r)
{
	free(r->id);
	free(r->source);
	free(r->policy);
	free(r->version);
	*r = (struct record){0};
}

bool
record_matches(const struct record *r, const struct stat *st)
{
	return st->st_size >= 0 && r->file_size == (uint64_t)st->st_size &&
		r->ino == st->st_ino;
}

bool
record_is_rotten(const struct record *r, const struct stat *st)
{
	return r->rotten && (record_matches(r, st) ||
		r->file_size != (uint64_t)st->st_size);
}

/* 0 to the year 2262; what is beyond is one of the two. */
static int64_t
nsec_of(int64_t sec, int64_t nsec)
{
	if (sec < 0)
		return 0;
	if (sec >= INT64_MAX / 1000000000)
		return INT64_MAX;
	return sec * 1000000000 + nsec;
}

void
record_identify(struct record *r, const struct stat *st)
{
	r->file_size = (uint64_t)st->st_size;
	r->ino = st->st_ino;
	r->dev = st->st_dev;
	r->mtime_nsec = nsec_of(st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

int
record_name(const char *name, const char *suffix, char *ret, struct err *e)
{
	int n = snprintf(ret, RECORD_NAME, "%s%s", name, suffix);

	if (n < 0 || n >= RECORD_NAME || strchr(name, '/')) {
		err_set(e, ERR_USAGE, "is no name of a base");
		return err_file(e, name);
	}
	return 0;
}

void
record_note(const char *name, const char *suffix, const char *why,
	const struct watch *w)
{
	char q[3 * LAYOUT_NAME], line[3 * LAYOUT_NAME + 320];

	snprintf(line, sizeof(line), "%s%s: not used: %s",
		err_quote(q, sizeof(q), name, (unsigned)strlen(name)), suffix,
		why);
	watch_note(w, line);
}

/* What a broken record is: a fault of the record and not of the disk. */
static bool
is_broken(const struct err *e)
{
	return e->kind != ERR_IO && e->kind != ERR_NOMEM;
}

int
record_open(const struct store *s, const char *file, uint64_t max,
	struct file **ret, struct err *e)
{
	CLEANUP(file_close_p) struct file *f = NULL;
	CLEANUP_FD int fd = -1;

	if (s->records_fd >= 0 &&
		store_file(s->records_fd, file, O_RDONLY, &fd, NULL, e))
		return -1;
	if (fd < 0) {
		*ret = NULL;
		return 0;
	}
	if (file_from_fd(&f, fd, file, e))
		return -1;
	f->own_fd = true;
	fd = -1;
	if (f->size > max) {
		err_set(e, ERR_LIMIT, "is %" PRIu64 " bytes long, limit %"
			PRIu64, f->size, max);
		return err_file(e, file);
	}
	*ret = TAKE_PTR(f);
	return 0;
}

/* A NUL ends it too soon, and it is not JSON then. */
static int
read_text(struct file *f, char **ret, struct err *e)
{
	CLEANUP_FREE char *text = malloc((size_t)f->size + 1);

	if (!text)
		return err_sys(e, ENOMEM, "cannot read a record");
	if (file_read(f, text, (size_t)f->size, 0, e))
		return -1;
	text[f->size] = '\0';
	if (strlen(text) != f->size)
		return err_set(e, ERR_FORMAT, "has a NUL in it");
	*ret = TAKE_PTR(text);
	return 0;
}

static int
take_text(const struct parse_opts *o, const char *key, char **ret,
	struct err *e)
{
	const char *v = parse_opts_get(o, key);

	*ret = strdup(v ? v : "");
	return *ret ? 0 : err_sys(e, ENOMEM, "cannot keep a record");
}

static int
take_number(const struct parse_opts *o, const char *key, uint64_t max,
	uint64_t *ret, struct err *e)
{
	const char *v = parse_opts_get(o, key);

	*ret = 0;
	if (v && parse_u64(v, 0, max, ret, e))
		return err_prefix(e, "%s", key);
	return 0;
}

static int
take_time(const struct parse_opts *o, const char *key, int64_t *ret,
	struct err *e)
{
	uint64_t v;

	if (take_number(o, key, INT64_MAX, &v, e))
		return -1;
	*ret = (int64_t)v;
	return 0;
}

static bool
is_hex(const char *text, size_t len)
{
	return strlen(text) == len &&
		strspn(text, "0123456789abcdef") == len;
}

static int
take_hex(const struct parse_opts *o, const char *key, char *ret, size_t len,
	struct err *e)
{
	const char *v = parse_opts_get(o, key);

	ret[0] = '\0';
	if (!v || !*v)
		return 0;
	if (!is_hex(v, len))
		return err_set(e, ERR_FORMAT, "%s is not %zu hex digits", key,
			len);
	memcpy(ret, v, len + 1);
	return 0;
}

static unsigned
nibble(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static int
take_digest(const struct parse_opts *o, struct record *r, struct err *e)
{
	const char *v = parse_opts_get(o, "content-digest");
	const size_t n = sizeof(DIGEST_PREFIX) - 1;
	unsigned i;

	if (!v || !*v)
		return 0;
	if (strncmp(v, DIGEST_PREFIX, n) != 0 || !is_hex(v + n, 32))
		return err_set(e, ERR_FORMAT,
			"content-digest is not byre1: and 32 hex digits");
	for (i = 0; i < 16; i++)
		r->digest.b[i] = (uint8_t)(nibble(v[n + 2 * i]) << 4 |
			nibble(v[n + 2 * i + 1]));
	r->has_digest = true;
	return 0;
}

static int
take_format(const struct parse_opts *o, const char *key, bool must,
	enum format *ret, struct err *e)
{
	const char *v = parse_opts_get(o, key);

	*ret = v ? probe_format_from_name(v) : FORMAT_PROBE;
	if (!v && !must)
		return 0;
	if (*ret != FORMAT_RAW && *ret != FORMAT_QCOW2)
		return err_set(e, ERR_FORMAT, "%s is neither raw nor qcow2",
			key);
	return 0;
}

static int
take_kind(const struct parse_opts *o, struct record *r, struct err *e)
{
	const char *v = parse_opts_get(o, "kind");
	unsigned i;

	for (i = 0; v && i < N_KINDS; i++) {
		if (strcmp(v, kinds[i]) == 0) {
			r->kind = (enum record_kind)i;
			return 0;
		}
	}
	return err_set(e, ERR_FORMAT, "kind is not known");
}

/* The id must be the one whose hash the name is. */
static int
check_id(const char *name, const struct record *r, struct err *e)
{
	struct layout_name n;
	char want[LAYOUT_NAME];

	layout_classify(name, &n);
	if (*r->id == '\0')
		return 0;
	if (layout_image(r->id, want, e))
		return -1;
	if (strcmp(want, n.image) != 0)
		return err_set(e, ERR_MISMATCH,
			"image-id is not that of the file's name");
	return 0;
}

static int
take_words(const struct parse_opts *o, struct record *r, struct err *e)
{
	if (take_text(o, "image-id", &r->id, e) ||
		take_text(o, "source.name", &r->source, e) ||
		take_text(o, "policy", &r->policy, e) ||
		take_text(o, "byre", &r->version, e) ||
		take_kind(o, r, e) || take_digest(o, r, e))
		return -1;
	if (take_format(o, "source.format", false, &r->source_format, e) ||
		take_format(o, "base.format", true, &r->format, e) ||
		take_hex(o, "source.md5", r->md5, 32, e) ||
		take_hex(o, "source.sha256", r->sha256, 64, e) ||
		take_hex(o, "source.sha512", r->sha512, 128, e))
		return -1;
	return 0;
}

static int
take_numbers(const struct parse_opts *o, struct record *r, struct err *e)
{
	const char *pinned = parse_opts_get(o, "pinned");
	uint64_t max = UINT64_MAX, size = INT64_MAX;

	if (take_number(o, "source.size", size, &r->source_size, e) ||
		take_number(o, "base.virtual-size", size, &r->virtual_size,
			e) ||
		take_number(o, "base.file-size", size, &r->file_size, e) ||
		take_number(o, "base.ino", max, &r->ino, e) ||
		take_number(o, "base.dev", max, &r->dev, e) ||
		take_time(o, "base.mtime-nsec", &r->mtime_nsec, e) ||
		take_time(o, "base.born-nsec", &r->born_nsec, e))
		return -1;
	if (take_time(o, "created", &r->created, e) ||
		take_time(o, "used", &r->used, e) ||
		take_time(o, "verified", &r->verified, e) ||
		take_number(o, "verify-at", size, &r->verify_at, e) ||
		take_number(o, "rotten", size, &r->rotten, e))
		return -1;
	if (pinned && parse_bool(pinned, &r->pinned, e))
		return err_prefix(e, "pinned");
	return 0;
}

static int
take_all(const char *name, const struct parse_opts *o, struct record *r,
	struct err *e)
{
	uint64_t version;

	if (take_number(o, "version", UINT64_MAX, &version, e))
		return -1;
	if (version != RECORD_VERSION)
		return err_set(e, ERR_UNSUPPORTED, "version %" PRIu64
			" of records, known is %d", version, RECORD_VERSION);
	if (take_words(o, r, e) || take_numbers(o, r, e))
		return -1;
	return check_id(name, r, e);
}

static int
load(const struct store *s, const char *name, struct record *r,
	bool *ret_there, struct err *e)
{
	CLEANUP(file_close_p) struct file *f = NULL;
	CLEANUP_FREE char *text = NULL;
	struct parse_opts o = {0};
	char file[RECORD_NAME];
	int bad;

	*ret_there = false;
	if (record_name(name, RECORD_JSON, file, e) ||
		record_open(s, file, RECORD_TEXT_MAX, &f, e))
		return -1;
	if (!f)
		return 0;
	if (read_text(f, &text, e))
		return -1;
	bad = json_flatten(text, &o, e);
	if (bad == 0)
		bad = take_all(name, &o, r, e);
	parse_opts_free(&o);
	*ret_there = bad == 0;
	return bad;
}

/* When the inode of _base/<name> was made; 0 where it cannot be told, or the
 * inode is another one. */
static int64_t
born(const struct store *s, const char *name, uint64_t ino)
{
	struct statx sx;

	if (statx(s->base_fd, name, AT_SYMLINK_NOFOLLOW, STATX_BTIME |
		STATX_INO, &sx) || !(sx.stx_mask & STATX_BTIME) ||
		sx.stx_ino != ino || sx.stx_btime.tv_sec <= 0)
		return 0;
	return nsec_of(sx.stx_btime.tv_sec, sx.stx_btime.tv_nsec);
}

int
record_load(const struct store *s, const char *name, struct record *ret,
	bool *ret_there, const struct watch *w, struct err *e)
{
	struct record r = {0};
	struct err why = {0};
	int64_t is;
	bool there;

	if (load(s, name, &r, &there, &why)) {
		record_free(&r);
		if (!is_broken(&why)) {
			if (e)
				*e = why;
			return -1;
		}
		record_note(name, RECORD_JSON, why.msg, w);
		there = false;
	}
	is = there && r.born_nsec ? born(s, name, r.ino) : 0;
	if (is && is != r.born_nsec)
		r.ino = 0;
	*ret = r;
	*ret_there = there;
	return 0;
}

static void
put_source(struct json_out *j, const struct record *r)
{
	json_open_object(j, "source");
	json_str(j, "name", r->source ? r->source : "");
	json_u64(j, "size", r->source_size);
	if (r->source_format != FORMAT_PROBE)
		json_str(j, "format", probe_format_name(r->source_format));
	if (r->md5[0])
		json_str(j, "md5", r->md5);
	if (r->sha256[0])
		json_str(j, "sha256", r->sha256);
	if (r->sha512[0])
		json_str(j, "sha512", r->sha512);
	json_close_object(j);
}

/* Inode and device as text: they may have all 64 bits, JSON's numbers have
 * 63. */
static void
put_base(struct json_out *j, const struct record *r, int64_t born_nsec)
{
	char text[24];

	json_open_object(j, "base");
	json_str(j, "format", probe_format_name(r->format));
	json_u64(j, "virtual-size", r->virtual_size);
	json_u64(j, "file-size", r->file_size);
	snprintf(text, sizeof(text), "%" PRIu64, r->ino);
	json_str(j, "ino", text);
	snprintf(text, sizeof(text), "%" PRIu64, r->dev);
	json_str(j, "dev", text);
	json_i64(j, "mtime-nsec", r->mtime_nsec);
	json_i64(j, "born-nsec", born_nsec);
	json_close_object(j);
}

static void
put(struct buf *out, const struct record *r, int64_t born_nsec)
{
	struct json_out j = {.out = out, .pretty = true};
	char text[DIGEST_TEXT];

	json_open_object(&j, NULL);
	json_u64(&j, "version", RECORD_VERSION);
	json_str(&j, "byre", r->version ? r->version : "");
	json_str(&j, "kind", record_kind_name(r->kind));
	json_str(&j, "image-id", r->id ? r->id : "");
	put_source(&j, r);
	put_base(&j, r, born_nsec);
	if (r->has_digest)
		json_str(&j, "content-digest", digest_text(&r->digest, text));
	json_str(&j, "policy", r->policy ? r->policy : "");
	json_i64(&j, "created", r->created);
	json_i64(&j, "used", r->used);
	json_i64(&j, "verified", r->verified);
	json_u64(&j, "verify-at", r->verify_at);
	json_u64(&j, "rotten", r->rotten);
	json_bool(&j, "pinned", r->pinned);
	json_close_object(&j);
	buf_char(out, '\n');
}

int
record_replace(const struct store *s, struct store_stage *st,
	const char *file, struct err *e)
{
	if (fsync(st->fd)) {
		err_sys(e, errno, "cannot flush");
		return err_file(e, file);
	}
	if (renameat(s->staging_fd, st->name, s->records_fd, file)) {
		err_sys(e, errno, "cannot write");
		return err_file(e, file);
	}
	st->name[0] = '\0';
	return 0;
}

int
record_store(const struct store *s, const char *name, const struct record *r,
	struct err *e)
{
	CLEANUP(buf_free) struct buf out = BUF_INIT;
	CLEANUP(file_close_p) struct file *f = NULL;
	struct store_stage st;
	char file[RECORD_NAME];
	int bad;

	if (record_name(name, RECORD_JSON, file, e))
		return -1;
	put(&out, r, born(s, name, r->ino));
	if (buf_failed(&out))
		return err_sys(e, ENOMEM, "cannot write a record");
	if (out.len > RECORD_TEXT_MAX) {
		err_set(e, ERR_LIMIT, "would be %zu bytes long, limit %d",
			out.len, RECORD_TEXT_MAX);
		return err_file(e, file);
	}
	if (store_stage_open(s, file, &st, e))
		return -1;
	bad = file_from_fd(&f, st.fd, file, e) ||
		file_write(f, out.p, out.len, 0, e) ||
		record_replace(s, &st, file, e);
	if (!bad && store_sync_dir(s->records_fd, e))
		bad = err_file(e, file);
	store_stage_drop(s, &st);
	return bad ? -1 : 0;
}

void
record_renew(const struct store *s, const char *name, const struct record *r,
	const struct record_leaves *leaves, const struct watch *w)
{
	struct err e = {0};
	char text[1024], line[1100];

	if ((!leaves || record_leaves_store(s, name, leaves, &e) == 0) &&
		record_store(s, name, r, &e) == 0)
		return;
	/* one that is left is of another file */
	(void)record_remove(s, name, NULL);
	snprintf(line, sizeof(line), "no record: %s",
		err_text(&e, text, sizeof(text)));
	watch_note(w, line);
}

int
record_remove(const struct store *s, const char *name, struct err *e)
{
	static const char *const suffixes[] = {RECORD_JSON, RECORD_LVS};
	char file[RECORD_NAME];
	unsigned i;

	if (s->records_fd < 0)
		return 0;
	for (i = 0; i < 2; i++) {
		if (record_name(name, suffixes[i], file, e))
			return -1;
		if (unlinkat(s->records_fd, file, 0) && errno != ENOENT) {
			err_sys(e, errno, "cannot remove");
			return err_file(e, file);
		}
	}
	return 0;
}

int
record_forget(const struct store *s, const char *name, struct err *e)
{
	char file[RECORD_NAME];
	struct stat st;
	bool none;

	if (record_name(name, RECORD_JSON, file, e))
		return -1;
	none = s->records_fd < 0 || (fstatat(s->records_fd, file, &st,
			AT_SYMLINK_NOFOLLOW) && errno == ENOENT);
	if (record_remove(s, name, e))
		return -1;
	/* leaves that come back alone are compared with a digest */
	if (none || store_sync_dir(s->records_fd, e) == 0)
		return 0;
	return err_file(e, file);
}
