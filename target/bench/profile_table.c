/*
 * The profiles: constant data. A new one is a row; tests walk all of them. Weights are shares of
 * commands in per cent. Read next: profile.h.
 */
#include "target/bench/profile.h"

#include "base/attr.h"

#define KIB(n) ((n) << 10)
#define ALL .area_begin_percent = 0, .area_end_percent = 100
#define DATA .area_begin_percent = 0, .area_end_percent = 95
#define LOG .area_begin_percent = 95, .area_end_percent = 100

/* clang-format off */
const struct profile bench_profiles[] = {
	{.name = "vm-boot", .models = "a virtual machine that starts: small reads, short runs, bursts",
	 .sessions = 1, .queue_depth = 4, .burst = 64, .pause_ms = 2,
	 .classes = {
		{.name = "scattered reads", .bytes = KIB(4), .weight = 40, .read_percent = 100, .run = 1, ALL},
		{.name = "libraries", .bytes = KIB(16), .weight = 30, .read_percent = 100, .run = 4, ALL},
		{.name = "read ahead", .bytes = KIB(64), .weight = 20, .read_percent = 100, .run = 8, ALL},
		{.name = "logs and journal", .bytes = KIB(4), .weight = 10, .read_percent = 0, .run = 4, ALL},
	 }},
	{.name = "vdi", .models = "desktops in use: mostly small writes, in bursts",
	 .sessions = 4, .queue_depth = 4, .burst = 32, .pause_ms = 5,
	 .classes = {
		{.name = "pages", .bytes = KIB(4), .weight = 60, .read_percent = 25, .run = 1, ALL},
		{.name = "profiles", .bytes = KIB(8), .weight = 15, .read_percent = 50, .run = 2, ALL},
		{.name = "applications", .bytes = KIB(32), .weight = 15, .read_percent = 80, .run = 4, ALL},
		{.name = "documents", .bytes = KIB(64), .weight = 10, .read_percent = 50, .run = 8, ALL},
	 }},
	{.name = "oltp", .models = "a database: pages of 8 KiB at random, 70 % reads, beside a log",
	 .sessions = 4, .queue_depth = 8,
	 .classes = {
		{.name = "pages", .bytes = KIB(8), .weight = 85, .read_percent = 70, .run = 1, DATA},
		{.name = "log", .bytes = KIB(4), .weight = 10, .read_percent = 0, .run = 0, LOG},
		{.name = "group commit", .bytes = KIB(32), .weight = 5, .read_percent = 0, .run = 0, LOG},
	 }},
	{.name = "fileserver", .models = "shared folders: metadata beside files read and written whole",
	 .sessions = 4, .queue_depth = 8,
	 .classes = {
		{.name = "metadata", .bytes = KIB(4), .weight = 35, .read_percent = 70, .run = 1, ALL},
		{.name = "small files", .bytes = KIB(16), .weight = 25, .read_percent = 75, .run = 2, ALL},
		{.name = "files", .bytes = KIB(64), .weight = 30, .read_percent = 70, .run = 16, ALL},
		{.name = "large files", .bytes = KIB(256), .weight = 10, .read_percent = 60, .run = 32, ALL},
	 }},
	{.name = "backup", .models = "a whole disk read in order, deep, with a glance at metadata",
	 .sessions = 1, .queue_depth = 16,
	 .classes = {
		{.name = "image", .bytes = KIB(1024), .weight = 90, .read_percent = 100, .run = 0, ALL},
		{.name = "tail ends", .bytes = KIB(256), .weight = 5, .read_percent = 100, .run = 0, ALL},
		{.name = "metadata", .bytes = KIB(4), .weight = 5, .read_percent = 100, .run = 1, ALL},
	 }},
	{.name = "restore", .models = "a whole disk written in order, deep",
	 .sessions = 1, .queue_depth = 16,
	 .classes = {
		{.name = "image", .bytes = KIB(1024), .weight = 95, .read_percent = 0, .run = 0, ALL},
		{.name = "metadata", .bytes = KIB(4), .weight = 5, .read_percent = 0, .run = 1, ALL},
	 }},
};
/* clang-format on */
const size_t bench_profile_count = ARRAY_SIZE(bench_profiles);
