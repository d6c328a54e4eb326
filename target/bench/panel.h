/*
 * A panel of a plot: a frame with a title, two scales with grid, marks and units, and a legend.
 *
 * What is drawn into it is plot.c's. Pure output, any thread. Read next: plot.c.
 */
#ifndef TARGET_BENCH_PANEL_H
#define TARGET_BENCH_PANEL_H

#include "target/bench/axis.h"
#include "target/bench/svg.h"

#include <stdio.h>

/* What stands beside a mark. */
typedef void panel_label_fn(double value, char *out, size_t size_bytes);

struct panel {
	FILE *to;
	struct svg_box box; /* Outer edges; the scales lie inside. */
	const char *title;
	const char *x_name;
	const char *y_name;
	panel_label_fn *x_label;
	panel_label_fn *y_label;
	struct axis x; /* Ranges are set by the caller, positions by panel_begin. */
	struct axis y;
	double legend_x; /* The right end of what is still free of the line of the title. */
};

/* Draws everything but the data and the legend. */
void panel_begin(struct panel *panel);
/* Entries are added from right to left. `class` is that of the line that it explains. */
void panel_legend(struct panel *panel, const char *class, const char *text);
/* In the middle, where there is nothing to draw. */
void panel_note(const struct panel *panel, const char *text);
/* Values to a position. */
struct svg_point panel_point(const struct panel *panel, double x, double y);

#endif
