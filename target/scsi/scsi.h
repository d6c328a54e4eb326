/*
 * The SCSI device server: what a transport (iSCSI) calls to have commands executed. It decodes CDBs
 * by table, knows logical units, unit attentions and sense data, and turns commands into LUN I/O.
 * It knows nothing of PDUs, windows or R2T: the transport owns data movement and asks for pieces.
 *
 * The life of a command, all on the loop of its nexus:
 *
 *   scsi_cmd_prepare      decode and check; either it has ended (status, sense) or `data` says how
 *                         data moves and data_bytes how much the command would transfer.
 *   NONE, IN_PARAM        scsi_cmd_execute; parameter data appear in cmd->buffer.
 *   OUT_PARAM             the transport gathers data_bytes in cmd->buffer, then scsi_cmd_execute.
 *   OUT_GATHER            the same in several buffers; it reserves them all before it asks for
 * data. IN_MEDIUM, OUT_MEDIUM scsi_piece_submit for each piece, several at a time, any order; it
 * has ended when all pieces are back. No scsi_cmd_execute.
 *
 * The transport answers with cmd->status and cmd->sense. The first failure of a command wins.
 */
#ifndef TARGET_SCSI_SCSI_H
#define TARGET_SCSI_SCSI_H

#include "base/loop.h"
#include "lun/lun.h"
#include "target/scsi/switch.h"

#include <stdbool.h>
#include <stdint.h>

struct scsi_target; /* A SCSI target device: logical units by number. */
struct scsi_lu;     /* A logical unit. */
struct scsi_nexus;  /* An I_T nexus: one session's view; its unit attentions. */
struct scsi_cmd;
struct scsi_piece;
struct scsi_op;      /* A row of the table of commands, op_table.h. */
struct scsi_steps;   /* steps.h */
struct scsi_rewrite; /* rewrite.h */

#define SCSI_CDB_MAX 16u
#define SCSI_SENSE_MAX 252u /* SPC-4 4.5: never longer. */
#define SCSI_FIXED_SENSE_BYTES 18u
/* Highest logical unit number in peripheral or flat space addressing (SAM-5 4.7). */
#define SCSI_LUN_NUMBER_MAX 16383u
/* The most data an IN_PARAM or OUT_PARAM command moves: one loop buffer. */
#define SCSI_PARAM_MAX LOOP_BUFFER_BYTES
/* And an OUT_GATHER command: COMPARE AND WRITE of 255 blocks of 4 KiB. What it reserves is a page
 * and less than LUN_IOV_MAX buffers more. */
#define SCSI_GATHER_MAX (2u * 255u * 4096u)
#define SCSI_RESERVE_MAX (SCSI_GATHER_MAX + 4096u + LUN_IOV_MAX * LOOP_BUFFER_BYTES)
/* Target ports of a target: portal groups. */
#define SCSI_TARGET_PORTS_MAX 64u
/* A target has at most this many logical units, so that REPORT LUNS fits SCSI_PARAM_MAX. */
#define SCSI_TARGET_LUS_MAX ((SCSI_PARAM_MAX - 8u) / 8u)
/* scsi_cmd.expected_bytes of a transport that cannot tell. */
#define SCSI_EXPECTED_UNKNOWN UINT64_MAX

/* SAM-5 5.3.1. */
enum scsi_status {
	SCSI_GOOD = 0x00,
	SCSI_CHECK_CONDITION = 0x02,
	SCSI_CONDITION_MET = 0x04,
	SCSI_BUSY = 0x08,
	SCSI_RESERVATION_CONFLICT = 0x18,
	SCSI_TASK_SET_FULL = 0x28,
	SCSI_ACA_ACTIVE = 0x30,
	SCSI_TASK_ABORTED = 0x40,
};

/* Task attributes, SAM-5 8.6, numbered as in the iSCSI SCSI Command PDU (RFC 7143 11.3.1.1). */
enum scsi_attribute {
	SCSI_UNTAGGED = 0,
	SCSI_SIMPLE = 1,
	SCSI_ORDERED = 2,
	SCSI_HEAD_OF_QUEUE = 3,
	SCSI_ACA = 4,
};

/* How a prepared command's data move. */
enum scsi_data {
	SCSI_DATA_NONE,
	SCSI_DATA_IN_PARAM,
	SCSI_DATA_OUT_PARAM,
	SCSI_DATA_OUT_GATHER,
	SCSI_DATA_IN_MEDIUM,
	SCSI_DATA_OUT_MEDIUM,
};

