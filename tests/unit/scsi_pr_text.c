/*
 * The file of reservations: what is written is read again, and nothing else is: not with any bit
 * changed, not cut anywhere, not with a right CRC over what no daemon would write.
 */
#include <criterion/criterion.h>

#include "base/crc32c.h"
#include "target/scsi/pr_text.h"
#include "tests/unit/scsi_pr_testing.h"

#define BOOT "01234567-89ab-cdef-0123-456789abcdef"

static void fill(struct pr_record *record, struct pr_world *world, uint8_t type)
{
	struct pr_wire wire;

	world_init(world, 3);
	for (unsigned i = 0; i < 3; i++) {
		wire_init(&wire, PR_REGISTER, 0, 0, UINT64_C(0xFEDCBA9876543210) + i);
		wire.list[20] = 0x01;
		cr_assert_eq(world_send(world, i, &wire), PR_GOOD);
	}
	wire_init(&wire, PR_RESERVE, type, UINT64_C(0xFEDCBA9876543211), 0);
	cr_assert_eq(world_send(world, 1, &wire), type == 0 ? PR_BAD_TYPE : PR_GOOD);
	memset(record, 0, sizeof(*record));
	for (uint8_t i = 0; i < LUN_NAA_BYTES; i++)
		record->naa[i] = (uint8_t)(0x65 + i * 7);
	strcpy(record->boot, BOOT);
	record->state = world->state;
	record->state.generation = 4000000000;
}

static int parse(const char *text, struct pr_record *out)
{
	memset(out, 0xA5, sizeof(*out));
	out->state.capacity = pr_text_count(text);
	out->state.registrants = calloc(out->state.capacity + 1, sizeof(struct pr_registrant));
	return pr_text_parse(text, out);
}

static int parse_only(const char *text)
{
	struct pr_record record;
	int res = parse(text, &record);

	free(record.state.registrants);
	return res;
}

static void check_equal(const struct pr_record *a, const struct pr_record *b)
{
	cr_expect_arr_eq(a->naa, b->naa, LUN_NAA_BYTES);
	cr_expect_str_eq(a->boot, b->boot);
	cr_expect_eq(a->state.generation, b->state.generation);
	cr_expect_eq(a->state.type, b->state.type);
	cr_expect_eq(a->state.persists, b->state.persists);
	cr_expect_eq(a->state.holder, b->state.holder);
	cr_assert_eq(a->state.count, b->state.count);
	for (uint32_t i = 0; i < a->state.count; i++) {
		cr_expect(pr_nexus_is(&a->state.registrants[i].nexus,
				      &b->state.registrants[i].nexus));
		cr_expect_eq(a->state.registrants[i].key, b->state.registrants[i].key);
	}
}

Test(pr_text, what_is_written_is_read)
{
	for (uint8_t type = 0; type < PR_TYPE_COUNT; type++) {
		char text[PR_TEXT_BYTES(3)];
		struct pr_world world;
		struct pr_record record;
		struct pr_record again;

		if (type != 0 && !pr_type_is_valid(type))
			continue;
		fill(&record, &world, type);
		pr_text_print(&record, text);
		cr_assert_eq(parse(text, &again), 0, "%s", text);
		check_equal(&record, &again);
		free(again.state.registrants);
		world_clear(&world);
	}
}

Test(pr_text, the_longest_names_fit)
{
	char text[PR_TEXT_BYTES(2)];
	char name[PR_NAME_BYTES_MAX + 1];
	struct pr_registrant registrants[2];
	struct pr_record record = {
		.naa = {0x65},
		.boot = BOOT,
		.state = {.generation = UINT32_MAX,
			  .type = 1,
			  .count = 2,
			  .registrants = registrants},
	};
	struct pr_record again;

	memset(name, 'n', sizeof(name));
	for (unsigned i = 0; i < 2; i++) {
		pr_nexus_set(&registrants[i].nexus, name, PR_NAME_BYTES_MAX, (uint16_t)~i);
		registrants[i].key = UINT64_MAX;
	}
	pr_text_print(&record, text);
	cr_assert_eq(parse(text, &again), 0);
	check_equal(&record, &again);
	free(again.state.registrants);
}

Test(pr_text, no_bit_may_change_and_nothing_be_missing)
{
	char text[PR_TEXT_BYTES(3)];
	struct pr_world world;
	struct pr_record record;
	size_t length;

	fill(&record, &world, PR_WRITE_EXCLUSIVE_RO);
	pr_text_print(&record, text);
	length = strlen(text);
	for (size_t at = 0; at < length; at++) {
		char kept = text[at];

		for (unsigned bit = 0; bit < 8; bit++) {
			text[at] = (char)(kept ^ (1 << bit));
			cr_expect_neq(parse_only(text), 0, "byte %zu, bit %u", at, bit);
		}
		text[at] = '\0';
		cr_expect_neq(parse_only(text), 0, "cut at %zu", at);
		text[at] = kept;
	}
	strcat(text, "\n");
	cr_expect_neq(parse_only(text), 0, "something behind the end");
	world_clear(&world);
}

