/*
 * Commands that need all their data first (COMPARE AND WRITE) through a whole target: data in every
 * way there is, room for all of it or none, and aborts and lost connections at every stage, after
 * which the blocks hold the old data or the new, never some of each.
 */
#include "tests/unit/iscsi_peer.h"

#define BLOCK 512u
#define BLOCKS_MAX 255u

static struct rig rig;
static struct peer peer;
static struct rig_pdu pdu;
static uint8_t data[2 * BLOCKS_MAX * BLOCK];
static uint8_t got[BLOCKS_MAX * BLOCK];

static void begin_with(const char *type, uint32_t buffers, const struct iscsi_params *params)
{
	rig_begin(&rig, type, LOOP_ENGINE_AUTO, buffers);
	peer_begin(&peer, &rig, 0, params);
	peer_clear_attention(&peer, 0);
}

static void end(void)
{
	peer_end(&peer);
	rig_faults(&rig, "");
	rig_end(&rig);
}

static struct rig_command make_caw(uint8_t lba, uint8_t count)
{
	return (struct rig_command){
		.write = true,
		.expected_bytes = 2u * count * BLOCK,
		.cdb = {0x89, [9] = lba, [13] = count},
		.data = data,
	};
}

static void read_blocks(uint8_t lba, uint8_t count)
{
	struct rig_command command = {.expected_bytes = count * BLOCK, .read = true};

	rig_cdb10(command.cdb, 0x28, lba, count);
	struct rig_result result = peer_finish_read(&peer, peer_command(&peer, &command), got);

	cr_assert_eq(result.status, SCSI_GOOD);
	cr_assert_eq(result.bytes, count * BLOCK);
}

/* Data for a command that will succeed: what stands there, and something new. */
static void make_data(uint8_t lba, uint8_t count, unsigned seed)
{
	read_blocks(lba, count);
	memcpy(data, got, count * BLOCK);
	for (size_t i = 0; i < count * BLOCK; i++)
		data[count * BLOCK + i] = (uint8_t)(seed = seed * 1103515245u + 12345u, seed >> 16);
}

/* Send it with as many immediate and unsolicited data as were agreed. */
static uint32_t start(struct rig_command *command)
{
	const struct iscsi_params *params = &peer.params;
	uint32_t first = command->expected_bytes < params->first_burst_length
				 ? command->expected_bytes
				 : params->first_burst_length;
	uint32_t immediate = params->immediate_data ? first : 0;

	if (immediate > 3000 && !params->initial_r2t)
		immediate = 3000;
	command->immediate_bytes = immediate;
	command->not_final = !params->initial_r2t && immediate < first;
	uint32_t itt = peer_command(&peer, command);

	if (command->not_final)
		peer_data_out(&peer,
			      (struct rig_burst){itt, PDU_TAG_RESERVED, immediate,
						 first - immediate, 7000},
			      data);
	return itt;
}

static void expect_end(uint8_t status, uint16_t asc, uint32_t residual)
{
	struct pdu_scsi_response response;

	peer_finish_write(&peer, data, &response);
	cr_assert_eq(response.status, status, "status %02x, sense %04x", response.status,
		     response.snack_tag);
	cr_assert(status != SCSI_CHECK_CONDITION || response.snack_tag == asc);
	cr_assert_eq(response.underflow, residual > 0);
	cr_assert_eq(response.residual_count, residual, "%u", response.residual_count);
	cr_assert(!response.overflow);
}

/* -- data in every way -- */

static void every_length(const struct iscsi_params *params)
{
	static const uint8_t counts[] = {1, 7, 32, 33, 63, 64, 65, 96, 128, 129, 200, 255};

	begin_with("raw", 256, params);
	for (size_t i = 0; i < sizeof(counts); i++) {
		struct rig_command caw = make_caw(3, counts[i]);
		uint32_t bytes = counts[i] * BLOCK;

		make_data(3, counts[i], (unsigned)i);
		start(&caw);
		expect_end(SCSI_GOOD, 0, 0);
		read_blocks(3, counts[i]);
		cr_assert_arr_eq(got, data + bytes, bytes);
		/* Its own first half is not there any more. All data moved, so nothing is left. */
		start(&caw);
		expect_end(SCSI_CHECK_CONDITION, 0x1D00, 0);
		read_blocks(3, counts[i]);
		cr_assert_arr_eq(got, data + bytes, bytes);
	}
	end();
}

