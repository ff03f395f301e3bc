/* SPDX-License-Identifier: MIT */
/* The gate's report, as JSON and as lines. */
#include "op/inspect.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"

static const struct {
	unsigned bit;
	const char *name;
} contents[] = {
	{CONTENT_GPT, "gpt"},
	{CONTENT_MBR, "mbr"},
	{CONTENT_ISO, "iso"},
};

int
inspect_run(const struct source *s, const struct gate *g, bool deep,
	const struct watch *w, struct gate_report *ret, struct err *e)
{
	struct file *f;
	int r;

	if (source_file(s, &f, e))
		return -1;
	r = gate_inspect(g, f, s->format, deep, w, ret, e);
	file_close(f);
	return r;
}

void
inspect_json(const char *name, const struct gate_report *r, struct buf *out)
{
	struct json_out j = {.out = out, .pretty = true};
	unsigned i;

	json_open_object(&j, NULL);
	json_str(&j, "filename", name);
	json_bool(&j, "safe", r->n_reasons == 0);
	json_str(&j, "format", probe_format_name(r->probe.format));
	if (r->probe.what)
		json_str(&j, "detected", r->probe.what);
	if (r->declared != FORMAT_PROBE)
		json_str(&j, "declared-format", probe_format_name(r->declared));
	json_open_array(&j, "content");
	for (i = 0; i < sizeof(contents) / sizeof(contents[0]); i++)
		if (r->probe.content & contents[i].bit)
			json_str(&j, NULL, contents[i].name);
	json_close_array(&j);
	json_u64(&j, "file-size", r->file_size);
	if (r->opened)
		json_u64(&j, "virtual-size", r->virtual_size);
	json_bool(&j, "deep", r->deep);
	if (r->deep) {
		json_u64(&j, "mapped-bytes", r->mapped);
		json_u64(&j, "packed-clusters", r->packed);
	}
	json_open_array(&j, "reasons");
	for (i = 0; i < r->n_reasons; i++) {
		json_open_object(&j, NULL);
		json_str(&j, "id", r->reasons[i].id);
		json_str(&j, "text", r->reasons[i].text);
		json_close_object(&j);
	}
	json_close_array(&j);
	json_close_object(&j);
	buf_char(out, '\n');
}

void
inspect_text(const char *name, const struct gate_report *r, struct buf *out)
{
	char q[256];
	unsigned i;

	err_quote(q, sizeof(q), name, (unsigned)strlen(name));
	buf_fmt(out, "%s: %s", q, probe_format_name(r->probe.format));
	for (i = 0; i < sizeof(contents) / sizeof(contents[0]); i++)
		if (r->probe.content & contents[i].bit)
			buf_fmt(out, " (%s inside)", contents[i].name);
	if (r->opened)
		buf_fmt(out, ", %" PRIu64 " bytes virtual", r->virtual_size);
	buf_fmt(out, ", %" PRIu64 " bytes on disk: %s%s\n", r->file_size,
		r->n_reasons ? "refused" : "safe",
		r->deep || r->n_reasons ? "" : " as far as the header shows");
	for (i = 0; i < r->n_reasons; i++)
		buf_fmt(out, "%s: %s: %s\n", q, r->reasons[i].id,
			r->reasons[i].text);
}
