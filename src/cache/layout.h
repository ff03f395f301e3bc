/* SPDX-License-Identifier: MIT */
/*
 * The names of an image cache, as Nova gives them to the files beneath _base.
 * Pure functions: from a name to what it means, and from an image's id or a
 * size to a name. A name that is built here is never a path.
 */
#ifndef CACHE_LAYOUT_H
#define CACHE_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/name_hash.h"

#define LAYOUT_BASE "_base"  /* beneath the instances directory, by default */
#define LAYOUT_LOCKS "locks" /* likewise */
#define LAYOUT_OWN ".byre"   /* our directory beneath _base; Nova's manager
			      * passes over names that it does not know */

/* With the NUL. The longest is <sha1>_<20 digits>. */
#define LAYOUT_NAME 64
/* Bytes of an image's id: Glance's column has 36 characters; 255 characters of
 * 4 bytes each is what any of its databases could hold. */
#define LAYOUT_ID_MAX 1020

enum layout_kind {
	LAYOUT_FOREIGN,   /* nothing of ours or Nova's */
	LAYOUT_IMAGE,     /* <sha1>: an image, a kernel or a ramdisk */
	LAYOUT_SIZED,     /* <sha1>_<GiB>: a copy that was extended */
	LAYOUT_SIZED_OLD, /* <sha1>_sm and whatever else follows the _ */
	LAYOUT_SWAP,      /* swap_<MiB> */
	LAYOUT_EPHEMERAL, /* ephemeral_<GiB>_<7 characters> */
	LAYOUT_PART,      /* <sha1>.part: Nova's download */
	LAYOUT_CONVERTED, /* <sha1>.converted: Nova's conversion */
	LAYOUT_OLD_INFO,  /* <sha1>[_N].info, .sha1: Essex to Mitaka */
	LAYOUT_STATE,     /* .byre */
};

struct layout_name {
	enum layout_kind kind;
	/* the image's name, <sha1>; "" for swap, ephemeral, foreign, state */
	char image[NAME_HASH_SHA1];
	uint64_t size;  /* SIZED, EPHEMERAL: GiB; SWAP: MiB; else 0 */
	char format[8]; /* EPHEMERAL: the 7 characters */
};

/* Any name at all, hostile ones too; one of LAYOUT_NAME bytes is foreign. Numbers
 * are plain decimal without leading zeros; what does not fit 2^63 bytes is
 * foreign. */
void layout_classify(const char *name, struct layout_name *ret);
/* True for what may serve as a backing file: IMAGE, SIZED, SIZED_OLD, SWAP,
 * EPHEMERAL. */
bool layout_is_base(enum layout_kind kind);

/* ret: LAYOUT_NAME bytes. The id is any UTF-8 text (a new line is as good as
 * any character); empty, longer than LAYOUT_ID_MAX or not UTF-8 is ERR_USAGE. */
int layout_image(const char *id, char *ret, struct err *e);
/* image: a name from layout_image. gib > 0. */
void layout_sized(const char *image, uint64_t gib, char *ret);
void layout_swap(uint64_t mib, char *ret);
/* mkfs: what Nova hashes: the mkfs command that is configured for the guest's
 * os type, or else the name of the file system. */
void layout_ephemeral(uint64_t gib, const char *mkfs, char *ret);
/* Whether text is 40 lower-case hex digits. */
bool layout_is_sha1(const char *text);

#endif
