"""A child process under the unit's filters: `systemd_child.py UNIT FOLDER`, in which FOLDER holds a connector.

Where systemd is not process 1 the unit cannot be started, so what it forbids is put on by hand: the system calls of
`SystemCallFilter=` (through libseccomp), `MemoryDenyWriteExecute=` and `NoNewPrivileges=` (through prctl).
"""
import ctypes, ctypes.util, json, os, re, subprocess, sys

ALLOW, EPERM = 0x7FFF0000, 0x00050001
PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 38, 65


def calls(group):
    """The names in a group of systemd, groups in it resolved."""
    told = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    names = set()
    for line in told.stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            names |= calls(word)
        elif word and not word.startswith("#"):
            names.add(word)
    return names


def allowed(unit):
    names = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.M):
        forbids, groups = line.startswith("~"), line.lstrip("~").split()
        for group in groups:
            found = calls(group) if group.startswith("@") else {group}
            names = names - found if forbids else names | found
    return names


def confine(unit):
    path = ctypes.util.find_library("seccomp")
    if not path:
        print("SKIPPED: a child under the unit's filters (no libseccomp)")
        sys.exit(0)
    names = allowed(unit)
    seccomp, libc = ctypes.CDLL(path), ctypes.CDLL(None, use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    filter_ = ctypes.c_void_p(seccomp.seccomp_init(EPERM))
    known = 0
    for name in names:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            known += seccomp.seccomp_rule_add(filter_, ALLOW, number, 0) == 0
    assert "MemoryDenyWriteExecute=yes" in unit and "NoNewPrivileges=yes" in unit
    if libc.prctl(PR_SET_MDWE, 1, 0, 0, 0) != 0:
        print("SKIPPED: MemoryDenyWriteExecute (this kernel knows no PR_SET_MDWE)")
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert seccomp.seccomp_load(filter_) == 0
    # What is forbidden is forbidden from here on.
    try:
        os.sched_setaffinity(0, {0})
        sys.exit("the filter does not hold")
    except PermissionError:
        return known


def main():
    unit, folder = open(sys.argv[1]).read(), sys.argv[2]
    known = confine(unit)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    child = subprocess.Popen(["python3", "connector.py"], cwd=folder, env=environment, text=True, bufsize=1,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    files = os.path.join(folder, "fixtures", "files")
    settings = {"csv": files + "/articles.csv", "orders": files + "/orders"}
    order = {"id": "dlv_1", "operation": "create", "reference": "corner:1", "record": {"id": "1"}}
    asks = [{"call": "hello", "protocol": 1}, {"call": "configure", "settings": settings, "secrets": {}},
            {"call": "pull", "stream": "stock", "after": None}, {"call": "deliver", "stream": "orders", "batch": [order]}]
    for number, ask in enumerate(asks, 1):
        child.stdin.write(json.dumps({"id": number, **ask}) + "\n")
        answer = json.loads(child.stdout.readline())
        assert answer["id"] == number and "result" in answer, answer
    child.stdin.close()
    assert child.wait(10) == 0
    print(f"a child in Python reads and writes under the unit's filters ({known} system calls allowed)")


main()
