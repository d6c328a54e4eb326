/*
 * Every service action of PERSISTENT RESERVE OUT from the holder, from another registrant and from
 * a stranger, with nothing reserved and with each of the six types: SPC-4 tables 66 to 72.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_pr_testing.h"

/*
 * Nexus A holds (where there is a reservation) with key a, B is registered with key b, C is not.
 * An outcome reads
 *	"<result> <keys of A B C> <holder> [<who><what> ...]"
 * G: good, G=: good and nothing has changed, C: conflict, T: scope or type, P: parameter, R:
 *invalid release, F: the action is out of place. Holder: - nothing is reserved, * all registrants,
 *@ as it was. What: 3, 4, 5 the unit attention 2Ah/0xh, ! its commands are aborted. Of what failed
 *only the result is written.
 */
enum type_class {
	CLASS_NONE,
	CLASS_EXCLUSIVE,
	CLASS_RO,
	CLASS_AR,
	CLASSES
};

static const uint8_t class_types[CLASSES][2] = {
	[CLASS_NONE] = {0, 0},
	[CLASS_EXCLUSIVE] = {1, 3},
	[CLASS_RO] = {5, 6},
	[CLASS_AR] = {7, 8},
};

enum {
	OWN = 256, /* The key that the sender is registered with, or 0. */
	SAME,      /* The type of the reservation, Write Exclusive where there is none. */
	OTHER,     /* Another type, not of all registrants. */
};

struct action_case {
	const char *what;
	unsigned action;
	unsigned key;
	unsigned action_key;
	unsigned type;
	unsigned scope;
	const char *move_to;
	unsigned move_port;
	bool unregister;
	const char *outcome[CLASSES][3];
};

#define ALL(a, b, c)                                        \
	{                                                   \
		{a, b, c}, {a, b, c}, {a, b, c}, {a, b, c}, \
	}

