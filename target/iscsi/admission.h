/*
 * From "who this is has been proved" to a session: reinstatement, limits, placement, creation.
 *
 * Threads: the control loop's. Read next: admission.c.
 */
#ifndef TARGET_ISCSI_ADMISSION_H
#define TARGET_ISCSI_ADMISSION_H

#include "target/iscsi/login_conn.h"

/* The login machine answered LOGIN_DECIDE. Goes on with login_conn_step, now or when the session to
 * be replaced has ended; or closes the connection. */
LOOP_ONLY void admission_decide(struct login_conn *conn);

#endif
