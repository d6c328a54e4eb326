/*
 * Writing sense data, and what results of LUN I/O mean. Not the codes themselves: sense_table.c.
 *
 * Threads: the loop of the command. Read next: command.c.
 */
#include "target/scsi/sense.h"

#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "target/scsi/device.h"
#include "target/scsi/port_groups.h"

/* Response codes, SPC-4 4.5.1; deferred errors are never reported. */
#define FIXED_CURRENT 0x70u
#define DESCRIPTOR_CURRENT 0x72u

static_assert(SENSE_DESCRIPTOR_MAX <= sizeof(((struct scsi_cmd *)0)->sense), "sense data fit");

/* The three sense-key specific bytes as a field pointer, SPC-4 4.5.2.4.2. */
static void write_field_pointer(uint8_t *out, const struct scsi_sense_data *data)
{
	out[0] = 0x80;
	if (data->field_in_cdb)
		out[0] |= 0x40;
	if (data->field_bit != SENSE_NO_BIT)
		out[0] |= (uint8_t)(0x08 | data->field_bit);
	put_be16(out + 1, data->field_byte);
}

static uint8_t write_fixed(uint8_t *out, const struct scsi_sense_data *data)
{
	const struct scsi_sense_row *row = &scsi_sense_table[data->reason];

	memset(out, 0, SCSI_FIXED_SENSE_BYTES);
	out[0] = FIXED_CURRENT;
	out[2] = row->key;
	out[7] = SCSI_FIXED_SENSE_BYTES - 8;
	out[12] = row->asc;
	out[13] = row->ascq;
	/* INFORMATION has 32 bits here; what does not fit is left out rather than cut. */
	if (data->has_information && data->information <= UINT32_MAX) {
		out[0] |= 0x80;
		put_be32(out + 3, (uint32_t)data->information);
	}
	if (data->has_field)
		write_field_pointer(out + 15, data);
	return SCSI_FIXED_SENSE_BYTES;
}

static uint8_t write_descriptors(uint8_t *out, const struct scsi_sense_data *data)
{
	const struct scsi_sense_row *row = &scsi_sense_table[data->reason];
	uint8_t length = 8;

	memset(out, 0, SENSE_DESCRIPTOR_MAX);
	out[0] = DESCRIPTOR_CURRENT;
	out[1] = row->key;
	out[2] = row->asc;
	out[3] = row->ascq;
	if (data->has_information) {
		out[length + 1] = 10;
		out[length + 2] = 0x80;
		put_be64(out + length + 4, data->information);
		length += 12;
	}
	if (data->has_field) {
		out[length] = 2;
		out[length + 1] = 6;
		write_field_pointer(out + length + 4, data);
		length += 8;
	}
	out[7] = (uint8_t)(length - 8);
	return length;
}

uint8_t sense_write(uint8_t *out, enum scsi_sense_format format, const struct scsi_sense_data *data)
{
	assert(data->reason < SENSE_COUNT);
	return format == SENSE_FORMAT_FIXED ? write_fixed(out, data) : write_descriptors(out, data);
}

/* What D_SENSE of the logical unit says; without one it is the format that everybody knows. */
static enum scsi_sense_format format_of(const struct scsi_cmd *cmd)
{
	return cmd->lu != NULL && scsi_lu_mode(cmd->lu)->descriptor_sense ? SENSE_FORMAT_DESCRIPTOR
									  : SENSE_FORMAT_FIXED;
}

bool scsi_cmd_fail_with(struct scsi_cmd *cmd, const struct scsi_sense_data *data)
{
	if (scsi_cmd_has_failed(cmd))
		return false;
	cmd->status = SCSI_CHECK_CONDITION;
	cmd->sense_bytes = sense_write(cmd->sense, format_of(cmd), data);
	return false;
}

/* SBC-4 4.7.3.7.6: which threshold it is. */
struct scsi_sense_data scsi_sense_of(enum scsi_sense reason)
{
	struct scsi_sense_data data = {.reason = reason};

	if (reason == SENSE_THRESHOLD_REACHED || reason == SENSE_POOL_THRESHOLD_REACHED) {
		data.has_information = true;
		data.information = scsi_threshold_information(reason);
	}
	return data;
}