/* clang-format off */
static const struct action_case cases[] = {
	{ "REGISTER a new key", PR_REGISTER, OWN, 'x', 0, .outcome =
		ALL("G xb- @", "G ax- @", "G abx @") },
	{ "REGISTER with a wrong key", PR_REGISTER, 'z', 'x', 0, .outcome = ALL("C", "C", "C") },
	{ "REGISTER: unregister", PR_REGISTER, OWN, 0, 0, .outcome = {
		{ "G -b- -", "G a-- -", "G= ab- -" },
		{ "G -b- -", "G a-- A", "G= ab- A" },
		{ "G -b- - B4", "G a-- A", "G= ab- A" },
		{ "G -b- *", "G a-- *", "G= ab- *" } } },
	{ "REGISTER AND IGNORE", PR_REGISTER_AND_IGNORE, 'z', 'x', 0, .outcome =
		ALL("G xb- @", "G ax- @", "G abx @") },
	{ "REGISTER AND IGNORE: unregister", PR_REGISTER_AND_IGNORE, 'z', 0, 0, .outcome = {
		{ "G -b- -", "G a-- -", "G= ab- -" },
		{ "G -b- -", "G a-- A", "G= ab- A" },
		{ "G -b- - B4", "G a-- A", "G= ab- A" },
		{ "G -b- *", "G a-- *", "G= ab- *" } } },
	{ "RESERVE", PR_RESERVE, OWN, 'q', SAME, .outcome = {
		{ "G ab- A", "G ab- B", "C" },
		{ "G= ab- A", "C", "C" },
		{ "G= ab- A", "C", "C" },
		{ "G= ab- *", "G= ab- *", "C" } } },
	{ "RESERVE with a wrong key", PR_RESERVE, 'z', 0, SAME, .outcome = ALL("C", "C", "C") },
	{ "RESERVE another type", PR_RESERVE, OWN, 0, OTHER, .outcome = {
		{ "G ab- A", "G ab- B", "C" },
		{ "C", "C", "C" }, { "C", "C", "C" }, { "C", "C", "C" } } },
	{ "RESERVE type 4", PR_RESERVE, OWN, 0, 4, .outcome = ALL("T", "T", "C") },
	{ "RESERVE type 0", PR_RESERVE, OWN, 0, 0, .outcome = ALL("T", "T", "C") },
	{ "RESERVE scope 2", PR_RESERVE, OWN, 0, SAME, 2, .outcome = ALL("T", "T", "C") },
	{ "RELEASE", PR_RELEASE, OWN, 'q', SAME, .outcome = {
		{ "G= ab- -", "G= ab- -", "C" },
		{ "G ab- -", "G= ab- A", "C" },
		{ "G ab- - B4", "G= ab- A", "C" },
		{ "G ab- - B4", "G ab- - A4", "C" } } },
	{ "RELEASE with a wrong key", PR_RELEASE, 'z', 0, SAME, .outcome = ALL("C", "C", "C") },
	{ "RELEASE another type", PR_RELEASE, OWN, 0, OTHER, .outcome = {
		{ "G= ab- -", "G= ab- -", "C" },
		{ "R", "G= ab- A", "C" }, { "R", "G= ab- A", "C" }, { "R", "R", "C" } } },
	{ "RELEASE scope 1", PR_RELEASE, OWN, 0, SAME, 1, .outcome = {
		{ "G= ab- -", "G= ab- -", "C" },
		{ "R", "G= ab- A", "C" }, { "R", "G= ab- A", "C" }, { "R", "R", "C" } } },
	{ "CLEAR", PR_CLEAR, OWN, 'q', 15, 15, .outcome =
		ALL("G --- - B3", "G --- - A3", "C") },
	{ "CLEAR with a wrong key", PR_CLEAR, 'z', 0, 0, .outcome = ALL("C", "C", "C") },
	{ "PREEMPT A", PR_PREEMPT, OWN, 'a', SAME, .outcome = {
		{ "G -b- -", "G -b- - A5", "C" },
		{ "G ab- A", "G -b- B A5", "C" },
		{ "G ab- A", "G -b- B A5", "C" },
		{ "G -b- *", "G -b- * A5", "C" } } },
	{ "PREEMPT A, another type", PR_PREEMPT, OWN, 'a', OTHER, .outcome = {
		{ "G -b- -", "G -b- - A5", "C" },
		{ "G ab- A B4", "G -b- B A5", "C" },
		{ "G ab- A B4", "G -b- B A5", "C" },
		{ "G -b- *", "G -b- * A5", "C" } } },
	{ "PREEMPT A, type 0", PR_PREEMPT, OWN, 'a', 0, .outcome = {
		{ "G -b- -", "G -b- - A5", "C" },
		{ "T", "T", "C" }, { "T", "T", "C" },
		{ "G -b- *", "G -b- * A5", "C" } } },
	{ "PREEMPT A, scope 1", PR_PREEMPT, OWN, 'a', SAME, 1, .outcome = {
		{ "G -b- -", "G -b- - A5", "C" },
		{ "T", "T", "C" }, { "T", "T", "C" },
		{ "G -b- *", "G -b- * A5", "C" } } },
	{ "PREEMPT B", PR_PREEMPT, OWN, 'b', OTHER, .outcome = {
		{ "G a-- - B5", "G a-- -", "C" },
		{ "G a-- A B5", "G a-- A", "C" },
		{ "G a-- A B5", "G a-- A", "C" },
		{ "G a-- * B5", "G a-- *", "C" } } },
	{ "PREEMPT everybody", PR_PREEMPT, OWN, 0, SAME, .outcome = {
		{ "P", "P", "C" }, { "P", "P", "C" }, { "P", "P", "C" },
		{ "G a-- * B5", "G -b- * A5", "C" } } },
	{ "PREEMPT everybody, another type", PR_PREEMPT, OWN, 0, OTHER, .outcome = {
		{ "P", "P", "C" }, { "P", "P", "C" }, { "P", "P", "C" },
		{ "G a-- A B5", "G -b- B A5", "C" } } },
	{ "PREEMPT everybody, type 15", PR_PREEMPT, OWN, 0, 15, .outcome = {
		{ "P", "P", "C" }, { "P", "P", "C" }, { "P", "P", "C" }, { "T", "T", "C" } } },
	{ "PREEMPT nobody", PR_PREEMPT, OWN, 'q', SAME, .outcome = ALL("C", "C", "C") },
	{ "PREEMPT with a wrong key", PR_PREEMPT, 'z', 'a', SAME, .outcome = ALL("C", "C", "C") },
	{ "PREEMPT AND ABORT A", PR_PREEMPT_AND_ABORT, OWN, 'a', SAME, .outcome = {
		{ "G -b- - A!", "G -b- - A5!", "C" },
		{ "G ab- A A!", "G -b- B A5!", "C" },
		{ "G ab- A A!", "G -b- B A5!", "C" },
		{ "G -b- * A!", "G -b- * A5!", "C" } } },
	{ "PREEMPT AND ABORT B", PR_PREEMPT_AND_ABORT, OWN, 'b', SAME, .outcome = {
		{ "G a-- - B5!", "G a-- - B!", "C" },
		{ "G a-- A B5!", "G a-- A B!", "C" },
		{ "G a-- A B5!", "G a-- A B!", "C" },
		{ "G a-- * B5!", "G a-- * B!", "C" } } },
	{ "PREEMPT AND ABORT everybody", PR_PREEMPT_AND_ABORT, OWN, 0, SAME, .outcome = {
		{ "P", "P", "C" }, { "P", "P", "C" }, { "P", "P", "C" },
		{ "G a-- * A! B5!", "G -b- * A5! B!", "C" } } },
	{ "PREEMPT AND ABORT nobody", PR_PREEMPT_AND_ABORT, OWN, 'q', SAME, .outcome =
		ALL("C", "C", "C") },
	{ "REGISTER AND MOVE to C", PR_REGISTER_AND_MOVE, OWN, 'x', 15, 15, port_names[2], 1,
		.outcome = { { "F", "F", "C" }, { "G abx C", "C", "C" }, { "G abx C", "C", "C" },
			     { "C", "C", "C" } } },
	{ "REGISTER AND MOVE to C, unregister", PR_REGISTER_AND_MOVE, OWN, 'x', 0, 0, port_names[2],
		1, true, { { "F", "F", "C" }, { "G -bx C", "C", "C" }, { "G -bx C", "C", "C" },
			   { "C", "C", "C" } } },
	{ "REGISTER AND MOVE to B", PR_REGISTER_AND_MOVE, OWN, 'x', 0, 0, port_names[1], 1,
		.outcome = { { "F", "F", "C" }, { "G ax- B", "C", "C" }, { "G ax- B", "C", "C" },
			     { "C", "C", "C" } } },
	{ "REGISTER AND MOVE to B, unregister", PR_REGISTER_AND_MOVE, OWN, 'b', 0, 0, port_names[1],
		1, true, { { "F", "F", "C" }, { "G -b- B", "C", "C" }, { "G -b- B", "C", "C" },
			   { "C", "C", "C" } } },
	{ "REGISTER AND MOVE without a key", PR_REGISTER_AND_MOVE, OWN, 0, 0, 0, port_names[1], 1,
		.outcome = { { "F", "F", "C" }, { "P", "C", "C" }, { "P", "C", "C" },
			     { "C", "C", "C" } } },
	{ "REGISTER AND MOVE with a wrong key", PR_REGISTER_AND_MOVE, 'z', 'x', 0, 0, port_names[1],
		1, .outcome = ALL("C", "C", "C") },
	{ "REGISTER AND MOVE to no port", PR_REGISTER_AND_MOVE, OWN, 'x', 0, 0, port_names[1], 3,
		.outcome = { { "F", "F", "C" }, { "P", "C", "C" }, { "P", "C", "C" },
			     { "C", "C", "C" } } },
	{ "REGISTER AND MOVE to itself", PR_REGISTER_AND_MOVE, OWN, 'x', 0, 0, port_names[0], 2,
		.outcome = { { "F", "F", "C" }, { "P", "C", "C" }, { "P", "C", "C" },
			     { "C", "C", "C" } } },
};
/* clang-format on */

