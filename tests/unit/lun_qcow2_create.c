/*
 * The bytes of new images: what is asked for stands in the header, and the check finds nothing.
 * What qemu-img thinks of them asks tests/qcow2/images.py.
 */
#include "lun/qcow2/create.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/attr.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/plain.h"
#include "tests/unit/lun_qcow2_testing.h"

#define GIB (UINT64_C(1) << 30)

/* Only what is not all zeroes has memory; behind it the file is a hole. */
struct new_file {
	struct qcow2_file file; /* First. */
	const struct qcow2_layout *layout;
	uint8_t *bytes;
};

static int new_file_read(const struct qcow2_file *file, void *buffer, size_t length,
			 uint64_t offset)
{
	const struct new_file *fresh = (const void *)file;
	struct memory_file pieces = memory_file_make(
		fresh->bytes, (uint64_t)fresh->layout->pieces * fresh->layout->piece_bytes);

	return memory_file_read(&pieces.file, buffer, length, offset);
}

static void expect_clean(const struct qcow2_create *create, const struct qcow2_layout *layout)
{
	struct new_file fresh = {
		.file = {.read = new_file_read, .size_bytes = layout->file_bytes},
		.layout = layout,
		.bytes = malloc((size_t)layout->pieces * layout->piece_bytes),
	};
	struct qcow2_check found;
	struct qcow2_header header;
	char why[WHY_BYTES] = "";

	for (uint32_t i = 0; i < layout->pieces; i++)
		qcow2_layout_piece(layout, i, fresh.bytes + (size_t)i * layout->piece_bytes);
	cr_assert_eq(qcow2_header_read(&fresh.file, &header, why, sizeof(why)), 0, "%s", why);
	cr_expect_eq(header.size_bytes, create->size_bytes);
	cr_expect_eq(header.cluster_bits, create->cluster_bits);
	cr_expect_str_eq(header.backing_name,
			 create->backing_name != NULL ? create->backing_name : "");
	cr_expect_str_eq(header.backing_format,
			 create->backing_format != NULL ? create->backing_format : "");
	cr_assert_eq(qcow2_check(&(struct qcow2_check_spec){.file = &fresh.file}, &found, why,
				 sizeof(why)),
		     0, "%s", why);
	cr_expect_eq(qcow2_check_verdict(&found), QCOW2_CLEAN, "%s", found.findings[0]);
	cr_expect_eq(found.referenced, found.clusters);
	free(fresh.bytes);
}

Test(qcow2_create, all_sizes)
{
	static const uint64_t sizes[] = {512, 1 << 20, GIB, 100 * GIB, 1024 * GIB, 65536 * GIB};

	for (uint32_t bits = QCOW2_CLUSTER_BITS_MIN; bits <= QCOW2_CLUSTER_BITS_MAX; bits++) {
		for (size_t i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
			struct qcow2_create create = {
				.size_bytes = sizes[i / 2],
				.cluster_bits = bits,
				.extended = i % 2 != 0,
				.backing_name = i % 3 == 0 ? "golden" : NULL,
				.backing_format = i % 3 == 0 ? "qcow2" : NULL,
			};
			/* An L2 table maps this much, an L1 table of 32 MiB so many of them. */
			uint64_t mapped = UINT64_C(1) << (2 * bits - (create.extended ? 4 : 3));
			bool fits = create.size_bytes <= mapped * (4 << 20);
			struct qcow2_layout layout;
			char why[WHY_BYTES] = "";
			int res = qcow2_layout_make(&create, &layout, why, sizeof(why));

			if (create.extended && bits < 14)
				cr_expect_eq(res, -EINVAL);
			else
				cr_expect_eq(res, fits ? 0 : -ENOTSUP, "%u %llu: %s", bits,
					     (unsigned long long)create.size_bytes, why);
			if (res == 0)
				expect_clean(&create, &layout);
		}
	}
}

Test(qcow2_create, refusals)
{
	static char long_name[QCOW2_BACKING_NAME_MAX + 2];
	const struct {
		struct qcow2_create create;
		const char *why;
	} rows[] = {
		{{0, 16, false, NULL, NULL}, "multiple of 512"},
		{{513, 16, false, NULL, NULL}, "multiple of 512"},
		{{65536 * GIB + 512, 21, false, NULL, NULL}, "64 TiB"},
		{{GIB, 8, false, NULL, NULL}, "512 bytes to 2 MiB"},
		{{GIB, 22, false, NULL, NULL}, "512 bytes to 2 MiB"},
		{{GIB, 13, true, NULL, NULL}, "16 KiB to 2 MiB"},
		{{1024 * GIB, 9, false, NULL, NULL}, "larger clusters"},
		{{GIB, 16, false, "golden", NULL}, "a name and a format"},
		{{GIB, 16, false, NULL, "raw"}, "a name and a format"},
		{{GIB, 16, false, "", "raw"}, "a name and a format"},
		{{GIB, 16, false, "golden", ""}, "a name and a format"},
		{{GIB, 16, false, "golden", "a-format-too-long"}, "15 bytes"},
		{{GIB, 16, false, long_name, "raw"}, "1023 bytes"},
		{{GIB, 9, false, long_name + 600, "raw"}, "does not fit"},
	};

	memset(long_name, 'n', sizeof(long_name) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct qcow2_layout layout;
		char why[WHY_BYTES] = "";

		cr_expect_lt(qcow2_layout_make(&rows[i].create, &layout, why, sizeof(why)), 0,
			     "row %zu", i);
		cr_expect_not_null(strstr(why, rows[i].why), "row %zu: %s", i, why);
	}
	/* The longest name has its place where the cluster is large enough. */
	long_name[QCOW2_BACKING_NAME_MAX] = '\0';
	for (uint32_t bits = 11; bits <= 12; bits++) {
		struct qcow2_create create = {GIB, bits, false, long_name, "raw"};
		struct qcow2_layout layout;
		char why[WHY_BYTES] = "";

		cr_assert_eq(qcow2_layout_make(&create, &layout, why, sizeof(why)), 0, "%s", why);
		expect_clean(&create, &layout);
	}
}
