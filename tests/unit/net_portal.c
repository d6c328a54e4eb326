/*
 * Portals: what stands in the way of opening one, what is accepted, and the limits on strangers.
 */
#include "target/net/portal.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/log.h"
#include "tests/unit/base_testing.h"

#define CLIENTS_MAX 16u

/* One portal, its guests, and clients that connect from the test's own thread: the kernel completes
 * a connection without our help. */
struct scene {
	struct loop *loop;
	struct portal_set *set;
	struct sockaddr_storage address;
	int clients[CLIENTS_MAX];
	unsigned client_count;
	struct portal_guest guests[CLIENTS_MAX];
	struct portal_arrival arrivals[CLIENTS_MAX];
	unsigned arrival_count;
	uint32_t guests_max;
	unsigned through;
	struct loop_timer timer;
};

static struct sockaddr_storage loopback(int family)
{
	struct sockaddr_storage out = {.ss_family = (sa_family_t)family};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

	if (family == AF_INET)
		memcpy(&out, &in, sizeof(in));
	else
		memcpy(&out, &in6, sizeof(in6));
	return out;
}

static void on_arrival(void *context, const struct portal_arrival *arrival)
{
	struct scene *scene = context;
	unsigned i = scene->arrival_count++;

	cr_assert_lt(i, CLIENTS_MAX);
	scene->arrivals[i] = *arrival;
	portal_guest_enter(scene->set, &scene->guests[i], &arrival->peer);
}

static void scene_begin(struct scene *scene, enum loop_engine engine, uint32_t guests_max,
			uint32_t per_source_max)
{
	const struct portal_limits limits = {guests_max, per_source_max};
	char why[PORTAL_WHY_BYTES];

	*scene = (struct scene){
		.loop = test_loop(engine), .address = loopback(AF_INET), .guests_max = guests_max};
	cr_assert_eq(portal_set_create(scene->loop, &limits, on_arrival, scene, &scene->set), 0);
	cr_assert_eq(portal_set_open(scene->set, &scene->address, why), 0);
}

static void scene_connect(struct scene *scene, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		cr_assert_geq(fd, 0);
		cr_assert_eq(
			connect(fd, (struct sockaddr *)&scene->address, sizeof(struct sockaddr_in)),
			0);
		scene->clients[scene->client_count++] = fd;
	}
}

static LOOP_ONLY void on_stopped(struct loop_timer *timer)
{
	loop_stop(CONTAINER_OF(timer, struct scene, timer)->loop);
}

static LOOP_ONLY void on_looked(struct loop_timer *timer)
{
	struct scene *scene = CONTAINER_OF(timer, struct scene, timer);

	portal_set_stop(scene->set);
	portal_set_stop(scene->set);
	loop_timer_start(scene->loop, timer, 20, on_stopped);
}

static LOOP_ONLY void on_start(struct loop_timer *timer)
{
	struct scene *scene = CONTAINER_OF(timer, struct scene, timer);

	portal_set_start(scene->set);
	loop_timer_start(scene->loop, timer, 100, on_looked);
}

/* Accept what there is, stop, and end. */
static LOOP_ONLY void scene_run(struct scene *scene)
{
	loop_timer_start(scene->loop, &scene->timer, 1, on_start);
	test_run(scene->loop);
}

static void scene_end(struct scene *scene)
{
	for (unsigned i = 0; i < scene->arrival_count; i++) {
		portal_guest_leave(&scene->guests[i]);
		portal_guest_leave(&scene->guests[i]);
		(void)close(scene->arrivals[i].fd);
	}
	cr_expect_eq(portal_set_guests(scene->set), 0);
	for (unsigned i = 0; i < scene->client_count; i++)
		(void)close(scene->clients[i]);
	portal_set_free(scene->set);
}

