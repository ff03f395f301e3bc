/* SPDX-License-Identifier: MIT */
/* Worker threads with small stacks, and tickets that keep order among them. */
#ifndef IO_POOL_H
#define IO_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define POOL_STACK (256 * 1024) /* bytes; counts against RLIMIT_AS */
#define POOL_WORKERS_MAX 64

/* CPUs this process may run on (sched_getaffinity), 1..POOL_WORKERS_MAX. */
unsigned pool_cpus(void);

/*
 * Runs fn(arg, i, err) for i in 0..n-1, worker 0 in the calling thread, and
 * waits for all. When threads cannot be made, fewer run (at least one), which
 * must be enough for the work. Returns -1 with the error of the first worker
 * that failed; a worker that fails must make the others stop by itself.
 */
int pool_run(unsigned n, int (*fn)(void *arg, unsigned i, struct err *e),
	void *arg, struct err *e);

/* One thread with a small stack and all signals blocked; -1 if there is none
 * to be had. The caller joins it. */
int pool_thread(pthread_t *ret, void *(*fn)(void *), void *arg);

/* Tickets are taken in order; turns are given in the same order. */
struct pool_order {
	pthread_mutex_t mutex;
	pthread_cond_t turned;
	uint64_t taken; /* next ticket to give out */
	uint64_t turn;  /* the ticket whose turn it is */
	bool stopped;
};

void pool_order_init(struct pool_order *o);
void pool_order_destroy(struct pool_order *o);
uint64_t pool_order_take(struct pool_order *o);
/* Waits for ticket's turn; false when the order was stopped. */
bool pool_order_wait(struct pool_order *o, uint64_t ticket);
void pool_order_done(struct pool_order *o, uint64_t ticket);
/* Wakes all waiters with false; sticky. */
void pool_order_stop(struct pool_order *o);
bool pool_order_stopped(struct pool_order *o);

#endif
