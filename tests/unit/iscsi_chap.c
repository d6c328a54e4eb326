/*
 * CHAP: known answers of all four algorithms, choice, comparison, refusals.
 *
 * The known answers were computed with another library over identifier, secret and challenge.
 */
#include "target/iscsi/chap.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/attr.h"
#include "target/iscsi/text.h"

struct known_answer {
	enum chap_algorithm algorithm;
	const char *short_secret; /* identifier 17h, "correct horse", challenge 00h to 1Fh */
	const char *long_secret;  /* identifier 0, 255 times 'x', challenge 1024 times 'c' */
};

static const struct known_answer known_answers[] = {
	{CHAP_MD5, "0xf95a365c6424a9c7f5fb29612e4497a1", "0x9aaf7ead426f70c62aa31b70150f114b"},
	{CHAP_SHA1, "0xd21020e8acba80ef3415a54406beefe170bcb2cc",
	 "0x569a8fc6142f4b6292c54b0dde38a606b64fb2e6"},
	{CHAP_SHA256, "0x59cbd25251a41c90991ad43cadc97d829507dcc885f29661b9e41f2a62169efd",
	 "0xf1cf4d01639c6db4a9ea85d623761b3adb5e0e42518173dc2792a0d822bbc463"},
	{CHAP_SHA3_256, "0x794a4fc0678824de3a5b1daac0ed54ee876d2f70432d46980693916caa2e2a4e",
	 "0x2b6027c769aac46ccdd55fff64ce3aee6bd7149f47c467db4b9fdf26d18e2d32"},
};

static struct chap_secret secret_of(const char *text)
{
	struct chap_secret secret = {.len_bytes = (uint16_t)strlen(text)};

	memcpy(secret.bytes, text, secret.len_bytes);
	return secret;
}

static void assert_response(const struct chap_response *response, const char *hex)
{
	uint8_t bytes[CHAP_RESPONSE_BYTES_MAX];
	int len = text_binary(hex, bytes, sizeof(bytes));

	cr_assert_eq(response->len_bytes, len);
	cr_assert_arr_eq(response->bytes, bytes, (size_t)len);
}

Test(iscsi_chap, known_answers)
{
	uint8_t challenge[1024];
	struct chap_secret horse = secret_of("correct horse");
	struct chap_secret longest = {.len_bytes = CHAP_SECRET_BYTES_MAX};
	struct chap_response response;

	memset(longest.bytes, 'x', sizeof(longest.bytes));
	for (unsigned i = 0; i < ARRAY_SIZE(known_answers); i++) {
		struct chap_question question = {.algorithm = known_answers[i].algorithm,
						 .identifier = 0x17,
						 .challenge = challenge,
						 .challenge_len_bytes = 32};

		for (unsigned b = 0; b < 32; b++)
			challenge[b] = (uint8_t)b;
		cr_assert_eq(chap_respond(&question, &horse, &response), 0);
		assert_response(&response, known_answers[i].short_secret);
		memset(challenge, 'c', sizeof(challenge));
		question.identifier = 0;
		question.challenge_len_bytes = sizeof(challenge);
		cr_assert_eq(chap_respond(&question, &longest, &response), 0);
		assert_response(&response, known_answers[i].long_secret);
	}
}

struct choice_case {
	const char *list;
	uint32_t allowed;
	int chosen;
};

static const struct choice_case choices[] = {
	{"5", CHAP_ALGORITHMS_ALL, 5},
	{"8,7,6,5", CHAP_ALGORITHMS_ALL, 8},
	{"7,5", CHAP_ALGORITHMS_ALL, 7},
	{"6", CHAP_ALGORITHMS_ALL, 6},
	{"0x7,5", CHAP_ALGORITHMS_ALL, 7},
	{"5,7", CHAP_ALGORITHM_BIT(CHAP_SHA256), 7},
	{"5", CHAP_ALGORITHM_BIT(CHAP_SHA256), -ENOENT},
	{"0,1,2,3,4,9,255,5", CHAP_ALGORITHMS_ALL, 5},
	{"4294967301,5", CHAP_ALGORITHM_BIT(CHAP_SHA256), -ENOENT},
	{"18446744073709551621", CHAP_ALGORITHMS_ALL, -ENOENT},
	{"MD5", CHAP_ALGORITHMS_ALL, -ENOENT},
	{"", CHAP_ALGORITHMS_ALL, -ENOENT},
	{",,,", CHAP_ALGORITHMS_ALL, -ENOENT},
};

Test(iscsi_chap, choice)
{
	for (unsigned i = 0; i < ARRAY_SIZE(choices); i++) {
		const char *why = NULL;
		int chosen = chap_choose(choices[i].list, choices[i].allowed, &why);

		cr_assert_eq(chosen, choices[i].chosen, "%s", choices[i].list);
		if (chosen < 0)
			cr_assert_str_eq(why, "no CHAP algorithm in common");
	}
}

