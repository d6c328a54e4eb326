/*
 * What scsi/ itself asks and tells about access states of target port groups. Read next: alua.h for
 * what they are.
 */
#ifndef TARGET_SCSI_PORT_GROUPS_H
#define TARGET_SCSI_PORT_GROUPS_H

#include "target/scsi/op_table.h"

/* All groups active/optimized, published. The control thread, before anything else. */
void scsi_alua_init(struct scsi_target *target);
/* The place of a target port group, or SCSI_NO_GROUP. */
uint8_t scsi_alua_find(const struct scsi_target *target, uint16_t tag);
/* The nexus learns of the state of its group; the nexus's loop. */
LOOP_ONLY void scsi_alua_attach(struct scsi_nexus *nexus);

/* The states as they now are: good for this turn. */
static inline const struct scsi_access_states *scsi_alua_now(const struct scsi_target *target)
{
	return published_load(&target->alua.now);
}

/* A group of that one moment. Several of them are asked for with the same states, or they may be of
 * different moments. */
void scsi_alua_view(const struct scsi_target *target, const struct scsi_access_states *states_now,
		    unsigned index, struct scsi_group_view *out);

/* Where the next states may be made, a copy of those that are; the caller is a switch of the target
 * that now begins. */
struct scsi_access_states *scsi_alua_next(struct scsi_target *target);
void scsi_alua_set(struct scsi_access_states *next, unsigned group, enum scsi_access_state state,
		   enum scsi_access_cause cause);
void scsi_alua_prefer(struct scsi_access_states *next, unsigned group, bool preferred);
/* Publish what scsi_alua_next answered. */
void scsi_alua_publish(struct scsi_target *target, const struct scsi_access_states *next);
/* Of every nexus, when a switch has published: it learns of the state and, unless it has asked for
 * it itself, 2Ah/06h is pending. The nexus's loop. */
LOOP_ONLY void scsi_alua_tell(struct scsi_nexus *nexus, bool asked);

/* TPGS of INQUIRY: bit 0, states change; bit 1, hosts may change them. 0: there is but one way to
 * the logical units, and nothing to choose. */
uint8_t scsi_alua_support(const struct scsi_target *target);
/* Support bits of RTPG: which states groups may be in. */
uint8_t scsi_alua_supported_states(void);
/* What is wrong with the state of the nexus's group, or SENSE_NONE: it is active. */
enum scsi_sense scsi_access_reason(const struct scsi_nexus *nexus);
/* True where INQUIRY says that the logical unit is there, but not through this port. */
bool scsi_access_is_remote(const struct scsi_nexus *nexus);
/* Whether a row is served in a state. */
bool scsi_access_allows(const struct scsi_op *op, enum scsi_access_state state);

/* Whether a command with a row is served in the state of its target port. */
static inline bool scsi_access_serves(const struct scsi_cmd *cmd)
{
	return cmd->nexus->access <= SCSI_ACCESS_NON_OPTIMIZED ||
	       scsi_access_allows(cmd->op, (enum scsi_access_state)cmd->nexus->access);
}

#endif
