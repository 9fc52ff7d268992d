/* SPDX-License-Identifier: Apache-2.0 */
#include "io/driver.h"

#include <string.h>

const struct qs_driver_ops *qs_driver_find(const char *name)
{
    static const struct qs_driver_ops *const drivers[] = {&qs_driver_pair, &qs_driver_tap,
                                                          &qs_driver_xsk};
    for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++) {
        if (strcmp(drivers[i]->name, name) == 0)
            return drivers[i];
    }
    return NULL;
}