bool scsi_cmd_fail(struct scsi_cmd *cmd, enum scsi_sense reason)
{
	struct scsi_sense_data data = scsi_sense_of(reason);

	return scsi_cmd_fail_with(cmd, &data);
}

void scsi_cmd_fail_data_phase(struct scsi_cmd *cmd)
{
	scsi_cmd_fail(cmd, SENSE_DATA_PHASE_ERROR);
}

bool scsi_cmd_fail_field(struct scsi_cmd *cmd, uint16_t byte, uint8_t bit)
{
	return scsi_cmd_fail_with(cmd, &(struct scsi_sense_data){
					       .reason = SENSE_INVALID_FIELD_IN_CDB,
					       .has_field = true,
					       .field_in_cdb = true,
					       .field_byte = byte,
					       .field_bit = bit,
				       });
}

bool scsi_cmd_fail_parameter(struct scsi_cmd *cmd, uint16_t byte)
{
	return scsi_cmd_fail_parameter_bit(cmd, byte, SENSE_NO_BIT);
}

bool scsi_cmd_fail_parameter_bit(struct scsi_cmd *cmd, uint16_t byte, uint8_t bit)
{
	return scsi_cmd_fail_with(cmd, &(struct scsi_sense_data){
					       .reason = SENSE_INVALID_FIELD_IN_PARAMETER_LIST,
					       .has_field = true,
					       .field_byte = byte,
					       .field_bit = bit,
				       });
}

/*
 * Results of LUN I/O. -EBUSY (too many orphans) is NOT READY, which hosts retry for long, because
 * TASK SET FULL would make them lower their queue depth for a disk that is stuck. Memory shortage
 * is the one that a plain retry mends: BUSY. No INFORMATION goes with a medium error: with several
 * pieces under way the lowest bad block is not known, and a host takes what lies before as good.
 */
static const struct {
	int res;
	enum scsi_sense reason;
} io_results[] = {
	{-ENOSPC, SENSE_SPACE_ALLOCATION_FAILED},
	{-EDQUOT, SENSE_SPACE_ALLOCATION_FAILED},
	{-EFBIG, SENSE_SPACE_ALLOCATION_FAILED},
	{-EROFS, SENSE_WRITE_PROTECTED},
	{-EPERM, SENSE_SOFTWARE_WRITE_PROTECTED},
	{-ENODEV, SENSE_NOT_READY_MANUAL_INTERVENTION},
	{-EBUSY, SENSE_NOT_READY_OPERATION_IN_PROGRESS},
	{-ECANCELED, SENSE_NO_ADDITIONAL_ABORTED},
	{-ERANGE, SENSE_LBA_OUT_OF_RANGE},
};

static enum scsi_sense io_reason(enum lun_op op, int res)
{
	for (size_t i = 0; i < ARRAY_SIZE(io_results); i++) {
		if (io_results[i].res == res)
			return io_results[i].reason;
	}
	if (res == -EIO || res == -EILSEQ || res == -ENODATA)
		return op == LUN_READ || op == LUN_MAP ? SENSE_UNRECOVERED_READ_ERROR
						       : SENSE_WRITE_ERROR;
	return SENSE_INTERNAL_TARGET_FAILURE;
}

static bool fail_without_sense(struct scsi_cmd *cmd, enum scsi_status status)
{
	if (!scsi_cmd_has_failed(cmd))
		scsi_cmd_set_status(cmd, status);
	return false;
}

bool scsi_cmd_fail_io(struct scsi_cmd *cmd, enum lun_op op, int res)
{
	assert(res < 0);
	if (res == -ENOMEM || res == -EAGAIN)
		return fail_without_sense(cmd, SCSI_BUSY);
	if (res == -EACCES)
		return fail_without_sense(cmd, SCSI_RESERVATION_CONFLICT);
	if (res == -EHOSTUNREACH)
		return scsi_cmd_fail(cmd, scsi_access_reason(cmd->nexus));
	return scsi_cmd_fail(cmd, io_reason(op, res));
}
