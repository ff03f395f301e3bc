/* SPDX-License-Identifier: MIT */
/*
 * Gives the files named on the command line to a fuzz target, one after the
 * other. A name that ends in .hex is text: bytes as two hex digits, "@N" goes
 * to offset N (decimal; what is skipped is zeros), "# ..." is a comment.
 * With --write OUT before a name, the bytes go to OUT and not to the target.
 */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "fuzz/fuzz.h"

static int
nibble(int c)
{
	return c >= '0' && c <= '9' ? c - '0' :
		c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int
go_to(struct buf *b, FILE *in)
{
	unsigned long to;

	if (fscanf(in, "%lu", &to) != 1 || to < b->len || to > 16u << 20)
		return -1;
	return to == b->len || buf_grow(b, to - b->len) ? 0 : -1;
}

static int
read_hex(struct buf *b, FILE *in)
{
	int c, hi, lo;

	while ((c = getc(in)) != EOF) {
		if (isspace(c))
			continue;
		if (c == '#') {
			while (c != EOF && c != '\n')
				c = getc(in);
			continue;
		}
		if (c == '@') {
			if (go_to(b, in))
				return -1;
			continue;
		}
		hi = nibble(c);
		lo = nibble(getc(in));
		if (hi < 0 || lo < 0)
			return -1;
		buf_char(b, (char)(hi << 4 | lo));
	}
	return buf_failed(b) ? -1 : 0;
}

static int
read_plain(struct buf *b, FILE *in)
{
	char part[4096];
	size_t n;

	while ((n = fread(part, 1, sizeof(part), in)) > 0)
		buf_add(b, part, n);
	return ferror(in) || buf_failed(b) ? -1 : 0;
}

static int
write_out(const char *name, const struct buf *b)
{
	FILE *out = fopen(name, "wb");
	size_t n;

	if (!out)
		return -1;
	n = fwrite(b->p ? b->p : "", 1, b->len, out);
	return fclose(out) || n != b->len ? -1 : 0;
}

static int
replay(const char *name, const char *out)
{
	struct buf b = BUF_INIT;
	size_t len = strlen(name);
	bool hex = len > 4 && strcmp(name + len - 4, ".hex") == 0;
	FILE *in = fopen(name, "rb");
	uint8_t *exact;
	int r;

	if (!in)
		return -1;
	r = hex ? read_hex(&b, in) : read_plain(&b, in);
	fclose(in);
	/* of exactly this length, so that a sanitizer sees what is past it */
	exact = malloc(b.len ? b.len : 1);
	if (r == 0 && out) {
		r = write_out(out, &b);
	} else if (r == 0 && exact) {
		if (b.len)
			memcpy(exact, b.p, b.len);
		LLVMFuzzerTestOneInput(exact, b.len);
	}
	free(exact);
	buf_free(&b);
	return r;
}

int
main(int argc, char **argv)
{
	const char *out = NULL;
	int i = 1;

	if (argc == 4 && strcmp(argv[1], "--write") == 0) {
		out = argv[2];
		i = 3;
	}
	for (; i < argc; i++)
		if (replay(argv[i], out)) {
			fprintf(stderr, "%s: cannot be read\n", argv[i]);
			return 99;
		}
	if (!out)
		printf("%d files\n", argc - 1);
	return 0;
}
