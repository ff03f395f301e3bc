/* SPDX-License-Identifier: MIT */
/* The -o options of amend: from text to the request. */
#ifndef CLI_AMENDOPTS_H
#define CLI_AMENDOPTS_H

#include "base/parse.h"
#include "cli/options.h"
#include "op/amend.h"

/* rq's strings live in given, the caller's to free. Messages are qemu-img's;
 * *ret_create: the option is one of new images. */
int amendopts_parse(const struct options_list *lists, struct parse_opts *given,
	struct amend_request *rq, bool *ret_create, struct err *e);

#endif
