/*
 * The responder's half of negotiation: what each type of key answers to an offer.
 *
 * Keys are sorted first and answered in the order of enum key_id, so that one key's answer can rest
 * on another's whatever the order on the wire. It does not know what the values of KEY_TEXT rows
 * mean. Runs on the connection's loop. Read next: key_table.c, login.c.
 */
#include "target/iscsi/negotiate.h"

#include <assert.h>
#include <string.h>

/* RFC 7143 6.1: words that answer an offer and so never are one. */
static const char word_not_understood[] = "NotUnderstood";
static const char word_irrelevant[] = "Irrelevant";
static const char word_reject[] = "Reject";

/* Indexes, and as bits what we allow, of the items of the digest keys and of TaskReporting. */
enum {
	DIGEST_NONE = 0,
	DIGEST_CRC32C = 1,
	REPORTING_RFC3720 = 0,
	REPORTING_RESPONSE_FENCE = 1,
};

const struct negotiate_limits negotiate_limits_default = {
	.max_recv_data_segment_length = 262144,
	.max_burst_length = 262144,
	.first_burst_length = 65536,
	.max_outstanding_r2t = 4,
	/* No recovery within a session (level 0): nothing to wait for and nothing retained. */
	.default_time2wait_s = 0,
	.default_time2retain_s = 0,
	.header_digest = true,
	.data_digest = true,
};

static uint32_t digests(bool crc32c)
{
	return 1u << DIGEST_NONE | (crc32c ? 1u << DIGEST_CRC32C : 0u);
}

static void negotiation_limit(struct negotiation *negotiation, enum key_id key, uint32_t value)
{
	assert(value >= key_table[key].min && value <= key_table[key].max);
	negotiation->ours[key] = value;
}

void negotiation_init(struct negotiation *negotiation, const struct negotiate_limits *limits)
{
	*negotiation = (struct negotiation){.leading = true};
	for (unsigned key = 0; key < KEY_COUNT; key++) {
		negotiation->result[key] = key_table[key].default_value;
	}
	assert(limits->max_burst_length >= key_table[KEY_MAX_BURST_LENGTH].default_value);
	assert(limits->first_burst_length >= key_table[KEY_FIRST_BURST_LENGTH].default_value);
	negotiation_limit(negotiation, KEY_MAX_RECV_DATA_SEGMENT_LENGTH,
			  limits->max_recv_data_segment_length);
	negotiation_limit(negotiation, KEY_MAX_BURST_LENGTH, limits->max_burst_length);
	negotiation_limit(negotiation, KEY_FIRST_BURST_LENGTH, limits->first_burst_length);
	negotiation_limit(negotiation, KEY_MAX_OUTSTANDING_R2T, limits->max_outstanding_r2t);
	negotiation_limit(negotiation, KEY_DEFAULT_TIME2WAIT, limits->default_time2wait_s);
	negotiation_limit(negotiation, KEY_DEFAULT_TIME2RETAIN, limits->default_time2retain_s);
	negotiation_limit(negotiation, KEY_MAX_CONNECTIONS, 1);
	negotiation_limit(negotiation, KEY_ERROR_RECOVERY_LEVEL, 0);
	negotiation_limit(negotiation, KEY_PROTOCOL_LEVEL, 2);
	/* An OR key with our No, an AND key with our Yes: the initiator's wish is the result. */
	negotiation->ours[KEY_INITIAL_R2T] = false;
	negotiation->ours[KEY_IMMEDIATE_DATA] = true;
	negotiation->ours[KEY_DATA_PDU_IN_ORDER] = true;
	negotiation->ours[KEY_DATA_SEQUENCE_IN_ORDER] = true;
	negotiation->ours[KEY_HEADER_DIGEST] = digests(limits->header_digest);
	negotiation->ours[KEY_DATA_DIGEST] = digests(limits->data_digest);
	/* One connection delivers in order, so every response is a fence (RFC 7143 4.2.2.3). There
	 * is no fast abort (4.2.3.4): functions on task sets wait for data of their own session. */
	negotiation->ours[KEY_TASK_REPORTING] =
		1u << REPORTING_RFC3720 | 1u << REPORTING_RESPONSE_FENCE;
}

void negotiation_restart(struct negotiation *negotiation)
{
	negotiation->seen = 0;
}

