/*
 * A bar of text. See progress.h.
 */
#include "target/image/progress.h"

#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 40u
#define ALL 1000u

void progress_begin(const struct image_order *order, struct progress *out)
{
	*out = (struct progress){
		.shown = !order->common.json && isatty(STDERR_FILENO) == 1,
		.permille = ALL + 1,
	};
}

void progress_line(unsigned permille, char out[PROGRESS_LINE_BYTES])
{
	char bar[BAR_WIDTH + 1];
	unsigned full = permille * BAR_WIDTH / ALL;

	memset(bar, ' ', BAR_WIDTH);
	memset(bar, '#', full < BAR_WIDTH ? full : BAR_WIDTH);
	bar[BAR_WIDTH] = '\0';
	(void)snprintf(out, PROGRESS_LINE_BYTES, "[%s] %3u.%u %%", bar, permille / 10,
		       permille % 10);
}

void progress_show(struct progress *progress, uint64_t done, uint64_t total)
{
	unsigned permille =
		total == 0 || done >= total ? ALL : (unsigned)((double)done * ALL / (double)total);
	char line[PROGRESS_LINE_BYTES];

	if (!progress->shown || permille == progress->permille)
		return;
	progress->permille = permille;
	progress_line(permille, line);
	(void)fprintf(stderr, "\r%s", line);
	(void)fflush(stderr);
}

void progress_end(struct progress *progress)
{
	if (progress->shown && progress->permille <= ALL)
		(void)fprintf(stderr, "\r%*s\r", (int)PROGRESS_LINE_BYTES - 1, "");
	progress->shown = false;
}
