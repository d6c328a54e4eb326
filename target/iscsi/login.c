/*
 * The login machine: headers, stages, C bits in both directions, names, admission.
 *
 * It does not authenticate (login_security.c) and does not know what operational keys mean
 * (negotiate.c). Each request goes through the same steps: check the header, finish a longer answer
 * or collect a longer text, act on the text, decide on the transition, compose one response. Runs
 * on the connection's loop. Clauses: RFC 7143 6.3, 11.12, 11.13.
 *
 * Read next: login.h for the contract, login_security.c.
 */
#include "target/iscsi/login.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <string.h>

#include "target/iscsi/login_internal.h"

_Static_assert(LOGIN_WORK_BYTES > LOGIN_LANDING_BYTES + LOGIN_ANSWER_BYTES + LOGIN_LANDING_BYTES,
	       "the collected text must be able to hold more than one data segment");
/* Every pair answered NotUnderstood, and as much again for names, CHAP and our declarations. */
_Static_assert(LOGIN_ANSWER_BYTES >= NEGOTIATE_PAIRS_MAX * (TEXT_KEY_BYTES_MAX + 15u) + 4096u,
	       "the answer area must hold the longest answer");
/* Pieces of an answer that are not the last need no padding. */
_Static_assert(LOGIN_LANDING_BYTES % 4u == 0, "a data segment's limit is a multiple of four");

void login_init(struct login *login, const struct login_policy *policy, void *context, void *work)
{
	uint8_t *bytes = work;

	*login = (struct login){
		.policy = policy,
		.context = context,
		.landing = bytes,
		.text = bytes + LOGIN_LANDING_BYTES,
		.answer = bytes + LOGIN_LANDING_BYTES + LOGIN_TEXT_BYTES,
	};
	negotiation_init(&login->negotiation, &policy->limits);
}

void login_release(struct login *login)
{
	OPENSSL_cleanse(&login->challenge, sizeof(login->challenge));
	OPENSSL_cleanse(login->landing, LOGIN_WORK_BYTES);
}

/*
 * Headers.
 */

/* What a refusal echoes is noted before anything is judged. */
static void login_note_first(struct login *login)
{
	const struct pdu_login_request *request = &login->request;
	struct login_result *result = &login->result;

	login->stage = request->csg;
	login->negotiation.leading = request->tsih == 0;
	memcpy(result->isid, request->isid, sizeof(result->isid));
	result->tsih = request->tsih;
	result->cid = request->cid;
	/* Login requests are immediate: the first command carries this same number, 11.12.9. */
	result->cmd_sn = request->cmd_sn;
	/* We may begin anywhere; where the initiator expects us to is the kindest place. */
	result->stat_sn = request->exp_stat_sn;
}

static enum pdu_login_status login_check_first(struct login *login)
{
	const struct pdu_login_request *request = &login->request;

	login_note_first(login);
	if (request->version_min > PDU_VERSION)
		return login_fail(login, PDU_LOGIN_UNSUPPORTED_VERSION, "unsupported version");
	if (request->csg != PDU_STAGE_SECURITY && request->csg != PDU_STAGE_OPERATIONAL)
		return login_fail(login, PDU_LOGIN_INITIATOR_ERROR, "login begins in no stage");
	return PDU_LOGIN_SUCCESS;
}

static bool login_is_same(const struct login *login)
{
	const struct pdu_login_request *request = &login->request;
	const struct login_result *result = &login->result;

	return memcmp(request->isid, result->isid, sizeof(result->isid)) == 0 &&
	       request->tsih == result->tsih && request->cid == result->cid;
}

static enum pdu_login_status login_check_header(struct login *login)
{
	const struct pdu_login_request *request = &login->request;
	enum pdu_login_status status = PDU_LOGIN_SUCCESS;

