/*
 * A panel of a plot: see panel.h. Pure output, any thread.
 */
#include "target/bench/panel.h"

#include <string.h>

#define LEFT 74.0
#define RIGHT 36.0
#define TOP 50.0
#define BOTTOM 52.0
/* A guess at the width of a character of a legend; fonts differ. */
#define LEGEND_CHAR 6.6
#define LEGEND_DASH 22.0

struct svg_point panel_point(const struct panel *panel, double x, double y)
{
	return (struct svg_point){axis_position(&panel->x, x), axis_position(&panel->y, y)};
}

static void draw_x(const struct panel *panel)
{
	for (unsigned i = 0; i < panel->x.tick_count; i++) {
		double x = axis_position(&panel->x, panel->x.ticks[i]);
		char text[32];

		svg_line(panel->to, (struct svg_point){x, panel->y.to},
			 (struct svg_point){x, panel->y.from}, "grid");
		panel->x_label(panel->x.ticks[i], text, sizeof(text));
		svg_text(panel->to, (struct svg_point){x, panel->y.from + 18}, "tick middle", text);
	}
	svg_text(panel->to,
		 (struct svg_point){(panel->x.from + panel->x.to) / 2, panel->y.from + 40},
		 "name middle", panel->x_name);
}

static void draw_y(const struct panel *panel)
{
	for (unsigned i = 0; i < panel->y.tick_count; i++) {
		double y = axis_position(&panel->y, panel->y.ticks[i]);
		char text[32];

		svg_line(panel->to, (struct svg_point){panel->x.from, y},
			 (struct svg_point){panel->x.to, y}, "grid");
		panel->y_label(panel->y.ticks[i], text, sizeof(text));
		svg_text(panel->to, (struct svg_point){panel->x.from - 8, y + 4}, "tick end", text);
	}
	svg_text_upright(panel->to,
			 (struct svg_point){panel->box.x + 18, (panel->y.from + panel->y.to) / 2},
			 "name middle", panel->y_name);
}

void panel_begin(struct panel *panel)
{
	const struct svg_box *box = &panel->box;

	panel->x.from = box->x + LEFT;
	panel->x.to = box->x + box->width - RIGHT;
	panel->y.from = box->y + box->height - BOTTOM;
	panel->y.to = box->y + TOP;
	panel->legend_x = panel->x.to;
	svg_box(panel->to, box, "panel");
	svg_text(panel->to, (struct svg_point){box->x + 18, box->y + 28}, "heading", panel->title);
	draw_x(panel);
	draw_y(panel);
	svg_line(panel->to, (struct svg_point){panel->x.from, panel->y.from},
		 (struct svg_point){panel->x.to, panel->y.from}, "edge");
}

void panel_legend(struct panel *panel, const char *class, const char *text)
{
	double y = panel->box.y + 24;
	double text_x = panel->legend_x - LEGEND_CHAR * (double)strlen(text);

	svg_text(panel->to, (struct svg_point){text_x, y + 4}, "tick", text);
	svg_line(panel->to, (struct svg_point){text_x - LEGEND_DASH - 6, y},
		 (struct svg_point){text_x - 6, y}, class);
	panel->legend_x = text_x - LEGEND_DASH - 22;
}

void panel_note(const struct panel *panel, const char *text)
{
	svg_text(panel->to,
		 (struct svg_point){(panel->x.from + panel->x.to) / 2,
				    (panel->y.from + panel->y.to) / 2},
		 "name middle", text);
}