static const char result_letters[PR_RESULT_COUNT] = {
	[PR_GOOD] = 'G',        [PR_CONFLICT] = 'C',   [PR_BAD_ACTION] = 'F',
	[PR_BAD_TYPE] = 'T',    [PR_BAD_LENGTH] = 'L', [PR_BAD_PARAMETER] = 'P',
	[PR_BAD_RELEASE] = 'R', [PR_NO_ROOM] = 'N',
};

/* A and B registered, and A's reservation. */
static void prepare(struct pr_world *world, uint8_t type)
{
	struct pr_wire wire;

	world_init(world, 8);
	for (unsigned i = 0; i < 2; i++) {
		wire_init(&wire, PR_REGISTER, 0, 0, 'a' + i);
		cr_assert_eq(world_send(world, i, &wire), PR_GOOD);
	}
	wire_init(&wire, PR_RESERVE, type, 'a', 0);
	if (type != 0)
		cr_assert_eq(world_send(world, 0, &wire), PR_GOOD);
	cr_assert_eq(world->state.generation, 2);
}

static char key_of(const struct pr_world *world, unsigned who)
{
	uint32_t at = pr_find(&world->state, &world->nexus[who]);

	return at == PR_NOBODY ? '-' : (char)world->state.registrants[at].key;
}