	if (login->request_count == 1) {
		status = login_check_first(login);
	} else if (login->request_count > LOGIN_REQUESTS_MAX) {
		status = login_fail(login, PDU_LOGIN_INITIATOR_ERROR, "over 64 login requests");
	}
	if (status != PDU_LOGIN_SUCCESS)
		return status;
	if (!login_is_same(login)) {
		return login_fail(login, PDU_LOGIN_INITIATOR_ERROR,
				  "ISID, TSIH or CID changed during login");
	}
	if (request->csg != login->stage)
		return login_fail(login, PDU_LOGIN_INITIATOR_ERROR, "not the current stage");
	if (request->transit && request->cont)
		return login_fail(login, PDU_LOGIN_INITIATOR_ERROR, "T bit together with C bit");
	if (request->transit && (request->nsg <= request->csg || request->nsg == 2))
		return login_fail(login, PDU_LOGIN_INITIATOR_ERROR, "no such next stage");
	return PDU_LOGIN_SUCCESS;
}

/*
 * Responses.
 */

static void login_compose(struct login *login, struct pdu_login_response *response)
{
	struct login_result *result = &login->result;

	response->itt = login->request.itt;
	memcpy(response->isid, result->isid, sizeof(response->isid));
	response->version_max = PDU_VERSION;
	response->version_active = PDU_VERSION;
	response->sns.stat_sn = result->stat_sn++;
	response->sns.exp_cmd_sn = result->cmd_sn;
	response->data_len_bytes = login->piece_len_bytes;
	pdu_login_response_encode(response, login->bhs);
}

/* Make the next piece of the answer the response's data. True if more remains after it. */
static bool login_next_piece(struct login *login)
{
	uint32_t left_bytes;

	login->answer_at_bytes += login->piece_len_bytes;
	left_bytes = login->answer_len_bytes - login->answer_at_bytes;
	login->piece_len_bytes =
		left_bytes < LOGIN_LANDING_BYTES ? left_bytes : LOGIN_LANDING_BYTES;
	return login->piece_len_bytes < left_bytes;
}

static bool login_has_more_answer(const struct login *login)
{
	return login->answer_at_bytes + login->piece_len_bytes < login->answer_len_bytes;
}

static void login_set_answer(struct login *login, const struct text_writer *answer)
{
	login->answer_len_bytes = (uint32_t)text_written_bytes(answer);
	login->answer_at_bytes = 0;
	login->piece_len_bytes = 0;
	memset(login->answer + login->answer_len_bytes, 0,
	       pdu_padded(login->answer_len_bytes) - login->answer_len_bytes);
}

static void login_answer_begin(struct login *login, struct text_writer *answer)
{
	text_writer_init(answer, login->answer, LOGIN_ANSWER_BYTES - 4u);
}

/* One response in the current stage: a piece of the answer, or nothing. */
static enum login_step login_continue(struct login *login)
{
	struct pdu_login_response response = {
		.csg = login->stage,
		.tsih = login->result.tsih,
		.cont = login_next_piece(login),
	};

	response.sns.max_cmd_sn = login->result.cmd_sn;
	login_compose(login, &response);
	return LOGIN_ANSWER;
}

static enum login_step login_transit(struct login *login)
{
	struct pdu_login_response response = {
		.csg = login->stage,
		.nsg = login->request.nsg,
		.tsih = login->result.tsih,
		.transit = true,
	};

	(void)login_next_piece(login);
	login->stage = login->request.nsg;
	if (login->stage == PDU_STAGE_FULL_FEATURE) {
		assert(login->named);
		assert(!login->target.chap_required || login->security == LOGIN_SECURITY_DONE);
		negotiate_params(&login->negotiation, &login->result.params);
		login->deciding = true;
		return LOGIN_DECIDE;
	}
	response.sns.max_cmd_sn = login->result.cmd_sn;
	login_compose(login, &response);
	return LOGIN_ANSWER;
}

enum login_step login_admit(struct login *login, uint16_t tsih, uint32_t command_window)
{
	struct pdu_login_response response = {
		.csg = login->request.csg,
		.nsg = PDU_STAGE_FULL_FEATURE,
		.tsih = tsih,
		.transit = true,
	};