/* True once the other side has closed. */
static bool is_closed(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* Or reset, as by a listener that closes with somebody in its queue. */
static bool is_gone(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
}

static int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	cr_assert_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

TEST_ON_ENGINES(net_portal, arrivals)
{
	struct scene scene;
	struct sockaddr_storage name = {0};
	socklen_t len = sizeof(name);

	scene_begin(&scene, engine, 8, 8);
	cr_expect_neq(address_port(&scene.address), 0);
	scene_connect(&scene, 3);
	scene_run(&scene);
	cr_assert_eq(scene.arrival_count, 3);
	cr_expect_eq(portal_set_guests(scene.set), 3);
	for (unsigned i = 0; i < 3; i++) {
		const struct portal_arrival *arrival = &scene.arrivals[i];

		cr_expect_eq(option_of(arrival->fd, IPPROTO_TCP, TCP_NODELAY), 1);
		cr_expect_eq(option_of(arrival->fd, SOL_SOCKET, SO_KEEPALIVE), 1);
		cr_expect_eq(address_port(&arrival->local), address_port(&scene.address));
		cr_assert_eq(getsockname(scene.clients[i], (struct sockaddr *)&name, &len), 0);
		cr_expect_eq(address_port(&arrival->peer), address_port(&name));
		cr_expect_not(is_closed(scene.clients[i]));
	}
	scene_end(&scene);
}

/* Whoever comes between the end of one set and the begin of the next is the next one's. */
TEST_ON_ENGINES(net_portal, kept_over_an_end)
{
	const struct portal_limits limits = {8, 8};
	struct scene first;
	struct scene next;
	int copy;

	scene_begin(&first, engine, 8, 8);
	copy = dup(portal_set_fd(first.set, 0));
	cr_assert_geq(copy, 0);
	portal_set_keep(first.set);
	scene_run(&first);
	scene_end(&first);
	next = (struct scene){.address = first.address};
	scene_connect(&next, 2);
	next.loop = test_loop(engine);
	cr_assert_eq(portal_set_create(next.loop, &limits, on_arrival, &next, &next.set), 0);
	cr_assert_eq(portal_set_adopt(next.set, copy, &next.address), 0);
	cr_assert_eq(portal_set_count(next.set), 1);
	scene_run(&next);
	cr_expect_eq(next.arrival_count, 2);
	scene_end(&next);
}

/* The first of those in the doorway is through. */
static LOOP_ONLY void on_one_through(struct loop_timer *timer)
{
	struct scene *scene = CONTAINER_OF(timer, struct scene, timer);
	unsigned left = scene->client_count - scene->through;

	cr_expect_eq(portal_set_guests(scene->set),
		     left < scene->guests_max ? left : scene->guests_max);
	portal_guest_leave(&scene->guests[scene->through++]);
	loop_timer_start(scene->loop, timer, 20,
			 scene->through < scene->client_count ? on_one_through : on_looked);
}

static LOOP_ONLY void on_start_crowded(struct loop_timer *timer)
{
	struct scene *scene = CONTAINER_OF(timer, struct scene, timer);

	portal_set_start(scene->set);
	loop_timer_start(scene->loop, timer, 50, on_one_through);
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage name = {0};
	socklen_t len = sizeof(name);

	cr_assert_eq(getsockname(fd, (struct sockaddr *)&name, &len), 0);
	return address_port(&name);
}

/* Whoever finds the doorway full waits, and is let in in the order in which they came. */
TEST_ON_ENGINES(net_portal, limit_in_total)
{
	struct scene scene;

	scene_begin(&scene, engine, 2, 8);
	scene_connect(&scene, 7);
	loop_timer_start(scene.loop, &scene.timer, 1, on_start_crowded);
	test_run(scene.loop);
	cr_assert_eq(scene.arrival_count, 7);
	for (unsigned i = 0; i < 7; i++) {
		cr_expect_not(is_closed(scene.clients[i]));
		cr_expect_eq(address_port(&scene.arrivals[i].peer), port_of(scene.clients[i]));
	}
	scene_end(&scene);
}

/* A crowd at one portal does not shut out who comes to another. */
TEST_ON_ENGINES(net_portal, full_portals_take_turns)
{
	struct sockaddr_storage first;
	struct scene scene;
	char why[PORTAL_WHY_BYTES];
	unsigned of_second = 0;

	scene_begin(&scene, engine, 1, 8);
	first = scene.address;
	scene.address = loopback(AF_INET);
	cr_assert_eq(portal_set_open(scene.set, &scene.address, why), 0);
	scene_connect(&scene, 2);
	scene.address = first;
	scene_connect(&scene, 5);
	loop_timer_start(scene.loop, &scene.timer, 1, on_start_crowded);
	test_run(scene.loop);
	cr_assert_eq(scene.arrival_count, 7);
	for (unsigned i = 0; i < 5; i++)
		of_second += scene.arrivals[i].portal_index == 1;
	cr_expect_eq(of_second, 2);
	scene_end(&scene);
}

/* Those who wait when it ends are sent away. */
TEST_ON_ENGINES(net_portal, stopped_while_full)
{
	struct scene scene;

	scene_begin(&scene, engine, 2, 8);
	scene_connect(&scene, 5);
	scene_run(&scene);
	cr_expect_eq(scene.arrival_count, 2);
	for (unsigned i = 0; i < 5; i++)
		cr_expect_eq(is_gone(scene.clients[i]), i >= 2, "client %u", i);
	scene_end(&scene);
}

TEST_ON_ENGINES(net_portal, limit_per_source)
{
	struct scene scene;
	struct sockaddr_storage elsewhere = loopback(AF_INET6);
	struct portal_guest other = {0};

	scene_begin(&scene, engine, 16, 3);
	/* Another source does not count against this one. */
	portal_guest_enter(scene.set, &other, &elsewhere);
	scene_connect(&scene, 5);
	scene_run(&scene);
	cr_expect_eq(scene.arrival_count, 3);
	cr_expect_eq(portal_set_guests(scene.set), 4);
	portal_guest_leave(&other);
	scene_end(&scene);
}

TEST_ON_ENGINES(net_portal, a_peer_that_is_gone_already)
{
	struct scene scene;
	const struct linger reset = {.l_onoff = 1};

	scene_begin(&scene, engine, 8, 8);
	scene_connect(&scene, 1);
	cr_assert_eq(setsockopt(scene.clients[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	(void)close(scene.clients[0]);
	scene.client_count = 0;
	scene_connect(&scene, 1);
	scene_run(&scene);
	cr_expect_eq(scene.arrival_count, 1);
	scene_end(&scene);
}

static void allow_files(rlim_t count)
{
	struct rlimit limit;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = count;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static LOOP_ONLY void on_mended(struct loop_timer *timer)
{
	struct scene *scene = CONTAINER_OF(timer, struct scene, timer);

	cr_expect_eq(scene->arrival_count, 0);
	allow_files(256);
	loop_timer_start(scene->loop, timer, 2 * PORTAL_BACK_OFF_MS, on_looked);
}

static LOOP_ONLY void on_start_starved(struct loop_timer *timer)
{
	struct scene *scene = CONTAINER_OF(timer, struct scene, timer);
	int lowest = dup(scene->clients[0]);

	(void)close(lowest);
	allow_files((rlim_t)lowest);
	portal_set_start(scene->set);
	loop_timer_start(scene->loop, timer, PORTAL_BACK_OFF_MS / 2, on_mended);
}

TEST_ON_ENGINES(net_portal, goes_on_when_descriptors_are_free_again)
{
	struct scene scene;

	scene_begin(&scene, engine, 8, 8);
	scene_connect(&scene, 1);
	loop_timer_start(scene.loop, &scene.timer, 1, on_start_starved);
	test_run(scene.loop);
	cr_expect_eq(scene.arrival_count, 1);
	scene_end(&scene);
}

static int open_at(struct sockaddr_storage *address, char why[PORTAL_WHY_BYTES])
{
	const struct portal_limits limits = {1, 1};
	struct loop *loop = test_loop(LOOP_ENGINE_AIO);
	struct portal_set *set;
	int res;

	why[0] = '\0';
	cr_assert_eq(portal_set_create(loop, &limits, on_arrival, NULL, &set), 0);
	res = portal_set_open(set, address, why);
	portal_set_free(set);
	loop_free(loop, false);
	return res;
}

Test(net_portal, a_busy_port_is_named)
{
	struct scene scene;
	char why[PORTAL_WHY_BYTES];
	char wanted[PORTAL_WHY_BYTES];

	scene_begin(&scene, LOOP_ENGINE_AIO, 1, 1);
	(void)snprintf(wanted, sizeof(wanted), "portal 127.0.0.1:%u: the address is in use",
		       (unsigned)address_port(&scene.address));
	cr_expect_eq(open_at(&scene.address, why), -EADDRINUSE);
	cr_expect_eq(strncmp(why, wanted, strlen(wanted)), 0, "%s", why);
	scene_end(&scene);
	loop_free(scene.loop, false);
}

Test(net_portal, a_port_is_free_again_at_once)
{
	struct scene scene;
	char why[PORTAL_WHY_BYTES];

	loop_role_assume();
	scene_begin(&scene, LOOP_ENGINE_AIO, 1, 1);
	scene_connect(&scene, 1);
	scene_run(&scene);
	scene_end(&scene);
	cr_expect_eq(open_at(&scene.address, why), 0, "%s", why);
}

Test(net_portal, an_address_of_another_machine)
{
	struct sockaddr_storage address = loopback(AF_INET);
	struct sockaddr_in in;
	char why[PORTAL_WHY_BYTES];

	memcpy(&in, &address, sizeof(in));
	cr_assert_eq(inet_pton(AF_INET, "192.0.2.77", &in.sin_addr), 1);
	memcpy(&address, &in, sizeof(in));
	cr_expect_eq(open_at(&address, why), -EADDRNOTAVAIL);
	cr_expect_not_null(strstr(why, "192.0.2.77"));
	cr_expect_not_null(strstr(why, "no interface of this machine"));
}

Test(net_portal, ipv6_leaves_the_port_to_ipv4)
{
	struct sockaddr_storage six = {.ss_family = AF_INET6};
	struct sockaddr_storage four = {.ss_family = AF_INET};
	const struct portal_limits limits = {1, 1};
	struct loop *loop = test_loop(LOOP_ENGINE_AIO);
	struct sockaddr_in in;
	struct portal_set *set;
	char why[PORTAL_WHY_BYTES];

	cr_assert_eq(portal_set_create(loop, &limits, on_arrival, NULL, &set), 0);
	if (portal_set_open(set, &six, why) == 0) {
		memcpy(&in, &four, sizeof(in));
		in.sin_port = htons(address_port(&six));
		memcpy(&four, &in, sizeof(in));
		cr_expect_eq(portal_set_open(set, &four, why), 0, "%s", why);
	} else {
		cr_log_warn("skipped: no IPv6 here: %s", why);
	}
	portal_set_free(set);
	loop_free(loop, false);
}
