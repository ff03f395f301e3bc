/* SPDX-License-Identifier: MIT */
/*
 * From options to an open cache. The journal's lines are what an operator
 * keeps: one event each, hostile names escaped, JSON with the time in UTC.
 */
#include "config.h"

#include "cli/cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "cli/native.h"

int
cache_open(const struct options_args *a, bool create, struct store *ret,
	struct err *e)
{
	const char *env = getenv("BYRE_INSTANCES");
	struct store_request rq = {
		.instances = a->instances ? a->instances
			: env && *env ? env : CACHE_DIR,
		.base = a->base_dir,
		.locks = a->locks_dir,
		.create = create,
	};

	return store_open(ret, &rq, e);
}

static void
quote(char *out, unsigned cap, const char *s)
{
	err_quote(out, cap, s, (unsigned)strlen(s));
}

static void
tell_text(void *arg, const struct journal_event *ev)
{
	char name[1024], id[4096] = "", why[1024] = "", bytes[40] = "";

	(void)arg;
	quote(name, sizeof(name), ev->name);
	if (ev->id)
		quote(id, sizeof(id), ev->id);
	if (ev->why)
		quote(why, sizeof(why), ev->why);
	if (ev->bytes)
		snprintf(bytes, sizeof(bytes), ", %" PRIu64 " bytes",
			ev->bytes);
	fprintf(stderr, "byre: cache: %s %s%s%s%s%s%s%s\n", ev->what, name,
		*id ? " (" : "", id, *id ? ")" : "", bytes, *why ? ": " : "",
		why);
}

static void
tell_json(void *arg, const struct journal_event *ev)
{
	struct buf out = BUF_INIT;
	struct json_out j = {.out = &out};
	struct timespec now;
	char when[64];
	struct tm tm;
	size_t n;

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &now);
	n = gmtime_r(&now.tv_sec, &tm)
		? strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm) : 0;
	snprintf(when + n, sizeof(when) - n, ".%03ldZ",
		now.tv_nsec / 1000000);
	json_open_object(&j, NULL);
	json_str(&j, "time", when);
	json_str(&j, "event", ev->what);
	json_str(&j, "name", ev->name);
	if (ev->id)
		json_str(&j, "image-id", ev->id);
	if (ev->why)
		json_str(&j, "why", ev->why);
	if (ev->bytes)
		json_u64(&j, "bytes", ev->bytes);
	json_close_object(&j);
	buf_char(&out, '\n');
	/* in one piece: several processes may share the log */
	if (!buf_failed(&out))
		fwrite(out.p, 1, out.len, stderr);
	buf_free(&out);
}

int
cache_journal(const struct options_args *a, struct journal *ret,
	struct err *e)
{
	static const char *const words[] = {"none", "text", "json", NULL};
	unsigned i = 0;

	if (native_word(a->log, "--log", words, &i, e))
		return -1;
	*ret = (struct journal){.event = i == 1 ? tell_text
		: i == 2 ? tell_json : NULL};
	return 0;
}
