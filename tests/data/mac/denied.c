/* Preloaded: opening what lies below $MAC_DENIED is refused, as macOS refuses it to an agent of launchd without Full Disk
 * Access. Looking at it and creating folders that exist is not. With MAC_DENIED_HANGS=1 the call does not return. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int denied(const char *path) {
    const char *folder = getenv("MAC_DENIED"), *flag = getenv("MAC_DENIED_WHILE");
    if (!folder || !path || strncmp(path, folder, strlen(folder)) || (flag && access(flag, F_OK))) return 0;
    while (getenv("MAC_DENIED_HANGS")) pause();
    errno = EPERM;
    return 1;
}
#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...) {                    \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        int mode = flags & O_CREAT ? va_arg(rest, int) : 0;         \
        va_end(rest);                                               \
        if (denied(path)) return -1;                                \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
        return real(path, flags, mode);                             \
    }
OPEN(open)
OPEN(open64)
DIR *opendir(const char *path) {
    DIR *(*real)(const char *) = dlsym(RTLD_NEXT, "opendir");
    return denied(path) ? NULL : real(path);
}
