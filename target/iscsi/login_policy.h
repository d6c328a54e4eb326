/*
 * What the login machine asks (struct login_policy), answered from the server's tables: which
 * target for whom, on which portal, which secret, randomness. The context of every call is the
 * connection.
 *
 * Threads: the control loop's. Read next: login_policy.c, admission.h.
 */
#ifndef TARGET_ISCSI_LOGIN_POLICY_H
#define TARGET_ISCSI_LOGIN_POLICY_H

#include "target/iscsi/login.h"

void login_policy_init(struct login_policy *policy);

#endif
