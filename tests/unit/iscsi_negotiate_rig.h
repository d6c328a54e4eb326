/*
 * One negotiation for tests, and an exchange of texts with it. A program includes it once.
 */
#ifndef TESTS_UNIT_ISCSI_NEGOTIATE_RIG_H
#define TESTS_UNIT_ISCSI_NEGOTIATE_RIG_H

#include "target/iscsi/negotiate.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct negotiation negotiation;
static char answer_text[16384];
static const char *refusal;

/* Begin anew, our declaration already made so that answers show the key alone. */
static inline void begin(void)
{
	negotiation_init(&negotiation, &negotiate_limits_default);
	negotiation.declared = true;
}

/* One text of pairs that end with NUL bytes; its answer has newlines for those. */
static inline void exchange(enum key_phase phase, const char *text, size_t len)
{
	char *bytes = malloc(len > 0 ? len : 1);
	struct negotiate_text sorted;
	struct text_writer answer;
	size_t answer_len = 0;

	cr_assert_not_null(bytes);
	memcpy(bytes, text, len);
	refusal = negotiate_sort(&negotiation, phase, bytes, len, &sorted);
	if (!refusal) {
		text_writer_init(&answer, answer_text, sizeof(answer_text) - 1);
		negotiate_answer(&negotiation, phase, &sorted, &answer);
		cr_assert(!answer.overflow);
		answer_len = text_written_bytes(&answer);
	}
	answer_text[answer_len] = '\0';
	for (size_t i = 0; i < answer_len; i++) {
		if (answer_text[i] == '\0')
			answer_text[i] = '\n';
	}
	free(bytes);
}

#endif