static char holder_of(const struct pr_world *world)
{
	if (world->state.type == PR_NONE)
		return '-';
	for (unsigned i = 0; i < 3; i++) {
		if (world->state.holder != PR_NOBODY &&
		    world->state.holder == pr_find(&world->state, &world->nexus[i]))
			return (char)('A' + i);
	}
	return '*';
}

static char *write_marks(const struct pr_world *world, char *at)
{
	static const char letters[] = {'3', '5', '4', '!'};

	/* A and B stood first and second before. */
	for (unsigned who = 0; who < 2; who++) {
		if (world->effect.marks[who] == 0)
			continue;
		*at++ = ' ';
		*at++ = (char)('A' + who);
		for (unsigned bit = 0; bit < 4; bit++) {
			if ((world->effect.marks[who] & 1u << bit) != 0)
				*at++ = letters[bit];
		}
	}
	return at;
}

static void write_outcome(const struct pr_world *world, enum pr_result result, char *out)
{
	*out++ = result_letters[result];
	if (result == PR_GOOD) {
		out += sprintf(out, "%s %c%c%c %c", world->effect.changed ? "" : "=",
			       key_of(world, 0), key_of(world, 1), key_of(world, 2),
			       holder_of(world));
		out = write_marks(world, out);
	}
	*out = '\0';
}

static unsigned some_type(unsigned wanted, uint8_t type)
{
	if (wanted == SAME)
		return type != 0 ? type : PR_WRITE_EXCLUSIVE;
	return wanted == OTHER ? (type == 5 ? PR_EXCLUSIVE_ACCESS_RO : PR_WRITE_EXCLUSIVE_RO)
			       : wanted;
}

static bool counts(unsigned action)
{
	return action != PR_RESERVE && action != PR_RELEASE;
}