static bool is_answer_word(const char *value)
{
	return strcmp(value, word_not_understood) == 0 || strcmp(value, word_irrelevant) == 0 ||
	       strcmp(value, word_reject) == 0;
}

/* May this known key come here and now? Notes that it came. */
static const char *negotiate_admit(struct negotiation *negotiation, enum key_phase phase,
				   enum key_id key)
{
	const struct key_row *row = &key_table[key];
	uint64_t bit = UINT64_C(1) << key;

	if (!(row->senders & KEY_BY_INITIATOR))
		return "key that only a target may send";
	if (!(row->phases & (unsigned)phase))
		return "key not allowed in this stage";
	if (row->leading_only && !negotiation->leading)
		return "key allowed only on a session's first connection";
	if (negotiation->seen & bit)
		return "key negotiated twice";
	negotiation->seen |= bit;
	return NULL;
}

const char *negotiate_sort(struct negotiation *negotiation, enum key_phase phase, const void *text,
			   size_t len_bytes, struct negotiate_text *out)
{
	struct text_reader reader;
	struct text_pair pair;
	const char *error = NULL;

	*out = (struct negotiate_text){0};
	text_reader_init(&out->whole, text, len_bytes);
	reader = out->whole;
	for (unsigned pairs = 0; !error && text_next(&reader, &pair); pairs++) {
		enum key_id key = key_find(pair.key, pair.key_len_bytes);

		if (pairs == NEGOTIATE_PAIRS_MAX)
			return "over 128 keys in one text";
		if (key == KEY_COUNT || is_answer_word(pair.value))
			continue;
		error = negotiate_admit(negotiation, phase, key);
		out->value[key] = pair.value;
	}
	return error ? error : reader.error;
}

static bool number_in_range(const struct key_row *row, const char *value, uint32_t *out)
{
	uint64_t number;

	if (text_number(value, &number) != 0 || number < row->min || number > row->max)
		return false;
	*out = (uint32_t)number;
	return true;
}

static bool boolean_value(const char *value, uint32_t *out)
{
	*out = strcmp(value, "Yes") == 0;
	return *out || strcmp(value, "No") == 0;
}

/* The index of the first offered item that is among the allowed bits. */
static bool list_choice(const struct key_row *row, uint32_t allowed, const char *value,
			uint32_t *out)
{
	struct text_item item;

	while (text_list_next(&value, &item)) {
		for (uint32_t i = 0; i < KEY_LIST_ITEMS_MAX && row->items[i]; i++) {
			if ((allowed & 1u << i) && text_item_is(&item, row->items[i])) {
				*out = i;
				return true;
			}
		}
	}
	return false;
}

/* What we agree to at most; a first burst is part of a burst (RFC 7143 13.14). */
static uint32_t negotiate_ours(const struct negotiation *negotiation, enum key_id key)
{
	uint32_t ours = negotiation->ours[key];
	uint32_t burst = negotiation->result[KEY_MAX_BURST_LENGTH];

	return key == KEY_FIRST_BURST_LENGTH && ours > burst ? burst : ours;
}

/* The outcome of an offer by its type; false if the value is illegal or nothing of it is allowed.
 */
static bool negotiate_offer(const struct key_row *row, uint32_t ours, const char *value,
			    uint32_t *out)
{
	uint32_t theirs;

	switch (row->type) {
	case KEY_NUMBER:
		return number_in_range(row, value, out);
	case KEY_NUMBER_MIN:
		if (!number_in_range(row, value, &theirs))
			return false;
		*out = theirs < ours ? theirs : ours;
		return true;
	case KEY_NUMBER_MAX:
		if (!number_in_range(row, value, &theirs))
			return false;
		*out = theirs > ours ? theirs : ours;
		return true;
	case KEY_BOOLEAN_AND:
		if (!boolean_value(value, &theirs))
			return false;
		*out = theirs && ours;
		return true;
	case KEY_BOOLEAN_OR:
		if (!boolean_value(value, &theirs))
			return false;
		*out = theirs || ours;
		return true;
	case KEY_LIST:
		return list_choice(row, ours, value, out);
	case KEY_OBSOLETE:
	case KEY_TEXT:
	case KEY_TYPE_NONE:
		break;
	}
	return false;
}

