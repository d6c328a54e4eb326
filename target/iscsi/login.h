/*
 * The login phase of one connection, as a pure state machine: requests in, answers out.
 *
 * It does no I/O and takes no clock (the 15 s deadline is its owner's), allocates nothing, and asks
 * a policy what it cannot know: targets, secrets, randomness. Everything it reads before
 * authentication is taken to be hostile: rounds, pairs and bytes are bounded, and no answer is
 * longer than asked.
 *
 * How a connection uses it:
 *
 *     login_init(...)
 *     on each header in login:  opcode_check(..., OPCODE_IN_LOGIN); other opcodes: login_refuse
 * with PDU_LOGIN_INVALID_DURING_LOGIN if login_has_begun, else close data segment lands in
 * login_landing(), at most LOGIN_LANDING_BYTES at the PDU's end:         step =
 * login_request(login, bhs, data_len_bytes)
 *
 *     LOGIN_ANSWER   send login_answer(), wait for the next request
 *     LOGIN_DECIDE   nothing to send yet: everything is agreed, login_result() tells who wants
 * which session. Take as long as reinstatement needs, then call login_admit or login_refuse, whose
 * step is the next one. LOGIN_DONE     send login_answer(); the connection is in the full feature
 * phase as of its end, with login_result(); digests and limits hold from the next PDU on
 *     LOGIN_REFUSED  send login_answer(), then close; log login_reason()
 *
 * A full feature phase is reached through LOGIN_DONE alone, and LOGIN_DECIDE is never answered
 * unless the authentication that the policy demanded has succeeded.
 *
 * Threads: a login belongs to its connection's loop. Read next: login.c, login_security.c,
 * negotiate.h, chap.h.
 */
#ifndef TARGET_ISCSI_LOGIN_H
#define TARGET_ISCSI_LOGIN_H

#include "base/attr.h"
#include "target/iscsi/chap.h"
#include "target/iscsi/negotiate.h"
#include "target/iscsi/pdu.h"

/* RFC 7143 4.2.7.1: an iSCSI name has at most 223 bytes. */
#define LOGIN_NAME_BYTES_MAX 223u
/* A login PDU's data segment: everybody's limit until login completes, RFC 7143 13.12. */
#define LOGIN_LANDING_BYTES 8192u
/*
 * The working memory of one login, given by the owner (a loop buffer fits exactly): the landing
 * area, the text collected over C bits, the answer.
 */
#define LOGIN_WORK_BYTES 65536u
#define LOGIN_ANSWER_BYTES 16384u
#define LOGIN_TEXT_BYTES (LOGIN_WORK_BYTES - LOGIN_LANDING_BYTES - LOGIN_ANSWER_BYTES)
/* Requests in one login. An honest one takes two to six, plus its continuations. */
#define LOGIN_REQUESTS_MAX 64u
/* A TargetAddress for redirection: the longest host name, brackets, port and tag. */
#define LOGIN_ADDRESS_BYTES_MAX 287u

enum login_session_type {
	LOGIN_NORMAL,
	LOGIN_DISCOVERY,
};

/* Who asks for what; the strings live as long as the call. */
struct login_who {
	enum login_session_type session_type;
	const char *initiator_name;
	const char *target_name; /* NULL in a discovery session. */
	const uint8_t *isid;     /* PDU_ISID_BYTES */
};

/* The policy's answer. Zeroed before the call; pointers must stay valid until the login ends. */
struct login_target {
	void *target;                 /* Opaque; handed on in the result. */
	const char *alias;            /* TargetAlias, at most 255 bytes; or NULL. */
	const char *redirect_address; /* With PDU_LOGIN_MOVED_...: the TargetAddress to go to. */
	uint32_t chap_algorithms;     /* CHAP_ALGORITHM_BIT; 0 stands for all. */
	uint16_t portal_group_tag;
	bool chap_required; /* Otherwise AuthMethod None is accepted (and CHAP is not offered). */
};

struct login_policy {
	/*
	 * The target (or, without target name, discovery) for this initiator on this portal.
	 * PDU_LOGIN_SUCCESS, or the status to refuse with: NOT_FOUND, AUTHORIZATION_FAILURE,
	 * SERVICE_UNAVAILABLE, SESSION_TYPE_NOT_SUPPORTED, MOVED_TEMPORARILY, ...
	 */
	enum pdu_login_status (*find_target)(void *context, const struct login_who *who,
					     struct login_target *out);
	/* The secret of an initiator's CHAP name, exactly matched: 0 or -ENOENT. */
	int (*find_secret)(void *context, const struct login_target *target, const char *name,
			   struct chap_secret *out);
	/* Our own name and secret for mutual CHAP: 0, or -ENOENT if we have none. */
	int (*own_credentials)(void *context, const struct login_target *target,
			       struct chap_credentials *out);
	/*
	 * Is this the challenge of any other login that is open now (login_sent_challenge)? Who
	 * presents it to us wants it answered (RFC 7143 9.2.1). NULL: only this login's own is
	 * recognised.
	 */
	bool (*is_our_challenge)(void *context, const uint8_t *bytes, size_t len_bytes);
	chap_random_fn *random;
	struct negotiate_limits limits;
};

