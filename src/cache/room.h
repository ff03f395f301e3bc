/* SPDX-License-Identifier: MIT */
/* How much of a file system may be filled with images: guests write there. */
#ifndef CACHE_ROOM_H
#define CACHE_ROOM_H

#include <stdint.h>

#include "base/units.h"

#define ROOM_PART 32     /* one of so many parts stays free, */
#define ROOM_RESERVE GIB /* and no more than this */

/* Bytes of the file system of fd that stay free; 0: not known. */
uint64_t room_reserve(int fd);
/* Bytes that are free beyond these, UINT64_MAX: not known. */
uint64_t room_spare(int fd);

#endif
