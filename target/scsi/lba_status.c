/*
 * GET LBA STATUS(16): SBC-4 5.6, which with REPORT TYPE 0 is that of SBC-3. The LUN is asked in
 * steps, each of bounded length, until the answer is full, or the medium has ended, or enough was
 * looked at for one command; hosts ask again from where an answer ends.
 *
 * What is found stands in a scratch buffer until the end: descriptors, the extent that may still
 * grow, and what the LUN answered last. Neighbours of one status become one descriptor, also over
 * the end of a step, but a descriptor has 32 bits for its blocks: a longer extent takes several.
 *
 * Threads: the loop of the command. Read next: steps.c.
 */
#include <assert.h>

#include "base/bytes.h"
#include "target/scsi/steps.h"

#define HEADER_BYTES 8u
#define DESCRIPTOR_BYTES 16u
#define DESCRIPTORS_MAX 2047u
/* After so many steps what was found has to do: a step on a file sees some thousand extents. */
#define STEPS_ENOUGH 16u
/* The most that one descriptor counts: a number that leaves the next one aligned to 1 MiB. */
#define DESCRIPTOR_BLOCKS_MAX 0xFFFFF800u

/* PROVISIONING STATUS, SBC-4 5.6.2. 3h, mapped for certain, is not known to hosts of SBC-3. */
static const uint8_t statuses[] = {
	[LUN_MAPPED] = 0x0,
	[LUN_DEALLOCATED] = 0x1,
	[LUN_ANCHORED] = 0x2,
};

/* REPORT TYPE: the states that are asked for, a bit each. What is not here is refused: 10h asks
 * for blocks that cannot be read, and nobody knows those before they are read. */
static const uint8_t report_types[] = {
	[0x00] = 1 << LUN_MAPPED | 1 << LUN_ANCHORED | 1 << LUN_DEALLOCATED,
	[0x01] = 1 << LUN_ANCHORED | 1 << LUN_DEALLOCATED,
	[0x02] = 1 << LUN_MAPPED,
	[0x03] = 1 << LUN_DEALLOCATED,
	[0x04] = 1 << LUN_ANCHORED,
};

/* COMPLETION CONDITION, in the bits above RTP. */
enum condition {
	CONDITION_NONE = 0,
	CONDITION_ALLOCATION_LENGTH = 1,
	CONDITION_CAPACITY = 3,
};

#define REPORT_TYPE_PROCESSED 0x01u

struct report {
	uint64_t total_bytes; /* From the first block that is asked for to the end of the medium. */
	uint32_t allocation_bytes;
	uint32_t descriptors_max; /* As many as the initiator takes, one that is cut included. */
	uint32_t count;
	uint8_t wanted; /* report_types */
	bool ended;     /* There is an answer. */
	enum condition condition;
	struct lun_extent last; /* Not a descriptor yet; of length 0: none. */
	uint8_t descriptors[DESCRIPTORS_MAX * DESCRIPTOR_BYTES];
	struct lun_map map;
};

static_assert(sizeof(struct report) + 1024 * sizeof(struct lun_extent) <= LOOP_BUFFER_BYTES,
	      "a scratch buffer holds a report and what the LUN answers");

bool scsi_refine_get_lba_status(struct scsi_cmd *cmd)
{
	if (cmd->cdb[14] < ARRAY_SIZE(report_types))
		return true;
	return scsi_cmd_fail_field(cmd, 14, 7);
}

static struct report *report_of(const struct scsi_cmd *cmd)
{
	return (struct report *)(void *)cmd->scratch;
}

/* -- Descriptors -- */

static void add_descriptor(struct report *report, uint64_t lba, uint32_t block_count,
			   enum lun_extent_state state)
{
	uint8_t *out = report->descriptors + (size_t)report->count * DESCRIPTOR_BYTES;

	memset(out, 0, DESCRIPTOR_BYTES);
	put_be64(out, lba);
	put_be32(out + 8, block_count);
	out[12] = statuses[state];
	report->count++;
}

/* The extent grows no more. */
static void write_last(const struct scsi_cmd *cmd, struct report *report)
{
	uint64_t lba = report->last.offset_bytes / cmd->lu->block_bytes;
	uint64_t left = report->last.length_bytes / cmd->lu->block_bytes;

	while (left > 0 && report->count < report->descriptors_max) {
		uint32_t now =
			left < DESCRIPTOR_BLOCKS_MAX ? (uint32_t)left : DESCRIPTOR_BLOCKS_MAX;

		add_descriptor(report, lba, now, report->last.state);
		lba += now;
		left -= now;
	}
	/* What did not fit: the medium was not looked at to its end. */
	if (left > 0)
		report->condition = CONDITION_ALLOCATION_LENGTH;
	report->last.length_bytes = 0;
}

static bool extends(const struct lun_extent *last, const struct lun_extent *extent)
{
	return last->length_bytes > 0 && last->state == extent->state &&
	       last->offset_bytes + last->length_bytes == extent->offset_bytes;
}

static void end(const struct scsi_cmd *cmd, struct report *report, enum condition condition)
{
	report->ended = true;
	report->condition = condition;
	write_last(cmd, report);
}

