/*
 * Look-ups in the tables of targets; see target.h. A daemon has some thousand targets at most and a
 * login looks once, so a walk through the table is quick enough.
 */
#include "target/iscsi/target.h"

#include <string.h>
#include <strings.h>

struct iscsi_target *iscsi_target_find(const struct iscsi_view *view, const char *name)
{
	for (unsigned i = 0; i < view->target_count; i++) {
		if (strcasecmp(view->targets[i]->name, name) == 0)
			return view->targets[i];
	}
	return NULL;
}

struct iscsi_target *iscsi_target_of(const struct iscsi_view *view, const struct scsi_target *scsi)
{
	for (unsigned i = 0; i < view->target_count; i++) {
		if (view->targets[i]->scsi == scsi)
			return view->targets[i];
	}
	return NULL;
}

bool iscsi_target_was_removed(const struct iscsi_view *view, const char *name, uint64_t now_ns)
{
	for (unsigned i = 0; i < view->removed_count; i++) {
		if (strcasecmp(view->removed[i].name, name) == 0)
			return now_ns < view->removed[i].until_ns;
	}
	return false;
}

bool iscsi_target_in_group(const struct iscsi_target *target, uint16_t tag)
{
	for (size_t i = 0; i < target->tag_count; i++) {
		if (target->tags[i] == tag)
			return true;
	}
	return target->tag_count == 0;
}

bool iscsi_target_permits(const struct iscsi_target *target, const char *initiator_name,
			  const struct sockaddr_storage *peer)
{
	return !target->permits || target->permits(target->rules, initiator_name, peer);
}

const struct iscsi_user *iscsi_auth_find(const struct iscsi_auth *auth, const char *name)
{
	const struct iscsi_user *found = NULL;

	for (size_t i = 0; i < auth->user_count; i++) {
		if (strcmp(auth->users[i].name, name) == 0)
			found = &auth->users[i];
	}
	return found;
}
