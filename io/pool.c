/* SPDX-License-Identifier: MIT */
/*
 * Worker threads and tickets. Knows stacks, signals and whose turn it is;
 * what the workers do, and how they tell each other to stop, is theirs.
 */
#include "config.h"

#include "io/pool.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>

struct crew {
	int (*fn)(void *arg, unsigned i, struct err *e);
	void *arg;
	pthread_mutex_t mutex;
	bool failed;      /* under mutex, as is err */
	struct err *err;  /* of the first that failed; may be NULL */
};

struct worker {
	struct crew *crew;
	unsigned i;
	pthread_t thread;
};

unsigned
pool_cpus(void)
{
	cpu_set_t set;
	int n;

	/* More CPUs than cpu_set_t has room for is EINVAL. */
	if (sched_getaffinity(0, sizeof(set), &set))
		return POOL_WORKERS_MAX;
	n = CPU_COUNT(&set);
	if (n < 1)
		return 1;
	return n > POOL_WORKERS_MAX ? POOL_WORKERS_MAX : (unsigned)n;
}

static void
work(struct crew *c, unsigned i)
{
	struct err e = {0};

	if (c->fn(c->arg, i, &e) == 0)
		return;
	pthread_mutex_lock(&c->mutex);
	if (!c->failed && c->err)
		*c->err = e;
	c->failed = true;
	pthread_mutex_unlock(&c->mutex);
}

static void *
thread_main(void *arg)
{
	struct worker *w = arg;

	work(w->crew, w->i);
	return NULL;
}

int
pool_thread(pthread_t *ret, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	if (pthread_attr_init(&attr))
		return -1;
	pthread_attr_setstacksize(&attr, POOL_STACK);
	/* A thread inherits the mask: signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(ret, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return r ? -1 : 0;
}

int
pool_run(unsigned n, int (*fn)(void *arg, unsigned i, struct err *e),
	void *arg, struct err *e)
{
	struct worker w[POOL_WORKERS_MAX];
	struct crew c = {.fn = fn, .arg = arg, .err = e};
	unsigned i, made;

	if (n > POOL_WORKERS_MAX)
		n = POOL_WORKERS_MAX;
	pthread_mutex_init(&c.mutex, NULL);
	for (made = 1; made < n; made++) {
		w[made].crew = &c;
		w[made].i = made;
		if (pool_thread(&w[made].thread, thread_main, &w[made]))
			break;
	}
	work(&c, 0);
	for (i = 1; i < made; i++)
		pthread_join(w[i].thread, NULL);
	pthread_mutex_destroy(&c.mutex);
	return c.failed ? -1 : 0;
}

void
pool_order_init(struct pool_order *o)
{
	*o = (struct pool_order){0};
	pthread_mutex_init(&o->mutex, NULL);
	pthread_cond_init(&o->turned, NULL);
}

void
pool_order_destroy(struct pool_order *o)
{
	pthread_cond_destroy(&o->turned);
	pthread_mutex_destroy(&o->mutex);
}

uint64_t
pool_order_take(struct pool_order *o)
{
	uint64_t ticket;

	pthread_mutex_lock(&o->mutex);
	ticket = o->taken++;
	pthread_mutex_unlock(&o->mutex);
	return ticket;
}

bool
pool_order_wait(struct pool_order *o, uint64_t ticket)
{
	bool go;

	pthread_mutex_lock(&o->mutex);
	while (!o->stopped && o->turn != ticket)
		pthread_cond_wait(&o->turned, &o->mutex);
	go = !o->stopped;
	pthread_mutex_unlock(&o->mutex);
	return go;
}

void
pool_order_done(struct pool_order *o, uint64_t ticket)
{
	pthread_mutex_lock(&o->mutex);
	if (o->turn == ticket)
		o->turn++;
	pthread_cond_broadcast(&o->turned);
	pthread_mutex_unlock(&o->mutex);
}

void
pool_order_stop(struct pool_order *o)
{
	pthread_mutex_lock(&o->mutex);
	o->stopped = true;
	pthread_cond_broadcast(&o->turned);
	pthread_mutex_unlock(&o->mutex);
}

bool
pool_order_stopped(struct pool_order *o)
{
	bool r;

	pthread_mutex_lock(&o->mutex);
	r = o->stopped;
	pthread_mutex_unlock(&o->mutex);
	return r;
}
