/* SPDX-License-Identifier: MIT */
/*
 * One table of options per command drives parsing (of the native command and
 * of the qemu-img front), --help, the man pages' check and shell completion.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct options_list {
	const char **v; /* owned; the strings are argv's */
	unsigned n;
};

/* Everything any command may be told, as text; each command turns its own
 * part into numbers. NULL, empty and false: not given. */
struct options_args {
	const char *format;
	const char *output_format;
	const char *output;
	const char *backing;
	const char *backing_format;
	const char *snapshot;
	const char *sparse;
	const char *granularity;
	const char *source_file;
	const char *source_format;
	const char *cache;
	const char *source_cache;
	const char *workers;
	const char *rate_limit;
	const char *preallocation;
	const char *repair;
	const char *max_size;
	const char *engine;
	const char *level;
	const char *deflate_window;
	const char *progress_fd;
	const char *second_format;
	const char *size;
	const char *start;
	const char *length;
	/* of the cache's commands */
	const char *instances;
	const char *base_dir;
	const char *locks_dir;
	const char *from;
	const char *log;
	const char *fs;
	const char *label;
	const char *min_age;
	const char *min_age_resized;
	const char *budget;
	const char *low;
	const char *high;
	struct options_list options;       /* -o, in order */
	struct options_list steps;         /* of snapshot and bitmap */
	struct options_list objects;
	struct options_list allow_backing;
	struct options_list expected;
	struct options_list roots;
	struct options_list ignore_disks;
	struct options_list used;
	struct options_list unused;
	struct options_list hosts;
	bool compress;
	bool no_create;
	bool target_is_zero;
	bool progress;
	bool quiet;
	bool out_of_order;
	bool force_share;
	bool copy_range;
	bool salvage;
	bool bitmaps;
	bool skip_broken_bitmaps;
	bool image_opts;
	bool target_image_opts;
	bool unsafe_backing;
	bool shrink;
	bool drop;
	bool backing_chain;
	bool deep;
	bool digest;
	bool trusted;
	bool untrusted;
	bool lenient;
	bool strict;
	bool kernel;
	bool keep_qcow2;
	bool no_wait;
	bool json;
	bool dry_run;
	bool overlay;
	bool sized_base;
	bool flat;
	bool resize_fs;
	bool preallocate;
	bool verify;
	bool cached;
	bool mend;
	bool help;
	struct options_list operands;
};

enum options_kind {
	OPTIONS_FLAG, /* at: bool */
	OPTIONS_TEXT, /* at: const char *; the last one given counts */
	OPTIONS_LIST, /* at: struct options_list; every one given counts */
	/* at: struct options_list; the long name is added, and the argument:
	 * what is to be done in the order in which it is said */
	OPTIONS_STEP,
	OPTIONS_STEP_TEXT,
};

enum options_where {
	ON_BYRE = 1 << 0,      /* native: the letter and the long name */
	ON_QEMU = 1 << 1,      /* the front takes the letter */
	ON_QEMU_LONG = 1 << 2, /* the front takes the long name */
	ON_FRONT = ON_QEMU | ON_QEMU_LONG,
};

struct options_spec {
	char letter;       /* 0: none */
	const char *name;  /* NULL: none */
	enum options_kind kind;
	size_t at;         /* offset in struct options_args */
	unsigned where;
	const char *arg;   /* its argument's name, for people */
	const char *help;
};

#define OPTIONS_MAX 64 /* rows of one table */

struct options_table {
	const char *command;
	const char *summary;
	const char *operands;
	const struct options_spec *v;
	unsigned n;
};

/* What stopped the parser. */
enum options_end {
	OPTIONS_DONE,
	OPTIONS_HELP,    /* --help was met */
	OPTIONS_UNKNOWN, /* an option that is none: *ret_word */
	OPTIONS_MISSING, /* one without its argument: *ret_word */
	OPTIONS_EXCESS,  /* an argument that it does not take: *ret_word */
	OPTIONS_NOMEM,
};

/* argv[0] is skipped. Options and operands may be mixed, as GNU getopt has
 * it. front: the qemu-img front's subset. */
enum options_end options_parse(const struct options_table *t, bool front,
	int argc, char **argv, struct options_args *ret,
	const char **ret_word);
/* Appends an operand; -1 without memory. */
int options_operand(struct options_args *a, const char *word);
void options_free(struct options_args *a);

/* --help of a native command. */
void options_help(const struct options_table *t, struct buf *out);
/* One line of the front's --help: "info [-f fmt] ... filename". */
void options_syntax(const struct options_table *t, struct buf *out);
/* One option a line, tab-separated: letter, name, argument, help. For shell
 * completion and for the check of the man pages. */
void options_list_all(const struct options_table *t, struct buf *out);

#endif
