/*
 * Operations under power cuts. A kill leaves all that was done; a power cut only what was made
 * durable, and of the rest anything. An operation runs in a child that is stopped at its system
 * calls, and a model notes which names and contents are durable: those of a file from its fsync on,
 * those of a folder from the folder's. After each call every state that a cut may leave is made in
 * another folder: each subset of the links, renames and removals since the folder's last fsync, in
 * their order; each file named there with its durable or its present content, and so its
 * attributes. It must show the old state or the new one, and recovery must end in one of them, also
 * where that is cut in the same way (all states' with FAMILY_CUTS set, else each 16th's).
 *
 * The model is weaker than file systems are: most keep the order of changes of one folder, and make
 * a new file's name durable with its content. Modes and owners are not followed.
 */
#include "tests/unit/lun_family_trial.h"

#define NAMES_MAX 24u
#define FILES_MAX 32u
#define PENDING_MAX 12u
#define STATES_MAX 4096u
#define DEPTHS 2u /* The operation, and its recovery. */

TestSuite(family_power, .init = begin, .fini = end);

/* -- The model -- */

enum {
	DURABLE,
	PRESENT,
	VIEWS
};

struct content {
	uint8_t *bytes;
	size_t length;
	uint64_t hash;
};

struct attributes {
	char identity[16];
	bool is_base;
};

struct file {
	uint64_t inode;
	struct content data[VIEWS];
	struct attributes attributes[VIEWS];
};

/* Atomic: of a rename both happen or neither. */
struct naming {
	bool in_b;
	unsigned count;
	struct {
		unsigned name;
		int file; /* -1: none has it any more. */
	} entries[2];
};

struct model {
	char root[96];
	char names[NAMES_MAX][64]; /* From `root` on. */
	int files_of[VIEWS][NAMES_MAX];
	unsigned name_count;
	struct file files[FILES_MAX];
	unsigned file_count;
	struct naming pending[PENDING_MAX];
	unsigned pending_count;
};

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static unsigned name_of(struct model *model, const char *name)
{
	unsigned i = 0;

	while (i < model->name_count && strcmp(model->names[i], name) != 0)
		i++;
	if (i < model->name_count)
		return i;
	cr_assert_lt(i, NAMES_MAX);
	cr_assert_lt(strlen(name), sizeof(model->names[i]));
	(void)snprintf(model->names[i], sizeof(model->names[i]), "%s", name);
	model->files_of[DURABLE][i] = model->files_of[PRESENT][i] = -1;
	return model->name_count++;
}

/* What the file at `path` holds now. */
static void note_content(struct file *file, const char *path)
{
	struct content now = {0};
	struct attributes *attributes = &file->attributes[PRESENT];
	int fd = open(path, O_RDONLY);
	struct stat st;

	cr_assert(fd >= 0 && fstat(fd, &st) == 0, "%s", path);
	now.length = (size_t)st.st_size;
	now.bytes = malloc(now.length + 1);
	cr_assert_eq(pread(fd, now.bytes, now.length, 0), (ssize_t)now.length);
	now.hash = hash_bytes(1, now.bytes, now.length);
	if (file->data[PRESENT].bytes != file->data[DURABLE].bytes)
		free(file->data[PRESENT].bytes);
	file->data[PRESENT] = now;
	memset(attributes, 0, sizeof(*attributes));
	(void)!fgetxattr(fd, IDENTITY, attributes->identity, sizeof(attributes->identity) - 1);
	attributes->is_base = fgetxattr(fd, BASE, NULL, 0) >= 0;
	close(fd);
}

static void make_data_durable(struct file *file)
{
	if (file->data[DURABLE].bytes != file->data[PRESENT].bytes)
		free(file->data[DURABLE].bytes);
	file->data[DURABLE] = file->data[PRESENT];
}