/* A file that somebody wrote, with the CRC that belongs to it. */
static int parse_written(const char *before, const char *field, const char *after)
{
	char text[4096];
	size_t length = (size_t)snprintf(text, sizeof(text), "%s%s%s", before, field, after);

	snprintf(text + length, sizeof(text) - length, "crc %08x\n", crc32c(0, text, length));
	return parse_only(text);
}

#define HEAD "ringsan reservations 1\nlun 65250000000000000000000000000000\n"
#define REST "aptpl 1\ngeneration 7\n"
#define ONE "registrant 00000000000000ab 1 iqn.host,i,0x00023d000001\n"

Test(pr_text, what_no_daemon_would_write_is_refused)
{
	static const struct {
		const char *before, *after;
		const char *good;
		const char *bad[12];
	} rows[] = {
		{"",
		 "boot x\n" REST "reservation 0 0\n",
		 HEAD,
		 {"", "ringsan reservations 2\nlun 65250000000000000000000000000000\n",
		  "ringsan reservations 1\nlun 652500000000000000000000000000\n",
		  "ringsan reservations 1\nlun 6525000000000000000000000000000G\n",
		  "ringsan reservations 1\nlun 6525000000000000000000000000000A\n"}},
		{HEAD "boot ",
		 "\n" REST "reservation 0 0\n",
		 BOOT,
		 {"", " ", BOOT "0", "a b", "\x7f"}},
		{HEAD "boot x\naptpl ",
		 "\ngeneration 7\nreservation 0 0\n",
		 "0",
		 {"2", "", "00", "01", "-1", "x"}},
		{HEAD "boot x\naptpl 0\ngeneration ",
		 "\nreservation 0 0\n",
		 "4294967295",
		 {"4294967296", "99999999999999999999999", "007", "+7", " 7", "7 "}},
		{HEAD "boot x\n" REST "reservation ",
		 "\n" ONE,
		 "1 1",
		 {"1 0", "1 2", "2 1", "4 1", "9 1", "0 1", "7 1", "1", "1  1", "1 -1"}},
		{HEAD "boot x\n" REST "reservation ", "\n", "0 0", {"7 0", "1 0", "1 1"}},
		{HEAD "boot x\n" REST "reservation 7 0\nregistrant ",
		 "\n",
		 "00000000000000ab 1 iqn.host,i,0x00023d000001",
		 {"0000000000000000 1 iqn", "00000000000000ab 65536 iqn", "00000000000000ab 1 ",
		  "00000000000000ab 1 a b", "0000000000000ab 1 iqn", "00000000000000AB 1 iqn",
		  "00000000000000ab 1", "00000000000000ab  1 iqn", "00000000000000ab 1 iqn\r"}},
		/* One nexus twice, letter case aside. */
		{HEAD "boot x\n" REST "reservation 0 0\n" ONE "registrant ",
		 "\n",
		 "00000000000000ab 2 iqn.host,i,0x00023d000001",
		 {"00000000000000ac 1 iqn.host,i,0x00023d000001",
		  "00000000000000ac 1 iqn.HOST,i,0x00023d000001"}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_eq(parse_written(rows[i].before, rows[i].good, rows[i].after), 0,
			     "row %zu", i);
		for (size_t k = 0; k < 12 && rows[i].bad[k] != NULL; k++) {
			cr_expect_neq(parse_written(rows[i].before, rows[i].bad[k], rows[i].after),
				      0, "row %zu: %s", i, rows[i].bad[k]);
		}
	}
}

Test(pr_text, more_registrants_than_there_can_be)
{
	size_t room = PR_TEXT_BYTES(PR_REGISTRANTS_MAX + 1);
	char *text = malloc(room);
	size_t length = (size_t)sprintf(text, HEAD "boot x\n" REST "reservation 0 0\n");

	for (unsigned i = 0; i <= PR_REGISTRANTS_MAX; i++)
		length += (size_t)sprintf(text + length, "registrant 00000000000000ab 1 n%u\n", i);
	sprintf(text + length, "crc %08x\n", crc32c(0, text, length));
	cr_expect_eq(pr_text_count(text), PR_REGISTRANTS_MAX);
	cr_expect_neq(parse_only(text), 0);
	free(text);
}
