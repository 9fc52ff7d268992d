/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for engines, straight from the kernel: zeroed, aligned to a page, and backed only where it
 * is touched, so that an engine sized for a million connections costs what is in use. */
#ifndef QS_IO_MEM_H
#define QS_IO_MEM_H

#include "qstack/qs_base.h"

/* Blocks of 4 KiB pages. */
extern const struct qs_mem qs_mem_pages;

/* As qs_mem_pages, and asks the kernel for transparent huge pages in blocks that hold at least one.
 * Fewer TLB misses, but whole 2 MiB are backed at the first touch. */
extern const struct qs_mem qs_mem_huge;

#endif
