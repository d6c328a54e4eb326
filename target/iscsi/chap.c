/*
 * CHAP arithmetic: the algorithm table, challenges, digests, comparison in constant time.
 *
 * Who asks whom and in which order is login_security.c's. libcrypto may refuse MD5 (a FIPS
 * provider): then that row counts as absent and the reason says so. Any thread. Read next:
 * login_security.c.
 */
#include "target/iscsi/chap.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "target/iscsi/text.h"

#define CHAP_ALGORITHM_COUNT 9u

struct chap_row {
	const char *digest; /* libcrypto's name. */
	uint8_t len_bytes;
};

/* clang-format off */
static const struct chap_row chap_rows[CHAP_ALGORITHM_COUNT] = {
	[CHAP_MD5] = { "MD5", 16 },
	[CHAP_SHA1] = { "SHA1", 20 },
	[CHAP_SHA256] = { "SHA256", 32 },
	[CHAP_SHA3_256] = { "SHA3-256", 32 },
};
/* clang-format on */

static const struct chap_row *chap_row(uint64_t number)
{
	if (number >= CHAP_ALGORITHM_COUNT || !chap_rows[number].digest)
		return NULL;
	return &chap_rows[number];
}

static bool chap_is_provided(const struct chap_row *row)
{
	EVP_MD *digest = EVP_MD_fetch(NULL, row->digest, NULL);

	EVP_MD_free(digest);
	return digest != NULL;
}

/* The number of a list's element: decimal or 0x.., below 16 digits; 0 if it is none. */
static uint64_t item_number(const struct text_item *item)
{
	char digits[16];
	uint64_t number;

	if (item->len_bytes >= sizeof(digits))
		return 0;
	memcpy(digits, item->name, item->len_bytes);
	digits[item->len_bytes] = '\0';
	return text_number(digits, &number) == 0 ? number : 0;
}

int chap_choose(const char *list, uint32_t allowed, const char **why)
{
	struct text_item item;

	*why = "no CHAP algorithm in common";
	while (text_list_next(&list, &item)) {
		uint64_t number = item_number(&item);
		const struct chap_row *row = chap_row(number);

		if (!row || !(allowed & CHAP_ALGORITHM_BIT(number)))
			continue;
		if (chap_is_provided(row))
			return (int)number;
		*why = "libcrypto does not provide the CHAP algorithm offered (FIPS forbids MD5)";
	}
	return -ENOENT;
}

int chap_challenge_make(struct chap_challenge *out, enum chap_algorithm algorithm,
			chap_random_fn *random, void *context)
{
	int rc;

	*out = (struct chap_challenge){.algorithm = algorithm};
	rc = random(context, &out->identifier, sizeof(out->identifier));
	if (rc == 0)
		rc = random(context, out->bytes, sizeof(out->bytes));
	return rc;
}

/* One update after the other, so that there is one error to look at. */
static bool chap_digest(EVP_MD_CTX *context, const EVP_MD *digest,
			const struct chap_question *question, const struct chap_secret *secret,
			uint8_t *out)
{
	return EVP_DigestInit_ex(context, digest, NULL) == 1 &&
	       EVP_DigestUpdate(context, &question->identifier, 1) == 1 &&
	       EVP_DigestUpdate(context, secret->bytes, secret->len_bytes) == 1 &&
	       EVP_DigestUpdate(context, question->challenge, question->challenge_len_bytes) == 1 &&
	       EVP_DigestFinal_ex(context, out, NULL) == 1;
}

int chap_respond(const struct chap_question *question, const struct chap_secret *secret,
		 struct chap_response *out)
{
	const struct chap_row *row = chap_row(question->algorithm);
	EVP_MD *digest = NULL;
	EVP_MD_CTX *context = NULL;
	int rc = -ENOTSUP;

	assert(row && secret->len_bytes <= CHAP_SECRET_BYTES_MAX);
	*out = (struct chap_response){.len_bytes = row->len_bytes};
	digest = EVP_MD_fetch(NULL, row->digest, NULL);
	if (!digest)
		goto out;
	context = EVP_MD_CTX_new();
	if (context && chap_digest(context, digest, question, secret, out->bytes))
		rc = 0;
out:
	EVP_MD_CTX_free(context);
	EVP_MD_free(digest);
	return rc;
}

bool chap_verify(const struct chap_challenge *challenge, const struct chap_secret *secret,
		 const struct chap_response *given)
{
	/* As long as a common secret, so that an unknown name costs the same number of blocks. */
	static const struct chap_secret nobody = {.len_bytes = 16};
	const struct chap_question question = {
		.algorithm = challenge->algorithm,
		.identifier = challenge->identifier,
		.challenge = challenge->bytes,
		.challenge_len_bytes = sizeof(challenge->bytes),
	};
	struct chap_response right;
	bool known = secret && secret->len_bytes > 0;
	bool same;

	if (chap_respond(&question, known ? secret : &nobody, &right) != 0)
		return false;
	/* The whole arrays: bytes past a digest's end are zero on both sides. */
	same = CRYPTO_memcmp(right.bytes, given->bytes, sizeof(right.bytes)) == 0;
	same &= right.len_bytes == given->len_bytes;
	OPENSSL_cleanse(&right, sizeof(right));
	return same & known;
}

bool chap_secret_equal(const struct chap_secret *a, const struct chap_secret *b)
{
	struct chap_secret left = {.len_bytes = a->len_bytes};
	struct chap_secret right = {.len_bytes = b->len_bytes};
	bool same;

	assert(a->len_bytes <= CHAP_SECRET_BYTES_MAX && b->len_bytes <= CHAP_SECRET_BYTES_MAX);
	/* Copies, because what lies behind a secret's end is not said to be zero. */
	memcpy(left.bytes, a->bytes, a->len_bytes);
	memcpy(right.bytes, b->bytes, b->len_bytes);
	same = CRYPTO_memcmp(&left, &right, sizeof(left)) == 0;
	chap_secret_wipe(&left);
	chap_secret_wipe(&right);
	return same;
}

void chap_secret_wipe(struct chap_secret *secret)
{
	OPENSSL_cleanse(secret, sizeof(*secret));
}
