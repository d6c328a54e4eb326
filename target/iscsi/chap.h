/*
 * CHAP for iSCSI: challenges, responses and their comparison (RFC 7143 12.1.3, RFC 1994).
 *
 * It holds no user data base and knows no PDUs; login.c moves the key values. Digests are
 * libcrypto's through EVP (which may allocate inside). Randomness is injected. Nothing here ends
 * early on account of a secret's bytes, and what held a secret is wiped.
 *
 * Threads: pure functions, any thread. Read next: chap.c, login.h.
 */
#ifndef TARGET_ISCSI_CHAP_H
#define TARGET_ISCSI_CHAP_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The IANA numbers of CHAP_A, in the registry "PPP Authentication Algorithms". */
enum chap_algorithm {
	CHAP_MD5 = 5,
	CHAP_SHA1 = 6,
	CHAP_SHA256 = 7,
	CHAP_SHA3_256 = 8,
};
#define CHAP_ALGORITHM_BIT(id) (1u << (id))
#define CHAP_ALGORITHMS_ALL                                             \
	(CHAP_ALGORITHM_BIT(CHAP_MD5) | CHAP_ALGORITHM_BIT(CHAP_SHA1) | \
	 CHAP_ALGORITHM_BIT(CHAP_SHA256) | CHAP_ALGORITHM_BIT(CHAP_SHA3_256))

#define CHAP_NAME_BYTES_MAX 255u
/* A random secret needs 12 bytes (RFC 7143 9.2.1); more than this is a mistake. */
#define CHAP_SECRET_BYTES_MAX 255u
#define CHAP_RESPONSE_BYTES_MAX 32u
/* Ours; at least as long as the longest digest, so that no response is weaker for its challenge. */
#define CHAP_CHALLENGE_BYTES 32u
/* The initiator's: RFC 7143 12.1.3 allows 1024. */
#define CHAP_CHALLENGE_BYTES_MAX 1024u

struct chap_secret {
	uint16_t len_bytes;
	uint8_t bytes[CHAP_SECRET_BYTES_MAX];
};

/* A name and its secret, as one side proves itself to the other. */
struct chap_credentials {
	char name[CHAP_NAME_BYTES_MAX + 1u];
	struct chap_secret secret;
};

/* Fill `out` with random bytes: 0, or negative errno. The daemon gives RAND_bytes or getrandom. */
typedef int chap_random_fn(void *context, void *out, size_t len_bytes);

/* Our side of one authentication. */
struct chap_challenge {
	enum chap_algorithm algorithm;
	uint8_t identifier;
	uint8_t bytes[CHAP_CHALLENGE_BYTES];
};

struct chap_response {
	uint8_t len_bytes;
	uint8_t bytes[CHAP_RESPONSE_BYTES_MAX];
};

/*
 * The first algorithm of the initiator's list that `allowed` (CHAP_ALGORITHM_BIT) has and libcrypto
 * provides: its number, or -ENOENT with *why set to a constant reason (which says so if a provider
 * without MD5, as under FIPS, is the cause).
 */
int MUST_CHECK chap_choose(const char *list, uint32_t allowed, const char **why);

/* A fresh identifier and challenge. Negative errno if there is no randomness: refuse the login. */
int MUST_CHECK chap_challenge_make(struct chap_challenge *out, enum chap_algorithm algorithm,
				   chap_random_fn *random, void *context);

/* What is hashed with a secret: one side's identifier and challenge. */
struct chap_question {
	enum chap_algorithm algorithm;
	uint8_t identifier;
	const uint8_t *challenge;
	size_t challenge_len_bytes;
};

/* digest(identifier, secret, challenge), RFC 1994 4.1. -ENOTSUP if libcrypto has no such digest. */
int MUST_CHECK chap_respond(const struct chap_question *question, const struct chap_secret *secret,
			    struct chap_response *out);

/*
 * Is `given` the right answer to our challenge? `secret` NULL: the user is unknown; the same work
 * is done and the answer is no. An empty secret is never right.
 */
bool MUST_CHECK chap_verify(const struct chap_challenge *challenge,
			    const struct chap_secret *secret, const struct chap_response *given);

/* Same bytes, compared in constant time. */
bool chap_secret_equal(const struct chap_secret *a, const struct chap_secret *b);

void chap_secret_wipe(struct chap_secret *secret);

#endif
