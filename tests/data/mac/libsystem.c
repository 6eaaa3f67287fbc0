/* What workers/sensors/macos loads from libSystem, with the layouts of Apple's published headers (Libnotify notify.h, xnu
 * bsd/sys/resource.h, sysctl.h, proc_info.h, libproc.c). Variables MAC_... of the environment say what is answered. */
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rusage_info_v1 {
    uint8_t uuid[16];
    uint64_t user, system, pkg_idle_wkups, interrupt_wkups, pageins, wired, resident, footprint, started, ended;
    uint64_t child_user, child_system, child_idle_wkups, child_interrupt_wkups, child_pageins, child_elapsed;
};
struct proc_taskinfo {
    uint64_t sizes_and_times[6];
    int32_t policy, faults, pageins, cow_faults, messages[2], syscalls[2], csw, threadnum, numrunning, priority;
};
struct xsw_usage { uint64_t total, avail, used; uint32_t pagesize, encrypted; };
_Static_assert(sizeof(struct rusage_info_v1) == 144 && offsetof(struct rusage_info_v1, footprint) == 72, "rusage");
_Static_assert(offsetof(struct rusage_info_v1, child_user) == 96, "rusage, children");
_Static_assert(sizeof(struct proc_taskinfo) == 96 && offsetof(struct proc_taskinfo, priority) == 92, "taskinfo");
_Static_assert(sizeof(struct xsw_usage) == 32, "xsw_usage");

static int64_t number(const char *name, int64_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? (int64_t)strtoull(text, NULL, 0) : otherwise;
}

static int refused(const char *name) {
    errno = (int)number(name, 0);
    return errno != 0;
}

#ifndef WITHOUT_NOTIFY
uint32_t notify_register_check(const char *key, int *token) {
    *token = 12345678;
    return (uint32_t)number("MAC_NOTIFY_REGISTER", key ? 0 : 1);
}
uint32_t notify_get_state(int token, uint64_t *state) {
    uint32_t code = token == 12345678 ? (uint32_t)number("MAC_NOTIFY_GET", 0) : 2;
    if (!code) *state = (uint64_t)number("MAC_NOTIFY", 0);
    return code;
}
uint32_t notify_cancel(int token) { return token == 12345678 ? 0 : 2; }
#endif

#ifndef WITHOUT_THE_REST
int sysctlbyname(const char *name, void *old, size_t *length, void *new, size_t new_length) {
    struct xsw_usage swap = {4ull << 30, 1, (uint64_t)number("MAC_SWAP_USED", 1610612736), 16384, 1};
    uint32_t level = (uint32_t)number("MAC_LEVEL", 1);
    uint64_t memory = (uint64_t)number("MAC_MEMORY", 17179869184);
    const void *value = NULL;
    size_t size = 0;
    if (refused("MAC_SYSCTL_ERRNO") || new || new_length) return -1;
    if (!strcmp(name, "kern.memorystatus_vm_pressure_level")) value = &level, size = sizeof level;
    if (!strcmp(name, "hw.memsize")) value = &memory, size = sizeof memory;
    if (!strcmp(name, "vm.swapusage")) value = &swap, size = sizeof swap;
    if (!strcmp(name, "hw.model")) value = "Mac16,10", size = 9;
    errno = value ? ENOMEM : ENOENT;
    if (!value || *length < size) return -1;
    memcpy(old, value, *length = size);
    return 0;
}
int proc_pid_rusage(int pid, int flavor, void *buffer) {
    struct rusage_info_v1 usage;
    memset(&usage, 0xAA, sizeof usage);
    usage.user = number("MAC_USER", 0), usage.system = number("MAC_SYSTEM", 0);
    usage.child_user = number("MAC_CHILD_USER", 0), usage.child_system = number("MAC_CHILD_SYSTEM", 0);
    usage.footprint = (uint64_t)number("MAC_FOOTPRINT", 1 << 28);
    if (refused("MAC_PID_ERRNO") || pid < 1 || flavor < 0 || flavor > 1) return -1;
    memcpy(buffer, &usage, flavor ? 144 : 96);
    return 0;
}
int proc_pidinfo(int pid, int flavor, uint64_t argument, void *buffer, int size) {
    struct proc_taskinfo info;
    memset(&info, 0x5A, sizeof info);
    info.priority = (int32_t)number("MAC_PRIORITY", 31);
    if (refused("MAC_PID_ERRNO") || pid < 1 || flavor != 4 || argument || size < 96) return 0; /* libproc: no -1 */
    memcpy(buffer, &info, 96);
    return 96;
}
int proc_listchildpids(int parent, void *buffer, int size) { /* a number of pids; 0 also when refused */
    int count = 0, of, *pids = buffer;
    DIR *folder = refused("MAC_PID_ERRNO") ? NULL : opendir("/proc");
    char path[300], line[400], *end;
    if (!folder) return 0;
    for (struct dirent *each; (each = readdir(folder));) {
        snprintf(path, sizeof path, "/proc/%s/stat", each->d_name);
        FILE *file = *each->d_name >= '1' && *each->d_name <= '9' ? fopen(path, "r") : NULL;
        if (!file) continue;
        if (fgets(line, sizeof line, file) && (end = strrchr(line, ')')) && sscanf(end, ") %*c %d", &of) == 1 &&
            of == parent && (count + 1) * (int)sizeof of <= size)
            pids[count++] = atoi(each->d_name);
        fclose(file);
    }
    closedir(folder);
    return count;
}
int mach_timebase_info(uint32_t *info) {
    info[0] = 125, info[1] = 3; /* M1 to M4: 24 MHz */
    return 0;
}
#endif
