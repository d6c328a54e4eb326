/*
 * Several hosts on one logical unit in memory, for tests of reservations. A program includes it
 * once. What is aborted for a nexus, and for what, is noted.
 */
#ifndef TESTS_UNIT_SCSI_HOSTS_H
#define TESTS_UNIT_SCSI_HOSTS_H

#include "tests/unit/scsi_fake.h"

#include <criterion/criterion.h>

#include "target/scsi/device.h"

#define HOSTS 4u
#define HOST_PORT(n) "iqn.2026-11.io.ringsan:host-" #n ",i,0x00023d00000" #n

static const char *const host_ports[HOSTS] = {HOST_PORT(0), HOST_PORT(1), HOST_PORT(2),
					      HOST_PORT(3)};

struct hosts {
	struct rig rig;
	struct scsi_nexus *nexus[HOSTS];
	unsigned aborts[HOSTS]; /* How often its commands were aborted. */
	unsigned to_abort[HOSTS];
	const struct scsi_cmd *but;
};

static struct hosts hosts;

static unsigned hosts_on_abort(void *arg, const struct scsi_lu *lu, const struct scsi_cmd *but)
{
	unsigned *aborts = arg;
	size_t who = (size_t)(aborts - hosts.aborts);

	assert(who < HOSTS && lu == scsi_target_find_lu(hosts.rig.target, 0));
	(*aborts)++;
	hosts.but = but;
	return hosts.to_abort[who];
}

static inline void host_log_in(unsigned who)
{
	struct scsi_nexus_spec spec = {
		.target = hosts.rig.target,
		.initiator_port_name = host_ports[who],
		.relative_target_port = 1,
		.portal_group_tag = 1,
	};
	int res = scsi_nexus_create(&spec, &hosts.nexus[who]);

	assert(res == 0);
	loop_role_assume();
	scsi_nexus_on_abort(hosts.nexus[who], hosts_on_abort, &hosts.aborts[who]);
	scsi_nexus_attach(hosts.nexus[who], &hosts.rig.loop);
}

static inline void host_log_out(unsigned who)
{
	loop_role_assume();
	scsi_nexus_detach(hosts.nexus[who]);
	scsi_nexus_free(hosts.nexus[who]);
	hosts.nexus[who] = NULL;
}

/* The host whose commands rig_do and its kin send. */
static inline void host_is(unsigned who)
{
	hosts.rig.nexus = hosts.nexus[who];
}

/* One command, from its CDB to its end; answers its sense, or CONFLICT, or 0. */
static inline uint32_t host_do(unsigned who, const uint8_t *cdb, size_t cdb_bytes, void *data,
			       uint32_t data_bytes)
{
	host_is(who);
	rig_do(&hosts.rig, cdb, cdb_bytes, data, data_bytes);
	return rig_sense(&hosts.rig);
}

/* The next unit attention, by a command that any reservation lets pass; 0: none. */
static inline uint32_t host_attention(unsigned who)
{
	host_is(who);
	rig_do(&hosts.rig, CDB(0x03, 0, 0, 0, 18), NULL, 0);
	return (uint32_t)hosts.rig.buffer[2] << 16 | get_be16(hosts.rig.buffer + 12);
}

static inline void hosts_init(const char *state_dir)
{
	struct scsi_lu_spec spec = {.lun = &hosts.rig.lun, .state_dir = state_dir};
	int res;

	memset(&hosts, 0, sizeof(hosts));
	rig_init_with(&hosts.rig, FAKE_BLOCKS, 512);
	/* The same target again, with a folder for what it keeps. */
	scsi_target_free(hosts.rig.target);
	res = scsi_target_create(FAKE_NAME, &hosts.rig.group, &hosts.rig.target);
	assert(res == 0);
	res = scsi_target_add_lu(hosts.rig.target, 0, &spec);
	assert(res == 0);
	rig_add_ports(&hosts.rig);
	res = scsi_target_restore(hosts.rig.target);
	assert(res == 0);
	for (unsigned i = 0; i < HOSTS; i++) {
		host_log_in(i);
		(void)host_attention(i);
	}
}

static inline void hosts_clear(void)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		if (hosts.nexus[i] != NULL)
			host_log_out(i);
	}
	hosts.rig.nexus = NULL;
	rig_clear(&hosts.rig);
}

/* -- Reservations -- */

static inline uint32_t host_pr_out(unsigned who, unsigned action, unsigned type, uint64_t key,
				   uint64_t action_key, uint8_t flags)
{
	uint8_t list[24] = {0};

	put_be64(list, key);
	put_be64(list + 8, action_key);
	list[20] = flags;
	return host_do(who, CDB(0x5F, (uint8_t)action, (uint8_t)type, 0, 0, 0, 0, 0, 24), list,
		       sizeof(list));
}

static inline uint32_t host_pr_in(unsigned who, unsigned question)
{
	return host_do(who, CDB(0x5E, (uint8_t)question, 0, 0, 0, 0, 0, 0x10, 0), NULL, 0);
}

static inline uint32_t host_write(unsigned who)
{
	static uint8_t block[512];

	return host_do(who, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1), block, sizeof(block));
}

static inline uint32_t host_read(unsigned who)
{
	static uint8_t block[512];

	return host_do(who, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 1), block, sizeof(block));
}

enum {
	REGISTER,
	RESERVE,
	RELEASE,
	CLEAR,
	PREEMPT,
	PREEMPT_AND_ABORT,
	IGNORE,
	MOVE
};

/* What host_do and its kin answer. */
#define EXPECT(what, found, wanted)                                                          \
	do {                                                                                 \
		uint32_t found_ = (found);                                                   \
		cr_expect_eq(found_, (uint32_t)(wanted), "%s: %08X, not %08X", what, found_, \
			     (uint32_t)(wanted));                                            \
	} while (0)

/* Hosts 0 to 2, with the keys 'a' to 'c'. */
static inline void register_all(void)
{
	for (unsigned i = 0; i < 3; i++)
		EXPECT("REGISTER", host_pr_out(i, REGISTER, 0, 0, 'a' + i, 0), 0);
}

#endif
