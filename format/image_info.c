/* SPDX-License-Identifier: MIT */
/* Frees what the formats put into struct image_info. */
#include "format/info.h"

#include <stdlib.h>
#include <string.h>

void
image_info_free(struct image_info *i)
{
	size_t k;

	for (k = 0; k < i->n_snapshots; k++) {
		free(i->snapshots[k].id);
		free(i->snapshots[k].name);
		free(i->snapshots[k].more);
	}
	free(i->snapshots);
	for (k = 0; k < i->n_bitmaps; k++)
		free(i->bitmaps[k].name);
	free(i->bitmaps);
	free(i->backing);
	free(i->backing_format);
	free(i->data_file);
	free(i->luks);
	memset(i, 0, sizeof(*i));
}
