/* Makes chosen system calls on the files below one directory fail: see `__init__.py`.
 *
 * Put before the C library with LD_PRELOAD. `fault_plan`, called inside the process, sets the plan, or the environment
 * does: FAULT_DIR, FAULT_CALL, FAULT_KIND, FAULT_NTH, FAULT_TIMES, FAULT_WHILE.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE = 0, SHORT = -1, KILL = -2 }; /* a positive kind is an errno */

static char directory[PATH_MAX], call_name[32], while_path[PATH_MAX];
static int kind = NONE;
static long nth, times, seen; /* times 0: for ever */

static const char *const calls[] = {"open", "read", "write", "sync", "truncate", "allocate", "rename",
                                    "link", "unlink", "mkdir", "stat", "mmap", "lock"};
enum { CALLS = sizeof calls / sizeof *calls };
static long counts[CALLS];

/* From now on the calls `first`, `first` + 1, ... with this name below `where` fail. Kind NONE only counts. */
void fault_plan(const char *where, const char *call, int what, long first, long how_often)
{
    snprintf(directory, sizeof directory, "%s", where);
    snprintf(call_name, sizeof call_name, "%s", call);
    kind = what, nth = first, times = how_often, seen = 0;
}

/* The number of calls with this name since the start of the process. */
long fault_count(const char *call)
{
    for (int at = 0; at < CALLS; at++)
        if (!strcmp(call, calls[at]))
            return counts[at];
    return -1;
}

__attribute__((constructor)) static void read_environment(void)
{
    const char *where = getenv("FAULT_DIR"), *gate = getenv("FAULT_WHILE");
    if (gate)
        snprintf(while_path, sizeof while_path, "%s", gate);
    if (where)
        fault_plan(where, getenv("FAULT_CALL"), atoi(getenv("FAULT_KIND")), atol(getenv("FAULT_NTH")),
                   atol(getenv("FAULT_TIMES")));
}

static int below(const char *path)
{
    size_t length = strlen(directory);
    return length && path && !strncmp(path, directory, length) && (!path[length] || path[length] == '/');
}

/* How this call fails, or NONE. The caller executes SHORT and an errno. */
static int hit(const char *call, const char *path)
{
    int saved = errno;
    if (!directory[0] || !below(path))
        return NONE;
    for (int at = 0; at < CALLS; at++)
        if (!strcmp(call, calls[at]))
            __sync_add_and_fetch(&counts[at], 1);
    if (strcmp(call, call_name))
        return NONE;
    if (while_path[0] && syscall(SYS_access, while_path, F_OK)) {
        errno = saved;
        return NONE;
    }
    errno = saved;
    long number = __sync_add_and_fetch(&seen, 1);
    if (kind == NONE || number < nth || (times && number >= nth + times))
        return NONE;
    if (kind == KILL)
        syscall(SYS_kill, getpid(), SIGKILL);
    return kind;
}

static int hit_file(const char *call, int file)
{
    char link[64], path[PATH_MAX];
    if (!directory[0])
        return NONE;
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = syscall(SYS_readlink, link, path, sizeof path - 1);
    errno = saved;
    if (length <= 0)
        return NONE;
    path[length] = 0;
    return hit(call, path);
}

#define NEXT(type, name, ...)                       \
    static type (*next)(__VA_ARGS__);               \
    if (!next)                                      \
        next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define FAIL(what, value)       \
    do {                        \
        int what_ = (what);     \
        if (what_ > 0) {        \
            errno = what_;      \
            return (value);     \
        }                       \
    } while (0)

