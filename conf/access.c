/*
 * Questions asked of a finished configuration: who may log in where. Read-only; any thread.
 */
#include "conf/model.h"

#include <string.h>

#include "conf/address.h"
#include "conf/names.h"

const struct conf_user *conf_user_find(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->user_count; i++) {
		if (strcmp(conf->users[i].name, name) == 0)
			return &conf->users[i];
	}
	return NULL;
}

bool conf_tags_have(const struct conf_tags *tags, uint16_t tag)
{
	for (size_t i = 0; i < tags->count; i++) {
		if (tags->items[i] == tag)
			return true;
	}
	return false;
}

bool conf_target_in_group(const struct conf_target *target, uint16_t tag)
{
	return target->portal_groups.count == 0 || conf_tags_have(&target->portal_groups, tag);
}

static bool name_matches(const struct conf_access *rule, const char *name)
{
	for (size_t i = 0; i < rule->initiators.count; i++) {
		if (conf_pattern_matches(rule->initiators.items[i], name))
			return true;
	}
	return rule->initiators.count == 0;
}

static bool address_matches(const struct conf_access *rule, const struct sockaddr *address)
{
	for (size_t i = 0; i < rule->networks.count; i++) {
		if (conf_network_contains(&rule->networks.items[i], address))
			return true;
	}
	return rule->networks.count == 0;
}

bool conf_access_permits(const struct conf_target *target, const char *initiator_name,
			 const struct sockaddr *address)
{
	for (size_t i = 0; i < target->access_count; i++) {
		const struct conf_access *rule = &target->access[i];

		if (name_matches(rule, initiator_name) && address_matches(rule, address))
			return true;
	}
	return target->access_count == 0;
}
