/* SPDX-License-Identifier: MIT */
/* A whole file: opened, described, its first clusters unpacked, and inspected
 * by the safe policy. Nothing else may be opened. */
#include "config.h"

#include <string.h>

#include "base/units.h"
#include "format/chain.h"
#include "format/qcow2.h"
#include "fuzz/fuzz.h"

#define CALLS_MAX 64  /* describes of one image */
#define UNPACK_MAX 4  /* clusters unpacked */

static void
unpack(struct image *im, const struct extent *x)
{
	uint8_t *in = malloc(x->hlen), *out = malloc(x->plen);
	struct codec c;
	struct err e;
	size_t got;

	FUZZ_CHECK(in && out && x->poff + x->len <= x->plen);
	FUZZ_CHECK(codec_open(&c, x->codec, NULL, &e) == 0);
	if (file_read_padded(im->file, in, x->hlen, x->hoff, &got, &e) == 0)
		codec_unpack(&c, in, got, out, x->plen, &e);
	codec_close(&c);
	free(in);
	free(out);
}

static void
walk(struct chain *c)
{
	struct extent x[32];
	struct err e;
	uint64_t at = 0;
	unsigned calls, unpacked = 0;
	size_t n, i;

	for (calls = 0; at < c->size && calls < CALLS_MAX; calls++) {
		if (chain_describe(c, UINT32_MAX, at, c->size - at, x,
			1 + calls % 32, &n, &e)) {
			/* go on behind a bad cluster */
			at = units_min(c->size, units_align_down(at,
				c->im[0]->cluster_size) +
				c->im[0]->cluster_size);
			continue;
		}
		for (i = 0; i < n; i++) {
			FUZZ_CHECK(x[i].voff == at && x[i].len > 0);
			FUZZ_CHECK(x[i].len <= c->size - at);
			FUZZ_CHECK(x[i].kind != EXTENT_HOLE);
			at += x[i].len;
			if (x[i].kind == EXTENT_DATA)
				FUZZ_CHECK(x[i].hoff + x[i].len <=
					c->files[x[i].file]->size);
			if (x[i].kind == EXTENT_PACKED &&
				unpacked++ < UNPACK_MAX)
				unpack(c->im[0], &x[i]);
		}
	}
}

static void
open_and_walk(const uint8_t *data, size_t size, bool lenient)
{
	const struct gate g = {.lenient = lenient};
	struct chain_request rq = {.format = FORMAT_QCOW2, .no_backing = true,
		.force_share = true, .gate = &g};
	struct chain *c;
	struct err e;

	if (chain_open(&c, fuzz_file(data, size), &rq, &e))
		return;
	walk(c);
	if (qcow2_use_snapshot(c->im[0], "1", NULL, NULL, &e) == 0)
		walk(c);
	chain_close(c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct gate g = {.safe = true};
	struct gate_report r;
	struct image_info info;
	struct image *im;
	struct file *f;
	struct err e;

	open_and_walk(data, size, false);
	open_and_walk(data, size, true);
	if (image_open(&im, fuzz_file(data, size), FORMAT_QCOW2, IMAGE_INFO,
		NULL, &e) == 0) {
		if (image_info(im, &info, &e) == 0)
			image_info_free(&info);
		image_close(im);
	}
	f = fuzz_file(data, size);
	FUZZ_CHECK(gate_inspect(&g, f, FORMAT_QCOW2, true, NULL, &r, &e) == 0);
	file_close(f);
	return 0;
}
