/*
 * The bytes of persistent reservations: every length rule and reserved bit of the parameter lists,
 * TransportIDs that are damaged in every way, and each answer byte by byte at every length.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_pr_testing.h"

static enum pr_result parse(const struct pr_wire *wire, struct pr_request *out, uint16_t *field)
{
	/* A list of exactly so many bytes, so that a read beyond them is seen. */
	uint8_t *list = malloc(wire->count + 1);
	enum pr_result result;

	memcpy(list, wire->list, wire->count);
	result = pr_list_parse(wire->cdb, list, wire->count, out, field);
	free(list);
	return result;
}

Test(pr_list, fields)
{
	struct pr_wire wire;
	struct pr_request request;
	uint16_t field;

	wire_init(&wire, PR_PREEMPT, 0x25, 0x0102030405060708, 0x1112131415161718);
	memset(wire.list + 16, 0xFF, 8);
	wire.list[20] = 0xF7; /* All but SPEC_I_PT: ignored. */
	cr_assert_eq(parse(&wire, &request, &field), PR_GOOD);
	cr_expect_eq(request.action, PR_PREEMPT);
	cr_expect_eq(request.scope, 2);
	cr_expect_eq(request.type, 5);
	cr_expect_eq(request.key, 0x0102030405060708);
	cr_expect_eq(request.action_key, 0x1112131415161718);
	cr_expect(request.persists);
	cr_expect(request.all_ports);
	cr_expect_not(request.spec_ports);
}

/* SPC-4 6.16.1: 24 bytes, no more and no less, but for SPEC_I_PT and REGISTER AND MOVE. */
Test(pr_list, lengths)
{
	struct pr_wire wire;
	struct pr_request request;
	uint16_t field;

	for (unsigned action = 0; action < PR_REGISTER_AND_MOVE; action++) {
		for (unsigned count = 0; count <= 40; count++) {
			wire_init(&wire, action, 0, 0, 0);
			wire.count = count;
			cr_expect_eq(parse(&wire, &request, &field),
				     count == 24 ? PR_GOOD : PR_BAD_LENGTH, "action %u, %u bytes",
				     action, count);
		}
	}
}

Test(pr_list, spec_ports_is_for_register_alone)
{
	struct pr_wire wire;
	struct pr_request request;
	uint16_t field;

	for (unsigned action = 0; action < PR_REGISTER_AND_MOVE; action++) {
		wire_init(&wire, action, 0, 0, 0);
		wire_spec(&wire);
		wire_id(&wire, port_names[0]);
		wire_spec_end(&wire);
		cr_expect_eq(parse(&wire, &request, &field),
			     action == PR_REGISTER ? PR_GOOD : PR_BAD_PARAMETER);
	}
}

Test(pr_list, spec_ports_lengths)
{
	struct pr_wire whole;
	struct pr_request request;
	uint16_t field;

	wire_init(&whole, PR_REGISTER, 0, 0, 'a');
	wire_spec(&whole);
	wire_id(&whole, port_names[0]);
	wire_id(&whole, port_names[1]);
	wire_spec_end(&whole);
	for (size_t count = 0; count <= whole.count + 8; count++) {
		struct pr_wire wire = whole;

		wire.count = count;
		cr_expect_eq(parse(&wire, &request, &field),
			     count == whole.count ? PR_GOOD : PR_BAD_LENGTH, "%zu bytes", count);
		if (count < 28)
			continue;
		/* With a length that is right, but cuts the last TransportID. */
		wire_spec_end(&wire);
		if (count != whole.count && count != 28 && count != 28 + (whole.count - 28) / 2)
			cr_expect_eq(parse(&wire, &request, &field), PR_BAD_PARAMETER, "%zu",
				     count);
	}
	whole.count = 28;
	wire_spec_end(&whole);
	cr_expect_eq(parse(&whole, &request, &field), PR_GOOD, "an empty list");
}

Test(pr_list, move)
{
	struct pr_wire whole;
	struct pr_request request;
	struct pr_nexus nexus;
	uint16_t field;

	wire_init(&whole, PR_REGISTER_AND_MOVE, 0, 'a', 'b');
	wire_move(&whole, port_names[1], 0x0102, true);
	cr_assert_eq(pr_list_parse(whole.cdb, whole.list, whole.count, &request, &field), PR_GOOD);
	cr_expect(request.unregister);
	cr_expect_not(request.persists);
	cr_expect_eq(request.move_port, 0x0102);
	struct byte_reader ids = byte_reader_make(request.ids, request.ids_bytes);

	cr_expect(pr_id_next(&ids, 7, &nexus));
	cr_expect_str_eq(nexus.initiator, port_names[1]);
	cr_expect_eq(nexus.target_port, 7);
	cr_expect_not(pr_id_next(&ids, 7, &nexus));
	for (size_t count = 0; count <= whole.count + 8; count++) {
		struct pr_wire wire = whole;

		wire.count = count;
		cr_expect_eq(parse(&wire, &request, &field),
			     count == whole.count ? PR_GOOD : PR_BAD_LENGTH, "%zu bytes", count);
		put_be32(wire.list + 20, (uint32_t)count - 24);
		/* A list without room for a TransportID has no byte that could be in error. */
		if (count >= 24 && count != whole.count)
			cr_expect_eq(parse(&wire, &request, &field),
				     count < 48 ? PR_BAD_LENGTH : PR_BAD_PARAMETER, "%zu", count);
	}
	/* Two TransportIDs are one too many. */
	wire_id(&whole, port_names[2]);
	put_be32(whole.list + 20, (uint32_t)whole.count - 24);
	cr_expect_eq(parse(&whole, &request, &field), PR_BAD_PARAMETER);
	cr_expect_eq(field, 24);
}

