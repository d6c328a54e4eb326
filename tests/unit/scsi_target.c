/*
 * Targets and logical units: numbers on the wire, order, limits, identification.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

Test(scsi_target, lun_field)
{
	static const struct {
		uint8_t field[8];
		bool good;
		uint16_t number;
	} cases[] = {
		{{0}, true, 0},
		{{0, 255}, true, 255},
		{{0x40, 0}, true, 0},
		{{0x41, 0}, true, 256},
		{{0x7F, 0xFF}, true, 16383},
		{{0x01, 0}, false, 0},    /* bus 1 */
		{{0x80, 0}, false, 0},    /* logical unit addressing */
		{{0xC1, 0x01}, false, 0}, /* well known: REPORT LUNS */
		{{0, 0, 1}, false, 0},    /* a second level */
		{{0, 0, 0, 0, 0, 0, 0, 1}, false, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint16_t number = 0;

		cr_expect(scsi_lun_number(cases[i].field, &number) == cases[i].good, "%zu", i);
		cr_expect(number == cases[i].number, "%zu", i);
	}
}

Test(scsi_target, numbers_are_unique_and_bounded)
{
	struct lun lun;
	struct scsi_lu_spec spec = {.lun = &lun};
	struct scsi_target *target;

	fake_lun_init(&lun, 8, 512);
	cr_assert(scsi_target_create("iqn.x", NULL, &target) == 0);
	cr_expect(scsi_target_add_lu(target, 7, &spec) == 0);
	cr_expect(scsi_target_add_lu(target, 7, &spec) == -EEXIST);
	cr_expect(scsi_target_add_lu(target, SCSI_LUN_NUMBER_MAX, &spec) == 0);
	cr_expect(scsi_target_add_lu(target, SCSI_LUN_NUMBER_MAX + 1, &spec) == -ERANGE);
	cr_expect(scsi_target_lu_count(target) == 2);
	cr_expect(scsi_target_find_lu(target, 6) == NULL);
	cr_expect(scsi_lu_lun(scsi_target_find_lu(target, 7)) == &lun);
	scsi_target_free(target);
	free(lun.bytes);
	free(lun.states);
}

/* In an order that is neither up nor down, all of them, and one too many. */
Test(scsi_target, as_many_as_report_luns_can_list)
{
	struct lun lun;
	struct scsi_lu_spec spec = {.lun = &lun};
	struct scsi_target *target;

	fake_lun_init(&lun, 8, 512);
	cr_assert(scsi_target_create("iqn.x", NULL, &target) == 0);
	for (unsigned i = 0; i < SCSI_TARGET_LUS_MAX; i++)
		cr_assert(scsi_target_add_lu(target, (uint16_t)(i * 5 % 16384), &spec) == 0);
	cr_expect(scsi_target_add_lu(target, 16382, &spec) == -E2BIG);
	for (unsigned i = 0; i < SCSI_TARGET_LUS_MAX; i++)
		cr_assert(scsi_target_find_lu(target, (uint16_t)(i * 5 % 16384)) != NULL);
	scsi_target_free(target);
	free(lun.bytes);
	free(lun.states);
}

Test(scsi_target, names)
{
	char name[226] = {0};
	struct scsi_target *target;

	memset(name, 'a', 223);
	cr_assert(scsi_target_create(name, NULL, &target) == 0);
	scsi_target_free(target);
	name[223] = 'a';
	cr_expect(scsi_target_create(name, NULL, &target) == -EINVAL);
}

Test(scsi_target, identification_is_short_printable_ascii)
{
	struct lun lun;
	struct scsi_target *target;
	static const struct {
		struct scsi_lu_spec spec;
		int res;
	} cases[] = {
		{{.vendor = "12345678", .product = "1234567890123456", .revision = "1234"}, 0},
		{{.vendor = "", .product = "", .revision = ""}, 0},
		{{.vendor = "123456789"}, -EINVAL},
		{{.product = "12345678901234567"}, -EINVAL},
		{{.revision = "12345"}, -EINVAL},
		{{.vendor = "a\nb"}, -EINVAL},
		{{.product = "\xC3\xA4"}, -EINVAL},
		{{.revision = "\x7F"}, -EINVAL},
	};

	fake_lun_init(&lun, 8, 512);
	cr_assert(scsi_target_create("iqn.x", NULL, &target) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct scsi_lu_spec spec = cases[i].spec;

		spec.lun = &lun;
		cr_expect(scsi_target_add_lu(target, (uint16_t)i, &spec) == cases[i].res, "%zu", i);
	}
	scsi_target_free(target);
	free(lun.bytes);
	free(lun.states);
}