static int add_file(struct model *model, uint64_t inode)
{
	cr_assert_lt(model->file_count, FILES_MAX);
	model->files[model->file_count] = (struct file){.inode = inode};
	return (int)model->file_count++;
}

/* A number may be used again: the last one. -1: none. */
static int find_file(const struct model *model, uint64_t inode)
{
	int i = (int)model->file_count - 1;

	while (i >= 0 && model->files[i].inode != inode)
		i--;
	return i;
}

static void note_folder(struct model *model, const char *prefix)
{
	DIR *dir = opendir(prefix[0] ? prefix : ".");
	const struct dirent *entry;

	while ((entry = readdir(dir)) != NULL) {
		char name[64];
		unsigned at;
		int file;

		if (entry->d_type != DT_REG)
			continue;
		(void)snprintf(name, sizeof(name), "%s%.60s", prefix, entry->d_name);
		file = find_file(model, entry->d_ino);
		if (file < 0) {
			file = add_file(model, entry->d_ino);
			note_content(&model->files[file], name);
			make_data_durable(&model->files[file]);
			model->files[file].attributes[DURABLE] =
				model->files[file].attributes[PRESENT];
		}
		at = name_of(model, name);
		model->files_of[DURABLE][at] = model->files_of[PRESENT][at] = file;
	}
	closedir(dir);
}

/* All of the current folder is durable. */
static struct model *model_make(void)
{
	struct model *model = calloc(1, sizeof(*model));

	cr_assert_not_null(getcwd(model->root, sizeof(model->root)));
	note_folder(model, "");
	note_folder(model, "b/");
	return model;
}

static void model_free(struct model *model)
{
	for (unsigned i = 0; i < model->file_count; i++) {
		make_data_durable(&model->files[i]);
		free(model->files[i].data[DURABLE].bytes);
	}
	free(model);
}

static void apply(const struct naming *naming, int files_of[NAMES_MAX])
{
	for (unsigned i = 0; i < naming->count; i++)
		files_of[naming->entries[i].name] = naming->entries[i].file;
}

static void add_naming(struct model *model, const struct naming *naming)
{
	cr_assert_lt(model->pending_count, PENDING_MAX);
	model->pending[model->pending_count++] = *naming;
	apply(naming, model->files_of[PRESENT]);
}

static void make_folder_durable(struct model *model, bool b)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < model->pending_count; i++) {
		if (model->pending[i].in_b == b)
			apply(&model->pending[i], model->files_of[DURABLE]);
		else
			model->pending[kept++] = model->pending[i];
	}
	model->pending_count = kept;
}

/* -- System calls -- */

struct call {
	long number;
	uint64_t args[4];
};

static void read_string(pid_t child, uint64_t at, char out[64])
{
	char path[32];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", child);
	fd = open(path, O_RDONLY);
	memset(out, 0, 64);
	cr_assert_gt(pread(fd, out, 63, (off_t)at), 0);
	close(fd);
}

/* "", or "b/". */
static const char *folder_of(const struct model *model, pid_t child, uint64_t fd)
{
	char link[64];
	char path[128] = "";

	if ((int)fd == AT_FDCWD)
		return "";
	(void)snprintf(link, sizeof(link), "/proc/%d/fd/%d", child, (int)fd);
	cr_assert_gt(readlink(link, path, sizeof(path) - 1), 0);
	cr_assert(strncmp(path, model->root, strlen(model->root)) == 0, "%s", path);
	return path[strlen(model->root)] == '/' ? "b/" : "";
}

static unsigned named(struct model *model, pid_t child, uint64_t fd, uint64_t name)
{
	char text[64];
	char path[64];

	read_string(child, name, text);
	(void)snprintf(path, sizeof(path), "%s%.60s", folder_of(model, child, fd), text);
	return name_of(model, path);
}

static bool is_in_b(const struct model *model, unsigned name)
{
	return strncmp(model->names[name], "b/", 2) == 0;
}