	assert(login->deciding && !login->over && tsih != 0 && command_window > 0);
	response.sns.max_cmd_sn = login->result.cmd_sn + command_window - 1u;
	login_compose(login, &response);
	login->over = true;
	return LOGIN_DONE;
}

enum login_step login_refuse(struct login *login, enum pdu_login_status status, const char *reason)
{
	struct pdu_login_response response = {
		.csg = login->request.csg,
		.tsih = login->result.tsih,
		.status = (uint16_t)status,
	};
	struct text_writer answer;

	assert(login_has_begun(login) && !login->over && status != PDU_LOGIN_SUCCESS);
	login_answer_begin(login, &answer);
	/* RFC 7143 11.13.5: a redirection names the address to go to. */
	if (status >> 8 == PDU_LOGIN_MOVED_TEMPORARILY >> 8 && login->target.redirect_address) {
		text_put(&answer, key_table[KEY_TARGET_ADDRESS].name,
			 login->target.redirect_address);
	}
	login_set_answer(login, &answer);
	(void)login_next_piece(login);
	response.sns.max_cmd_sn = login->result.cmd_sn;
	login_compose(login, &response);
	login->reason = reason;
	login->status = (uint16_t)status;
	login->over = true;
	return LOGIN_REFUSED;
}

/* RFC 7143 6.3: the login phase begins with the first login request, and what is wrong with that
 * is answered like all that comes later. The layout of a header is known for our version alone. */
bool login_refuse_request(struct login *login, const uint8_t bhs[static PDU_BHS_BYTES],
			  const char *reason, enum login_step *out)
{
	struct pdu_login_request request;

	pdu_login_request_decode(&request, bhs);
	if (!login_has_begun(login) && request.version_min > PDU_VERSION)
		return false;
	login->request = request;
	if (!login_has_begun(login))
		login_note_first(login);
	login->request_count++;
	*out = login_refuse(login, PDU_LOGIN_INITIATOR_ERROR, reason);
	return true;
}

void login_answer(const struct login *login, struct login_answer *out)
{
	*out = (struct login_answer){
		.bhs = login->bhs,
		.data = login->answer + login->answer_at_bytes,
		.data_len_bytes = login->piece_len_bytes,
		.padded_len_bytes = pdu_padded(login->piece_len_bytes),
	};
}

/*
 * Names: who logs in to what. RFC 7143 6.3: all of them in the first request.
 */

/* Printable, without blanks; what lies above ASCII is UTF-8, which the policy compares as bytes. */
static bool is_name(const char *value)
{
	size_t len_bytes = strnlen(value, LOGIN_NAME_BYTES_MAX + 1u);

	if (len_bytes == 0 || len_bytes > LOGIN_NAME_BYTES_MAX)
		return false;
	for (const char *at = value; *at != '\0'; at++) {
		if ((unsigned char)*at <= ' ' || *at == '\x7f')
			return false;
	}
	return true;
}

static enum pdu_login_status login_session_type(struct login *login, const char *value)
{
	struct login_result *result = &login->result;

	if (!value || strcmp(value, "Normal") == 0) {
		result->session_type = LOGIN_NORMAL;
	} else if (strcmp(value, "Discovery") == 0) {
		result->session_type = LOGIN_DISCOVERY;
	} else {
		return login_fail(login, PDU_LOGIN_SESSION_TYPE_NOT_SUPPORTED,
				  "unknown session type");
	}
	login->negotiation.discovery = result->session_type == LOGIN_DISCOVERY;
	return PDU_LOGIN_SUCCESS;
}

static enum pdu_login_status login_initiator_name(struct login *login, const char *name,
						  const char *alias)
{
	struct login_result *result = &login->result;

	if (!name)
		return login_fail(login, PDU_LOGIN_MISSING_PARAMETER, "no InitiatorName");
	if (!is_name(name))
		return login_fail(login, PDU_LOGIN_INITIATOR_ERROR, "malformed InitiatorName");
	if (alias && strlen(alias) >= sizeof(result->initiator_alias))
		return login_fail(login, PDU_LOGIN_INITIATOR_ERROR, "InitiatorAlias too long");
	login_copy(result->initiator_name, sizeof(result->initiator_name), name);
	login_copy(result->initiator_alias, sizeof(result->initiator_alias), alias ? alias : "");
	return PDU_LOGIN_SUCCESS;
}

