/*
 * How large the daemon is to be: loops, buffers and descriptors, computed from the configuration
 * before anything is made, so that limits that contradict each other are said together with the
 * other errors of the configuration.
 *
 * Threads: pure, but for sizing_cpus and sizing_raise_nofile, which ask the machine. Control
 * thread.
 */
#ifndef TARGET_CTL_SIZING_H
#define TARGET_CTL_SIZING_H

#include "conf/errors.h"
#include "conf/model.h"

struct sizing {
	unsigned loops;
	uint32_t buffers_per_loop;  /* Of LOOP_BUFFER_BYTES, of the data loops. */
	uint32_t buffers_control;   /* One for each connection before login. */
	uint32_t sessions_per_loop; /* What the buffers of a loop can hold. */
	uint64_t descriptors;       /* That may be open at once. */
	uint64_t qcow2_bytes;       /* Tables of qcow2 images, all loops together. */
};

/* CPUs that this process may run on; at least 1. */
unsigned sizing_cpus(void);

/*
 * Size the daemon. `limits.memory` is divided among the loops; what stays after the floor of every
 * session is what windows grow into. False, with errors added: the memory does not hold the floors
 * of `limits.sessions`.
 */
bool MUST_CHECK sizing_compute(const struct conf *conf, unsigned cpus, struct sizing *out,
			       struct conf_errors *errors);

/*
 * How much memory that can become, by pools, in one line without a full stop: "744 MiB in buffers
 * ...". Address space until it is used; configured images and the configuration itself come on top.
 */
#define SIZING_TEXT_BYTES 352u
void sizing_memory_text(const struct conf *conf, const struct sizing *sizing,
			char out[SIZING_TEXT_BYTES]);

/* Raise the soft limit of open files to the hard one. False, with an error added: even that is too
 * little for what sizing_compute found. */
bool MUST_CHECK sizing_raise_nofile(const struct conf *conf, const struct sizing *sizing,
				    struct conf_errors *errors);

#endif