static void note_naming(struct model *model, pid_t child, const struct call *call)
{
	const uint64_t *args = call->args;
	unsigned name = named(model, child, args[0], args[1]);
	struct naming naming = {.in_b = is_in_b(model, name), .count = 1};

	naming.entries[0].name = name;
	naming.entries[0].file = -1;
	if (call->number != SYS_unlinkat) {
		unsigned to = named(model, child, args[2], args[3]);

		cr_assert_eq(is_in_b(model, to), naming.in_b);
		naming.count = 2;
		naming.entries[1].name = to;
		naming.entries[1].file = model->files_of[PRESENT][name];
	}
	if (call->number == SYS_linkat)
		naming.entries[0].file = naming.entries[1].file;
	add_naming(model, &naming);
}

static void note_creation(struct model *model, pid_t child, const struct call *call, int fd)
{
	unsigned name = named(model, child, call->args[0], call->args[1]);
	struct naming naming = {.in_b = is_in_b(model, name), .count = 1};
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", child, fd);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_lt(model->files_of[PRESENT][name], 0);
	naming.entries[0].name = name;
	naming.entries[0].file = add_file(model, st.st_ino);
	note_content(&model->files[naming.entries[0].file], path);
	make_data_durable(&model->files[naming.entries[0].file]);
	add_naming(model, &naming);
}

static void note_change(struct model *model, pid_t child, const struct call *call)
{
	bool syncs = call->number == SYS_fsync || call->number == SYS_fdatasync;
	char path[64];
	struct stat st;
	struct file *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", child, (int)call->args[0]);
	cr_assert_eq(stat(path, &st), 0);
	if (S_ISDIR(st.st_mode)) {
		make_folder_durable(model, folder_of(model, child, call->args[0])[0] != '\0');
		return;
	}
	cr_assert_geq(find_file(model, st.st_ino), 0);
	file = &model->files[find_file(model, st.st_ino)];
	if (!syncs) {
		note_content(file, path);
		return;
	}
	make_data_durable(file);
	if (call->number == SYS_fsync)
		file->attributes[DURABLE] = file->attributes[PRESENT];
}

/* It went well. */
static void note_call(struct model *model, pid_t child, const struct call *call, int64_t result)
{
	if (call->number == SYS_openat) {
		if (((int)call->args[2] & O_CREAT) != 0)
			note_creation(model, child, call, (int)result);
	} else if (is_naming(call->number) || call->number == SYS_unlinkat) {
		note_naming(model, child, call);
	} else {
		note_change(model, child, call);
	}
}

/* -- What a cut leaves -- */

/* One of the states that it may. */
struct cut {
	int files_of[NAMES_MAX];
	unsigned char data[FILES_MAX], attributes[FILES_MAX]; /* Views. */
};

struct exploration {
	const struct operation *operation;
	int (*run)(void);
	unsigned depth;
	struct model *model;
	bool has_ended;
	unsigned calls;
};

/* Of one operation; those of its recovery as well. */
static struct {
	uint64_t seen[DEPTHS][STATES_MAX];
	unsigned count[DEPTHS];
} states;

static bool is_new(const struct exploration *ex, const struct cut *cut)
{
	uint64_t hash = ex->has_ended;

	for (unsigned i = 0; i < ex->model->name_count; i++) {
		int file = cut->files_of[i];
		const struct file *of = &ex->model->files[file < 0 ? 0 : file];

		if (file < 0)
			continue;
		hash = hash_bytes(hash, ex->model->names[i], strlen(ex->model->names[i]) + 1);
		hash = hash_bytes(hash, &of->inode, sizeof(of->inode));
		hash = hash_bytes(hash, &of->data[cut->data[file]].hash, sizeof(uint64_t));
		hash = hash_bytes(hash, &of->attributes[cut->attributes[file]],
				  sizeof(struct attributes));
	}
	for (unsigned i = 0; i < states.count[ex->depth]; i++)
		if (states.seen[ex->depth][i] == hash)
			return false;
	cr_assert_lt(states.count[ex->depth], STATES_MAX);
	states.seen[ex->depth][states.count[ex->depth]++] = hash;
	return true;
}

