/*
 * The list of sessions; see registry.h. A login walks the list two or three times: that is cheap
 * beside the login itself, even with some ten thousand sessions.
 *
 * Runs on the control loop.
 */
#include "target/iscsi/registry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/pool.h"
#include "target/iscsi/placement.h"

/* All values of a TSIH. 0 is none, so one fewer can be in use. */
#define TSIH_COUNT 65536u

struct registry_entry {
	struct list_node link;
	struct registry *registry;
	struct session *session;
	struct registry_waiter *waiter; /* Its successor, or NULL. */
	enum session_close_reason close_reason;
	bool started;
	uint64_t since_ns;
	char user[REGISTRY_USER_MAX + 1];
};

struct registry {
	const struct iscsi_server *server;
	struct pool entries;
	struct list_node list;
	uint32_t count;
	struct placement_loop loops[LOOPS_MAX];
	uint64_t tsih_busy[TSIH_COUNT / 64u]; /* One bit a TSIH. */
	void (*on_empty)(void *arg);          /* Set once the daemon ends. */
	void *on_empty_arg;
};

int registry_create(const struct iscsi_server *server, struct registry **out)
{
	struct registry *registry = calloc(1, sizeof(*registry));
	int error;

	if (!registry)
		return -ENOMEM;
	assert(server->limits.sessions_max < TSIH_COUNT);
	error = pool_init(&registry->entries, server->limits.sessions_max,
			  sizeof(struct registry_entry), 0);
	if (error != 0) {
		free(registry);
		return error;
	}
	registry->server = server;
	list_init(&registry->list);
	*out = registry;
	return 0;
}

void registry_free(struct registry *registry, bool abandon)
{
	if (!registry)
		return;
	pool_clear(&registry->entries, abandon);
	free(registry);
}

uint32_t registry_count(const struct registry *registry)
{
	return registry->count;
}

uint32_t registry_loop_count(const struct registry *registry, const struct loop *loop)
{
	return registry->loops[loop_index(loop)].sessions;
}

struct loop *registry_place(struct registry *registry)
{
	const struct loop_group *group = &registry->server->group;
	uint64_t now_ns = clock_now_ns();
	unsigned best;

	if (pool_free_count(&registry->entries) == 0)
		return NULL;
	for (unsigned i = 0; i < group->count; i++) {
		registry->loops[i].sessions_max = iscsi_loop_sessions_max(group->loops[i]);
		placement_note(&registry->loops[i], loop_cpu_ns(group->loops[i]), now_ns);
	}
	best = placement_choose(registry->loops, group->count);
	return best < group->count ? group->loops[best] : NULL;
}

static bool tsih_is_busy(const struct registry *registry, uint16_t tsih)
{
	return (registry->tsih_busy[tsih / 64u] >> (tsih % 64u)) & 1u;
}

static void tsih_flip(struct registry *registry, uint16_t tsih)
{
	registry->tsih_busy[tsih / 64u] ^= UINT64_C(1) << (tsih % 64u);
}

uint16_t registry_new_tsih(const struct registry *registry)
{
	uint16_t tsih;

	if (getrandom(&tsih, sizeof(tsih), 0) != (ssize_t)sizeof(tsih))
		return 0;
	/* Upwards from there, around the end if need be, to the next one that is free. */
	for (uint32_t i = 0; i < TSIH_COUNT; i++, tsih++) {
		if (tsih != 0 && !tsih_is_busy(registry, tsih))
			return tsih;
	}
	return 0;
}

/* -- An entry's life -- */

static void registry_remove(struct registry_entry *entry)
{
	struct registry *registry = entry->registry;

	registry->count--;
	registry->loops[loop_index(registry_spec(entry)->loop)].sessions--;
	tsih_flip(registry, registry_spec(entry)->tsih);
	list_remove(&entry->link);
	session_free(entry->session);
	pool_release(&registry->entries, entry);
}

static void on_session_ended(struct session *session, void *arg)
{
	struct registry_entry *entry = arg;
	struct registry *registry = entry->registry;
	struct registry_waiter *waiter = entry->waiter;

	assert(entry->session == session);
	if (waiter)
		registry_wait_cancel(waiter);
	registry_remove(entry);
	if (waiter)
		waiter->on_ended(waiter->arg);
	if (registry->count == 0 && registry->on_empty)
		registry->on_empty(registry->on_empty_arg);
}

