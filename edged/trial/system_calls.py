"""The numbers of the system calls that a trial may not make, on x86_64 and aarch64.

Sources: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h. Calls that aarch64
does not have stand with x86_64 only. From 424 on the numbers are the same everywhere.
"""

from __future__ import annotations

X86_64, AARCH64 = "x86_64", "aarch64"

# name: (x86_64, aarch64)
_BOTH = {
    # talking to others
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269), "mq_open": (240, 180), "msgget": (68, 186),
    "semget": (64, 190), "shmget": (29, 194), "shmat": (30, 196), "ioctl": (16, 29), "syslog": (103, 116),
    # starting and touching processes
    "execve": (59, 221), "execveat": (322, 281), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "setrlimit": (160, 164), "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "sched_setaffinity": (203, 122), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "setpgid": (109, 154), "setsid": (112, 157),
    # changing files
    "unlinkat": (263, 35), "renameat": (264, 38), "renameat2": (316, 276), "mkdirat": (258, 34), "linkat": (265, 37),
    "symlinkat": (266, 36), "mknodat": (259, 33), "fchmod": (91, 52), "fchmodat": (268, 53), "fchown": (93, 55), "fchownat": (260, 54),
    "truncate": (76, 45), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "open_by_handle_at": (304, 265),
    # the system itself
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "quotactl": (179, 60), "personality": (135, 92),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "capset": (126, 91),
    "sethostname": (170, 161), "setdomainname": (171, 162), "fanotify_init": (300, 262), "io_setup": (206, 0), "setuid": (105, 146),
    "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147), "setresgid": (119, 149),
    "setgroups": (116, 159),
}  # fmt: skip
_X86_64_ONLY = {
    "fork": 57, "vfork": 58, "creat": 85, "unlink": 87, "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "symlink": 88, "mknod": 133,
    "chmod": 90, "chown": 92, "lchown": 94, "utime": 132, "utimes": 235, "futimesat": 261, "iopl": 172, "ioperm": 173,
}  # fmt: skip

# Those that a trial may make with some arguments only.
OPEN = {X86_64: 2}
_ARGUED = {
    "openat": (257, 56), "clone": (56, 220), "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "mmap": (9, 222),
    "mremap": (25, 216),
}  # fmt: skip

FIRST_COMMON = 424
# close_range, faccessat2, epoll_pwait2, futex_waitv, cachestat, map_shadow_stack, futex_wake, futex_wait, futex_requeue, mseal
COMMON_ALLOWED = (436, 439, 441, 449, 451, 453, 454, 455, 456, 462)


def denied(machine: str) -> list[int]:
    """Give the numbers of all calls that are denied whatever their arguments."""
    which = (X86_64, AARCH64).index(machine)
    return sorted([numbers[which] for numbers in _BOTH.values()] + (list(_X86_64_ONLY.values()) if machine == X86_64 else []))


def number(machine: str, name: str) -> int:
    """Give the number of a call that is judged by its arguments."""
    return _ARGUED[name][(X86_64, AARCH64).index(machine)]
