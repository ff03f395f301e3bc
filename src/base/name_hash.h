/* SPDX-License-Identifier: MIT */
/*
 * SHA-1 (FIPS 180-4) and MD5 (RFC 1321) of short texts. Nova names the files
 * of its image cache so: <sha1 of the image's id>, and ephemeral_<GiB>_<first
 * digits of the md5 of the mkfs command>. Names are all that they are for;
 * nothing here is secure, and contents are never hashed with them. They are
 * our own because libcrypto would cost every start of the program more than
 * the few hundred bytes ever hashed.
 */
#ifndef BASE_NAME_HASH_H
#define BASE_NAME_HASH_H

#include <stddef.h>

#define NAME_HASH_SHA1 41 /* 40 hex digits and NUL */
#define NAME_HASH_MD5 33

/* Lower-case hex digits into out, which is returned. */
char *name_hash_sha1(const void *p, size_t len, char *out);
char *name_hash_md5(const void *p, size_t len, char *out);

#endif