/* -- TransportIDs -- */

static enum pr_result parse_id(const char *name, uint8_t format, int longer)
{
	struct pr_wire wire;
	struct pr_request request;
	uint16_t field;

	wire_init(&wire, PR_REGISTER, 0, 0, 'a');
	wire_spec(&wire);
	wire_id(&wire, name);
	wire.list[28] = format;
	put_be16(wire.list + 30, (uint16_t)(get_be16(wire.list + 30) + longer));
	wire.count = (size_t)((int)wire.count + longer);
	wire_spec_end(&wire);
	return parse(&wire, &request, &field);
}

Test(pr_list, transport_ids)
{
	char name[512];

	cr_expect_eq(parse_id(port_names[0], 0x45, 0), PR_GOOD);
	cr_expect_eq(parse_id("i,i,0x0123456789aB", 0x45, 0), PR_GOOD, "the shortest");
	cr_expect_eq(parse_id(port_names[0], 0x45, 4), PR_GOOD, "more padding");
	for (unsigned format = 0; format < 256; format++) {
		if (format != 0x45)
			cr_expect_eq(parse_id(port_names[0], (uint8_t)format, 0), PR_BAD_PARAMETER);
	}
	cr_expect_eq(parse_id(port_names[0], 0x45, -1), PR_BAD_PARAMETER, "not a multiple of 4");
	cr_expect_eq(parse_id("i,i,0x0123456789ab", 0x45, -4), PR_BAD_PARAMETER, "below 20 bytes");
	/* 20 bytes without a zero at their end. */
	cr_expect_eq(parse_id("in,i,0x0123456789ab", 0x45, 0), PR_GOOD);
	cr_expect_eq(parse_id("ini,i,0x0123456789ab", 0x45, -4), PR_BAD_PARAMETER, "no zero");
	cr_expect_eq(parse_id("iqn.2026-11.io.ringsan:host", 0x45, 0), PR_BAD_PARAMETER);
	cr_expect_eq(parse_id(",i,0x0123456789ab", 0x45, 0), PR_BAD_PARAMETER, "no name");
	cr_expect_eq(parse_id("iqn,i,0x0123456789a", 0x45, 0), PR_BAD_PARAMETER, "11 digits");
	cr_expect_eq(parse_id("iqn,i,0x0123456789abc", 0x45, 0), PR_BAD_PARAMETER, "13 digits");
	cr_expect_eq(parse_id("iqn,i,0x0123456789ag", 0x45, 0), PR_BAD_PARAMETER);
	cr_expect_eq(parse_id("i n,i,0x0123456789ab", 0x45, 0), PR_BAD_PARAMETER, "a space");
	cr_expect_eq(parse_id("i\nn,i,0x0123456789ab", 0x45, 0), PR_BAD_PARAMETER, "a new line");
	memset(name, 'n', sizeof(name));
	strcpy(name + 223, ",i,0x0123456789ab");
	cr_expect_eq(parse_id(name, 0x45, 0), PR_GOOD, "223 bytes, the longest name");
	memset(name, 'n', sizeof(name));
	strcpy(name + 224, ",i,0x0123456789ab");
	cr_expect_eq(parse_id(name, 0x45, 0), PR_BAD_PARAMETER);
}

Test(pr_list, names_are_compared_in_lower_case)
{
	struct pr_nexus a;
	struct pr_nexus b;

	pr_nexus_set(&a, "IQN.2026-11.io.ringsan:Host,i,0x00023D00000A", 44, 1);
	pr_nexus_set(&b, "iqn.2026-11.io.ringsan:host,i,0x00023d00000a", 44, 1);
	cr_expect(pr_nexus_is(&a, &b));
	pr_nexus_set(&b, "iqn.2026-11.io.ringsan:host,i,0x00023d00000a", 44, 2);
	cr_expect_not(pr_nexus_is(&a, &b));
}

/* -- Answers -- */