#define WAY(name, ...)                                                   \
	Test(gather, name)                                               \
	{                                                                \
		struct iscsi_params params = rig_params;                 \
		const struct iscsi_params change = {__VA_ARGS__};        \
		params.initial_r2t = change.initial_r2t;                 \
		params.immediate_data = change.immediate_data;           \
		params.max_outstanding_r2t = change.max_outstanding_r2t; \
		every_length(&params);                                   \
	}

WAY(r2t_only, .initial_r2t = true, .max_outstanding_r2t = 1)
WAY(immediate, .initial_r2t = true, .immediate_data = true, .max_outstanding_r2t = 4)
WAY(unsolicited, .max_outstanding_r2t = 1)
WAY(immediate_and_unsolicited, .immediate_data = true, .max_outstanding_r2t = 2)

/* Announced data that do not suit end the command before any of them is asked for. */
Test(gather, announced_data)
{
	static const uint32_t wrong[] = {0, 512, 1023, 1536, 4096};

	begin_with("raw", 128, &rig_params);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct rig_command caw = make_caw(0, 1);

		caw.expected_bytes = wrong[i];
		peer_command(&peer, &caw);
		expect_end(SCSI_CHECK_CONDITION, 0x0E03, wrong[i]);
	}
	struct rig_command caw = make_caw(0, 0);

	caw.expected_bytes = 0;
	peer_command(&peer, &caw);
	expect_end(SCSI_GOOD, 0, 0);
	end();
}

/* -- room -- */

/* A loop without room for the long ones: they are refused, whatever came with them, and hold
 * nothing; a lock of one block never is. */
Test(gather, no_room)
{
	begin_with("raw", 16, &rig_params);
	for (int i = 0; i < 20; i++) {
		struct rig_command caw = make_caw(0, BLOCKS_MAX);

		make_data(0, 1, (unsigned)i);
		start(&caw);
		expect_end(SCSI_TASK_SET_FULL, 0, sizeof(data));
		caw = make_caw(0, 1);
		start(&caw);
		expect_end(SCSI_GOOD, 0, 0);
	}
	end();
}

/* Several at once where there is room for few: each gets all or nothing, so all end. */
Test(gather, several_at_once)
{
	struct iscsi_params params = rig_params;
	unsigned full = 0;
	unsigned good = 0;

	params.immediate_data = false;
	begin_with("raw", 40, &params);
	memset(data, 0, sizeof(data));
	for (int i = 0; i < 6; i++) {
		struct rig_command caw = make_caw(0, BLOCKS_MAX);

		peer_command(&peer, &caw);
	}
	while (full + good < 6) {
		struct pdu_scsi_response response;

		peer_finish_write(&peer, data, &response);
		full += response.status == SCSI_TASK_SET_FULL;
		good += response.status == SCSI_GOOD;
		cr_assert(full + good > 0);
	}
	cr_assert(good > 0 && full > 0, "%u good, %u refused", good, full);
	end();
}

static void count_end(struct peer *of, unsigned *good, unsigned *full)
{
	struct pdu_scsi_response response;

	peer_finish_write(of, data, &response);
	*full += response.status == SCSI_TASK_SET_FULL;
	*good += response.status == SCSI_GOOD;
}

/* Two hosts on one loop, each with several that need most of the room: nobody holds a part of what
 * he needs while he waits for the other, so all end, and locks of one block are always served. */
Test(gather, two_hosts_want_the_same_room)
{
	struct iscsi_params params = rig_params;
	struct rig_command caw = make_caw(0, BLOCKS_MAX);
	static struct peer other;
	unsigned full = 0;
	unsigned good = 0;

	params.immediate_data = false;
	begin_with("raw", 48, &params);
	peer_begin(&other, &rig, 0, &params);
	peer_clear_attention(&other, 0);
	memset(data, 0, sizeof(data));
	for (unsigned i = 0; i < 4; i++) {
		peer_command(&peer, &caw);
		peer_command(&other, &caw);
	}
	for (unsigned i = 0; i < 4; i++) {
		count_end(&other, &good, &full);
		count_end(&peer, &good, &full);
	}
	cr_assert(good > 0 && full > 0 && good + full == 8, "%u good, %u refused", good, full);
	caw = make_caw(0, 1);
	peer_command(&peer, &caw);
	peer_command(&other, &caw);
	count_end(&other, &good, &full);
	count_end(&peer, &good, &full);
	cr_assert(good + full == 10 && full <= 7);
	peer_end(&other);
	end();
}

