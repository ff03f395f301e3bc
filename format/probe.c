/* SPDX-License-Identifier: MIT */
/*
 * Names a file's format from its first and last bytes: one small matcher for
 * each format, in a table. Wider than QEMU's probes on purpose: a disk image
 * that we do not read must be refused by its name and never pass as raw.
 */
#include "config.h"

#include "format/probe.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/units.h"

static const char *const names[FORMAT_COUNT] = {
	[FORMAT_PROBE] = "probe",
	[FORMAT_RAW] = "raw",
	[FORMAT_QCOW2] = "qcow2",
	[FORMAT_QCOW1] = "qcow",
	[FORMAT_QED] = "qed",
	[FORMAT_VMDK] = "vmdk",
	[FORMAT_VDI] = "vdi",
	[FORMAT_VPC] = "vpc",
	[FORMAT_VHDX] = "vhdx",
	[FORMAT_LUKS] = "luks",
	[FORMAT_PARALLELS] = "parallels",
	[FORMAT_PLOOP] = "ploop",
	[FORMAT_BOCHS] = "bochs",
	[FORMAT_CLOOP] = "cloop",
	[FORMAT_DMG] = "dmg",
};

const char *
probe_format_name(enum format f)
{
	return (unsigned)f < FORMAT_COUNT ? names[f] : "unknown";
}

enum format
probe_format_from_name(const char *name)
{
	int i;

	for (i = FORMAT_RAW; i < FORMAT_COUNT; i++)
		if (strcmp(names[i], name) == 0)
			return (enum format)i;
	if (strcmp(name, "vhd") == 0)
		return FORMAT_VPC;
	if (strcmp(name, "qcow1") == 0)
		return FORMAT_QCOW1;
	return FORMAT_PROBE;
}

static bool
has(struct span s, size_t at, const void *bytes, size_t len)
{
	return at <= s.len && len <= s.len - at &&
		memcmp(s.p + at, bytes, len) == 0;
}

#define HAS(s, at, text) has(s, at, text, sizeof(text) - 1)

static uint32_t
be32_at(struct span s, size_t at)
{
	return at + 4 <= s.len ? load_be32(s.p + at) : 0;
}

static uint32_t
le32_at(struct span s, size_t at)
{
	return at + 4 <= s.len ? load_le32(s.p + at) : 0;
}

static const char *
match_qcow2(struct span head, struct span tail)
{
	(void)tail;
	if (!HAS(head, 0, "QFI\xfb") || be32_at(head, 4) == 1)
		return NULL;
	return "qcow2 header";
}

static const char *
match_qcow1(struct span head, struct span tail)
{
	(void)tail;
	return HAS(head, 0, "QFI\xfb") && be32_at(head, 4) == 1 ?
		"qcow version 1 header" : NULL;
}

static const char *
match_qed(struct span head, struct span tail)
{
	(void)tail;
	return HAS(head, 0, "QED\0") ? "QED header" : NULL;
}

/* The start of the line after p, or end. */
static const uint8_t *
next_line(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));

	return nl ? nl + 1 : end;
}

/* Comments and lines of blanks, then "version=N": what QEMU takes for a VMDK
 * descriptor. It sees 512 bytes; comments may be longer than that. */
static bool
is_vmdk_text(struct span s)
{
	const uint8_t *p = s.p, *end = s.p + s.len;

	while (p < end) {
		struct span rest = {p, (size_t)(end - p)};

		if (*p == '#') {
			p = next_line(p, end);
			continue;
		}
		if (*p == ' ') {
			while (p < end && *p == ' ')
				p++;
			if (p < end && *p == '\r')
				p++;
			if (p == end || *p != '\n')
				return false;
			p++;
			continue;
		}
		if (!HAS(rest, 0, "version=") || rest.len < 10 || p[8] < '1' ||
			p[8] > '3')
			return false;
		return p[9] == '\n' || (p[9] == '\r' && HAS(rest, 10, "\n"));
	}
	return false;
}

static const char *
match_vmdk(struct span head, struct span tail)
{
	(void)tail;
	if (HAS(head, 0, "KDMV"))
		return "VMDK sparse header";
	if (HAS(head, 0, "COWD"))
		return "VMDK COWD header";
	if (le32_at(head, 0) == 0xcafebabe && le32_at(head, 4) == 0 &&
		le32_at(head, 8) == 1 && le32_at(head, 12) == 2)
		return "VMDK seSparse header";
	if (HAS(head, 0, "# Disk DescriptorFile") || is_vmdk_text(head))
		return "VMDK text descriptor";
	return NULL;
}

