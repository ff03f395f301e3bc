/* SPDX-License-Identifier: MIT */
/*
 * A step is a run that block status gives for both images, and no more than
 * one read where a side has data. What is in it, and how fast it is looked at,
 * is compare.c's.
 */
#include "op/compare_steps.h"

#include "base/units.h"

/* So many are found one by one; a hostile image has more of them than can be
 * shown, and the rest is one step. 512 GiB in 512 KiB slices. */
#define STEPS_MAX (UINT32_C(1) << 20)

int
compare_steps_open(struct compare_steps *s, struct chain *first,
	struct chain *second, struct err *e)
{
	*s = (struct compare_steps){.left = STEPS_MAX};
	s->size[0] = units_align_up(first->size, 512);
	s->size[1] = units_align_up(second->size, 512);
	if (status_open(&s->walk[0], first, true, e) == 0 &&
		status_open(&s->walk[1], second, true, e) == 0)
		return 0;
	compare_steps_close(s);
	return -1;
}

void
compare_steps_close(struct compare_steps *s)
{
	status_close(s->walk[0]);
	status_close(s->walk[1]);
	*s = (struct compare_steps){0};
}

/* The end of the step at s->at; 0 when the tables do not tell. */
static uint64_t
step_end(struct compare_steps *s)
{
	uint64_t all = units_max(s->size[0], s->size[1]), len = all - s->at;
	unsigned data = 0, zero = STATUS_ZERO, k;
	struct status t;

	if (s->left == 0)
		return all;
	s->left--;
	for (k = 0; k < 2; k++) {
		if (s->at >= s->size[k])
			continue;
		if (status_above(s->walk[k], s->at, s->size[k] - s->at, &t,
			    NULL))
			return 0;
		len = units_min(len, t.len);
		data |= t.flags & STATUS_PRESENT;
		zero &= t.flags;
	}
	if (data && !zero)
		len = units_min(len, COMPARE_READ_MAX);
	return s->at + len;
}

bool
compare_steps_next(struct compare_steps *s, uint64_t upto)
{
	if (s->at >= units_max(s->size[0], s->size[1]))
		return false;
	if (s->end <= s->at)
		s->end = step_end(s);
	if (s->end <= s->at || s->end > upto)
		return false;
	s->at = s->end;
	return true;
}
