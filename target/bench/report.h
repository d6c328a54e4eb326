/*
 * What a run has found, as a table for people or as one JSON object for programs. Pure output; main
 * thread.
 */
#ifndef TARGET_BENCH_REPORT_H
#define TARGET_BENCH_REPORT_H

#include "base/attr.h"
#include "target/bench/run.h"

#include <stdio.h>

/* -EIO if the stream does not take it. */
int MUST_CHECK bench_report_table(const struct bench_result *result, FILE *to);
/* Its fields are in ringsan.1. -ENOMEM, -EIO. */
int MUST_CHECK bench_report_json(const struct bench_result *result, FILE *to);

#endif
