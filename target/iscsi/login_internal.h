/*
 * What login.c and login_security.c share: failing a login, and the security stage's one entry.
 *
 * Threads: as login.h. Read next: login.c.
 */
#ifndef TARGET_ISCSI_LOGIN_INTERNAL_H
#define TARGET_ISCSI_LOGIN_INTERNAL_H

#include <assert.h>
#include <string.h>

#include "target/iscsi/login.h"

/* Copy a string whose length was checked against size_bytes when it was judged. */
static inline void login_copy(char *out, size_t size_bytes, const char *value)
{
	size_t len_bytes = strlen(value);

	assert(len_bytes < size_bytes);
	memcpy(out, value, len_bytes + 1u);
}

/* Note the reason for the log and hand the status on: `return login_fail(...)`. */
static inline enum pdu_login_status login_fail(struct login *login, enum pdu_login_status status,
					       const char *reason)
{
	login->reason = reason;
	return status;
}

/* Act on the security keys of one text, writing answers. PDU_LOGIN_SUCCESS, or how to refuse. */
enum pdu_login_status login_security_text(struct login *login, const struct negotiate_text *text,
					  struct text_writer *answer);

#endif