static void put_result(struct text_writer *answer, const struct key_row *row, uint32_t result)
{
	switch (row->type) {
	case KEY_NUMBER_MIN:
	case KEY_NUMBER_MAX:
		text_put_number(answer, row->name, result);
		break;
	case KEY_BOOLEAN_AND:
	case KEY_BOOLEAN_OR:
		text_put(answer, row->name, result ? "Yes" : "No");
		break;
	case KEY_LIST:
		text_put(answer, row->name, row->items[result]);
		break;
	case KEY_NUMBER: /* A declaration has no answer. */
	case KEY_OBSOLETE:
	case KEY_TEXT:
	case KEY_TYPE_NONE:
		break;
	}
}

static void negotiate_key(struct negotiation *negotiation, enum key_id key, const char *value,
			  struct text_writer *answer)
{
	const struct key_row *row = &key_table[key];

	if (row->irrelevant_in_discovery && negotiation->discovery) {
		text_put(answer, row->name, word_irrelevant);
	} else if (negotiate_offer(row, negotiate_ours(negotiation, key), value,
				   &negotiation->result[key])) {
		put_result(answer, row, negotiation->result[key]);
	} else {
		text_put(answer, row->name, word_reject);
	}
}

static void answer_unknown(struct text_reader reader, struct text_writer *answer)
{
	struct text_pair pair;

	while (text_next(&reader, &pair)) {
		if (key_find(pair.key, pair.key_len_bytes) != KEY_COUNT ||
		    is_answer_word(pair.value))
			continue;
		pair.value = word_not_understood;
		pair.value_len_bytes = sizeof(word_not_understood) - 1u;
		text_put_pair(answer, &pair);
	}
}

void negotiate_answer(struct negotiation *negotiation, enum key_phase phase,
		      const struct negotiate_text *text, struct text_writer *answer)
{
	for (unsigned key = 0; key < KEY_COUNT; key++) {
		if (text->value[key] && key_table[key].type != KEY_TEXT)
			negotiate_key(negotiation, (enum key_id)key, text->value[key], answer);
	}
	answer_unknown(text->whole, answer);
	if (phase == KEY_IN_OPERATIONAL && !negotiation->declared) {
		negotiation->declared = true;
		text_put_number(answer, key_table[KEY_MAX_RECV_DATA_SEGMENT_LENGTH].name,
				negotiation->ours[KEY_MAX_RECV_DATA_SEGMENT_LENGTH]);
	}
}

/* What we may expect: the default of 8192 unless our declaration was sent (RFC 7143 13.12). */
static uint32_t receive_limit(const struct negotiation *negotiation)
{
	const struct key_row *row = &key_table[KEY_MAX_RECV_DATA_SEGMENT_LENGTH];

	return negotiation->declared ? negotiation->ours[KEY_MAX_RECV_DATA_SEGMENT_LENGTH]
				     : row->default_value;
}

void negotiate_params(const struct negotiation *negotiation, struct iscsi_params *out)
{
	const uint32_t *result = negotiation->result;
	uint32_t max_burst = result[KEY_MAX_BURST_LENGTH];
	uint32_t first_burst = result[KEY_FIRST_BURST_LENGTH];

	*out = (struct iscsi_params){
		.max_recv_data_segment_length = receive_limit(negotiation),
		.max_send_data_segment_length = result[KEY_MAX_RECV_DATA_SEGMENT_LENGTH],
		.max_burst_length = max_burst,
		.first_burst_length = first_burst < max_burst ? first_burst : max_burst,
		.max_outstanding_r2t = result[KEY_MAX_OUTSTANDING_R2T],
		.max_connections = result[KEY_MAX_CONNECTIONS],
		.default_time2wait_s = result[KEY_DEFAULT_TIME2WAIT],
		.default_time2retain_s = result[KEY_DEFAULT_TIME2RETAIN],
		.error_recovery_level = result[KEY_ERROR_RECOVERY_LEVEL],
		.protocol_level = result[KEY_PROTOCOL_LEVEL],
		.header_digest = result[KEY_HEADER_DIGEST] == DIGEST_CRC32C,
		.data_digest = result[KEY_DATA_DIGEST] == DIGEST_CRC32C,
		.initial_r2t = result[KEY_INITIAL_R2T],
		.immediate_data = result[KEY_IMMEDIATE_DATA],
		.data_pdu_in_order = result[KEY_DATA_PDU_IN_ORDER],
		.data_sequence_in_order = result[KEY_DATA_SEQUENCE_IN_ORDER],
	};
}
