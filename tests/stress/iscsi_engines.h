/*
 * The main of stress programs with a rig: the seed, and one play on each engine that is here. Not a
 * program. Include it after what includes tests/unit/iscsi_peer.h, whose rig_loop it uses.
 */
#ifndef TESTS_STRESS_ISCSI_ENGINES_H
#define TESTS_STRESS_ISCSI_ENGINES_H

#include "tests/unit/iscsi_peer.h"

/* True when the kernel lets us have it. */
static inline bool rig_engine_is_here(enum loop_engine engine)
{
	struct loop *loop = rig_loop(engine, 0, 0);
	bool here = loop_start(loop) == 0;

	if (here) {
		loop_stop(loop);
		loop_join(loop);
	}
	loop_free(loop, false);
	return here;
}

/* The first argument is the seed; without one it is ours to choose. Returns the exit status. */
static inline int rig_main(int argc, char **argv,
			   void (*play)(enum loop_engine engine, const char *name, uint32_t seed))
{
	uint32_t seed = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : (uint32_t)getpid();

	printf("seed %u\n", seed);
	fflush(stdout);
	log_set_level(LOG_LEVEL_ERROR);
	if (rig_engine_is_here(LOOP_ENGINE_URING))
		play(LOOP_ENGINE_URING, "uring", seed);
	else
		printf("uring: skipped, it is refused here\n");
	play(LOOP_ENGINE_AIO, "aio", seed);
	return 0;
}

#endif