typedef void scsi_cmd_done_fn(struct scsi_cmd *cmd);
/* The memory at an offset below reserve_bytes: contiguous up to the next multiple of
 * LOOP_BUFFER_BYTES, where a page-aligned buffer begins. */
typedef uint8_t *scsi_cmd_at_fn(struct scsi_cmd *cmd, uint64_t offset_bytes);
typedef void scsi_piece_done_fn(struct scsi_piece *piece);

/*
 * One command; embedded in the transport's task. Initialised by scsi_cmd_init.
 */
struct scsi_cmd {
	/* Set by the transport before scsi_cmd_prepare. */
	struct scsi_nexus *nexus;
	struct loop *loop;
	uint8_t lun_field[8]; /* As on the wire, SAM-5 4.7. */
	uint8_t cdb[SCSI_CDB_MAX];
	uint8_t attribute; /* enum scsi_attribute */
	/* Data-out that the initiator announced (iSCSI: Expected Data Transfer Length of a write),
	 * or what scsi_cmd_init left there. WRITE SAME and VERIFY refuse an announcement that does
	 * not suit. */
	uint64_t expected_bytes;
	/* Set by the transport before scsi_cmd_execute of a PARAM command: SCSI_PARAM_MAX bytes,
	 * page-aligned; the device server may write to it until the command has ended. */
	uint8_t *buffer;
	uint32_t buffer_bytes; /* OUT_PARAM: what arrived, at most data_bytes. */
	/* OUT_GATHER: where the data stand, and behind them what the device server needs besides;
	 * it may write to all of that until the command has ended. */
	scsi_cmd_at_fn *at;
	scsi_cmd_done_fn *done;
	/* Set by scsi_cmd_prepare. */
	enum scsi_data data;
	uint64_t data_bytes;    /* IN_PARAM: after execute, the length of the parameter data. */
	uint64_t reserve_bytes; /* OUT_GATHER: memory it needs, at most SCSI_RESERVE_MAX. */
	struct scsi_lu *lu;     /* NULL where the LUN number has none. */
	/* The result; the sense data stand in `sense`. */
	uint8_t status; /* enum scsi_status */
	uint8_t sense_bytes;
	/* Private to scsi/. */
	bool aborted;
	bool durable;          /* FUA */
	bool running;          /* `io` is the LUN's. */
	bool late;             /* WCE was turned off while a step wrote to the cache. */
	bool reads_back;       /* WRITE AND VERIFY */
	uint8_t byte_check;    /* VERIFY: BYTCHK */
	enum lun_op medium_op; /* What execute's steps do. */
	uint32_t step;         /* UNMAP: the descriptor. */
	const struct scsi_op *op;
	uint64_t lba;
	uint64_t block_count;
	uint64_t progress_bytes;   /* Of execute's steps. */
	uint64_t miscompare_bytes; /* VERIFY: the lowest offset that differed. */
	uint8_t *scratch;          /* A loop buffer of the command's own, given back at its end. */
	const struct scsi_steps *steps;
	struct scsi_rewrite *rewrite; /* In the memory behind the data; NULL: none under way. */
	struct list_node pieces;      /* Under way, for abort. */
	/* From here on nothing is cleared for a new command: each is filled in before it is read.
	 */
	uint8_t sense[SCSI_FIXED_SENSE_BYTES + 14]; /* Fixed, or descriptor with information. */
	union {
		struct lun_io io; /* For commands that scsi_cmd_execute runs. */
		/* For those that change what loops share, and what may follow. */
		struct scsi_switch change;
		struct lun_orphan_wait orphans;
	};
};

/* One stretch of a MEDIUM command's data: at most LOOP_BUFFER_BYTES, a multiple of the logical
 * block size at a multiple of it. Owned by the transport; scsi/ has it from submit until done. */
struct scsi_piece {
	/* Set by the transport. */
	struct scsi_cmd *cmd;
	uint64_t offset_bytes; /* Within the command's data. */
	uint32_t length_bytes;
	uint8_t *buffer; /* Page-aligned. */
	scsi_piece_done_fn *done;
	/* The result: false when the command failed on this piece; its status and sense are set. */
	bool ok;
	bool zeroes; /* Read: the data are zeroes, and the buffer was not written. */
	/* Private to scsi/. */
	struct lun_io io;
	struct loop_msg msg; /* Ends a piece that no I/O was started for. */
	struct list_node link;
	uint8_t *scratch;
};

/* Prepare a record for a new command; then the transport sets its fields. */
void scsi_cmd_init(struct scsi_cmd *cmd);

/*
 * Decode the CDB and check it against table, logical unit, unit attentions and access, in the order
 * of SAM-5 / SPC-4. False: the command has ended, status and sense are set, no I/O was started.
 * INQUIRY, REPORT LUNS and REQUEST SENSE work where there is no such logical unit.
 */