int registry_open(struct registry *registry, struct session_spec *spec, const char *user,
		  struct registry_entry **out)
{
	struct registry_entry *entry = pool_acquire(&registry->entries);
	int error;

	assert(entry && strlen(user) <= REGISTRY_USER_MAX);
	assert(spec->tsih != 0 && !tsih_is_busy(registry, spec->tsih));
	*entry = (struct registry_entry){.registry = registry, .since_ns = clock_now_ns()};
	memcpy(entry->user, user, strlen(user));
	spec->on_ended = on_session_ended;
	spec->arg = entry;
	error = session_create(spec, &entry->session);
	if (error != 0) {
		pool_release(&registry->entries, entry);
		return error;
	}
	list_append(&registry->list, &entry->link);
	registry->count++;
	registry->loops[loop_index(spec->loop)].sessions++;
	tsih_flip(registry, spec->tsih);
	*out = entry;
	return 0;
}

void registry_start(struct registry_entry *entry)
{
	entry->started = true;
	session_start(entry->session);
	if (entry->close_reason != SESSION_CLOSE_NONE)
		session_close(entry->session, entry->close_reason);
}

void registry_close(struct registry_entry *entry, enum session_close_reason reason)
{
	if (entry->close_reason != SESSION_CLOSE_NONE)
		return;
	entry->close_reason = reason;
	if (entry->started)
		session_close(entry->session, reason);
}

void registry_close_all(struct registry *registry, enum session_close_reason reason,
			void (*on_empty)(void *arg), void *arg)
{
	registry->on_empty = on_empty;
	registry->on_empty_arg = arg;
	LIST_FOREACH (node, &registry->list) {
		registry_close(CONTAINER_OF(node, struct registry_entry, link), reason);
	}
	if (registry->count == 0)
		on_empty(arg);
}

/* -- Looking -- */

bool registry_matches(const struct registry_entry *entry, const struct registry_key *key)
{
	const struct session_spec *spec = registry_spec(entry);

	return !spec->discovery && spec->target == key->target &&
	       spec->portal_group_tag == key->portal_group_tag &&
	       memcmp(spec->isid, key->isid, sizeof(spec->isid)) == 0 &&
	       strcasecmp(spec->initiator_name, key->initiator_name) == 0;
}

struct registry_entry *registry_find(const struct registry *registry,
				     const struct registry_key *key)
{
	LIST_FOREACH (node, &registry->list) {
		struct registry_entry *entry = CONTAINER_OF(node, struct registry_entry, link);

		if (registry_matches(entry, key))
			return entry;
	}
	return NULL;
}

struct registry_entry *registry_find_tsih(const struct registry *registry, uint16_t tsih)
{
	LIST_FOREACH (node, &registry->list) {
		struct registry_entry *entry = CONTAINER_OF(node, struct registry_entry, link);

		if (registry_spec(entry)->tsih == tsih)
			return entry;
	}
	return NULL;
}

struct registry_entry *registry_find_discovery(const struct registry *registry)
{
	/* They are listed as they came. */
	LIST_FOREACH (node, &registry->list) {
		struct registry_entry *entry = CONTAINER_OF(node, struct registry_entry, link);

		if (registry_spec(entry)->discovery && entry->close_reason == SESSION_CLOSE_NONE)
			return entry;
	}
	return NULL;
}

const struct session_spec *registry_spec(const struct registry_entry *entry)
{
	return session_spec(entry->session);
}

const char *registry_user(const struct registry_entry *entry)
{
	return entry->user;
}

uint64_t registry_since_ns(const struct registry_entry *entry)
{
	return entry->since_ns;
}

struct registry_entry *registry_next(const struct registry *registry,
				     const struct registry_entry *entry)
{
	struct list_node *next = entry != NULL ? entry->link.next : registry->list.next;

	return next != &registry->list ? CONTAINER_OF(next, struct registry_entry, link) : NULL;
}

/* -- Waiting -- */

void registry_wait(struct registry_entry *entry, struct registry_waiter *waiter)
{
	struct registry_waiter *before = entry->waiter;

	waiter->entry = entry;
	entry->waiter = waiter;
	if (before) {
		before->entry = NULL;
		before->on_superseded(before->arg);
	}
}

void registry_wait_cancel(struct registry_waiter *waiter)
{
	if (!waiter->entry)
		return;
	waiter->entry->waiter = NULL;
	waiter->entry = NULL;
}