struct login_result {
	enum login_session_type session_type;
	void *target;     /* As find_target gave it. */
	uint32_t cmd_sn;  /* InitCmdSN: what the first command must carry, our first ExpCmdSN. */
	uint32_t stat_sn; /* The next StatSN of the connection. */
	uint16_t tsih;    /* As asked for: 0 for a new session. */
	uint16_t cid;
	uint16_t portal_group_tag;
	uint8_t isid[PDU_ISID_BYTES];
	struct iscsi_params params;
	char initiator_name[LOGIN_NAME_BYTES_MAX + 1u];
	char initiator_alias[CHAP_NAME_BYTES_MAX + 1u];
	char target_name[LOGIN_NAME_BYTES_MAX + 1u]; /* Empty in a discovery session. */
	char user_name[CHAP_NAME_BYTES_MAX + 1u];    /* Authenticated by CHAP; else empty. */
};

enum login_step {
	LOGIN_ANSWER,
	LOGIN_DECIDE,
	LOGIN_DONE,
	LOGIN_REFUSED,
};

/* One login response to send: header, data, and data padded with zeroes to four bytes. */
struct login_answer {
	const uint8_t *bhs; /* PDU_BHS_BYTES */
	const uint8_t *data;
	uint32_t data_len_bytes;
	uint32_t padded_len_bytes;
};

/* Where the security stage stands. */
enum login_security {
	LOGIN_SECURITY_OPEN,       /* No AuthMethod agreed yet. */
	LOGIN_SECURITY_NONE,       /* AuthMethod=None agreed. */
	LOGIN_SECURITY_CHAP,       /* AuthMethod=CHAP agreed; CHAP_A comes next. */
	LOGIN_SECURITY_CHALLENGED, /* Our challenge is out; CHAP_N and CHAP_R come next. */
	LOGIN_SECURITY_DONE,       /* The initiator has proved itself. */
};

/* All fields are private to login*.c; the struct is here to be embedded. About 3 KiB. */
struct login {
	const struct login_policy *policy;
	void *context;
	uint8_t *landing; /* Three areas of the working memory. */
	uint8_t *text;
	uint8_t *answer;
	const char *reason;
	struct pdu_login_request request; /* The one in hand. */
	struct login_target target;
	struct chap_challenge challenge;
	struct negotiation negotiation;
	struct login_result result;
	enum login_security security;
	uint32_t text_len_bytes;   /* Collected so far, over C bits. */
	uint32_t answer_len_bytes; /* All of the answer; sent in pieces of the landing's size. */
	uint32_t answer_at_bytes;  /* Where the piece being sent begins. */
	uint32_t piece_len_bytes;
	uint32_t request_count;
	uint8_t stage;   /* enum pdu_login_stage: the current one. */
	uint16_t status; /* enum pdu_login_status: of the refusal; else 0. */
	bool named;      /* Names were given and the target was found. */
	bool over;       /* LOGIN_DONE or LOGIN_REFUSED was answered. */
	bool deciding;   /* LOGIN_DECIDE was answered. */
	uint8_t bhs[PDU_BHS_BYTES];
};

/*
 * Begin. `work` is LOGIN_WORK_BYTES, the caller's, needed until the last answer has been sent.
 * `context` is handed to every callback of the policy. Both it and the policy must outlive the
 * login.
 */
void login_init(struct login *login, const struct login_policy *policy, void *context, void *work);

/* Where the data segment of the next request is to be received: LOGIN_LANDING_BYTES. */
static inline uint8_t *login_landing(const struct login *login)
{
	return login->landing;
}

/* True once a login request was taken (RFC 7143 6.3: from then on refusals are answered). */
static inline bool login_has_begun(const struct login *login)
{
	return login->request_count != 0;
}

/* A login request whose header is `bhs` and whose data lies in the landing area. */
enum login_step MUST_CHECK login_request(struct login *login,
					 const uint8_t bhs[static PDU_BHS_BYTES],
					 uint32_t data_len_bytes);

/*
 * One that cannot be read further, because of what its header announces. False: the first PDU of
 * all, and nothing that it says is to be believed, for it is of another version; there is nothing
 * to answer. Else `*out` is how it goes on.
 */
bool MUST_CHECK login_refuse_request(struct login *login, const uint8_t bhs[static PDU_BHS_BYTES],
				     const char *reason, enum login_step *out);

/*
 * After LOGIN_DECIDE: let it in. tsih is the session's, not 0; `command_window` is how many
 * commands it may send at once: the answer's MaxCmdSN is ExpCmdSN + command_window - 1. Returns
 * LOGIN_DONE.
 */
enum login_step login_admit(struct login *login, uint16_t tsih, uint32_t command_window);

/* At any time after the first request: refuse. `reason` is a constant string for the log. */
enum login_step login_refuse(struct login *login, enum pdu_login_status status, const char *reason);

/* The status that it was refused with; PDU_LOGIN_SUCCESS while it was not. */
static inline enum pdu_login_status login_status(const struct login *login)
{
	return (enum pdu_login_status)login->status;
}

/* The response to send. Valid until the next call on the login. */
void login_answer(const struct login *login, struct login_answer *out);

/* Complete as of LOGIN_DECIDE; stat_sn as of LOGIN_DONE. Before that, what is known so far. */
static inline const struct login_result *login_result(const struct login *login)
{
	return &login->result;
}

/* The negotiation to go on with in the full feature phase (text requests): copy it. */
static inline const struct negotiation *login_negotiation(const struct login *login)
{
	return &login->negotiation;
}

/* Why the login was refused, a constant sentence without full stop; NULL while it was not. */
static inline const char *login_reason(const struct login *login)
{
	return login->reason;
}

/* True while this login waits for the answer to exactly that challenge. */
bool login_sent_challenge(const struct login *login, const uint8_t *bytes, size_t len_bytes);

/* Wipe what authentication left behind. The working memory may then be given back. */
void login_release(struct login *login);

#endif
