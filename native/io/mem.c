/* SPDX-License-Identifier: Apache-2.0 */
#include "io/mem.h"

#include <sys/mman.h>

#define HUGE_PAGE_BYTES (2u << 20)

static void *map_pages(void *ctx, size_t bytes)
{
    (void)ctx;
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

static void *map_huge(void *ctx, size_t bytes)
{
    void *block = map_pages(ctx, bytes);
    /* Advice: without huge pages the block works all the same. */
    if (block && bytes >= HUGE_PAGE_BYTES)
        (void)madvise(block, bytes, MADV_HUGEPAGE);
    return block;
}

static void unmap(void *ctx, void *block, size_t bytes)
{
    (void)ctx;
    if (block)
        (void)munmap(block, bytes);
}

const struct qs_mem qs_mem_pages = {map_pages, unmap, NULL};
const struct qs_mem qs_mem_huge = {map_huge, unmap, NULL};
