/*
 * Parameter lists, TransportIDs and answers; see pr_list.h.
 *
 * A TransportID of an initiator device (format 00b: a name without an ISID) is refused: it would
 * stand for "all initiator ports known", and which are known changes with every login.
 */
#include "target/scsi/pr_list.h"

#include <assert.h>
#include <string.h>

#define LIST_BYTES 24u
#define SPEC_PORTS_BYTES 28u
#define ID_HEADER_BYTES 4u
/* SPC-4 7.6.4.6: what follows the header has at least 20 bytes, in fours. */
#define ID_REST_BYTES_MIN 20u
#define ID_BYTES_MIN (ID_HEADER_BYTES + ID_REST_BYTES_MIN)
/* FORMAT CODE 01b and PROTOCOL IDENTIFIER 5h. */
#define ID_ISCSI_PORT 0x45u
#define ID_SEPARATOR ",i,0x"
#define ISID_DIGITS 12u

/* -- TransportIDs -- */

/* "name,i,0x" and twelve digits: RFC 7143 4.4.1 has them all written out. */
static bool port_name_is_sound(const char *name, size_t length)
{
	const char *separator = memmem(name, length, ID_SEPARATOR, strlen(ID_SEPARATOR));
	size_t before = separator != NULL ? (size_t)(separator - name) : 0;

	if (before == 0 || length != before + strlen(ID_SEPARATOR) + ISID_DIGITS ||
	    length > PR_NAME_BYTES_MAX)
		return false;
	for (size_t i = 0; i < length; i++) {
		if ((uint8_t)name[i] <= ' ' || name[i] == 0x7F)
			return false;
	}
	return strspn(separator + strlen(ID_SEPARATOR), "0123456789abcdefABCDEF") == ISID_DIGITS;
}

/* One TransportID off the reader; false: it is not one of an iSCSI initiator port. */
static bool take_id(struct byte_reader *ids, uint16_t target_port, struct pr_nexus *out)
{
	uint8_t format = byte_reader_u8(ids);
	uint8_t reserved = byte_reader_u8(ids);
	uint16_t rest = byte_reader_be16(ids);
	const uint8_t *name = byte_reader_take(ids, rest);
	size_t length;

	if (name == NULL || format != ID_ISCSI_PORT || reserved != 0 || rest < ID_REST_BYTES_MIN ||
	    rest % 4 != 0)
		return false;
	length = strnlen((const char *)name, rest);
	if (length == rest || !port_name_is_sound((const char *)name, length))
		return false;
	pr_nexus_set(out, (const char *)name, length, target_port);
	return true;
}

bool pr_id_next(struct byte_reader *ids, uint16_t target_port, struct pr_nexus *out)
{
	return ids->left > 0 && take_id(ids, target_port, out);
}

static bool ids_are_sound(const struct pr_request *request)
{
	struct byte_reader ids = byte_reader_make(request->ids, request->ids_bytes);
	struct pr_nexus nexus;

	while (ids.left > 0) {
		if (!take_id(&ids, 0, &nexus))
			return false;
	}
	return true;
}

/* -- Parameter lists -- */

/* REGISTER AND MOVE, table 217: exactly one TransportID, of which the list has all. */
static enum pr_result parse_move(const uint8_t *list, size_t count, struct pr_request *out,
				 uint16_t *field)
{
	struct byte_reader id;
	struct pr_nexus nexus;

	out->unregister = (list[17] & 0x02) != 0;
	out->persists = (list[17] & 0x01) != 0;
	out->move_port = get_be16(list + 18);
	out->ids = list + LIST_BYTES;
	out->ids_bytes = count - LIST_BYTES;
	if (out->ids_bytes < ID_BYTES_MIN || get_be32(list + 20) != out->ids_bytes)
		return PR_BAD_LENGTH;
	id = byte_reader_make(out->ids, out->ids_bytes);
	*field = LIST_BYTES;
	return take_id(&id, 0, &nexus) && id.left == 0 ? PR_GOOD : PR_BAD_PARAMETER;
}

static enum pr_result parse_spec_ports(const uint8_t *list, size_t count, struct pr_request *out,
				       uint16_t *field)
{
	*field = 20;
	if (out->action != PR_REGISTER)
		return PR_BAD_PARAMETER;
	if (count < SPEC_PORTS_BYTES || get_be32(list + LIST_BYTES) != count - SPEC_PORTS_BYTES)
		return PR_BAD_LENGTH;
	out->ids = list + SPEC_PORTS_BYTES;
	out->ids_bytes = count - SPEC_PORTS_BYTES;
	*field = SPEC_PORTS_BYTES;
	return ids_are_sound(out) ? PR_GOOD : PR_BAD_PARAMETER;
}

/* Table 214. Bits that an action has no use for are ignored, SPEC_I_PT excepted. */
static enum pr_result parse_basic(const uint8_t *list, size_t count, struct pr_request *out,
				  uint16_t *field)
{
	out->persists = (list[20] & 0x01) != 0;
	out->all_ports = (list[20] & 0x04) != 0;
	out->spec_ports = (list[20] & 0x08) != 0;
	if (out->spec_ports)
		return parse_spec_ports(list, count, out, field);
	return count == LIST_BYTES ? PR_GOOD : PR_BAD_LENGTH;
}

