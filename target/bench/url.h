/*
 * The address of a LUN: iscsi://[user[%secret]@]host[:port]/target-name/lun, in the form that
 * libiscsi and QEMU use. It resolves nothing and opens nothing. Pure, any thread.
 */
#ifndef TARGET_BENCH_URL_H
#define TARGET_BENCH_URL_H

#include "base/attr.h"

#include <stdint.h>

#define BENCH_HOST_BYTES_MAX 255u
#define BENCH_NAME_BYTES_MAX 223u /* RFC 7143 4.2.7.1 */
#define BENCH_USER_BYTES_MAX 255u
#define BENCH_SECRET_BYTES_MAX 255u
#define BENCH_LUN_MAX 16383u /* Flat space addressing, SAM-5 4.7.4. */

struct bench_url {
	char host[BENCH_HOST_BYTES_MAX + 1]; /* Without the brackets of an IPv6 address. */
	char target[BENCH_NAME_BYTES_MAX + 1];
	char user[BENCH_USER_BYTES_MAX + 1];     /* "": no CHAP. */
	char secret[BENCH_SECRET_BYTES_MAX + 1]; /* "": not in the URL. */
	uint16_t port;
	uint16_t lun;
};

/* 0; or -EINVAL and in *out_reason a constant string that says which part is wrong and how it
 * should look. */
int MUST_CHECK bench_url_parse(const char *text, struct bench_url *out, const char **out_reason);

/* The eight-byte LUN field: peripheral addressing below 256, flat space above (SAM-5 4.7). */
uint64_t bench_lun_field(uint16_t lun);

#endif
