/*
 * The life of the daemon; see daemon.h.
 *
 * The order of the start: limits, loops (made), portals (bound), LUNs (opened), loops (running),
 * then, as the first act of the control loop, connections are accepted and readiness is told. The
 * end is stop.c's, and everything is taken down in the reverse order after the loops have ended.
 */
#include "target/ctl/daemon.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "target/ctl/build.h"
#include "target/ctl/handover.h"
#include "target/ctl/jobs.h"
#include "target/ctl/notify.h"
#include "target/ctl/reload.h"
#include "target/ctl/signals.h"
#include "target/ctl/stop.h"

/* Of the portals in the line that says ready; the rest is counted. */
#define PORTALS_TEXT_BYTES 512u

/* timeout(1), make(1) and others signal a process and its group, which is one request and not a
 * second one. No human repeats himself so fast. */
#define SAME_SIGNAL_NS (500 * UINT64_C(1000000))

struct daemon {
	struct runtime *runtime;
	struct signals *signals;
	struct stop *stop;
	struct loop_msg start;
	unsigned loops_running;
	bool stopping;
	uint64_t stopping_since_ns;
};

/* -- Saying so -- */

static void tell_systemd(const char *state)
{
	int res = notify_send(state);

	if (res != 0) {
		log_warn("ctl", "cannot tell %s to NOTIFY_SOCKET: %s", state,
			 strerrordesc_np(-res));
	}
}

static void portals_text(const struct iscsi_server *server, char out[PORTALS_TEXT_BYTES])
{
	size_t used = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < server->portal_count; i++) {
		char text[ADDRESS_TEXT_MAX];

		if (used + 2 * sizeof(text) > PORTALS_TEXT_BYTES) {
			(void)snprintf(out + used, PORTALS_TEXT_BYTES - used, " and %u more",
				       server->portal_count - i);
			return;
		}
		address_format(&server->portals[i].address, text);
		used += (size_t)snprintf(out + used, PORTALS_TEXT_BYTES - used, "%s%s",
					 i > 0 ? ", " : "", text);
	}
}

static void say_ready(const struct runtime *runtime)
{
	const struct iscsi_server *server = &runtime->server;
	const struct iscsi_view *now = &runtime->now->view;
	char portals[PORTALS_TEXT_BYTES];
	char memory[SIZING_TEXT_BYTES];

	sizing_memory_text(runtime->conf, &runtime->sizing, memory);
	log_info("ctl", "memory: %s", memory);
	portals_text(server, portals);
	log_info("ctl", "ringsand ready: portal %s, %u target%s, %zu LUN%s, %u loop%s, engine %s",
		 portals, now->target_count, now->target_count == 1 ? "" : "s",
		 runtime->now->lun_count, runtime->now->lun_count == 1 ? "" : "s",
		 server->group.count, server->group.count == 1 ? "" : "s",
		 loop_engine_name(server->group.loops[0]));
	tell_systemd("READY=1");
	if (handover_offer(runtime->portal_set))
		portal_set_keep(runtime->portal_set);
}

/* -- Ending -- */

/* Loops may be busy for ever beside a disk that is stuck, so nothing of theirs is touched. */
static NORETURN void leave(enum daemon_exit status)
{
	_exit((int)status);
}

static LOOP_ONLY void on_stopped(void *context, bool ok)
{
	struct daemon *daemon = context;

	if (!ok)
		leave(DAEMON_EXIT_UNCLEAN);
	loop_stop(daemon->runtime->server.control);
}

static LOOP_ONLY void on_second_signal(const struct daemon *daemon)
{
	if (loop_now_ns(daemon->runtime->server.control) - daemon->stopping_since_ns <
	    SAME_SIGNAL_NS)
		return;
	log_error("ctl", "a second signal: ending at once, LUNs are not flushed");
	leave(DAEMON_EXIT_AT_ONCE);
}