static void add_extent(const struct scsi_cmd *cmd, struct report *report,
		       const struct lun_extent *extent)
{
	if ((report->wanted & 1u << extent->state) == 0)
		return;
	if (extends(&report->last, extent)) {
		report->last.length_bytes += extent->length_bytes;
		return;
	}
	write_last(cmd, report);
	report->last = *extent;
	if (report->count == report->descriptors_max) {
		report->last.length_bytes = 0;
		end(cmd, report, CONDITION_ALLOCATION_LENGTH);
	}
}

/* -- Asking the LUN -- */

/* Room for one extent more than descriptors are wanted: that says that the last one has ended. Who
 * asks for some states only does not know how many extents lie between. */
static size_t map_bytes(const struct report *report)
{
	size_t all = LOOP_BUFFER_BYTES - offsetof(struct report, map);
	size_t enough = sizeof(struct lun_map) +
			(report->descriptors_max - report->count + 1) * sizeof(struct lun_extent);

	return report->wanted == report_types[0] && enough < all ? enough : all;
}

/* Nothing is written before all has been found, so that a failure leaves nothing behind. */
static void write_answer(struct scsi_cmd *cmd, const struct report *report)
{
	size_t descriptors_bytes = (size_t)report->count * DESCRIPTOR_BYTES;
	struct byte_writer writer = byte_writer_make(cmd->buffer, report->allocation_bytes);

	byte_writer_be32(&writer, (uint32_t)(HEADER_BYTES - 4 + descriptors_bytes));
	byte_writer_zero(&writer, 3);
	byte_writer_u8(&writer, (uint8_t)(report->condition << 1 | REPORT_TYPE_PROCESSED));
	byte_writer_bytes(&writer, report->descriptors, descriptors_bytes);
	cmd->data_bytes = byte_writer_count(&writer);
}

static bool next_map(struct scsi_cmd *cmd, struct lun_io *io)
{
	struct report *report = report_of(cmd);

	if (report->ended) {
		write_answer(cmd, report);
		return false;
	}
	io->op = LUN_MAP;
	scsi_io_next_range(cmd, io, report->total_bytes, UINT64_MAX);
	io->iov[0] = (struct iovec){&report->map, map_bytes(report)};
	io->iov_count = 1;
	return true;
}

/* There are no anchored blocks where ANC_SUP says so; nobody asked for what look-ahead keeps. */
static enum lun_extent_state state_told(const struct scsi_cmd *cmd, enum lun_extent_state state)
{
	return state == LUN_ANCHORED && !cmd->lu->limits->anchors ? LUN_MAPPED : state;
}

/* True: enough for one answer, for now. */
static bool is_enough(const struct scsi_cmd *cmd, const struct report *report)
{
	return cmd->step >= STEPS_ENOUGH && (report->count > 0 || report->last.length_bytes > 0);
}

static bool check_map(struct scsi_cmd *cmd)
{
	struct report *report = report_of(cmd);
	uint64_t covered = 0;

	for (uint32_t i = 0; i < report->map.count && !report->ended; i++) {
		struct lun_extent extent = report->map.extents[i];

		extent.state = state_told(cmd, extent.state);
		covered += extent.length_bytes;
		add_extent(cmd, report, &extent);
	}
	assert(covered > 0 && covered <= cmd->io.length_bytes);
	/* The engine counts the step as long as its answer was. */
	cmd->io.length_bytes = covered;
	cmd->step++;
	if (report->ended)
		return true;
	if (cmd->progress_bytes + covered == report->total_bytes) {
		end(cmd, report, CONDITION_CAPACITY);
	} else if (is_enough(cmd, report)) {
		end(cmd, report, CONDITION_NONE);
	}
	return true;
}

static const struct scsi_steps map_steps = {.next = next_map, .check = check_map};

/* -- The whole -- */

static void begin(struct scsi_cmd *cmd)
{
	struct report *report = report_of(cmd);
	uint64_t room = cmd->data_bytes > HEADER_BYTES ? cmd->data_bytes - HEADER_BYTES : 1;
	uint64_t wanted = (room + DESCRIPTOR_BYTES - 1) / DESCRIPTOR_BYTES;

	report->total_bytes = (scsi_lu_block_count(cmd->lu) - cmd->lba) * cmd->lu->block_bytes;
	report->allocation_bytes = (uint32_t)cmd->data_bytes;
	report->descriptors_max = wanted < DESCRIPTORS_MAX ? (uint32_t)wanted : DESCRIPTORS_MAX;
	report->count = 0;
	report->wanted = report_types[cmd->cdb[14]];
	report->ended = false;
	report->condition = CONDITION_NONE;
	report->last.length_bytes = 0;
	cmd->data_bytes = 0;
}

/* A fully provisioned unit has nothing but mapped blocks (SBC-4 5.6.2). */
static void report_all_mapped(struct scsi_cmd *cmd)
{
	struct report *report = report_of(cmd);
	struct lun_extent all = {
		.offset_bytes = cmd->lba * cmd->lu->block_bytes,
		.length_bytes = report->total_bytes,
		.state = LUN_MAPPED,
	};

	add_extent(cmd, report, &all);
	end(cmd, report, CONDITION_CAPACITY);
}

bool scsi_execute_get_lba_status(struct scsi_cmd *cmd)
{
	if (cmd->data == SCSI_DATA_NONE || !scsi_cmd_take_scratch(cmd))
		return true;
	begin(cmd);
	if (!cmd->lu->limits->thin)
		report_all_mapped(cmd);
	return scsi_steps_start(cmd, &map_steps);
}
