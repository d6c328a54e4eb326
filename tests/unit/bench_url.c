/*
 * Numbers and addresses as people type them: what is taken, and that everything else is refused
 * with a reason that names the part.
 */
#include "target/bench/url.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/attr.h"
#include "base/units.h"

struct number_case {
	const char *text;
	int err;
	uint64_t value;
};

Test(bench_units, sizes)
{
	static const struct number_case cases[] = {
		{"0", 0, 0},
		{"512", 0, 512},
		{"4k", 0, 4096},
		{"4K", 0, 4096},
		{"4KiB", 0, 4096},
		{"512b", 0, 512},
		{"1M", 0, 1 << 20},
		{"10g", 0, 10ull << 30},
		{"2T", 0, 2ull << 40},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"16777216T", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"k", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 k", -EINVAL, 0},
		{"1.5k", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"4kb", -EINVAL, 0},
		{"4s", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t value = 0;

		cr_assert_eq(units_parse_size(cases[i].text, &value), cases[i].err, "'%s'",
			     cases[i].text);
		cr_assert_eq(value, cases[i].value, "'%s'", cases[i].text);
	}
}

Test(bench_units, durations)
{
	static const struct number_case cases[] = {
		{"5", 0, 5000},     {"5s", 0, 5000},   {"500ms", 0, 500},   {"2m", 0, 120000},
		{"1h", -EINVAL, 0}, {"s", -EINVAL, 0}, {"1.5", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t value = 0;

		cr_assert_eq(units_parse_duration(cases[i].text, &value), cases[i].err);
		cr_assert_eq(value, cases[i].value);
	}
}

Test(bench_units, cpu_lists)
{
	static const char *const refused[] = {"",     "a",     "1,",    ",1",  "3-1",
					      "1024", "0-999", "1-2-3", "1;2", "-1"};
	struct units_cpus cpus = {.count = 99};

	cr_assert_eq(units_parse_cpus("0-2,8", &cpus), 0);
	cr_assert_eq(cpus.count, 4);
	cr_assert_eq(cpus.cpus[2], 2);
	cr_assert_eq(cpus.cpus[3], 8);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		cr_assert_eq(units_parse_cpus(refused[i], &cpus), -EINVAL, "'%s'", refused[i]);
	/* What was there before is still there. */
	cr_assert_eq(cpus.count, 4);
}

struct url_case {
	const char *text;
	const char *user;
	const char *secret;
	const char *host;
	const char *target;
	uint16_t port;
	uint16_t lun;
};

Test(bench_url, taken)
{
	static const struct url_case cases[] = {
		{"iscsi://h/iqn.a:b/0", "", "", "h", "iqn.a:b", 3260, 0},
		{"iscsi://10.0.0.1:3261/iqn.a/16383", "", "", "10.0.0.1", "iqn.a", 3261, 16383},
		{"iscsi://[::1]/t/1", "", "", "::1", "t", 3260, 1},
		{"iscsi://[fe80::1]:65535/t/1", "", "", "fe80::1", "t", 65535, 1},
		{"iscsi://me@h/t/1", "me", "", "h", "t", 3260, 1},
		{"iscsi://me%s3c@ret@h:1/t/1", "me", "s3c@ret", "h", "t", 1, 1},
		{"iscsi://me%a%b@h/t/1", "me", "a%b", "h", "t", 3260, 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct url_case *expected = &cases[i];
		struct bench_url url;
		const char *reason;

		cr_assert_eq(bench_url_parse(expected->text, &url, &reason), 0, "%s: %s",
			     expected->text, reason);
		cr_assert_str_eq(url.user, expected->user);
		cr_assert_str_eq(url.secret, expected->secret);
		cr_assert_str_eq(url.host, expected->host);
		cr_assert_str_eq(url.target, expected->target);
		cr_assert_eq(url.port, expected->port);
		cr_assert_eq(url.lun, expected->lun);
	}
}

struct refused_url {
	const char *text;
	const char *part; /* What the reason must name. */
};

Test(bench_url, refused_with_the_part_that_is_wrong)
{
	static const struct refused_url cases[] = {
		{"", "iscsi://"},
		{"http://h/t/0", "iscsi://"},
		{"iscsi:/h/t/0", "iscsi://"},
		{"iscsi://", "host"},
		{"iscsi:///t/0", "host"},
		{"iscsi://[::1/t/0", "host"},
		{"iscsi://[::1]x/t/0", "host"},
		{"iscsi://h", "target name"},
		{"iscsi://h/", "target name"},
		{"iscsi://h//0", "target name"},
		{"iscsi://h/t", "LUN"},
		{"iscsi://h/t/", "LUN"},
		{"iscsi://h/t/x", "LUN"},
		{"iscsi://h/t/-1", "LUN"},
		{"iscsi://h/t/16384", "LUN"},
		{"iscsi://h/t/0/0", "LUN"},
		{"iscsi://h:/t/0", "port"},
		{"iscsi://h:0/t/0", "port"},
		{"iscsi://h:65536/t/0", "port"},
		{"iscsi://h:3260x/t/0", "port"},
		{"iscsi://@h/t/0", "user"},
		{"iscsi://u%@h/t/0", "secret"},
		{"iscsi://h h/t/0", "host"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench_url url;
		const char *reason = NULL;

		cr_assert_eq(bench_url_parse(cases[i].text, &url, &reason), -EINVAL, "%s",
			     cases[i].text);
		cr_assert(strstr(reason, cases[i].part) != NULL, "%s: %s", cases[i].text, reason);
	}
}

Test(bench_url, parts_at_their_limit_and_beyond)
{
	char text[600];
	struct bench_url url;
	const char *reason;

	for (int extra = 0; extra <= 1; extra++) {
		memset(text, 0, sizeof(text));
		strcpy(text, "iscsi://h/");
		memset(text + strlen(text), 't', BENCH_NAME_BYTES_MAX + (size_t)extra);
		strcat(text, "/0");
		cr_assert_eq(bench_url_parse(text, &url, &reason), extra ? -EINVAL : 0);
	}
}

Test(bench_url, lun_field)
{
	cr_assert_eq(bench_lun_field(0), 0);
	cr_assert_eq(bench_lun_field(255), 0x00ffull << 48);
	cr_assert_eq(bench_lun_field(256), 0x4100ull << 48);
	cr_assert_eq(bench_lun_field(16383), 0x7fffull << 48);
}