LOOP_ONLY bool MUST_CHECK scsi_cmd_prepare(struct scsi_cmd *cmd);
/* Run it. True: it has ended. False: cmd->done runs later, from the loop. */
LOOP_ONLY bool MUST_CHECK scsi_cmd_execute(struct scsi_cmd *cmd);
/* Move a piece between buffer and medium (or compare, for VERIFY); piece->done runs later. */
LOOP_ONLY void scsi_piece_submit(struct scsi_piece *piece);
/*
 * Abort: no further I/O is started for the command; I/O under way becomes an orphan (lun.h) before
 * this returns. done callbacks of what was under way still come; until then records and buffers
 * stay the device server's.
 */
LOOP_ONLY void scsi_cmd_abort(struct scsi_cmd *cmd);

/* End a command with a status that has no sense data (TASK SET FULL, BUSY). */
void scsi_cmd_set_status(struct scsi_cmd *cmd, enum scsi_status status);

/* End a command whose data broke the transport's rules: ABORTED COMMAND, DATA PHASE ERROR. */
void scsi_cmd_fail_data_phase(struct scsi_cmd *cmd);

/* -- Targets and logical units: built by the control thread before the loops run; lun_change.h for
 * what is added and removed later. -- */

struct scsi_lu_spec {
	struct lun *lun;      /* Borrowed; outlives the logical unit. */
	const char *vendor;   /* At most 8 characters; NULL: the defaults. */
	const char *product;  /* 16 */
	const char *revision; /* 4 */
	/* Where state that must survive is kept, in files named by the LUN's identity; borrowed,
	 * outlives the logical unit. NULL: nothing is kept. */
	const char *state_dir;
	/* Hosts may turn a write cache that the LUN has off and on again (WCE). */
	bool write_cache_by_hosts;
	unsigned warn_percent; /* Used of its capacity, when hosts are told; 0: never. */
};

/* `group` are the loops of all its nexuses; borrowed, and may be filled in until they run. */
int MUST_CHECK scsi_target_create(const char *iscsi_name, const struct loop_group *group,
				  struct scsi_target **out);
/* Add a logical unit; -EEXIST for a number that is taken, -ERANGE above SCSI_LUN_NUMBER_MAX, -E2BIG
 * beyond SCSI_TARGET_LUS_MAX, -EINVAL for an identification that is too long or not printable
 * ASCII, -ENOMEM. */
int MUST_CHECK scsi_target_add_lu(struct scsi_target *target, uint16_t number,
				  const struct scsi_lu_spec *spec);
/*
 * A logical unit, or every one (NULL), was reset (SAM-5 6.3.3): what loops share goes back to where
 * it began, by switches, soon. Tasks and unit attentions are the transport's.
 */
LOOP_ONLY void scsi_target_reset(const struct scsi_target *target, const struct scsi_lu *lu,
				 struct loop *loop);
/* Tell it of a target port, for registrations at all ports. -E2BIG. Told twice, it knows it once.
 */
int MUST_CHECK scsi_target_add_port(struct scsi_target *target, uint16_t relative_target_port);
/*
 * Load what must survive (reservations) of all logical units, from their state_dir. One whose file
 * is damaged is taken offline, loudly: without its reservations hosts could destroy each other's
 * data. After lun_check_identities; it blocks. -ENOMEM.
 */
int MUST_CHECK scsi_target_restore(struct scsi_target *target);
/* Free target and logical units (not the LUNs). No nexus may be left. */
void scsi_target_free(struct scsi_target *target);
unsigned scsi_target_lu_count(const struct scsi_target *target);
/* The logical unit of a number, or NULL: good for this turn (lun_change.h). Any loop, and the
 * control thread. */
struct scsi_lu *scsi_target_find_lu(const struct scsi_target *target, uint16_t number);
const char *scsi_target_name(const struct scsi_target *target);
struct lun *scsi_lu_lun(const struct scsi_lu *lu);
/* TAS of its Control mode page: a host hears of its tasks that others aborted. Any loop. */
bool scsi_lu_tells_aborted(const struct scsi_lu *lu);
/* Decode a LUN field (peripheral or flat space addressing). False: no number in it. */
bool scsi_lun_number(const uint8_t lun_field[8], uint16_t *number);
/* The reverse, as REPORT LUNS writes it. */
void scsi_lun_field(uint16_t number, uint8_t out[8]);

/* -- Nexuses -- */