#define OPEN(symbol)                                                    \
    int symbol(const char *path, int flags, ...)                        \
    {                                                                   \
        va_list list;                                                   \
        va_start(list, flags);                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list);                                                   \
        NEXT(int, #symbol, const char *, int, ...);                     \
        FAIL(hit("open", path), -1);                                    \
        return next(path, flags, mode);                                 \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(symbol)                                                  \
    int symbol(int at, const char *path, int flags, ...)                \
    {                                                                   \
        va_list list;                                                   \
        va_start(list, flags);                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list);                                                   \
        NEXT(int, #symbol, int, const char *, int, ...);                \
        FAIL(hit("open", path), -1);                                    \
        return next(at, path, flags, mode);                             \
    }
OPENAT(openat)
OPENAT(openat64)

/* A short call does half of what was requested, and reports that. */
#define TRANSFER(symbol, call, buffer, offsets, arguments)              \
    ssize_t symbol(int file, buffer data, size_t size COMMA_##offsets)  \
    {                                                                   \
        NEXT(ssize_t, #symbol, int, buffer, size_t TYPE_##offsets);     \
        int what = hit_file(call, file);                                \
        FAIL(what, -1);                                                 \
        if (what == SHORT && size > 1)                                  \
            size /= 2;                                                  \
        return next arguments;                                          \
    }
#define COMMA_none
#define TYPE_none
#define COMMA_at , off64_t offset
#define TYPE_at , off64_t
TRANSFER(read, "read", void *, none, (file, data, size))
TRANSFER(write, "write", const void *, none, (file, data, size))
TRANSFER(pread, "read", void *, at, (file, data, size, offset))
TRANSFER(pread64, "read", void *, at, (file, data, size, offset))
TRANSFER(pwrite, "write", const void *, at, (file, data, size, offset))
TRANSFER(pwrite64, "write", const void *, at, (file, data, size, offset))

ssize_t writev(int file, const struct iovec *parts, int count)
{
    NEXT(ssize_t, "writev", int, const struct iovec *, int);
    int what = hit_file("write", file);
    FAIL(what, -1);
    return next(file, parts, what == SHORT && count > 1 ? count / 2 : count);
}

#define ON_FILE(symbol, call)                   \
    int symbol(int file)                        \
    {                                           \
        NEXT(int, #symbol, int);                \
        FAIL(hit_file(call, file), -1);         \
        return next(file);                      \
    }
ON_FILE(fsync, "sync")
ON_FILE(fdatasync, "sync")

#define TRUNCATE(symbol)                        \
    int symbol(int file, off64_t size)          \
    {                                           \
        NEXT(int, #symbol, int, off64_t);       \
        FAIL(hit_file("truncate", file), -1);   \
        return next(file, size);                \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define ALLOCATE(symbol)                                        \
    int symbol(int file, int mode, off64_t from, off64_t size)  \
    {                                                           \
        NEXT(int, #symbol, int, int, off64_t, off64_t);         \
        FAIL(hit_file("allocate", file), -1);                   \
        return next(file, mode, from, size);                    \
    }
ALLOCATE(fallocate)
ALLOCATE(fallocate64)

#define RESERVE(symbol)                                 \
    int symbol(int file, off64_t from, off64_t size)    \
    {                                                   \
        NEXT(int, #symbol, int, off64_t, off64_t);      \
        int what = hit_file("allocate", file);          \
        return what > 0 ? what : next(file, from, size);\
    }
RESERVE(posix_fallocate)
RESERVE(posix_fallocate64)

int flock(int file, int how)
{
    NEXT(int, "flock", int, int);
    FAIL(hit_file("lock", file), -1);
    return next(file, how);
}

#define MAP(symbol)                                                                         \
    void *symbol(void *near, size_t size, int protection, int flags, int file, off64_t at)  \
    {                                                                                       \
        NEXT(void *, #symbol, void *, size_t, int, int, int, off64_t);                      \
        if (file >= 0)                                                                      \
            FAIL(hit_file("mmap", file), MAP_FAILED);                                       \
        return next(near, size, protection, flags, file, at);                               \
    }
MAP(mmap)
MAP(mmap64)

int rename(const char *from, const char *to)
{
    NEXT(int, "rename", const char *, const char *);
    FAIL(hit("rename", from), -1);
    return next(from, to);
}

int renameat(int at, const char *from, int to_at, const char *to)
{
    NEXT(int, "renameat", int, const char *, int, const char *);
    FAIL(hit("rename", from), -1);
    return next(at, from, to_at, to);
}

int link(const char *from, const char *to)
{
    NEXT(int, "link", const char *, const char *);
    FAIL(hit("link", to), -1);
    return next(from, to);
}

int linkat(int at, const char *from, int to_at, const char *to, int flags)
{
    NEXT(int, "linkat", int, const char *, int, const char *, int);
    FAIL(hit("link", to), -1);
    return next(at, from, to_at, to, flags);
}

int unlink(const char *path)
{
    NEXT(int, "unlink", const char *);
    FAIL(hit("unlink", path), -1);
    return next(path);
}

int unlinkat(int at, const char *path, int flags)
{
    NEXT(int, "unlinkat", int, const char *, int);
    FAIL(hit("unlink", path), -1);
    return next(at, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
    NEXT(int, "mkdir", const char *, mode_t);
    FAIL(hit("mkdir", path), -1);
    return next(path, mode);
}

int access(const char *path, int mode)
{
    NEXT(int, "access", const char *, int);
    FAIL(hit("stat", path), -1);
    return next(path, mode);
}

#define STAT(symbol, type)                                  \
    int symbol(const char *path, struct type *status)       \
    {                                                       \
        NEXT(int, #symbol, const char *, struct type *);    \
        FAIL(hit("stat", path), -1);                        \
        return next(path, status);                          \
    }
STAT(stat, stat)
STAT(lstat, stat)
STAT(stat64, stat64)
STAT(lstat64, stat64)

#define FSTAT(symbol, type)                         \
    int symbol(int file, struct type *status)       \
    {                                               \
        NEXT(int, #symbol, int, struct type *);     \
        FAIL(hit_file("stat", file), -1);           \
        return next(file, status);                  \
    }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)