/* -- aborts and lost connections -- */

static void expect_all_or_nothing(bool all)
{
	uint32_t bytes = BLOCKS_MAX * BLOCK;

	read_blocks(1, BLOCKS_MAX);
	cr_assert_arr_eq(got, all ? data + bytes : data, bytes);
}

static void expect_aborted(uint32_t itt)
{
	cr_assert_eq(peer_manage(&peer, &pdu, (struct rig_tmf){PDU_TMF_ABORT_TASK, 0, itt, 0}),
		     PDU_TMF_FUNCTION_COMPLETE);
}

/* Its data are due: it holds all its room. */
Test(gather, abort_while_data_are_due)
{
	struct rig_command caw = make_caw(1, BLOCKS_MAX);

	begin_with("raw", 128, &rig_params);
	make_data(1, BLOCKS_MAX, 1);
	uint32_t itt = start(&caw);

	peer_expect(&peer, &pdu, PDU_R2T);
	expect_aborted(itt);
	expect_all_or_nothing(false);
	end();
}

/* Send all of it, and wait until the disk holds what `faults` says. */
static uint32_t start_on_stuck_disk(const char *faults)
{
	struct rig_command caw = make_caw(1, BLOCKS_MAX);
	struct pdu_r2t r2t;

	make_data(1, BLOCKS_MAX, 1);
	rig_faults(&rig, faults);
	uint32_t itt = start(&caw);

	peer_expect(&peer, &pdu, PDU_R2T);
	pdu_r2t_decode(&r2t, pdu.bhs);
	peer_data_out(&peer,
		      (struct rig_burst){itt, r2t.ttt, r2t.buffer_offset,
					 r2t.desired_data_len_bytes, 60000},
		      data);
	peer_ping(&peer, &pdu);
	usleep(100000);
	return itt;
}

static void abort_on_stuck_disk(const char *faults, bool all)
{
	begin_with("fault", 128, &rig_params);
	expect_aborted(start_on_stuck_disk(faults));
	rig_faults(&rig, "");
	expect_all_or_nothing(all);
	end();
}

Test(gather, abort_while_it_reads)
{
	abort_on_stuck_disk("stick read\n", false);
}

/* The abort is answered while the disk has the write; who reads then waits for it, and finds all.
 */
Test(gather, abort_while_it_writes)
{
	abort_on_stuck_disk("stick write\n", true);
}

/* Another one behind it has its turn, though the disk still reads for the first. */
Test(gather, the_next_one_does_not_wait_for_a_read_that_was_given_up)
{
	struct rig_command caw = make_caw(1, 1);

	begin_with("fault", 128, &rig_params);
	uint32_t itt = start_on_stuck_disk("stick read count 1\n");

	start(&caw);
	expect_aborted(itt);
	/* Its data begin as the other's do, so it compares well. */
	expect_end(SCSI_GOOD, 0, 0);
	end();
}

/* Its room comes back with the end of the connection: the next host needs all of that. */
Test(gather, connection_lost_while_data_are_due)
{
	struct rig_command caw = make_caw(1, BLOCKS_MAX);

	begin_with("raw", 32, &rig_params);
	for (unsigned i = 0; i < 10; i++) {
		make_data(1, BLOCKS_MAX, i);
		start(&caw);
		peer_expect(&peer, &pdu, PDU_R2T);
		peer_end(&peer);
		peer_begin(&peer, &rig, 0, &rig_params);
		peer_clear_attention(&peer, 0);
		expect_all_or_nothing(false);
	}
	start(&caw);
	expect_end(SCSI_GOOD, 0, 0);
	expect_all_or_nothing(true);
	end();
}

static void lose_connection(const char *faults, bool all)
{
	begin_with("fault", 128, &rig_params);
	start_on_stuck_disk(faults);
	peer_end(&peer);
	rig_faults(&rig, "");
	peer_begin(&peer, &rig, 1, &rig_params);
	peer_clear_attention(&peer, 0);
	expect_all_or_nothing(all);
	end();
}

Test(gather, connection_lost_while_it_reads)
{
	lose_connection("stick read\n", false);
}

Test(gather, connection_lost_while_it_writes)
{
	lose_connection("stick write\n", true);
}