static void check(const struct action_case *one, enum type_class class, uint8_t type,
		  unsigned sender)
{
	static const unsigned own_keys[] = {'a', 'b', 0};
	struct pr_world world;
	struct pr_wire wire;
	char wanted[32];
	char found[32];
	char *as_it_was;
	enum pr_result result;

	prepare(&world, type);
	wire_init(&wire, one->action, one->scope << 4 | some_type(one->type, type),
		  one->key == OWN ? own_keys[sender] : one->key, one->action_key);
	if (one->move_to != NULL)
		wire_move(&wire, one->move_to, (uint16_t)one->move_port, one->unregister);
	strcpy(wanted, one->outcome[class][sender]);
	as_it_was = strchr(wanted, '@');
	if (as_it_was != NULL)
		*as_it_was = holder_of(&world);
	result = world_send(&world, sender, &wire);
	write_outcome(&world, result, found);
	cr_expect_str_eq(found, wanted, "%s from %c, type %u: found \"%s\", not \"%s\"", one->what,
			 'A' + (int)sender, type, found, wanted);
	cr_expect_eq(world.state.generation,
		     2u + (result == PR_GOOD && world.effect.changed && counts(one->action)),
		     "%s: generation", one->what);
	cr_expect_eq(world.effect.aborts, strchr(wanted, '!') != NULL);
	world_clear(&world);
}

Test(pr_out, every_action_from_everybody_with_every_type)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned class = 0; class < CLASSES; class ++) {
			for (unsigned sender = 0; sender < 3; sender++) {
				check(&cases[i], class, class_types[class][0], sender);
				check(&cases[i], class, class_types[class][1], sender);
			}
		}
	}
}

/* SPC-4 table 65, its columns. */
Test(pr_out, what_each_type_keeps_whom_from)
{
	static const struct {
		uint8_t type;
		enum scsi_guard holder, registrant, stranger;
	} rows[] = {
		{0, SCSI_GUARD_NONE, SCSI_GUARD_NONE, SCSI_GUARD_NONE},
		{1, SCSI_GUARD_NONE, SCSI_GUARD_WRITE_EXCLUSIVE, SCSI_GUARD_WRITE_EXCLUSIVE},
		{3, SCSI_GUARD_NONE, SCSI_GUARD_EXCLUSIVE_ACCESS, SCSI_GUARD_EXCLUSIVE_ACCESS},
		{5, SCSI_GUARD_NONE, SCSI_GUARD_NONE, SCSI_GUARD_WRITE_EXCLUSIVE},
		{6, SCSI_GUARD_NONE, SCSI_GUARD_NONE, SCSI_GUARD_EXCLUSIVE_ACCESS},
		{7, SCSI_GUARD_NONE, SCSI_GUARD_NONE, SCSI_GUARD_WRITE_EXCLUSIVE},
		{8, SCSI_GUARD_NONE, SCSI_GUARD_NONE, SCSI_GUARD_EXCLUSIVE_ACCESS},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pr_world world;

		prepare(&world, rows[i].type);
		cr_expect_eq(pr_guard(&world.state, 0), rows[i].holder);
		cr_expect_eq(pr_guard(&world.state, 1), rows[i].registrant);
		cr_expect_eq(pr_guard(&world.state, PR_NOBODY), rows[i].stranger);
		world_clear(&world);
	}
}

/* -- Several nexuses with one key: a host with two paths -- */

static const struct pr_nexus *path(const char *name, uint16_t port)
{
	static struct pr_nexus nexus[4];
	static unsigned at;
	struct pr_nexus *one = &nexus[at++ % 4];

	pr_nexus_set(one, name, strlen(name), port);
	return one;
}

static void send_good(struct pr_world *world, const struct pr_nexus *from, unsigned action,
		      unsigned type, uint64_t key, uint64_t action_key)
{
	struct pr_wire wire;

	wire_init(&wire, action, type, key, action_key);
	cr_assert_eq(world_send_from(world, from, &wire), PR_GOOD);
}

