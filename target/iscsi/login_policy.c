/*
 * The policy of login; see login_policy.h.
 *
 * Order matters to those who probe: that a target exists, and that somebody may not use it, is said
 * before authentication, as RFC 7143 11.13.5 has statuses for both; nothing else is.
 *
 * Runs on the control loop.
 */
#include "target/iscsi/login_policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/clock.h"
#include "target/iscsi/login_conn.h"

static const struct iscsi_auth *auth_of(const struct login_conn *conn, const struct iscsi_target *t)
{
	return t ? &t->auth : &iscsi_view_now(conn->service->server)->discovery_auth;
}

/* Compared as addresses, because one address can be written in many ways. */
static bool is_address(const char *host, const struct sockaddr_storage *address)
{
	struct sockaddr_storage other = {.ss_family = address->ss_family};
	void *bytes = address->ss_family == AF_INET6
			      ? (void *)&((struct sockaddr_in6 *)&other)->sin6_addr
			      : (void *)&((struct sockaddr_in *)&other)->sin_addr;

	return inet_pton(address->ss_family, host, bytes) == 1 &&
	       address_same_host(&other, address);
}

/* Whoever was sent here has arrived. */
static bool has_arrived(const struct login_conn *conn, const struct iscsi_target *target)
{
	const struct iscsi_portal *portal = conn->portal;

	if (address_port(&conn->local) == target->redirect_port &&
	    is_address(target->redirect, &conn->local))
		return true;
	return portal->advertise && portal->advertise_port == target->redirect_port &&
	       strcasecmp(portal->advertise, target->redirect) == 0;
}

/* Whether hosts are sent elsewhere, and how. RFC 7143 13.8: the tag is left out. */
static enum pdu_login_status redirection(struct login_conn *conn, const struct iscsi_target *target)
{
	bool is_ipv6 = target->redirect && strchr(target->redirect, ':');

	if (!target->redirect || has_arrived(conn, target))
		return PDU_LOGIN_SUCCESS;
	(void)snprintf(conn->redirect, sizeof(conn->redirect), "%s%s%s:%u", is_ipv6 ? "[" : "",
		       target->redirect, is_ipv6 ? "]" : "", (unsigned)target->redirect_port);
	return target->redirect_permanent ? PDU_LOGIN_MOVED_PERMANENTLY
					  : PDU_LOGIN_MOVED_TEMPORARILY;
}

/* May this host log in to the target now, and here? */
static enum pdu_login_status judge(struct login_conn *conn, const struct iscsi_target *target,
				   const char *initiator_name)
{
	enum pdu_login_status status;

	if (!iscsi_target_in_group(target, conn->portal->tag))
		return PDU_LOGIN_NOT_FOUND;
	if (!iscsi_target_permits(target, initiator_name, &conn->peer))
		return PDU_LOGIN_AUTHORIZATION_FAILURE;
	status = redirection(conn, target);
	if (status == PDU_LOGIN_SUCCESS && target->offline)
		return PDU_LOGIN_SERVICE_UNAVAILABLE;
	return status;
}

static enum pdu_login_status find_target(void *context, const struct login_who *who,
					 struct login_target *out)
{
	struct login_conn *conn = context;
	struct iscsi_target *target = NULL;
	enum pdu_login_status status = PDU_LOGIN_SUCCESS;

	if (conn->service->stopping)
		return PDU_LOGIN_SERVICE_UNAVAILABLE;
	if (who->session_type == LOGIN_NORMAL) {
		const struct iscsi_view *view = iscsi_view_now(conn->service->server);

		target = iscsi_target_find(view, who->target_name);
		if (!target)
			return iscsi_target_was_removed(view, who->target_name, clock_now_ns())
				       ? PDU_LOGIN_TARGET_REMOVED
				       : PDU_LOGIN_NOT_FOUND;
		status = judge(conn, target, who->initiator_name);
		out->alias = target->alias;
		out->redirect_address = conn->redirect;
	}
	out->target = target;
	out->portal_group_tag = conn->portal->tag;
	out->chap_required = auth_of(conn, target)->user_count > 0;
	out->chap_algorithms = auth_of(conn, target)->chap_algorithms;
	return status;
}

static int copy_secret(const struct iscsi_user *user, struct chap_secret *out)
{
	if (!user || user->secret_bytes > sizeof(out->bytes))
		return -ENOENT;
	out->len_bytes = (uint16_t)user->secret_bytes;
	memcpy(out->bytes, user->secret, user->secret_bytes);
	return 0;
}

static int find_secret(void *context, const struct login_target *target, const char *name,
		       struct chap_secret *out)
{
	return copy_secret(iscsi_auth_find(auth_of(context, target->target), name), out);
}

static int own_credentials(void *context, const struct login_target *target,
			   struct chap_credentials *out)
{
	const struct iscsi_user *user = auth_of(context, target->target)->mutual;

	if (!user || strlen(user->name) >= sizeof(out->name))
		return -ENOENT;
	memcpy(out->name, user->name, strlen(user->name) + 1);
	return copy_secret(user, &out->secret);
}

static bool is_our_challenge(void *context, const uint8_t *bytes, size_t len_bytes)
{
	const struct login_conn *conn = context;

	LIST_FOREACH (node, &conn->service->list) {
		const struct login_conn *other = CONTAINER_OF(node, struct login_conn, link);

		if (login_sent_challenge(&other->login, bytes, len_bytes))
			return true;
	}
	return false;
}

static int fill_random(void *context, void *out, size_t len_bytes)
{
	(void)context;
	/* Up to 256 bytes come whole or not at all (getrandom(2)). */
	return getrandom(out, len_bytes, 0) == (ssize_t)len_bytes ? 0 : -EIO;
}

void login_policy_init(struct login_policy *policy)
{
	*policy = (struct login_policy){
		.find_target = find_target,
		.find_secret = find_secret,
		.own_credentials = own_credentials,
		.is_our_challenge = is_our_challenge,
		.random = fill_random,
		.limits = negotiate_limits_default,
	};
	policy->limits.max_recv_data_segment_length = ISCSI_RECV_DATA_BYTES;
	policy->limits.first_burst_length = ISCSI_FIRST_BURST_BYTES;
}