static enum pdu_login_status login_target_name(struct login *login, const char *name)
{
	if (login->result.session_type == LOGIN_DISCOVERY)
		return PDU_LOGIN_SUCCESS;
	if (!name)
		return login_fail(login, PDU_LOGIN_MISSING_PARAMETER, "no TargetName");
	if (!is_name(name))
		return login_fail(login, PDU_LOGIN_NOT_FOUND, "malformed TargetName");
	login_copy(login->result.target_name, sizeof(login->result.target_name), name);
	return PDU_LOGIN_SUCCESS;
}

/* What the log says; the initiator learns no more than the status. */
static const char *login_refusal_text(enum pdu_login_status status)
{
	static const struct {
		enum pdu_login_status status;
		const char *text;
	} texts[] = {
		{PDU_LOGIN_NOT_FOUND, "no such target at this portal"},
		{PDU_LOGIN_AUTHORIZATION_FAILURE, "refused by the access rules of the target"},
		{PDU_LOGIN_SERVICE_UNAVAILABLE, "the target is not ready"},
		{PDU_LOGIN_TARGET_REMOVED, "the target was removed"},
		{PDU_LOGIN_MOVED_TEMPORARILY, "sent to where the target is for now"},
		{PDU_LOGIN_MOVED_PERMANENTLY, "sent to where the target has moved"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (texts[i].status == status)
			return texts[i].text;
	}
	return "refused by the target";
}

static enum pdu_login_status login_find_target(struct login *login)
{
	struct login_result *result = &login->result;
	bool discovery = result->session_type == LOGIN_DISCOVERY;
	const struct login_who who = {
		.session_type = result->session_type,
		.initiator_name = result->initiator_name,
		.target_name = discovery ? NULL : result->target_name,
		.isid = result->isid,
	};
	enum pdu_login_status status =
		login->policy->find_target(login->context, &who, &login->target);

	if (status != PDU_LOGIN_SUCCESS)
		return login_fail(login, status, login_refusal_text(status));
	result->target = login->target.target;
	result->portal_group_tag = login->target.portal_group_tag;
	if (login->stage != PDU_STAGE_SECURITY && login->target.chap_required) {
		return login_fail(login, PDU_LOGIN_AUTHENTICATION_FAILURE,
				  "security stage skipped where CHAP is required");
	}
	return PDU_LOGIN_SUCCESS;
}

/* RFC 7143 13.9: the tag goes with the first response of a normal session's login. */
static void login_introduce(const struct login *login, struct text_writer *answer)
{
	if (login->result.session_type == LOGIN_DISCOVERY)
		return;
	text_put_number(answer, key_table[KEY_TARGET_PORTAL_GROUP_TAG].name,
			login->target.portal_group_tag);
	if (login->target.alias)
		text_put(answer, key_table[KEY_TARGET_ALIAS].name, login->target.alias);
}

static enum pdu_login_status login_names(struct login *login, const struct negotiate_text *text,
					 struct text_writer *answer)
{
	const char *const *value = text->value;
	enum pdu_login_status status = login_session_type(login, value[KEY_SESSION_TYPE]);

	if (status == PDU_LOGIN_SUCCESS) {
		status = login_initiator_name(login, value[KEY_INITIATOR_NAME],
					      value[KEY_INITIATOR_ALIAS]);
	}
	if (status == PDU_LOGIN_SUCCESS)
		status = login_target_name(login, value[KEY_TARGET_NAME]);
	if (status == PDU_LOGIN_SUCCESS)
		status = login_find_target(login);
	if (status != PDU_LOGIN_SUCCESS)
		return status;
	login->named = true;
	login_introduce(login, answer);
	return PDU_LOGIN_SUCCESS;
}

/*
 * One complete text, and the step after it.
 */

static enum pdu_login_status login_text(struct login *login)
{
	bool security = login->stage == PDU_STAGE_SECURITY;
	enum key_phase phase = security ? KEY_IN_SECURITY : KEY_IN_OPERATIONAL;
	enum pdu_login_status status = PDU_LOGIN_SUCCESS;
	struct negotiate_text text;
	struct text_writer answer;
	const char *malformed;

	login_answer_begin(login, &answer);
	malformed = negotiate_sort(&login->negotiation, phase, login->text, login->text_len_bytes,
				   &text);
	login->text_len_bytes = 0;
	if (malformed)
		return login_fail(login, PDU_LOGIN_INITIATOR_ERROR, malformed);
	if (!login->named)
		status = login_names(login, &text, &answer);
	if (status == PDU_LOGIN_SUCCESS && security)
		status = login_security_text(login, &text, &answer);
	if (status != PDU_LOGIN_SUCCESS)
		return status;
	negotiate_answer(&login->negotiation, phase, &text, &answer);
	assert(!answer.overflow);
	login_set_answer(login, &answer);
	return PDU_LOGIN_SUCCESS;
}

/* May the initiator leave the stage it is in? */
static bool login_stage_is_complete(const struct login *login)
{
	if (login->stage != PDU_STAGE_SECURITY)
		return true;
	if (login->security == LOGIN_SECURITY_DONE)
		return true;
	return !login->target.chap_required &&
	       (login->security == LOGIN_SECURITY_OPEN || login->security == LOGIN_SECURITY_NONE);
}

/* An initiator that wants to leave without having tried cannot be told to by T = 0 alone. */
static bool login_shuns_security(const struct login *login)
{
	return login->request.transit && login->stage == PDU_STAGE_SECURITY &&
	       login->security == LOGIN_SECURITY_OPEN && login->target.chap_required;
}

static enum login_step login_act(struct login *login)
{
	enum pdu_login_status status = login_text(login);

	if (status != PDU_LOGIN_SUCCESS)
		return login_refuse(login, status, login->reason);
	if (login_shuns_security(login)) {
		return login_refuse(login, PDU_LOGIN_AUTHENTICATION_FAILURE,
				    "no AuthMethod where CHAP is required");
	}
	if (login->request.transit && login_stage_is_complete(login) &&
	    login->answer_len_bytes <= LOGIN_LANDING_BYTES)
		return login_transit(login);
	return login_continue(login);
}

/* RFC 7143 6.2: a text with the C bit set goes on in the next request; the answer is empty. */
static enum login_step login_collect(struct login *login, uint32_t data_len_bytes)
{
	if (data_len_bytes > LOGIN_TEXT_BYTES - login->text_len_bytes)
		return login_refuse(login, PDU_LOGIN_INITIATOR_ERROR, "login text over limit");
	memcpy(login->text + login->text_len_bytes, login->landing, data_len_bytes);
	login->text_len_bytes += data_len_bytes;
	if (!login->request.cont)
		return login_act(login);
	login->answer_len_bytes = login->answer_at_bytes = login->piece_len_bytes = 0;
	return login_continue(login);
}

enum login_step login_request(struct login *login, const uint8_t bhs[static PDU_BHS_BYTES],
			      uint32_t data_len_bytes)
{
	enum pdu_login_status status;

	assert(!login->over && !login->deciding && data_len_bytes <= LOGIN_LANDING_BYTES);
	pdu_login_request_decode(&login->request, bhs);
	login->request_count++;
	status = login_check_header(login);
	if (status != PDU_LOGIN_SUCCESS)
		return login_refuse(login, status, login->reason);
	if (!login_has_more_answer(login))
		return login_collect(login, data_len_bytes);
	/* Our C bit: the initiator asks for the rest with empty requests, 11.10.2. */
	if (data_len_bytes > 0 || login->request.cont) {
		return login_refuse(login, PDU_LOGIN_INITIATOR_ERROR,
				    "text before the end of ours");
	}
	return login_continue(login);
}