Test(pr_out, a_key_names_all_nexuses_that_have_it)
{
	struct pr_world world;

	world_init(&world, 8);
	send_good(&world, path(port_names[0], 1), PR_REGISTER, 0, 0, 'a');
	send_good(&world, path(port_names[0], 2), PR_REGISTER, 0, 0, 'a');
	send_good(&world, path(port_names[1], 1), PR_REGISTER, 0, 0, 'b');
	send_good(&world, path(port_names[0], 2), PR_RESERVE, 5, 'a', 0);
	send_good(&world, path(port_names[1], 1), PR_PREEMPT_AND_ABORT, 5, 'b', 'a');
	cr_expect_eq(world.state.count, 1);
	cr_expect_eq(world.state.holder, 0);
	cr_expect_eq(world.state.registrants[0].key, 'b');
	cr_expect_eq(world.effect.marks[0], PR_LOST_REGISTRATION | PR_ABORTED);
	cr_expect_eq(world.effect.marks[1], PR_LOST_REGISTRATION | PR_ABORTED);
	cr_expect_eq(world.effect.marks[2], 0);
	world_clear(&world);
}

/* The holder's other path loses its registration when the holder preempts its own key. */
Test(pr_out, a_holder_that_preempts_itself_keeps_its_own_registration_only)
{
	struct pr_world world;

	world_init(&world, 8);
	send_good(&world, path(port_names[0], 1), PR_REGISTER, 0, 0, 'a');
	send_good(&world, path(port_names[0], 2), PR_REGISTER, 0, 0, 'a');
	send_good(&world, path(port_names[0], 2), PR_RESERVE, 1, 'a', 0);
	send_good(&world, path(port_names[0], 2), PR_PREEMPT, 3, 'a', 'a');
	cr_expect_eq(world.state.count, 1);
	cr_expect_eq(world.state.registrants[0].nexus.target_port, 2);
	cr_expect_eq(world.state.type, PR_EXCLUSIVE_ACCESS);
	cr_expect_eq(world.effect.marks[0], PR_LOST_REGISTRATION);
	world_clear(&world);
}

/* -- ALL_TG_PT -- */

static enum pr_result send_all(struct pr_world *world, const struct pr_nexus *from, unsigned action,
			       uint64_t key, uint64_t action_key)
{
	struct pr_wire wire;

	wire_init(&wire, action, 0, key, action_key);
	wire.list[20] = 0x04;
	return world_send_from(world, from, &wire);
}

static uint64_t key_at(const struct pr_world *world, const char *name, uint16_t port)
{
	uint32_t at = pr_find(&world->state, path(name, port));

	return at == PR_NOBODY ? 0 : world->state.registrants[at].key;
}

Test(pr_out, all_target_ports)
{
	struct pr_world world;

	world_init(&world, 8);
	cr_expect_eq(send_all(&world, path(port_names[0], 2), PR_REGISTER, 0, 'a'), PR_GOOD);
	cr_expect_eq(key_at(&world, port_names[0], 1), 'a');
	cr_expect_eq(key_at(&world, port_names[0], 2), 'a');
	cr_expect_eq(world.state.generation, 1);
	/* One of them by itself. */
	send_good(&world, path(port_names[0], 1), PR_REGISTER, 0, 'a', 'x');
	cr_expect_eq(key_at(&world, port_names[0], 2), 'a');
	/* Both again: the other's key is another. */
	cr_expect_eq(send_all(&world, path(port_names[0], 2), PR_REGISTER, 'a', 'y'), PR_CONFLICT);
	cr_expect_eq(key_at(&world, port_names[0], 2), 'a');
	cr_expect_eq(send_all(&world, path(port_names[0], 2), PR_REGISTER_AND_IGNORE, 0, 'y'),
		     PR_GOOD);
	cr_expect_eq(key_at(&world, port_names[0], 1), 'y');
	/* One is new, the other changes its key. */
	send_good(&world, path(port_names[0], 1), PR_REGISTER, 0, 'y', 0);
	cr_expect_eq(send_all(&world, path(port_names[0], 2), PR_REGISTER, 'y', 'v'), PR_GOOD);
	cr_expect_eq(key_at(&world, port_names[0], 1), 'v');
	/* All away, also from a nexus that is not registered itself. */
	send_good(&world, path(port_names[0], 1), PR_REGISTER, 0, 'v', 0);
	cr_expect_eq(send_all(&world, path(port_names[0], 1), PR_REGISTER_AND_IGNORE, 0, 0),
		     PR_GOOD);
	cr_expect_eq(world.state.count, 0);
	cr_expect_eq(send_all(&world, path(port_names[0], 1), PR_REGISTER, 0, 0), PR_GOOD);
	cr_expect_not(world.effect.changed);
	/* The reservation goes with the holder's registration. */
	cr_expect_eq(send_all(&world, path(port_names[0], 1), PR_REGISTER, 0, 'a'), PR_GOOD);
	send_good(&world, path(port_names[1], 1), PR_REGISTER, 0, 0, 'b');
	send_good(&world, path(port_names[0], 2), PR_RESERVE, 6, 'a', 0);
	cr_expect_eq(send_all(&world, path(port_names[0], 1), PR_REGISTER, 'a', 0), PR_GOOD);
	cr_expect_eq(world.state.type, PR_NONE);
	cr_expect_eq(world.effect.marks[2], PR_SAW_RELEASE);
	world_clear(&world);
}

