/*
 * REPORT TARGET PORT GROUPS (SPC-4 6.37) and SET TARGET PORT GROUPS (6.45).
 *
 * Threads: the loop of the command. Read next: alua.c.
 */
#include "target/scsi/port_groups.h"

#include <assert.h>

#include "target/scsi/reservation.h"

#define PREF 0x80u
#define ACCESS_STATE 0x0Fu
/* PARAMETER DATA FORMAT: the header is the length only, or four bytes longer. */
#define FORMAT_EXTENDED 1u
#define REPORT_DESCRIPTOR_BYTES 12u
#define SET_HEADER_BYTES 4u
#define SET_DESCRIPTOR_BYTES 4u

static void write_group(const struct scsi_group_view *group, struct byte_writer *writer)
{
	byte_writer_u8(writer, (uint8_t)((group->preferred ? PREF : 0) | group->state));
	byte_writer_u8(writer, scsi_alua_supported_states());
	byte_writer_be16(writer, group->tag);
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, (uint8_t)group->cause);
	byte_writer_u8(writer, 0);
	/* Its one target port, by whose number the group goes. */
	byte_writer_u8(writer, 1);
	byte_writer_be16(writer, 0);
	byte_writer_be16(writer, group->tag);
}

void scsi_answer_port_groups(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const struct scsi_target *target = cmd->nexus->target;
	const struct scsi_access_states *now = scsi_alua_now(target);
	unsigned count = scsi_target_group_count(target);
	unsigned format = cmd->cdb[1] >> 5;
	struct scsi_group_view group;

	if (format > FORMAT_EXTENDED) {
		scsi_cmd_fail_field(cmd, 1, 7);
		return;
	}
	byte_writer_be32(writer, count * REPORT_DESCRIPTOR_BYTES + (format != 0 ? 4 : 0));
	if (format == FORMAT_EXTENDED) {
		byte_writer_u8(writer, FORMAT_EXTENDED << 4);
		byte_writer_u8(writer, target->alua.spec.transition_time_s);
		byte_writer_be16(writer, 0);
	}
	for (unsigned i = 0; i < count; i++) {
		scsi_alua_view(target, now, i, &group);
		write_group(&group, writer);
	}
}

/* -- SET TARGET PORT GROUPS -- */

/* No more descriptors than there are groups, so that a list fits a buffer. */
bool scsi_refine_set_port_groups(struct scsi_cmd *cmd)
{
	unsigned groups = scsi_target_group_count(cmd->nexus->target);

	return cmd->data_bytes <= SET_HEADER_BYTES + groups * SET_DESCRIPTOR_BYTES ||
	       scsi_cmd_fail(cmd, SENSE_PARAMETER_LIST_LENGTH);
}

/* A list on its way through. */
struct list {
	struct scsi_cmd *cmd;
	struct scsi_access_states *next;
	uint64_t named; /* A bit for each group that has had its descriptor. */
	bool changes;
};
static_assert(SCSI_TARGET_PORTS_MAX <= 64, "a bit for each group");

/* What a host may ask for: offline and transitioning are the administrator's words, and what he
 * has made so he alone makes otherwise. */
static bool is_primary(unsigned state)
{
	return state <= SCSI_ACCESS_UNAVAILABLE;
}

static bool apply_descriptor(struct list *list, uint16_t at)
{
	const uint8_t *bytes = list->cmd->buffer + at;
	const struct scsi_target *target = list->cmd->nexus->target;
	unsigned state = bytes[0] & ACCESS_STATE;
	uint8_t group = scsi_alua_find(target, get_be16(bytes + 2));
	struct scsi_group_view now;

	if (!is_primary(state))
		return scsi_cmd_fail_parameter_bit(list->cmd, at, 3);
	if (group == SCSI_NO_GROUP || (list->named >> group & 1) != 0)
		return scsi_cmd_fail_parameter(list->cmd, (uint16_t)(at + 2));
	scsi_target_group(target, group, &now);
	if (!is_primary(now.state))
		return scsi_cmd_fail_parameter_bit(list->cmd, at, 3);
	list->named |= UINT64_C(1) << group;
	if (now.state == state)
		return true;
	scsi_alua_set(list->next, group, (enum scsi_access_state)state, SCSI_ACCESS_BY_HOST);
	list->changes = true;
	return true;
}

static struct scsi_cmd *cmd_of(struct scsi_switch *change)
{
	return CONTAINER_OF(change, struct scsi_cmd, change);
}

/* Fenced, or refused by the administrator, while other changes had their turn. */
LOOP_ONLY static bool may_still_pass(struct scsi_cmd *cmd)
{
	if (!scsi_access_serves(cmd))
		return scsi_cmd_fail(cmd, scsi_access_reason(cmd->nexus));
	if (!scsi_reservation_conflicts(cmd))
		return true;
	scsi_cmd_set_status(cmd, SCSI_RESERVATION_CONFLICT);
	return false;
}

static enum scsi_switch_step begin(struct scsi_switch *change)
{
	struct scsi_cmd *cmd = cmd_of(change);
	struct list list = {.cmd = cmd, .next = scsi_alua_next(change->target)};

	loop_role_assume();
	if (cmd->aborted || !may_still_pass(cmd))
		return SCSI_SWITCH_END;
	for (uint32_t at = SET_HEADER_BYTES; at < cmd->buffer_bytes; at += SET_DESCRIPTOR_BYTES) {
		if (!apply_descriptor(&list, (uint16_t)at))
			return SCSI_SWITCH_END;
	}
	if (!list.changes)
		return SCSI_SWITCH_END;
	scsi_alua_publish(change->target, list.next);
	return SCSI_SWITCH_PUBLISH;
}

static void tell(struct scsi_switch *change, struct scsi_nexus *nexus)
{
	loop_role_assume();
	scsi_alua_tell(nexus, nexus == cmd_of(change)->nexus);
}

static void on_done(struct scsi_switch *change)
{
	struct scsi_cmd *cmd = cmd_of(change);

	cmd->done(cmd);
}

bool scsi_execute_set_port_groups(struct scsi_cmd *cmd)
{
	/* PARAMETER LIST LENGTH 0 is no error. */
	if (cmd->data == SCSI_DATA_NONE)
		return true;
	if (cmd->buffer_bytes < cmd->data_bytes || cmd->data_bytes % SET_DESCRIPTOR_BYTES != 0)
		return !scsi_cmd_fail(cmd, SENSE_PARAMETER_LIST_LENGTH);
	cmd->change = (struct scsi_switch){.target = cmd->lu->target,
					   .loop = cmd->loop,
					   .begin = begin,
					   .each = tell,
					   .done = on_done};
	if (scsi_switch_start(&cmd->change) == 0)
		return false;
	scsi_cmd_set_status(cmd, SCSI_BUSY);
	return true;
}
