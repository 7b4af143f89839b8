/*
 * Where log lines go: to the journal with their fields when stderr is the
 * journal, else to stderr as text, one write for each line:
 *
 *	2026-11-23T07:41:12.345Z warning: text
 */
#pragma once

/* Makes it the process's sink. Nothing to free. */
void sink_install(void);
