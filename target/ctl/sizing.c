/*
 * How large the daemon is to be; see sizing.h.
 *
 * The sums. A session owns ISCSI_FLOOR_BUFFERS buffers wherever it lives, and each loop keeps a
 * reserve of its own (iscsi_buffers_for_sessions); sessions are spread evenly, so a loop must hold
 * its share of them, rounded up. Buffers are mapped, not touched, until they are used: memory that
 * is configured and not needed costs address space alone.
 *
 * Runs on the control thread.
 */
#include "target/ctl/sizing.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "lun/qcow2_chain.h"
#include "target/ctl/control.h"
#include "target/iscsi/server.h"

/* A loop's own: ring, event descriptor, timer, epoll; some room. */
#define DESCRIPTORS_PER_LOOP 8u
/* An image, and once more for its flushes; what a fault image reads in passing is closed again. */
#define DESCRIPTORS_PER_FILE 2u
/* Standard streams, signals, libraries, files that are read in passing. */
#define DESCRIPTORS_OTHER 32u

unsigned sizing_cpus(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 1;
	return CPU_COUNT(&set) > 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static unsigned loop_count(const struct conf *conf, unsigned cpus)
{
	unsigned wanted = conf->loops != 0 ? conf->loops : cpus;

	return wanted < LOOPS_MAX ? wanted : LOOPS_MAX;
}

/* Files of a LUN, at most. */
static const unsigned files_of[] = {
	[CONF_LUN_RAW] = 1,
	[CONF_LUN_NULL] = 0,
	[CONF_LUN_FAULT] = 1,
	[CONF_LUN_QCOW2] = QCOW2_CHAIN_FILES,
};

/* Images, the files they may consist of, and how many of them are qcow2. */
struct images {
	uint64_t count, files, qcow2;
};

static struct images count_images(const struct conf *conf)
{
	struct images images = {0};

	for (size_t i = 0; i < conf->target_count; i++) {
		const struct conf_target *target = &conf->targets[i];

		for (size_t j = 0; j < target->lun_count; j++) {
			images.count += target->luns[j].type != CONF_LUN_NULL;
			images.files += files_of[target->luns[j].type];
			images.qcow2 += target->luns[j].type == CONF_LUN_QCOW2;
		}
	}
	return images;
}

static uint64_t count_descriptors(const struct conf *conf, unsigned loops)
{
	return (uint64_t)conf->limits.sessions + conf->limits.connections_before_login +
	       conf->portal_count + count_images(conf).files * DESCRIPTORS_PER_FILE +
	       ((uint64_t)loops + 1u) * DESCRIPTORS_PER_LOOP + DESCRIPTORS_OTHER +
	       CONTROL_CONNECTIONS_MAX;
}

static uint64_t qcow2_bytes(const struct conf *conf, unsigned loops)
{
	struct qcow2_share share = qcow2_share(conf->limits.qcow2_cache_bytes, loops);

	return count_images(conf).qcow2 > 0 ? qcow2_cache_memory(share.bytes) * share.owners : 0;
}

/* Bytes rounded up to whole MiB, as the configuration would say it. */
static uint64_t in_mib(uint64_t bytes)
{
	return (bytes + (1u << 20) - 1u) >> 20;
}

static void add_too_little(const struct conf *conf, const struct sizing *sizing,
			   struct conf_errors *errors)
{
	uint32_t share = (conf->limits.sessions + sizing->loops - 1) / sizing->loops;
	uint64_t needed = (uint64_t)iscsi_buffers_for_sessions(share) * sizing->loops;
	uint64_t held = (uint64_t)sizing->sessions_per_loop * sizing->loops;

	conf_errors_add(errors, (struct conf_place){conf->file, 0},
			"limits: memory = %" PRIu64 "M holds the buffers of %" PRIu64
			" sessions on %u loops, but sessions = %" PRIu32
			"; set memory to at least %" PRIu64 "M, or fewer sessions or loops",
			conf->limits.memory_bytes >> 20, held, sizing->loops, conf->limits.sessions,
			in_mib(needed * LOOP_BUFFER_BYTES));
}

bool sizing_compute(const struct conf *conf, unsigned cpus, struct sizing *out,
		    struct conf_errors *errors)
{
	unsigned loops = loop_count(conf, cpus);
	uint64_t buffers = conf->limits.memory_bytes / LOOP_BUFFER_BYTES / loops;

	/* A pool's objects are counted in 32 bits; no loop has use for more. */
	buffers = buffers < INT32_MAX ? buffers : INT32_MAX;
	*out = (struct sizing){
		.loops = loops,
		.buffers_per_loop = (uint32_t)buffers,
		.buffers_control = conf->limits.connections_before_login,
		.sessions_per_loop = iscsi_sessions_for_buffers((uint32_t)buffers),
		.descriptors = count_descriptors(conf, loops),
		.qcow2_bytes = qcow2_bytes(conf, loops),
	};
	if ((uint64_t)out->sessions_per_loop * loops >= conf->limits.sessions)
		return true;
	add_too_little(conf, out, errors);
	return false;
}

void sizing_memory_text(const struct conf *conf, const struct sizing *sizing,
			char out[SIZING_TEXT_BYTES])
{
	uint64_t sessions = iscsi_sessions_bytes(conf->limits.sessions);
	uint64_t logins = (uint64_t)sizing->buffers_control * LOOP_BUFFER_BYTES;
	struct iscsi_pools loop;
	uint64_t each;

	iscsi_loop_pools(sizing->buffers_per_loop, &loop);
	each = loop.buffers_bytes + loop.tasks_bytes + loop.windows_bytes + loop.receive_bytes;
	(void)snprintf(out, SIZING_TEXT_BYTES,
		       "%" PRIu64 " MiB when all is in use: buffers %" PRIu64 " MiB, tasks %" PRIu64
		       " MiB, windows %" PRIu64 " MiB, receiving %" PRIu64 " MiB, %" PRIu32
		       " sessions %" PRIu64 " MiB, %" PRIu32 " logins %" PRIu64
		       " MiB, qcow2 tables %" PRIu64
		       " MiB; a session is sure of %u commands: %u buffers (%u KiB) and %u tasks",
		       in_mib(each * sizing->loops + sessions + logins + sizing->qcow2_bytes),
		       in_mib(loop.buffers_bytes * sizing->loops),
		       in_mib(loop.tasks_bytes * sizing->loops),
		       in_mib(loop.windows_bytes * sizing->loops),
		       in_mib(loop.receive_bytes * sizing->loops), conf->limits.sessions,
		       in_mib(sessions), sizing->buffers_control, in_mib(logins),
		       in_mib(sizing->qcow2_bytes), ISCSI_FLOOR_COMMANDS, ISCSI_FLOOR_BUFFERS,
		       ISCSI_FLOOR_BUFFERS * (LOOP_BUFFER_BYTES >> 10), ISCSI_FLOOR_TASKS);
}

bool sizing_raise_nofile(const struct conf *conf, const struct sizing *sizing,
			 struct conf_errors *errors)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return true;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		log_warn("ctl", "cannot raise the limit of open files: %s", strerrordesc_np(errno));
	if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= sizing->descriptors)
		return true;
	conf_errors_add(errors, (struct conf_place){conf->file, 0},
			"limits: %" PRIu32 " sessions, %" PRIu64
			" images and all else may open %" PRIu64
			" files, but the hard limit is %" PRIu64
			"; raise it (LimitNOFILE= of the unit, `ulimit -Hn`), or allow fewer",
			conf->limits.sessions, count_images(conf).count, sizing->descriptors,
			(uint64_t)limit.rlim_max);
	return false;
}
