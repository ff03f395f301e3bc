/* SPDX-License-Identifier: MIT */
/*
 * The safe policy as far as the first cluster and the first guest bytes tell.
 * The header's fields are read twice on purpose: decoded as a reader would,
 * and raw, because what a reader ignores (a length without an offset, an
 * extension behind the end mark) another program may follow. The tables are
 * gate_deep.c's.
 */
#include "format/gate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/ck.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2.h"

#define HEAD_MIN 112 /* bytes: the header proper */
#define QUOTED 120

void
gate_reason_add(struct gate_report *r, const char *id, const char *fmt, ...)
{
	struct gate_reason *why;
	va_list ap;

	if (r->n_reasons == GATE_REASONS_MAX)
		return;
	why = &r->reasons[r->n_reasons++];
	why->id = id;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
}

static void
from_error(struct gate_report *r, const char *id, const struct err *why)
{
	gate_reason_add(r, id, "%s", why->msg);
}

/* Either field set is a backing file to somebody. Where references are
 * permitted it must be one to everybody, and of a known format; gate_open then
 * decides by name. h NULL: the header does not decode. */
static void
check_backing(const struct gate *g, struct span head,
	const struct qcow2_header *h, struct gate_report *r)
{
	uint64_t off = load_be64(head.p + 8);
	uint32_t len = load_be32(head.p + 16);
	char q[QUOTED] = "";

	if (off == 0 && len == 0)
		return;
	if (g->n_allow && h && h->backing[0] && h->backing_format[0])
		return;
	if (off < head.len && len <= head.len - off)
		err_quote(q, sizeof(q), head.p + off, len);
	gate_reason_add(r, "backing-file", "has a backing file '%s' (offset %"
		PRIu64 ", length %" PRIu32 "); %s", q, off, len, g->n_allow ?
		"its name and format must both be given" : "none is allowed");
}

/*
 * The data file extension, wherever it may be found: by walking, then, behind
 * the end mark or where the walk breaks off, at every multiple of 8. The
 * backing file's offset does not end the area here, as it does for QEMU.
 */
static bool
names_data_file(struct span head, size_t from)
{
	size_t at = from;
	bool walking = true;

	while (at + 8 <= head.len) {
		uint32_t type = load_be32(head.p + at);
		uint32_t len = load_be32(head.p + at + 4);

		if (type == QCOW2_EXT_DATA_FILE &&
			(walking || len <= head.len - at - 8))
			return true;
		if (type == QCOW2_EXT_END || len > head.len - at - 8)
			walking = false;
		at += 8;
		if (walking)
			at += ((size_t)len + 7) & ~(size_t)7;
	}
	return false;
}

static void
check_data_file(const struct gate *g, struct span head,
	const struct qcow2_header *h, struct gate_report *r)
{
	uint32_t version = load_be32(head.p + 4);
	bool bit = version >= 3 &&
		(load_be64(head.p + 72) & QCOW2_DATA_FILE) != 0;
	size_t from = version >= 3 ? load_be32(head.p + 100) : QCOW2_V2_HEADER;
	bool ext;

	/* a reader that does not heed header_length starts at 112 */
	ext = names_data_file(head, from) ||
		(from > HEAD_MIN && names_data_file(head, HEAD_MIN));
	if (g->n_allow && h && bit && h->data_file[0])
		return;
	if (bit || ext)
		gate_reason_add(r, "data-file", "has an external data file "
			"(feature bit %s, name %s); %s",
			bit ? "set" : "not set", ext ? "given" : "not given",
			g->n_allow ? "it needs both" : "none is allowed");
}

static void
check_features(struct span head, struct gate_report *r)
{
	uint32_t crypt = load_be32(head.p + 32);
	uint64_t bits;

	if (crypt)
		gate_reason_add(r, "encryption", "is encrypted (method %" PRIu32
			", %s); encrypted images are not read", crypt,
			crypt == 1 ? "AES" : crypt == 2 ? "LUKS" : "unknown");
	if (load_be32(head.p + 4) < 3)
		return;
	bits = load_be64(head.p + 72) & ~(uint64_t)QCOW2_INCOMPAT_KNOWN;
	if (bits)
		gate_reason_add(r, "unknown-feature", "has unknown incompatible "
			"feature bits 0x%" PRIx64 "; known are 0x%x", bits,
			(unsigned)QCOW2_INCOMPAT_KNOWN);
}

/* [hoff, hoff+len) lies in the file, rounded up to a cluster. */
static void
check_place(const struct gate *g, struct gate_report *r,
	const struct qcow2_header *h, const char *what, uint64_t hoff,
	uint64_t len)
{
	uint64_t end, limit;

	if (len == 0 || g->lenient)
		return;
	if (!ck_align_up(r->file_size, qcow2_cluster_size(h), &limit))
		limit = INT64_MAX;
	if (!ck_add(hoff, len, &end) || end > limit)
		gate_reason_add(r, "beyond-eof", "%s at %" PRIu64 ", %" PRIu64
			" bytes, ends past the end of the file (%" PRIu64
			" bytes)", what, hoff, len, r->file_size);
}

