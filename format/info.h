/* SPDX-License-Identifier: MIT */
/* What an image says of itself; filled by image_info, printed by op/info. */
#ifndef FORMAT_INFO_H
#define FORMAT_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/probe.h"

struct info_snapshot {
	char *id;
	char *name;
	uint64_t l1_offset;
	uint32_t l1_entries;
	uint64_t disk_size; /* bytes */
	uint64_t vm_state_size;
	uint32_t date_sec, date_nsec;
	uint64_t vm_clock_nsec;
	bool has_icount;
	uint64_t icount;
	/* extra data behind what the fields above hold; owned, or NULL */
	uint8_t *more;
	uint32_t more_len;
	bool short_extra; /* version 3 wants 16 bytes of extra data at least */
};

struct info_bitmap {
	char *name;
	uint64_t granularity; /* bytes */
	bool in_use;
	bool is_auto;
	uint64_t table_offset; /* host byte */
	uint32_t table_entries;
};

#define INFO_LUKS_SLOTS 8

/* The LUKS (version 1) header inside an encrypted qcow2; names are QEMU's. */
struct info_luks {
	char cipher_alg[24];     /* "aes-256" */
	char cipher_mode[8];     /* "xts" */
	char ivgen_alg[16];      /* "plain64" */
	char ivgen_hash_alg[32]; /* "" if none */
	char hash_alg[32];
	char uuid[41];
	uint64_t payload_offset; /* bytes */
	uint32_t iterations;     /* of the master key */
	struct {
		bool active;
		uint32_t iterations;
		uint32_t stripes;
		uint64_t key_offset; /* bytes */
	} slots[INFO_LUKS_SLOTS];
};

/* Strings are owned (NULL where absent); image_info_free frees all. */
struct image_info {
	enum format format;
	uint64_t virtual_size;
	uint32_t cluster_size; /* 0: absent */
	bool encrypted;
	bool dirty;
	char *backing;
	char *backing_format;
	struct info_snapshot *snapshots;
	size_t n_snapshots;
	/* qcow2 only: */
	unsigned version;       /* 2 or 3 */
	enum { INFO_ZLIB, INFO_ZSTD } compression;
	bool lazy_refcounts;
	unsigned refcount_bits;
	bool corrupt;
	bool extended_l2;
	bool has_bitmaps;       /* the list is shown (it may be empty) */
	struct info_bitmap *bitmaps;
	size_t n_bitmaps;
	char *data_file;        /* as the extension says, bit or no bit */
	bool data_file_raw;
	bool data_file_bit;     /* the incompatible bit is set */
	int crypt_method;       /* 0 none, 1 AES, 2 LUKS */
	struct info_luks *luks; /* method 2; owned */
};

void image_info_free(struct image_info *i);

#endif
