/* SPDX-License-Identifier: MIT */
/*
 * The qemu-img front: command lines, outputs, exit statuses and messages of
 * qemu-img 7.2, for the commands that byre has.
 */
#ifndef CLI_COMPAT_H
#define CLI_COMPAT_H

#include "base/watch.h"
#include "cli/imgopts.h"
#include "cli/name.h"
#include "cli/options.h"
#include "format/gate.h"

/* argv[0] is the program, argv[1] the first option or the command. */
int compat_main(int argc, char **argv);

/* The commands, which return the exit status. */
int compat_amend(const struct options_args *a);
int compat_bitmap(const struct options_args *a);
int compat_check(const struct options_args *a);
int compat_commit(const struct options_args *a);
int compat_info(const struct options_args *a);
int compat_map(const struct options_args *a);
int compat_rebase(const struct options_args *a);
int compat_snapshot(const struct options_args *a);
/* The others parse for themselves; argv[0] is the command's name. */
int compat_compare(int argc, char **argv);
int compat_convert(int argc, char **argv);
int compat_create(int argc, char **argv);
int compat_dd(int argc, char **argv);
int compat_measure(int argc, char **argv);
int compat_resize(int argc, char **argv);

/* compat_inplace.c: compat_source of an image that is to be changed. */
int compat_inplace_source(const struct options_args *a, const char *operand,
	struct name *n, struct source *s, struct gate *g);
/* Refuses what the caller himself calls read-only. */
int compat_inplace_writable(const char *operand, const struct name *n,
	const struct source *s, const struct gate *g);
/* "Could not open ..." of an image that was to be changed; returns 1. */
int compat_inplace_failed(const char *shown, const char *path,
	const struct err *e);

/* compat_say.c: every message on stderr. All but warn return 1. */
int compat_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* with "Try 'qemu-img --help' for more information" behind it */
int compat_try(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void compat_warn(const char *line);
/* For what is told of an image that is only looked at. */
extern const struct watch compat_notes;
/* A line as a check prints it; named: with the program's name before it. */
void compat_found(const char *line, bool named);
/* Behind a fault of f: who else may have it open, as a line of its own. */
int compat_fault(const char *before, const struct err *e, bool creating);
/* "Could not open 'SHOWN': ..." for what went wrong below path. */
int compat_open_failed(const char *shown, const char *path,
	const struct err *e);
/* The same of the file that e is about, by the name that it has there. */
int compat_open_failed_below(const struct err *e);
/* The two lines for a change that ended with the image marked corrupt; false,
 * and nothing said, for other faults. */
bool compat_marked(const struct err *e);
/* What QEMU says when it meets a bad table; nothing for other faults. */
void compat_corrupt(const struct err *e);
/* The tables of an open image are bad: "WHAT: Input/output error" behind the
 * reason. */
int compat_bad_table(const char *what, const struct err *e);
/* The text alone, without prefix and newline. */
void compat_text(const struct err *e, bool creating, struct buf *out);
/* True when e is about the file named path. */
bool compat_is_about(const struct err *e, const char *path);
/* A size of the command line; tells of forms that qemu-img calls old. */
int compat_size(const char *text, uint64_t *ret, struct err *e);
/* The same of the sizes in an option list that was parsed. */
void compat_old_sizes(const struct imgopts *o);
/* The same of switches in a list that are words alone; not for -o, of which
 * qemu-img says nothing. first: as for parse_opts_add. */
void compat_short_forms(const char *list, const char *first);
/* An error of the options: its text and qemu-img's hint. before may be "". */
int compat_bad_options(const char *before, const struct err *e);

/* compat_options.c: -o help, of convert and create (format NULL: raw) and of
 * amend; 0 or 1. with_file: a file is named too. */
int compat_options_help(const char *format, bool with_file);
int compat_options_amend_help(const char *format);

/* compat.c: parses; 0 to go on, else *ret_status is the exit status. Refuses
 * --object. */
int compat_parse(const struct options_table *t, int argc, char **argv,
	struct options_args *a, int *ret_status);
/* BYRE_QEMU_COMPAT=10: outputs have the forms of qemu-img 10, where those
 * differ. Anything else is 7.2. */
bool compat_newer(void);
/* --output: *ret_json; 1 when it is neither of the two. */
int compat_json(const struct options_args *a, bool *ret_json);
/* -l: NAME, or snapshot.id=ID,snapshot.name=NAME. text may be NULL; ret is
 * freed in any case. 1 after a message. */
struct compat_snapshot {
	const char *text;        /* the caller's */
	struct parse_opts given; /* owned */
};
int compat_snapshot_parse(const char *text, struct compat_snapshot *ret);
void compat_snapshot_free(struct compat_snapshot *p);
/* s reads that snapshot; the strings stay p's. */
void compat_snapshot_of(const struct compat_snapshot *p, struct source *s);
/* e says that there is no such snapshot: said in qemu-img's words. */
bool compat_snapshot_failed(const struct err *e);
/* A cache mode's name, of a file that is read; text may be NULL. *ret_direct:
 * O_DIRECT. -1 (nothing is said) when it is none. */
int compat_cache(const char *text, bool *ret_direct);
/* A size in [min, max]; 1 with qemu-img's words for what is none. text may be
 * NULL: *ret is left. */
int compat_number(const char *what, const char *text, uint64_t min,
	uint64_t max, uint64_t *ret);
/* The same for measure, which lets getopt speak and then helps: status 0. */
int compat_parse_loose(const struct options_table *t, int argc, char **argv,
	struct options_args *a, int *ret_status);
/* Writes out to stdout; 0 or 1. */
int compat_output(struct buf *out);
/* -f or -O of an image to be made: "Unknown file format 'x'". before is put
 * in front ("NAME: " or ""). */
int compat_target_format(const char *text, const char *before,
	enum format *ret);
/* Opens nothing: the name, its format, and the gate of a source. image_opts:
 * it is a list. */
int compat_source(const struct options_args *a, const char *operand,
	struct name *n, struct source *s, struct gate *g);

#endif