/* -- SPEC_I_PT -- */

static enum pr_result send_spec(struct pr_world *world, unsigned sender, uint64_t key,
				uint64_t action_key, uint8_t flags)
{
	struct pr_wire wire;

	wire_init(&wire, PR_REGISTER, 0, key, action_key);
	wire.list[20] = flags;
	wire_spec(&wire);
	wire_id(&wire, port_names[1]);
	wire_id(&wire, port_names[2]);
	wire_spec_end(&wire);
	return world_send(world, sender, &wire);
}

Test(pr_out, initiator_ports_by_name)
{
	struct pr_world world;

	world_init(&world, 8);
	cr_expect_eq(send_spec(&world, 0, 'z', 'a', 0), PR_CONFLICT);
	cr_expect_eq(send_spec(&world, 0, 0, 0, 0), PR_GOOD);
	cr_expect_eq(world.state.count, 0);
	cr_expect_eq(send_spec(&world, 0, 0, 'a', 0x01), PR_GOOD);
	cr_expect_eq(world.state.count, 3);
	cr_expect_eq(world.state.generation, 1);
	cr_expect(world.state.persists);
	cr_expect_eq(key_at(&world, port_names[2], 1), 'a');
	/* Not from a registered one, nor for one. */
	cr_expect_eq(send_spec(&world, 0, 'a', 'x', 0), PR_BAD_PARAMETER);
	cr_expect_eq(world.effect.field, 20);
	cr_expect_eq(send_spec(&world, 0, 'a', 0, 0), PR_BAD_PARAMETER);
	cr_expect_eq(send_spec(&world, 0, 'q', 0, 0), PR_CONFLICT);
	send_good(&world, &world.nexus[0], PR_REGISTER, 0, 'a', 0);
	cr_expect_eq(send_spec(&world, 0, 0, 'x', 0), PR_BAD_PARAMETER);
	cr_expect_eq(world.effect.field, 28);
	cr_expect_eq(world.state.count, 2);
	world_clear(&world);
}

Test(pr_out, initiator_ports_by_name_at_all_target_ports)
{
	struct pr_world world;

	world_init(&world, 8);
	/* The sender may name itself. */
	cr_expect_eq(send_spec(&world, 1, 0, 'a', 0x04), PR_GOOD);
	cr_expect_eq(world.state.count, 4);
	cr_expect_eq(key_at(&world, port_names[2], 2), 'a');
	cr_expect_eq(key_at(&world, port_names[0], 1), 0);
	world_clear(&world);
}