struct scsi_nexus_spec {
	struct scsi_target *target;
	const char *initiator_port_name; /* "iqn...,i,0x<isid>", SAM-5 / RFC 7143 4.2.7; copied. */
	uint16_t relative_target_port;
	uint16_t portal_group_tag;
};

/* Create: any thread; then used on its session's loop alone. Each logical unit starts with exactly
 * one unit attention, 29h/00h. -ENOMEM. */
int MUST_CHECK scsi_nexus_create(const struct scsi_nexus_spec *spec, struct scsi_nexus **out);
void scsi_nexus_free(struct scsi_nexus *nexus);
/*
 * What the transport does for PREEMPT AND ABORT: abort all commands of the nexus for that logical
 * unit but one (NULL: all), as by ABORT TASK SET. Answers how many there were. The nexus's loop.
 */
typedef unsigned scsi_nexus_abort_fn(void *arg, const struct scsi_lu *lu,
				     const struct scsi_cmd *but);
/* Before it is attached. Without it nothing is aborted. */
void scsi_nexus_on_abort(struct scsi_nexus *nexus, scsi_nexus_abort_fn *abort, void *arg);
/* A logical unit, or every one (NULL), was reset: what the nexus holds by RESERVE(6) or (10) is
 * free. Persistent reservations stay. The nexus's loop. */
LOOP_ONLY void scsi_nexus_reset(struct scsi_nexus *nexus, const struct scsi_lu *lu);
/* From now on it hears of what happens to its target (unit attentions): its session's loop, which
 * is `loop`. What happened before is covered by 29h/00h. */
LOOP_ONLY void scsi_nexus_attach(struct scsi_nexus *nexus, const struct loop *loop);
/* The end of that, before it is freed: the same loop. */
LOOP_ONLY void scsi_nexus_detach(struct scsi_nexus *nexus);
const struct scsi_target *scsi_nexus_target(const struct scsi_nexus *nexus);
/* The logical unit of a number, or NULL: one that was added since and for which the nexus has no
 * place is none of its own. Good for this turn. The nexus's loop. */
struct scsi_lu *scsi_nexus_find_lu(const struct scsi_nexus *nexus, uint16_t number);
/* Those that it sees. */
bool scsi_nexus_sees(const struct scsi_nexus *nexus, const struct scsi_lu *lu);

/*
 * The unit attention that is next, as QUERY ASYNCHRONOUS EVENT wants it (SAM-5 7.10): the UADE
 * depth, of which 00b is "unknown", and the sense key; ASC; ASCQ. It stays pending. False: there is
 * none. The nexus's loop.
 */
LOOP_ONLY bool scsi_nexus_describe_pending(const struct scsi_nexus *nexus, const struct scsi_lu *lu,
					   uint8_t out[3]);

/* Unit attentions, in SAM-5 / SPC-4 priority order: the lowest is reported first. */
enum scsi_ua {
	SCSI_UA_POWER_ON,                  /* 29h/00h */
	SCSI_UA_BUS_DEVICE_RESET,          /* 29h/03h: LOGICAL UNIT RESET, TARGET RESET */
	SCSI_UA_COMMANDS_CLEARED,          /* 2Fh/00h: by another initiator, TAS = 0 */
	SCSI_UA_RESERVATIONS_PREEMPTED,    /* 2Ah/03h */
	SCSI_UA_REGISTRATIONS_PREEMPTED,   /* 2Ah/05h */
	SCSI_UA_RESERVATIONS_RELEASED,     /* 2Ah/04h */
	SCSI_UA_ASYMMETRIC_ACCESS_CHANGED, /* 2Ah/06h */
	SCSI_UA_MEDIUM_CHANGED,            /* 28h/00h: what hosts have read is not there any more */
	SCSI_UA_CAPACITY_CHANGED,          /* 2Ah/09h */
	SCSI_UA_MODE_PARAMETERS_CHANGED,   /* 2Ah/01h */
	SCSI_UA_LUNS_CHANGED,              /* 3Fh/0Eh */
	SCSI_UA_THRESHOLD_REACHED,         /* 38h/07h: thin provisioning soft threshold */
	SCSI_UA_POOL_THRESHOLD_REACHED,    /* The same, of the pool. */
	SCSI_UA_COUNT
};

/* Make a unit attention pending for a logical unit on this nexus, if it sees it. The nexus's loop.
 */
LOOP_ONLY void scsi_nexus_raise(struct scsi_nexus *nexus, const struct scsi_lu *lu,
				enum scsi_ua ua);
/* The same for every logical unit of the target. */
LOOP_ONLY void scsi_nexus_raise_all(struct scsi_nexus *nexus, enum scsi_ua ua);

#endif