static void
check_decoded(const struct gate *g, const struct qcow2_header *h,
	struct gate_report *r)
{
	r->opened = true;
	r->virtual_size = units_align_down(h->size, 512);
	if (h->has_crypto && !h->crypt_method)
		gate_reason_add(r, "encryption", "has an encryption header");
	check_place(g, r, h, "L1 table", h->l1_offset,
		(uint64_t)h->l1_entries * 8);
	check_place(g, r, h, "refcount table", h->reftable_offset,
		(uint64_t)h->reftable_clusters << h->cluster_bits);
	/* 40 bytes are the least that an entry takes */
	check_place(g, r, h, "snapshot table", h->snapshots_offset,
		(uint64_t)h->n_snapshots * 40);
	if (h->has_bitmaps)
		check_place(g, r, h, "bitmap directory", h->bitmap_dir_offset,
			h->bitmap_dir_size);
}

/* Everything that the first cluster tells; *ret is valid if r->opened. */
static int
inspect_header(const struct gate *g, struct file *f, struct gate_report *r,
	struct qcow2_header *ret, struct err *e)
{
	uint8_t first[HEAD_MIN];
	CLEANUP_FREE uint8_t *head = NULL;
	size_t len = HEAD_MIN, got;
	struct err why = {0};
	struct span s;
	uint32_t bits;
	unsigned n;
	bool good;

	if (file_read_padded(f, first, sizeof(first), 0, NULL, e))
		return -1;
	bits = load_be32(first + 20);
	if (bits >= QCOW2_CLUSTER_BITS_MIN && bits <= QCOW2_CLUSTER_BITS_MAX)
		len = (size_t)1 << bits;
	head = buf_alloc_aligned(len);
	if (!head)
		return err_set(e, ERR_NOMEM, "no memory for the header");
	if (file_read_padded(f, head, len, 0, &got, e))
		return -1;
	s = (struct span){head, len};
	good = qcow2_header_decode(s, false, ret, &why) == 0;
	check_backing(g, s, good ? ret : NULL, r);
	check_data_file(g, s, good ? ret : NULL, r);
	check_features(s, r);
	n = r->n_reasons;
	if (good)
		check_decoded(g, ret, r);
	else if (n == 0 || why.kind != ERR_UNSUPPORTED)
		from_error(r, why.kind == ERR_UNSUPPORTED ? "unsupported" :
			"corrupt-header", &why);
	return 0;
}

/* Fills buf with guest bytes [voff, voff+len). */
static int
guest_read(struct image *im, struct codec *c, uint64_t voff, uint8_t *buf,
	uint64_t len, struct err *e)
{
	struct extent x[16];
	size_t n, i;

	while (len) {
		if (image_describe(im, voff, len, x, COUNT_OF(x), &n, e))
			return -1;
		for (i = 0; i < n; i++) {
			memset(buf, 0, x[i].len);
			if (x[i].kind == EXTENT_DATA &&
				file_read_padded(im->file, buf, x[i].len,
					x[i].hoff, NULL, e))
				return -1;
			if (x[i].kind == EXTENT_PACKED) {
				CLEANUP_FREE uint8_t *in = malloc(x[i].hlen);
				CLEANUP_FREE uint8_t *out = malloc(x[i].plen);
				size_t got;

				if (!in || !out)
					return err_set(e, ERR_NOMEM,
						"no memory for a cluster");
				if (file_read_padded(im->file, in, x[i].hlen,
					x[i].hoff, &got, e))
					return -1;
				/* a broken stream hides no image; whoever reads
				 * it will say what is wrong */
				if (codec_unpack(c, in, got, out, x[i].plen,
					NULL) == 0)
					memcpy(buf, out + x[i].poff, x[i].len);
			}
			buf += x[i].len;
			voff += x[i].len;
			len -= x[i].len;
		}
	}
	return 0;
}

static int
guest_probe(struct image *im, const struct qcow2_header *h, uint8_t *buf,
	struct probe_result *ret, struct err *e)
{
	uint64_t head = units_min(im->size, PROBE_HEAD);
	uint64_t tail = units_min(im->size, PROBE_TAIL);
	struct codec c = {0};
	int r;

	if (codec_open(&c, h->compression ? CODEC_ZSTD : CODEC_DEFLATE, NULL,
		e))
		return -1;
	r = guest_read(im, &c, 0, buf, head, e) ||
		guest_read(im, &c, im->size - tail, buf + PROBE_HEAD, tail, e);
	codec_close(&c);
	if (r)
		return -1;
	*ret = probe_bytes((struct span){buf, head},
		(struct span){buf + PROBE_HEAD, tail});
	return 0;
}

/*
 * As whoever wants the data would open it, which also looks at the snapshot
 * table and the bitmap directory; if deep, what the guest would find on its
 * disk must be no disk image itself.
 */