Test(pr_out, registrations_are_bounded_and_all_or_nothing)
{
	struct pr_world world;

	world_init(&world, 2);
	cr_expect_eq(send_spec(&world, 0, 0, 'a', 0), PR_NO_ROOM);
	cr_expect_eq(world.state.count, 0);
	cr_expect_eq(world.state.generation, 0);
	send_good(&world, &world.nexus[0], PR_REGISTER, 0, 0, 'a');
	send_good(&world, &world.nexus[1], PR_REGISTER, 0, 0, 'b');
	struct pr_wire wire;

	wire_init(&wire, PR_REGISTER_AND_IGNORE, 0, 0, 'c');
	cr_expect_eq(world_send(&world, 2, &wire), PR_NO_ROOM);
	send_good(&world, &world.nexus[0], PR_RESERVE, 1, 'a', 0);
	wire_init(&wire, PR_REGISTER_AND_MOVE, 0, 'a', 'c');
	wire_move(&wire, port_names[2], 1, true);
	cr_expect_eq(world_send(&world, 0, &wire), PR_NO_ROOM);
	cr_expect_eq(world.state.count, 2);
	world_clear(&world);
}

Test(pr_out, as_many_registrants_as_promised)
{
	struct pr_world world;
	struct pr_wire wire;
	char name[64];

	world_init(&world, PR_REGISTRANTS_MAX);
	for (unsigned i = 0; i <= PR_REGISTRANTS_MAX; i++) {
		struct pr_nexus nexus;

		snprintf(name, sizeof(name), "iqn.2026-11.io.ringsan:h,i,0x%012x", i);
		pr_nexus_set(&nexus, name, strlen(name), 1);
		wire_init(&wire, PR_REGISTER, 0, 0, i + 1);
		cr_assert_eq(world_send_from(&world, &nexus, &wire),
			     i < PR_REGISTRANTS_MAX ? PR_GOOD : PR_NO_ROOM);
	}
	world_clear(&world);
}

/* -- APTPL: the last valid one counts -- */

Test(pr_out, the_last_aptpl_counts)
{
	struct pr_world world;
	struct pr_wire wire;

	prepare(&world, PR_WRITE_EXCLUSIVE);
	wire_init(&wire, PR_REGISTER, 0, 'a', 'a');
	wire.list[20] = 0x01;
	cr_assert_eq(world_send(&world, 0, &wire), PR_GOOD);
	cr_expect(world.state.persists);
	/* Others ignore it. */
	wire_init(&wire, PR_RELEASE, PR_WRITE_EXCLUSIVE, 'a', 0);
	cr_assert_eq(world_send(&world, 0, &wire), PR_GOOD);
	cr_expect(world.state.persists);
	wire_init(&wire, PR_RESERVE, PR_WRITE_EXCLUSIVE, 'a', 0);
	cr_assert_eq(world_send(&world, 0, &wire), PR_GOOD);
	wire_init(&wire, PR_REGISTER_AND_MOVE, 0, 'a', 'b');
	wire_move(&wire, port_names[1], 1, false);
	cr_assert_eq(world_send(&world, 0, &wire), PR_GOOD);
	cr_expect_not(world.state.persists);
	wire_init(&wire, PR_REGISTER_AND_MOVE, 0, 'b', 'a');
	wire_move(&wire, port_names[0], 1, false);
	wire.list[17] |= 0x01;
	cr_assert_eq(world_send(&world, 1, &wire), PR_GOOD);
	cr_expect(world.state.persists);
	wire_init(&wire, PR_REGISTER_AND_IGNORE, 0, 0, 'c');
	cr_assert_eq(world_send(&world, 2, &wire), PR_GOOD);
	cr_expect_not(world.state.persists);
	world_clear(&world);
}

Test(pr_out, the_generation_wraps)
{
	struct pr_world world;

	world_init(&world, 8);
	world.state.generation = UINT32_MAX;
	send_good(&world, &world.nexus[0], PR_REGISTER, 0, 0, 'a');
	cr_expect_eq(world.state.generation, 0);
	world_clear(&world);
}
