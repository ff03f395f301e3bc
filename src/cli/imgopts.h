/* SPDX-License-Identifier: MIT */
/* The -o options of a new image: from text to the engine's structs, and to
 * the texts that qemu-img prints of them. */
#ifndef CLI_IMGOPTS_H
#define CLI_IMGOPTS_H

#include "base/buf.h"
#include "base/parse.h"
#include "cli/options.h"
#include "format/probe.h"
#include "format/qcow2_write.h"

struct imgopts {
	enum format format;
	struct parse_opts given; /* owned; what the strings below live in */
	struct qcow2_options qcow2;
	enum preallocation preallocation;
	bool has_size;
	uint64_t size;
};

/* Names, numbers, sizes and switches; -b and -F (may be NULL) override what
 * -o says. format is RAW or QCOW2. Messages are qemu-img's. */
int imgopts_parse(struct imgopts *o, enum format format,
	const struct options_list *lists, const char *backing,
	const char *backing_format, struct err *e);
/* Then the words: preallocation, compat, compression_type. */
int imgopts_finish(struct imgopts *o, struct err *e);
void imgopts_free(struct imgopts *o);

/* A number as QEMU reads them: one below 0 is counted back from 2^64. */
int imgopts_number(const char *text, uint64_t *ret, struct err *e);

/* True for an option list that asks for help. */
bool imgopts_wants_help(const struct options_list *lists);
void imgopts_help(enum format format, struct buf *out);
/* False for a list that qemu-img calls invalid: empty, with a comma in front,
 * or with an odd number of them at its end. */
bool imgopts_valid_list(const char *list);
/* qemu-img's second line and third line for a bad size, or "". */
const char *imgopts_hint(const struct err *e);

/* Calls f with the text of every size that the lists give. */
void imgopts_each_size(const struct imgopts *o, void (*f)(const char *text));

/* "Formatting 'NAME', fmt=qcow2 cluster_size=65536 ...", with the newline. */
void imgopts_formatting(const struct imgopts *o, const char *name,
	uint64_t size, struct buf *out);

#endif
