/* SPDX-License-Identifier: MIT */
/*
 * The backing name of a qcow2 without opening it as an image: a pass over ten
 * thousand disks has one open and one read for each. What else is wrong with
 * the image does not matter here.
 */
#include "config.h"

#include "cache/backing.h"

#include <errno.h>
#include <unistd.h>

#include "base/units.h"
#include "format/qcow2.h"

/* As a rule the name lies behind the header's extensions, in the first page. */
#define HEAD 4096
#define FIELDS 24 /* magic, version, backing offset and length, cluster bits */
#define V2_LENGTH 72
#define V3_LENGTH_AT 100

static void
untold(struct backing *b, const char *why)
{
	b->kind = BACKING_UNTOLD;
	b->why = why;
}

/* The extension that names an external data file. Writers put it in front of
 * the long ones; one that lies behind the first page is not found. */
static void
find_data(struct span head, uint32_t version, char ret[static BACKING_NAME])
{
	uint64_t at = V2_LENGTH;
	uint32_t type, len;

	if (version == 3 && head.len >= V3_LENGTH_AT + 4)
		at = load_be32(head.p + V3_LENGTH_AT);
	while (at + 8 <= head.len) {
		type = load_be32(head.p + at);
		len = load_be32(head.p + at + 4);
		at += 8;
		if (type == 0 || len > head.len - at)
			return;
		if (type == QCOW2_EXT_DATA_FILE && len < BACKING_NAME) {
			memcpy(ret, head.p + at, len);
			ret[len] = '\0';
			return;
		}
		at += units_align_up(len, 8);
	}
}

void
backing_decode(struct span head, struct backing *ret)
{
	uint32_t version, bits;
	struct cursor c;

	*ret = (struct backing){.kind = BACKING_NONE};
	if (head.len < 4 || load_be32(head.p) != QCOW2_MAGIC)
		return;
	if (head.len < FIELDS) {
		untold(ret, "its qcow2 header is cut off");
		return;
	}
	c = cursor_over((struct span){head.p + 4, FIELDS - 4});
	version = cursor_be32(&c);
	ret->at = cursor_be64(&c);
	ret->len = cursor_be32(&c);
	bits = cursor_be32(&c);
	if (version == 2 || version == 3)
		find_data(head, version, ret->data);
	if (version < 1 || version > 3) {
		untold(ret, "its qcow2 version is not known");
	} else if (ret->at == 0 || ret->len == 0) {
		ret->kind = BACKING_NONE;
	} else if (ret->len >= BACKING_NAME) {
		untold(ret, "its backing file's name is too long");
	} else if (version > 1 && (bits < QCOW2_CLUSTER_BITS_MIN ||
			bits > QCOW2_CLUSTER_BITS_MAX ||
			ret->at > (UINT64_C(1) << bits) - ret->len)) {
		untold(ret, "its backing file's name lies outside its header");
	} else if (ret->at > (UINT64_C(1) << QCOW2_CLUSTER_BITS_MAX)) {
		untold(ret, "its backing file's name lies outside its header");
	} else {
		ret->kind = BACKING_NAMED;
	}
}

/* *ret_got bytes; less than len only at the file's end. */
static int
read_at(int fd, void *buf, size_t len, uint64_t off, size_t *ret_got)
{
	size_t done = 0;
	ssize_t r;

	while (done < len) {
		r = pread(fd, (char *)buf + done, len - done,
			(off_t)(off + done));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return errno;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	*ret_got = done;
	return 0;
}

int
backing_read(int fd, struct backing *ret)
{
	uint8_t head[HEAD];
	size_t got = 0;
	ssize_t r;
	int eno;

	/* one read as a rule: a short file is at its end */
	do
		r = pread(fd, head, sizeof(head), 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno;
	backing_decode((struct span){head, (size_t)r}, ret);
	if (ret->kind != BACKING_NAMED)
		return 0;
	if (ret->at + ret->len <= (uint64_t)r) {
		memcpy(ret->name, head + ret->at, ret->len);
	} else {
		eno = read_at(fd, ret->name, ret->len, ret->at, &got);
		if (eno)
			return eno;
		if (got < ret->len)
			untold(ret, "the file ends before its backing file's "
				"name");
	}
	ret->name[ret->len] = '\0';
	if (ret->kind == BACKING_NAMED && !ret->name[0])
		ret->kind = BACKING_NONE;
	return 0;
}
