/*
 * Persistent reservations for tests: three initiators, and parameter lists as they come over the
 * wire, so that every test goes through the parser. A program includes it once.
 */
#ifndef TESTS_UNIT_SCSI_PR_TESTING_H
#define TESTS_UNIT_SCSI_PR_TESTING_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "target/scsi/pr_list.h"

#define PORT_NAME(letter) "iqn.2026-11.io.ringsan:host-" letter ",i,0x00023d00000" letter

static const char *const port_names[] = {PORT_NAME("a"), PORT_NAME("b"), PORT_NAME("c")};
static const uint16_t target_ports[] = {1, 2};

/* A parameter list under construction, and the CDB for it. */
struct pr_wire {
	uint8_t cdb[16];
	uint8_t list[8192];
	size_t count;
};

static inline void wire_init(struct pr_wire *wire, unsigned action, unsigned scope_type,
			     uint64_t key, uint64_t action_key)
{
	memset(wire, 0, sizeof(*wire));
	wire->cdb[0] = 0x5F;
	wire->cdb[1] = (uint8_t)action;
	wire->cdb[2] = (uint8_t)scope_type;
	put_be64(wire->list, key);
	put_be64(wire->list + 8, action_key);
	wire->count = 24;
}

/* Append a TransportID of an initiator port. */
static inline void wire_id(struct pr_wire *wire, const char *name)
{
	uint8_t *at = wire->list + wire->count;
	size_t rest = (strlen(name) + 4) & ~(size_t)3;

	rest = rest < 20 ? 20 : rest;
	assert(wire->count + 4 + rest <= sizeof(wire->list));
	at[0] = 0x45;
	put_be16(at + 2, (uint16_t)rest);
	memcpy(at + 4, name, strlen(name));
	wire->count += 4 + rest;
}

/* REGISTER AND MOVE: where to. */
static inline void wire_move(struct pr_wire *wire, const char *name, uint16_t port, bool unregister)
{
	wire_id(wire, name);
	wire->list[17] = unregister ? 0x02 : 0;
	put_be16(wire->list + 18, port);
	put_be32(wire->list + 20, (uint32_t)wire->count - 24);
}

/* SPEC_I_PT: before the first wire_id; then wire_spec_end. */
static inline void wire_spec(struct pr_wire *wire)
{
	wire->list[20] |= 0x08;
	wire->count = 28;
}

static inline void wire_spec_end(struct pr_wire *wire)
{
	put_be32(wire->list + 24, (uint32_t)wire->count - 28);
}

/* A state with room for all, and what one command makes of it. */
struct pr_world {
	struct pr_state state;
	struct pr_state next;
	struct pr_effect effect;
	struct pr_nexus nexus[3];
};

static inline void world_init(struct pr_world *world, uint32_t capacity)
{
	memset(world, 0, sizeof(*world));
	world->state.capacity = capacity;
	world->next.capacity = capacity;
	world->state.registrants = calloc(capacity, sizeof(struct pr_registrant));
	world->next.registrants = calloc(capacity, sizeof(struct pr_registrant));
	assert(world->state.registrants != NULL && world->next.registrants != NULL);
	world->state.holder = PR_NOBODY;
	for (unsigned i = 0; i < 3; i++)
		pr_nexus_set(&world->nexus[i], port_names[i], strlen(port_names[i]), 1);
}

static inline void world_clear(struct pr_world *world)
{
	free(world->state.registrants);
	free(world->next.registrants);
}

/* One command of a nexus; the world goes on with what it made. */
static inline enum pr_result world_send_from(struct pr_world *world, const struct pr_nexus *from,
					     const struct pr_wire *wire)
{
	struct pr_request request;
	uint16_t field;
	enum pr_result result = pr_list_parse(wire->cdb, wire->list, wire->count, &request, &field);

	memset(&world->effect, 0, sizeof(world->effect));
	world->effect.field = field;
	if (result != PR_GOOD)
		return result;
	request.from = from;
	request.ports = target_ports;
	request.port_count = 2;
	result = pr_out(&world->state, &request, &world->next, &world->effect);
	if (result == PR_GOOD && world->effect.changed) {
		struct pr_state old = world->state;

		assert(pr_is_sound(&world->next));
		assert(world->next.count <= pr_room(&old, &request));
		world->state = world->next;
		world->next = old;
	}
	return result;
}

static inline enum pr_result world_send(struct pr_world *world, unsigned sender,
					const struct pr_wire *wire)
{
	return world_send_from(world, &world->nexus[sender], wire);
}

#endif