static LOOP_ONLY void on_signal(void *context, int number)
{
	struct daemon *daemon = context;

	if (number == SIGHUP) {
		reload_begin(daemon->runtime->reload, NULL, false);
	} else if (daemon->stopping) {
		on_second_signal(daemon);
	} else {
		daemon->stopping = true;
		daemon->stopping_since_ns = loop_now_ns(daemon->runtime->server.control);
		log_info("ctl", "signal %d (%s): ending", number, sigabbrev_np(number));
		tell_systemd("STOPPING=1");
		stop_begin(daemon->stop);
	}
}

/* -- Starting -- */

static LOOP_ONLY void begin_luns(const struct generation *now)
{
	for (size_t i = 0; i < now->lun_count; i++)
		lun_begin(now->luns[i]);
}

/* The first act of the control loop. */
static LOOP_ONLY void on_start(struct loop_msg *msg)
{
	struct daemon *daemon = CONTAINER_OF(msg, struct daemon, start);

	signals_start(daemon->signals);
	control_start(daemon->runtime->control);
	space_start(daemon->runtime->space);
	begin_luns(daemon->runtime->now);
	portal_set_start(daemon->runtime->portal_set);
	jobs_start(daemon->runtime->jobs);
	say_ready(daemon->runtime);
}

static int start_loops(struct daemon *daemon)
{
	const struct loop_group *group = &daemon->runtime->server.group;
	int res = 0;

	while (res == 0 && daemon->loops_running < group->count) {
		res = loop_start(group->loops[daemon->loops_running]);
		if (res == 0)
			daemon->loops_running++;
	}
	return res;
}

static void stop_loops(struct daemon *daemon)
{
	const struct loop_group *group = &daemon->runtime->server.group;

	for (unsigned i = 0; i < daemon->loops_running; i++)
		loop_stop(group->loops[i]);
	for (unsigned i = 0; i < daemon->loops_running; i++)
		loop_join(group->loops[i]);
}

static int run(struct daemon *daemon)
{
	struct loop *control = daemon->runtime->server.control;
	int res = stop_create(daemon->runtime, on_stopped, daemon, &daemon->stop);

	if (res == 0)
		res = reload_create(daemon->runtime, daemon->stop, &daemon->runtime->reload);

	if (res == 0)
		res = signals_create(control, on_signal, daemon, &daemon->signals);
	if (res == 0)
		res = start_loops(daemon);
	if (res == 0) {
		loop_post(control, &daemon->start, on_start);
		res = loop_run(control);
	}
	stop_loops(daemon);
	signals_free(daemon->signals);
	stop_free(daemon->stop);
	if (res != 0)
		log_error("ctl", "cannot start: %s", strerrordesc_np(-res));
	return res;
}

bool daemon_check(const struct conf *conf, struct sizing *out, struct conf_errors *errors)
{
	return sizing_compute(conf, sizing_cpus(), out, errors);
}

enum daemon_exit daemon_run(struct conf **taken, struct conf_errors *errors)
{
	const struct conf *conf = *taken;
	struct daemon daemon = {.runtime = NULL};
	struct sizing sizing;
	int res;

	/* LUNs that one thread has opened another one closes: with a heap for each, what was given
	 * back to one is not there for the next. The data path allocates nothing. */
	(void)mallopt(M_ARENA_MAX, 1);
	/* Images, identities and sockets are nobody else's. */
	(void)umask(077);
	if (!sizing_compute(conf, sizing_cpus(), &sizing, errors) ||
	    !sizing_raise_nofile(conf, &sizing, errors) ||
	    runtime_build(conf, &sizing, errors, &daemon.runtime) != 0)
		return DAEMON_EXIT_REFUSED;
	/* It may have to go before the daemon does. */
	daemon.runtime->now->owns_conf = true;
	*taken = NULL;
	/* What reading the file and opening images took and gave back: the kernel's again. */
	(void)malloc_trim(0);
	res = run(&daemon);
	runtime_free(daemon.runtime);
	if (res != 0)
		return DAEMON_EXIT_REFUSED;
	log_info("ctl", "ringsand ended in good order");
	return DAEMON_EXIT_OK;
}