static void make_file(const struct file *file, const struct cut *cut, int at, const char *name)
{
	const struct content *data = &file->data[cut->data[at]];
	const struct attributes *attributes = &file->attributes[cut->attributes[at]];
	int fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0600);

	cr_assert_geq(fd, 0, "%s", name);
	cr_assert_eq(pwrite(fd, data->bytes, data->length, 0), (ssize_t)data->length);
	if (attributes->identity[0] != '\0')
		cr_assert_eq(fsetxattr(fd, IDENTITY, attributes->identity,
				       strlen(attributes->identity), 0),
			     0);
	if (attributes->is_base)
		cr_assert_eq(fsetxattr(fd, BASE, "1", 1, 0), 0);
	close(fd);
}

static void make_state(const struct model *model, const struct cut *cut)
{
	unsigned made[FILES_MAX];
	bool is_made[FILES_MAX] = {false};

	for (unsigned i = 0; i < model->name_count; i++) {
		int file = cut->files_of[i];

		if (file < 0)
			continue;
		if (is_made[file])
			cr_assert_eq(link(model->names[made[file]], model->names[i]), 0);
		else
			make_file(&model->files[file], cut, file, model->names[i]);
		is_made[file] = true;
		made[file] = i;
	}
}

/* An overlay of the operation's has a base that is marked: nobody writes to it. */
static void expect_marked(const struct operation *operation, unsigned call)
{
	static struct layers layers;

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		for (unsigned name = 0; name < 3; name++) {
			if (access(units[i][name], F_OK) != 0)
				continue;
			if (open_layers(&layers, units[i][name]) && layers.count > 1 &&
			    layers.plains[0].header.cluster_bits == QCOW2_CREATE_CLUSTER_BITS)
				cr_expect_geq(fgetxattr(layers.fds[1], BASE, NULL, 0), 0,
					      "%s, %u: what is below %s is not marked",
					      operation->name, call, units[i][name]);
			for (unsigned l = 0; l < layers.count; l++)
				close(layers.fds[l]);
		}
	}
}

/* What was answered is durable. */
static void expect_done(const struct operation *operation)
{
	cr_expect(are_all(operation->undoes ? operation->old : operation->new),
		  "%s: its end is not durable", operation->name);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		cr_expect_not(has_identity(units[i][1]), "%s: %s", operation->name, units[i][1]);
}

static void explore(struct exploration *ex);

static int run_recovery(void)
{
	recover_all();
	return 0;
}

/* What takes longest is done in one of so many states. */
static bool is_its_turn(unsigned step)
{
	return getenv("FAMILY_CUTS") || states.count[0] % step == 4 % step;
}

static void check_state(const struct exploration *ex)
{
	struct exploration recovery = {
		.operation = ex->operation, .run = run_recovery, .depth = ex->depth + 1};

	expect_served(ex->operation, ex->calls);
	if (has_attributes)
		expect_marked(ex->operation, ex->calls);
	if (ex->has_ended && ex->depth == 0)
		expect_done(ex->operation);
	if (recovery.depth < DEPTHS && is_its_turn(16))
		explore(&recovery);
	else
		recover_all();
	expect_clean(ex->operation, ex->calls);
	if (ex->depth == 0 && is_its_turn(4))
		expect_repeatable(ex->operation, ex->calls);
}