/* With a provider that has no MD5 the reason must say so; SHA-256 is out of reach here as well. */
Test(iscsi_chap, libcrypto_without_the_algorithm)
{
	const char *why = NULL;

	cr_assert_eq(EVP_set_default_properties(NULL, "fips=yes"), 1);
	cr_assert_eq(chap_choose("5", CHAP_ALGORITHMS_ALL, &why), -ENOENT);
	cr_assert_not_null(strstr(why, "FIPS"));
}

struct counter {
	uint8_t next;
	size_t taken;
	int rc;
};

static int counting_random(void *context, void *out, size_t len_bytes)
{
	struct counter *counter = context;

	for (size_t i = 0; i < len_bytes; i++)
		((uint8_t *)out)[i] = counter->next++;
	counter->taken += len_bytes;
	return counter->rc;
}

/* CVE-2024-45751: all of a challenge is the random source's, fresh each time. */
Test(iscsi_chap, challenges_are_all_random)
{
	struct counter counter = {.next = 1};
	struct chap_challenge first;
	struct chap_challenge second;

	cr_assert_eq(chap_challenge_make(&first, CHAP_MD5, counting_random, &counter), 0);
	cr_assert_eq(counter.taken, 1 + CHAP_CHALLENGE_BYTES);
	cr_assert_geq(CHAP_CHALLENGE_BYTES, 16);
	cr_assert_eq(first.identifier, 1);
	cr_assert_eq(first.bytes[0], 2);
	cr_assert_eq(first.bytes[CHAP_CHALLENGE_BYTES - 1], CHAP_CHALLENGE_BYTES + 1);
	cr_assert_eq(chap_challenge_make(&second, CHAP_MD5, counting_random, &counter), 0);
	cr_assert_neq(memcmp(&first, &second, sizeof(first)), 0);
	counter.rc = -EIO;
	cr_assert_eq(chap_challenge_make(&second, CHAP_MD5, counting_random, &counter), -EIO);
}

static struct chap_response right_response(const struct chap_challenge *challenge,
					   const struct chap_secret *secret)
{
	struct chap_question question = {.algorithm = challenge->algorithm,
					 .identifier = challenge->identifier,
					 .challenge = challenge->bytes,
					 .challenge_len_bytes = sizeof(challenge->bytes)};
	struct chap_response response;

	cr_assert_eq(chap_respond(&question, secret, &response), 0);
	return response;
}

Test(iscsi_chap, verify)
{
	struct counter counter = {.next = 9};
	struct chap_secret secret = secret_of("correct horse");
	struct chap_secret prefix = secret_of("correct hors");
	struct chap_secret empty = secret_of("");

	for (unsigned i = 0; i < ARRAY_SIZE(known_answers); i++) {
		struct chap_challenge challenge;
		struct chap_response given;
		struct chap_response bad;

		cr_assert_eq(chap_challenge_make(&challenge, known_answers[i].algorithm,
						 counting_random, &counter),
			     0);
		given = right_response(&challenge, &secret);
		cr_assert(chap_verify(&challenge, &secret, &given));
		cr_assert(!chap_verify(&challenge, &prefix, &given));
		cr_assert(!chap_verify(&challenge, NULL, &given));
		for (unsigned byte = 0; byte < given.len_bytes; byte++) {
			bad = given;
			bad.bytes[byte] ^= 1;
			cr_assert(!chap_verify(&challenge, &secret, &bad));
		}
		bad = given;
		bad.len_bytes--;
		bad.bytes[bad.len_bytes] = 0;
		cr_assert(!chap_verify(&challenge, &secret, &bad));
		given = right_response(&challenge, &empty);
		cr_assert(!chap_verify(&challenge, &empty, &given), "an empty secret is none");
	}
}

Test(iscsi_chap, nobody_has_no_response)
{
	struct counter counter = {.next = 9};
	struct chap_secret nobody = {.len_bytes = 16};
	struct chap_challenge challenge;
	struct chap_response given;

	cr_assert_eq(chap_challenge_make(&challenge, CHAP_MD5, counting_random, &counter), 0);
	given = right_response(&challenge, &nobody);
	cr_assert(!chap_verify(&challenge, NULL, &given));
}

Test(iscsi_chap, secrets_compare_and_wipe)
{
	struct chap_secret a = secret_of("same secret!");
	struct chap_secret b = secret_of("same secret!");
	struct chap_secret c = secret_of("same secret");
	static const struct chap_secret zero;

	memset(b.bytes + b.len_bytes, 0x5a, sizeof(b.bytes) - b.len_bytes);
	cr_assert(chap_secret_equal(&a, &b), "what lies behind the end does not count");
	cr_assert(!chap_secret_equal(&a, &c));
	chap_secret_wipe(&a);
	cr_assert_eq(memcmp(&a, &zero, sizeof(a)), 0);
}