static const char *
match_vdi(struct span head, struct span tail)
{
	(void)tail;
	return le32_at(head, 64) == 0xbeda107f ? "VDI header" : NULL;
}

/* A fixed VHD has only a footer, at the end, where any guest's data might
 * stand: its checksum (of all bytes but itself) must agree. */
static bool
is_vhd_footer(struct span s)
{
	uint32_t sum = 0;
	size_t i;

	if (s.len < 512 || !HAS(s, s.len - 512, "conectix"))
		return false;
	s.p += s.len - 512;
	for (i = 0; i < 512; i++)
		if (i < 64 || i >= 68)
			sum += s.p[i];
	return ~sum == load_be32(s.p + 64);
}

static const char *
match_vpc(struct span head, struct span tail)
{
	if (HAS(head, 0, "conectix"))
		return "VHD header";
	return is_vhd_footer(tail) ? "VHD footer" : NULL;
}

static const char *
match_vhdx(struct span head, struct span tail)
{
	(void)tail;
	return HAS(head, 0, "vhdxfile") ? "VHDX header" : NULL;
}

static const char *
match_luks(struct span head, struct span tail)
{
	(void)tail;
	return HAS(head, 0, "LUKS\xba\xbe") ? "LUKS header" : NULL;
}

static const char *
match_parallels(struct span head, struct span tail)
{
	(void)tail;
	return HAS(head, 0, "WithoutFreeSpace") ||
			HAS(head, 0, "WithouFreSpacExt") ?
		"Parallels header" : NULL;
}

/* The description that stands beside a ploop's images; the images themselves
 * are Parallels ones. */
static const char *
match_ploop(struct span head, struct span tail)
{
	size_t len = (size_t)units_min(head.len, 1024);

	(void)tail;
	return HAS(head, 0, "<") && len &&
			memmem(head.p, len, "<Parallels_disk_image", 21) ?
		"ploop disk description" : NULL;
}

static const char *
match_bochs(struct span head, struct span tail)
{
	(void)tail;
	return HAS(head, 0, "Bochs Virtual HD Image") ? "Bochs header" : NULL;
}