static int
check_open(const struct gate *g, struct file *f,
	const struct qcow2_header *h, bool deep, struct gate_report *r,
	struct err *e)
{
	unsigned flags = g->lenient ? IMAGE_LENIENT : IMAGE_READ;
	CLEANUP_FREE uint8_t *buf = malloc(PROBE_HEAD + PROBE_TAIL);
	CLEANUP(image_close_p) struct image *im = NULL;
	struct probe_result found = {.format = FORMAT_RAW};
	struct file *again;
	struct err why = {0};
	bool bad;

	if (!buf)
		return err_set(e, ERR_NOMEM, "no memory to probe guest data");
	if (file_from_fd(&again, f->fd, f->name, e))
		return -1;
	/* data that lies in another file is looked at when that is opened */
	if (h->incompatible & QCOW2_DATA_FILE)
		deep = false;
	bad = image_open(&im, again, FORMAT_QCOW2, flags, NULL, &why) ||
		(deep && guest_probe(im, h, buf, &found, &why));
	if (bad && (why.kind == ERR_IO || why.kind == ERR_NOMEM)) {
		if (e)
			*e = why;
		return -1;
	}
	if (bad)
		from_error(r, why.kind == ERR_LIMIT ? "too-large" :
			"corrupt-table", &why);
	else if (found.format != FORMAT_RAW)
		gate_reason_add(r, "foreign-content", "guest data is itself a "
			"%s image (%s)", probe_format_name(found.format),
			found.what);
	return 0;
}

int
gate_guest(struct image *im, struct err *e)
{
	CLEANUP_FREE uint8_t *buf = malloc(PROBE_HEAD + PROBE_TAIL);
	struct probe_result found;

	if (!buf)
		return err_set(e, ERR_NOMEM, "no memory to probe guest data");
	if (im->ops->format != FORMAT_QCOW2 || im->data_file)
		return 0;
	if (guest_probe(im, &qcow2_of(im)->h, buf, &found, e))
		return -1;
	if (found.format != FORMAT_RAW)
		return err_set(e, ERR_DENIED, "refused by the safe policy: guest "
			"data is itself a %s image (%s)", probe_format_name(found.format),
			found.what);
	return 0;
}

/* What the whole file looks like, against what it was said to be. */
static void
check_format(struct gate_report *r)
{
	const struct probe_result *p = &r->probe;
	const char *name = probe_format_name(p->format);

	if (r->declared != FORMAT_PROBE && r->declared != p->format)
		gate_reason_add(r, "format-mismatch", "is %s (%s), declared %s",
			name, p->what, probe_format_name(r->declared));
	if (p->also != FORMAT_RAW)
		gate_reason_add(r, "format-mismatch", "is %s (%s) and %s at "
			"once", name, p->what, probe_format_name(p->also));
	/* raw agrees with all of these, and who says qcow2 means it; but then
	 * it cannot be guessed */
	if (p->format != FORMAT_RAW && p->content &&
		r->declared == FORMAT_PROBE)
		gate_reason_add(r, "format-mismatch", "is %s (%s), but reads "
			"as a disk with%s%s%s too; its format must be declared",
			name, p->what, p->content & CONTENT_GPT ? " a GPT" : "",
			p->content & CONTENT_MBR ? " an MBR" : "",
			p->content & CONTENT_ISO ? " ISO 9660" : "");
	if (p->format != FORMAT_RAW && p->format != FORMAT_QCOW2)
		gate_reason_add(r, "unsupported", "%s: not supported (%s)",
			name, p->what);
}

int
gate_inspect(const struct gate *g, struct file *f, enum format declared,
	bool deep, const struct watch *w, struct gate_report *ret,
	struct err *e)
{
	struct gate_report r = {.declared = declared, .deep = deep};
	struct qcow2_header h;

	if (file_size(f, &r.file_size, e) || probe_load(f, &r.probe, e))
		return err_file(e, f->name);
	check_format(&r);
	if (r.probe.format == FORMAT_RAW) {
		r.opened = true;
		if (!ck_align_up(r.file_size, 512, &r.virtual_size))
			r.virtual_size = r.file_size;
		r.mapped = deep ? r.file_size : 0;
	} else if (r.probe.format == FORMAT_QCOW2) {
		if (inspect_header(g, f, &r, &h, e))
			return err_file(e, f->name);
	}
	if (r.opened && g->size_max && r.virtual_size > g->size_max)
		gate_reason_add(&r, "too-large", "has a virtual size of %"
			PRIu64 " bytes; the limit is %" PRIu64, r.virtual_size,
			g->size_max);
	/* the tables are followed only where the header gives no reason to
	 * doubt what they mean */
	if (r.probe.format == FORMAT_QCOW2 && r.opened && r.n_reasons == 0 &&
		(gate_deep_walk(g, f, &h, deep, w, &r, e) ||
			(r.n_reasons == 0 && check_open(g, f, &h, deep, &r, e))))
		return err_file(e, f->name);
	*ret = r;
	return 0;
}

int
gate_verdict(const struct gate_report *r, struct err *e)
{
	if (r->n_reasons == 0)
		return 0;
	return err_set(e, ERR_DENIED, "refused by the safe policy: %s",
		r->reasons[0].text);
}
