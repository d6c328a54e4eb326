/*
 * How a login becomes a session; see admission.h.
 *
 * It runs after authentication and never before: somebody who only knows a name and an ISID must
 * not be able to end the session that has them. For the same reason the successor must have proved
 * to be the same CHAP user.
 *
 *   TSIH 0, key unknown    a new session
 *   TSIH 0, key known      session reinstatement (RFC 7143 6.3.5)
 *   TSIH known, same CID   connection reinstatement (6.3.4): there is one connection a session and
 *                          no recovery level above 0, so nothing of the old session would outlive
 *                          it but its TSIH, and that is kept
 *   TSIH known, other CID  a second connection: there may be one (MaxConnections = 1)
 *   TSIH unknown           there is no such session
 *
 * The answer to a reinstating login waits until nothing of the old session is left that could still
 * change a block: the initiator may send the same writes again at once.
 *
 * Runs on the control loop. Read next: registry.h, session.h.
 */
#include "target/iscsi/admission.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"

/* "name,i,0x0123456789ab" */
#define PORT_NAME_BYTES (ISCSI_NAME_MAX + sizeof(",i,0x") + 2 * (size_t)PDU_ISID_BYTES)

static struct log_limit limit = LOG_LIMIT(10, 10000);

static LOOP_ONLY void refuse(struct login_conn *conn, enum pdu_login_status status, const char *why)
{
	login_conn_step(conn, login_refuse(&conn->login, status, why));
}

/* RFC 7143 4.4.1: the initiator port's name is the initiator's, ",i,0x" and the ISID. */
static void port_name(const struct login_result *result, char out[PORT_NAME_BYTES])
{
	const uint8_t *isid = result->isid;

	(void)snprintf(out, PORT_NAME_BYTES, "%s,i,0x%02x%02x%02x%02x%02x%02x",
		       result->initiator_name, isid[0], isid[1], isid[2], isid[3], isid[4],
		       isid[5]);
}

/* What stays of the target when the view that the login saw has gone; NULL of discovery. */
static struct scsi_target *scsi_of(const struct login_result *result)
{
	const struct iscsi_target *target = result->target;

	return target ? target->scsi : NULL;
}

static int make_nexus(const struct login_result *result, struct scsi_nexus **out)
{
	char name[PORT_NAME_BYTES];
	const struct scsi_nexus_spec spec = {
		.target = scsi_of(result),
		.initiator_port_name = name,
		/* Target ports are the portal groups, so one number serves for both. */
		.relative_target_port = result->portal_group_tag,
		.portal_group_tag = result->portal_group_tag,
	};

	port_name(result, name);
	return scsi_nexus_create(&spec, out);
}

static struct session_spec make_spec(const struct login_conn *conn, struct loop *loop,
				     uint16_t tsih)
{
	const struct login_result *result = login_result(&conn->login);
	bool discovery = result->session_type == LOGIN_DISCOVERY;
	struct session_spec spec = {
		.server = conn->service->server,
		.loop = loop,
		.fd = conn->fd,
		.discovery = discovery,
		.initiator_name = result->initiator_name,
		.target = scsi_of(result),
		.target_name = discovery ? NULL : result->target_name,
		.tsih = tsih,
		.cid = result->cid,
		.portal_group_tag = result->portal_group_tag,
		.local = conn->local,
		.peer = conn->peer,
		.params = result->params,
		.negotiation = login_negotiation(&conn->login),
		.exp_cmd_sn = result->cmd_sn,
		/* The answer that is still to be made takes one number. */
		.stat_sn = result->stat_sn + 1,
	};

	memcpy(spec.isid, result->isid, sizeof(spec.isid));
	return spec;
}

static int create_session(struct login_conn *conn, struct loop *loop, uint16_t tsih)
{
	const struct login_result *result = login_result(&conn->login);
	struct session_spec spec = make_spec(conn, loop, tsih);
	int error;

	if (!spec.discovery) {
		error = make_nexus(result, &spec.nexus);
		if (error != 0)
			return error;
	}
	error = registry_open(conn->service->server->registry, &spec, result->user_name,
			      &conn->entry);
	if (error != 0 && spec.nexus)
		scsi_nexus_free(spec.nexus);
	return error;
}

static void log_admitted(const struct login_conn *conn, const struct loop *loop)
{
	const struct login_result *result = login_result(&conn->login);

	if (result->session_type == LOGIN_DISCOVERY) {
		log_debug("iscsi", "%s %s: discovery", conn->peer_text, result->initiator_name);
	} else {
		log_limited(&limit, LOG_LEVEL_INFO, "iscsi", "%s %s: logged in to %s%s%s, loop %u",
			    conn->peer_text, result->initiator_name, result->target_name,
			    result->user_name[0] ? " as " : "", result->user_name,
			    loop_index(loop));
	}
}