enum pr_result pr_list_parse(const uint8_t *cdb, const uint8_t *list, size_t count,
			     struct pr_request *out, uint16_t *field)
{
	*out = (struct pr_request){
		.action = (enum pr_action)(cdb[1] & 0x1F),
		.scope = cdb[2] >> 4,
		.type = cdb[2] & 0x0F,
	};
	assert(out->action < PR_ACTION_COUNT);
	*field = 0;
	if (count < LIST_BYTES)
		return PR_BAD_LENGTH;
	out->key = get_be64(list);
	out->action_key = get_be64(list + 8);
	return out->action == PR_REGISTER_AND_MOVE ? parse_move(list, count, out, field)
						   : parse_basic(list, count, out, field);
}

/* -- Answers -- */

static void answer_keys(const struct pr_state *state, struct byte_writer *writer)
{
	byte_writer_be32(writer, state->generation);
	byte_writer_be32(writer, state->count * 8);
	for (uint32_t i = 0; i < state->count; i++)
		byte_writer_be64(writer, state->registrants[i].key);
}

static void answer_reservation(const struct pr_state *state, struct byte_writer *writer)
{
	bool has_holder = state->holder != PR_NOBODY;

	byte_writer_be32(writer, state->generation);
	byte_writer_be32(writer, state->type != PR_NONE ? 16 : 0);
	if (state->type == PR_NONE)
		return;
	byte_writer_be64(writer, has_holder ? state->registrants[state->holder].key : 0);
	byte_writer_zero(writer, 5);
	byte_writer_u8(writer, (uint8_t)state->type); /* LU_SCOPE is 0. */
	byte_writer_zero(writer, 2);
}

/* ALLOW COMMANDS 011b: what rows of op_table.c allow. */
static void answer_capabilities(const struct pr_state *state, struct byte_writer *writer)
{
	byte_writer_be16(writer, 8);
	byte_writer_u8(writer, 0x1D);                                /* CRH, SIP_C, ATP_C, PTPL_C */
	byte_writer_u8(writer, 0xB0 | (state->persists ? 0x01 : 0)); /* TMV, 011b, PTPL_A */
	byte_writer_be16(writer, 0xEA01);
	byte_writer_zero(writer, 2);
}

/* The name, its end, and padding to a multiple of four. */
static uint32_t id_rest_bytes(const struct pr_nexus *nexus)
{
	uint32_t bytes = (uint32_t)(strlen(nexus->initiator) + 1 + 3) & ~3u;

	return bytes < ID_REST_BYTES_MIN ? ID_REST_BYTES_MIN : bytes;
}

static void write_id(const struct pr_nexus *nexus, struct byte_writer *writer)
{
	uint32_t rest = id_rest_bytes(nexus);
	size_t length = strlen(nexus->initiator);

	byte_writer_be16(writer, ID_ISCSI_PORT << 8);
	byte_writer_be16(writer, (uint16_t)rest);
	byte_writer_bytes(writer, nexus->initiator, length);
	byte_writer_zero(writer, rest - length);
}

/* Table 211. Registrations for all target ports are told one by one. */
static void write_status(const struct pr_state *state, uint32_t at, struct byte_writer *writer)
{
	const struct pr_registrant *one = &state->registrants[at];
	bool holder = pr_is_holder(state, at);

	byte_writer_be64(writer, one->key);
	byte_writer_zero(writer, 4);
	byte_writer_u8(writer, holder ? 0x01 : 0);
	byte_writer_u8(writer, holder ? (uint8_t)state->type : 0);
	byte_writer_zero(writer, 4);
	byte_writer_be16(writer, one->nexus.target_port);
	byte_writer_be32(writer, ID_HEADER_BYTES + id_rest_bytes(&one->nexus));
	write_id(&one->nexus, writer);
}

static void answer_full_status(const struct pr_state *state, struct byte_writer *writer)
{
	uint32_t length = 0;

	for (uint32_t i = 0; i < state->count; i++)
		length += 24 + ID_HEADER_BYTES + id_rest_bytes(&state->registrants[i].nexus);
	byte_writer_be32(writer, state->generation);
	byte_writer_be32(writer, length);
	for (uint32_t i = 0; i < state->count; i++)
		write_status(state, i, writer);
}

static void (*const answers[PR_QUESTION_COUNT])(const struct pr_state *state,
						struct byte_writer *writer) = {
	[PR_READ_KEYS] = answer_keys,
	[PR_READ_RESERVATION] = answer_reservation,
	[PR_REPORT_CAPABILITIES] = answer_capabilities,
	[PR_READ_FULL_STATUS] = answer_full_status,
};

void pr_answer(enum pr_question question, const struct pr_state *state, struct byte_writer *writer)
{
	answers[question](state, writer);
}