static void check_answer(const struct pr_world *world, enum pr_question question,
			 const uint8_t *wanted, size_t count)
{
	for (size_t room = 0; room <= count + 4; room++) {
		uint8_t *found = malloc(room + 1);
		struct byte_writer writer = byte_writer_make(found, room);
		size_t cut = room < count ? room : count;

		pr_answer(question, &world->state, &writer);
		cr_expect_eq(writer.wanted, count);
		cr_expect_eq(byte_writer_count(&writer), cut);
		cr_expect_arr_eq(found, wanted, cut, "question %u, %zu bytes", question, room);
		free(found);
	}
}

#define CHECK_ANSWER(world, question, ...)                            \
	check_answer(world, question, (const uint8_t[]){__VA_ARGS__}, \
		     sizeof((const uint8_t[]){__VA_ARGS__}))

static void prepare(struct pr_world *world, uint8_t type)
{
	struct pr_wire wire;

	world_init(world, 4);
	wire_init(&wire, PR_REGISTER, 0, 0, 0x1122334455667788);
	wire.list[20] = 0x01;
	cr_assert_eq(world_send(world, 0, &wire), PR_GOOD);
	wire_init(&wire, PR_REGISTER, 0, 0, 0x99);
	wire.list[20] = 0x01;
	cr_assert_eq(world_send(world, 1, &wire), PR_GOOD);
	wire_init(&wire, PR_RESERVE, type, 0x99, 0);
	cr_assert_eq(world_send(world, 1, &wire), PR_GOOD);
}

Test(pr_list, answers_where_there_is_nothing)
{
	struct pr_world world;

	world_init(&world, 1);
	CHECK_ANSWER(&world, PR_READ_KEYS, 0, 0, 0, 0, 0, 0, 0, 0);
	CHECK_ANSWER(&world, PR_READ_RESERVATION, 0, 0, 0, 0, 0, 0, 0, 0);
	CHECK_ANSWER(&world, PR_REPORT_CAPABILITIES, 0, 8, 0x1D, 0xB0, 0xEA, 0x01, 0, 0);
	CHECK_ANSWER(&world, PR_READ_FULL_STATUS, 0, 0, 0, 0, 0, 0, 0, 0);
	world_clear(&world);
}

#define KEY_A 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88
#define KEY_B 0, 0, 0, 0, 0, 0, 0, 0x99
#define NO_KEY 0, 0, 0, 0, 0, 0, 0, 0

Test(pr_list, answers)
{
	struct pr_world world;

	prepare(&world, PR_WRITE_EXCLUSIVE_RO);
	CHECK_ANSWER(&world, PR_READ_KEYS, 0, 0, 0, 2, 0, 0, 0, 16, KEY_A, KEY_B);
	CHECK_ANSWER(&world, PR_READ_RESERVATION, 0, 0, 0, 2, 0, 0, 0, 16, KEY_B, 0, 0, 0, 0, 0, 5,
		     0, 0);
	CHECK_ANSWER(&world, PR_REPORT_CAPABILITIES, 0, 8, 0x1D, 0xB1, 0xEA, 0x01, 0, 0);
	world_clear(&world);
	prepare(&world, PR_EXCLUSIVE_ACCESS_AR);
	CHECK_ANSWER(&world, PR_READ_RESERVATION, 0, 0, 0, 2, 0, 0, 0, 16, NO_KEY, 0, 0, 0, 0, 0, 8,
		     0, 0);
	world_clear(&world);
}

/* "iqn.2026-11.io.ringsan:host-a,i,0x00023d00000a" are 46 bytes: with the zero, 48. */
static size_t write_status(uint8_t *at, const struct pr_world *world, unsigned who, uint8_t holder,
			   uint8_t type)
{
	memset(at, 0, 76);
	put_be64(at, world->state.registrants[who].key);
	at[12] = holder;
	at[13] = type;
	put_be16(at + 18, 1);
	put_be32(at + 20, 52);
	at[24] = 0x45;
	at[27] = 48;
	memcpy(at + 28, port_names[who], strlen(port_names[who]));
	return 76;
}

Test(pr_list, full_status)
{
	struct pr_world world;
	uint8_t wanted[160] = {0, 0, 0, 2, 0, 0, 0, 152};

	cr_assert_eq(strlen(port_names[0]), 46);
	prepare(&world, PR_EXCLUSIVE_ACCESS);
	write_status(wanted + 8, &world, 0, 0, 0);
	write_status(wanted + 84, &world, 1, 1, 3);
	check_answer(&world, PR_READ_FULL_STATUS, wanted, sizeof(wanted));
	world_clear(&world);
	prepare(&world, PR_WRITE_EXCLUSIVE_AR);
	write_status(wanted + 8, &world, 0, 1, 7);
	write_status(wanted + 84, &world, 1, 1, 7);
	check_answer(&world, PR_READ_FULL_STATUS, wanted, sizeof(wanted));
	world_clear(&world);
}