static void try_state(const struct exploration *ex, const struct cut *cut)
{
	char name[16];

	if (!is_new(ex, cut))
		return;
	(void)snprintf(name, sizeof(name), "cut%u", ex->depth);
	cr_assert_eq(chdir(folder), 0);
	cr_assert(mkdir(name, 0700) == 0 && chdir(name) == 0 && mkdir("b", 0700) == 0);
	make_state(ex->model, cut);
	check_state(ex);
	cr_expect_eq(empty_folder(".") + empty_folder("b"), 0, "%s, %u: a file is left",
		     ex->operation->name, ex->calls);
	cr_assert(rmdir("b") == 0 && chdir(folder) == 0 && rmdir(name) == 0);
	cr_assert_eq(chdir(ex->model->root), 0);
}

/* What named files may hold. */
static void try_contents(const struct exploration *ex, struct cut *cut)
{
	const struct model *model = ex->model;
	unsigned char *open_views[2 * FILES_MAX];
	unsigned count = 0;

	memset(cut->data, DURABLE, sizeof(cut->data));
	memset(cut->attributes, DURABLE, sizeof(cut->attributes));
	for (int file = 0; file < (int)model->file_count; file++) {
		const struct file *of = &model->files[file];
		bool is_named = false;

		for (unsigned i = 0; i < model->name_count; i++)
			is_named = is_named || cut->files_of[i] == file;
		if (is_named && of->data[DURABLE].hash != of->data[PRESENT].hash)
			open_views[count++] = &cut->data[file];
		if (is_named && memcmp(&of->attributes[DURABLE], &of->attributes[PRESENT],
				       sizeof(struct attributes)) != 0)
			open_views[count++] = &cut->attributes[file];
	}
	for (uint32_t choice = 0; choice < UINT32_C(1) << count; choice++) {
		for (unsigned i = 0; i < count; i++)
			*open_views[i] = (choice >> i & 1) != 0 ? PRESENT : DURABLE;
		try_state(ex, cut);
	}
}

static void try_cuts(const struct exploration *ex)
{
	const struct model *model = ex->model;

	for (uint32_t choice = 0; choice < UINT32_C(1) << model->pending_count; choice++) {
		struct cut cut;

		memcpy(cut.files_of, model->files_of[DURABLE], sizeof(cut.files_of));
		for (unsigned i = 0; i < model->pending_count; i++)
			if ((choice >> i & 1) != 0)
				apply(&model->pending[i], cut.files_of);
		try_contents(ex, &cut);
	}
}

/* -- All cuts of one run -- */

/* The next call that has changed something; false: it came to its end. */
static bool next_call(pid_t child, struct call *call, int64_t *result)
{
	struct __ptrace_syscall_info info;
	int status;

	for (;;) {
		cr_assert_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
		cr_assert_eq(waitpid(child, &status, 0), child);
		if (WIFEXITED(status)) {
			cr_assert_eq(WEXITSTATUS(status), 0);
			return false;
		}
		cr_assert(WIFSTOPPED(status), "%d", status);
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		cr_assert_gt(ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info), 0);
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
			call->number = (long)info.entry.nr;
			memcpy(call->args, info.entry.args, sizeof(call->args));
		} else if (info.op == PTRACE_SYSCALL_INFO_EXIT && !info.exit.is_error &&
			   is_changing(call->number)) {
			*result = info.exit.rval;
			return true;
		}
	}
}

static void explore(struct exploration *ex)
{
	struct call call = {0};
	int64_t result;
	pid_t child;

	ex->model = model_make();
	child = start(ex->run);
	while (next_call(child, &call, &result)) {
		ex->calls++;
		note_call(ex->model, child, &call, result);
		try_cuts(ex);
	}
	ex->has_ended = true;
	try_cuts(ex);
	model_free(ex->model);
}

Test(family_power, cut_anywhere)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		struct exploration ex = {.operation = &operations[i], .run = operations[i].run};

		memset(states.count, 0, sizeof(states.count));
		begin_trial();
		explore(&ex);
		(void)end_trial();
		cr_expect_gt(states.count[1], 0, "%s", operations[i].name);
		cr_log_info("%s: %u calls, %u states, %u of recovery", operations[i].name, ex.calls,
			    states.count[0], states.count[1]);
	}
}