/* -- Waiting for the end of another session -- */

static LOOP_ONLY void on_old_ended(void *arg)
{
	admission_decide(arg);
}

static LOOP_ONLY void on_superseded(void *arg)
{
	login_conn_close(arg, "the same initiator port logged in once more");
}

static LOOP_ONLY void wait_for_end(struct login_conn *conn, struct registry_entry *old,
				   enum session_close_reason reason)
{
	conn->stage = LOGIN_CONN_WAITING;
	conn->waiter = (struct registry_waiter){
		.on_ended = on_old_ended, .on_superseded = on_superseded, .arg = conn};
	registry_wait(old, &conn->waiter);
	registry_close(old, reason);
}

static LOOP_ONLY void replace(struct login_conn *conn, struct registry_entry *old)
{
	if (strcmp(registry_user(old), login_result(&conn->login)->user_name) != 0) {
		refuse(conn, PDU_LOGIN_AUTHORIZATION_FAILURE,
		       "the session to be replaced is another CHAP user's");
		return;
	}
	log_limited(&limit, LOG_LEVEL_INFO, "iscsi", "%s %s: replaces its earlier session",
		    conn->peer_text, login_result(&conn->login)->initiator_name);
	wait_for_end(conn, old, SESSION_CLOSE_REINSTATED);
}

/* Discovery is a matter of a moment, and often open to all: if strangers could fill the list with
 * it, no host would get in. So the oldest discovery session makes room for whoever comes. */
static LOOP_ONLY void make_room(struct login_conn *conn)
{
	struct registry_entry *old = registry_find_discovery(conn->service->server->registry);

	if (old) {
		wait_for_end(conn, old, SESSION_CLOSE_CROWDED);
	} else {
		refuse(conn, PDU_LOGIN_OUT_OF_RESOURCES, "as many sessions as allowed");
	}
}

/* Nothing stands in its way any more, except that there may be no place. */
static LOOP_ONLY void admit(struct login_conn *conn)
{
	struct registry *registry = conn->service->server->registry;
	struct loop *loop = registry_place(registry);
	uint16_t tsih = conn->tsih ? conn->tsih : registry_new_tsih(registry);

	if (!loop) {
		make_room(conn);
		return;
	}
	if (tsih == 0 || create_session(conn, loop, tsih) != 0) {
		refuse(conn, PDU_LOGIN_OUT_OF_RESOURCES, "no memory for another session");
		return;
	}
	log_admitted(conn, loop);
	login_conn_step(conn, login_admit(&conn->login, tsih, ISCSI_FLOOR_COMMANDS));
}

/* -- Which session -- */

static struct registry_key key_of(const struct login_result *result)
{
	return (struct registry_key){
		.initiator_name = result->initiator_name,
		.isid = result->isid,
		.target = scsi_of(result),
		.portal_group_tag = result->portal_group_tag,
	};
}

/* The same session, but for the portal group, which a session cannot span (RFC 7143 4.2.2). */
static bool is_elsewhere(const struct registry_entry *old, const struct registry_key *key)
{
	struct registry_key there = *key;

	there.portal_group_tag = registry_spec(old)->portal_group_tag;
	return there.portal_group_tag != key->portal_group_tag && registry_matches(old, &there);
}

/* A login into a session that is said to exist. */
static LOOP_ONLY void decide_existing(struct login_conn *conn)
{
	const struct login_result *result = login_result(&conn->login);
	const struct registry_key key = key_of(result);
	struct registry_entry *old =
		registry_find_tsih(conn->service->server->registry, result->tsih);

	if (old && is_elsewhere(old, &key)) {
		refuse(conn, PDU_LOGIN_CANNOT_INCLUDE_IN_SESSION,
		       "the session is one of another portal group");
	} else if (!old || !registry_matches(old, &key)) {
		refuse(conn, PDU_LOGIN_SESSION_DOES_NOT_EXIST, "no session has that TSIH");
	} else if (registry_spec(old)->cid != result->cid) {
		refuse(conn, PDU_LOGIN_TOO_MANY_CONNECTIONS, "a session has one connection");
	} else {
		conn->tsih = result->tsih;
		replace(conn, old);
	}
}

void admission_decide(struct login_conn *conn)
{
	const struct login_result *result = login_result(&conn->login);
	const struct registry_key key = key_of(result);
	struct registry_entry *old;

	if (conn->service->stopping) {
		refuse(conn, PDU_LOGIN_SERVICE_UNAVAILABLE, "the target ends");
		return;
	}
	if (result->tsih != 0 && conn->tsih == 0) {
		decide_existing(conn);
		return;
	}
	old = registry_find(conn->service->server->registry, &key);
	if (old) {
		replace(conn, old);
	} else {
		admit(conn);
	}
}