static const char *
match_cloop(struct span head, struct span tail)
{
	(void)tail;
	return HAS(head, 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop ") ?
		"cloop header" : NULL;
}

static const char *
match_dmg(struct span head, struct span tail)
{
	(void)head;
	return tail.len >= 512 && HAS(tail, tail.len - 512, "koly") &&
			be32_at(tail, tail.len - 512 + 8) == 512 ?
		"DMG trailer" : NULL;
}

static const struct {
	enum format format;
	const char *(*match)(struct span head, struct span tail);
} matchers[] = {
	{FORMAT_QCOW2, match_qcow2},
	{FORMAT_QCOW1, match_qcow1},
	{FORMAT_QED, match_qed},
	{FORMAT_VMDK, match_vmdk},
	{FORMAT_VDI, match_vdi},
	{FORMAT_VHDX, match_vhdx},
	{FORMAT_LUKS, match_luks},
	{FORMAT_PARALLELS, match_parallels},
	{FORMAT_PLOOP, match_ploop},
	{FORMAT_BOCHS, match_bochs},
	{FORMAT_CLOOP, match_cloop},
	{FORMAT_VPC, match_vpc},
	{FORMAT_DMG, match_dmg},
};

/* A boot signature alone is also a FAT volume's: at least one entry must look
 * like a partition, and none like anything else. */
static bool
has_mbr(struct span head)
{
	unsigned i, used = 0;

	if (!has(head, 510, "\x55\xaa", 2))
		return false;
	for (i = 0; i < 4; i++) {
		const uint8_t *p = head.p + 446 + i * 16;

		if (p[0] & 0x7f)
			return false;
		if (p[4] && load_le32(p + 12))
			used++;
	}
	return used > 0;
}

static unsigned
find_content(struct span head)
{
	unsigned c = CONTENT_NONE;

	if (has_mbr(head))
		c |= CONTENT_MBR;
	if (HAS(head, 512, "EFI PART") || HAS(head, 4096, "EFI PART"))
		c |= CONTENT_GPT;
	if (HAS(head, 32769, "CD001"))
		c |= CONTENT_ISO;
	return c;
}

struct probe_result
probe_bytes(struct span head, struct span tail)
{
	struct probe_result r = {
		.format = FORMAT_RAW,
		.also = FORMAT_RAW,
		.content = find_content(head),
		.what = "no known header",
	};
	size_t i;

	for (i = 0; i < COUNT_OF(matchers); i++) {
		const char *what = matchers[i].match(head, tail);

		if (!what)
			continue;
		if (r.format == FORMAT_RAW) {
			r.format = matchers[i].format;
			r.what = what;
		} else if (r.also == FORMAT_RAW) {
			r.also = matchers[i].format;
		}
	}
	return r;
}

enum format
probe_qemu(struct span head)
{
	static const char cloop[] =
		"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && "
		"mount -r -t iso9660 /dev/cloop $1\n";
	uint8_t b[512] = {0};
	struct span s = {b, sizeof(b)};
	uint32_t version;

	if (head.len == 0)
		return FORMAT_RAW;
	memcpy(b, head.p, (size_t)units_min(head.len, sizeof(b)));
	version = load_be32(b + 4);
	if (HAS(s, 0, "QFI\xfb") && version >= 2)
		return FORMAT_QCOW2;
	if (HAS(s, 0, "QFI\xfb") && version == 1)
		return FORMAT_QCOW1;
	if (match_qed(s, s))
		return FORMAT_QED;
	if (HAS(s, 0, "KDMV") || HAS(s, 0, "COWD") || is_vmdk_text(s))
		return FORMAT_VMDK;
	if (match_vdi(s, s))
		return FORMAT_VDI;
	if (HAS(s, 0, "conectix"))
		return FORMAT_VPC;
	if (match_vhdx(s, s))
		return FORMAT_VHDX;
	if (HAS(s, 0, "LUKS\xba\xbe\0\1"))
		return FORMAT_LUKS;
	if (match_parallels(s, s) && load_le32(b + 16) == 2)
		return FORMAT_PARALLELS;
	version = load_le32(b + 68);
	if (HAS(s, 0, "Bochs Virtual HD Image\0") && HAS(s, 32, "Redolog\0") &&
		HAS(s, 48, "Growing\0") &&
		(version == 0x10000 || version == 0x20000))
		return FORMAT_BOCHS;
	if (HAS(s, 0, cloop))
		return FORMAT_CLOOP;
	return FORMAT_RAW;
}

static int
cut(const struct file *f, uint64_t at, struct err *e)
{
	err_set(e, ERR_CORRUPT, "ends after %" PRIu64 " bytes, its length is %"
		PRIu64, at, f->size);
	return err_file(e, f->name);
}

int
probe_load(struct file *f, struct probe_result *ret, struct err *e)
{
	CLEANUP_FREE uint8_t *head = buf_alloc_aligned(PROBE_HEAD);
	CLEANUP_FREE uint8_t *last = buf_alloc_aligned(8192);
	struct span tail;
	uint64_t from;
	size_t got, got_last = 0;

	if (!head || !last)
		return err_set(e, ERR_NOMEM, "no memory to probe a file");
	if (file_read_padded(f, head, PROBE_HEAD, 0, &got, e))
		return -1;
	/* of what is not given nobody may say that it is raw */
	if (got < units_min(f->size, PROBE_HEAD))
		return cut(f, got, e);
	tail = (struct span){head, got};
	if (f->size > PROBE_HEAD) {
		/* the block of the last 512 bytes, and what precedes it where
		 * they straddle two: whole blocks, as O_DIRECT wants them */
		from = units_align_down(f->size - PROBE_TAIL, 4096);
		if (file_read_padded(f, last, 8192, from, &got_last, e))
			return -1;
		if (got_last < units_min(f->size - from, 8192))
			return cut(f, from + got_last, e);
		tail = (struct span){last, got_last};
	}
	if (tail.len > PROBE_TAIL) {
		tail.p += tail.len - PROBE_TAIL;
		tail.len = PROBE_TAIL;
	}
	*ret = probe_bytes((struct span){head, got}, tail);
	return 0;
}
