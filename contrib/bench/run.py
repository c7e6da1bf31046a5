#!/usr/bin/env python3
"""Side-by-side benchmark of inbound MX + delivery. See README.md.

  run.py                          every peer x every workload, 3 rounds
  run.py -p postfix-dovecot,postern -w W2,W4 -r 5
  run.py --strace                 syscalls per message (not timed)
  run.py --table FILE.jsonl       print the table of an earlier run
"""
import argparse, collections, contextlib, fcntl, glob, json, os, random, re, resource, shutil
import signal, socket, statistics, subprocess, sys, threading, time

BENCH = os.path.dirname(os.path.abspath(__file__))

# name: kind, concurrency, messages, body bytes, recipients, reconnect
WORKLOADS = {
    "W1": dict(c=1, m=500, l=4096, r=1, recon=False, what="4 KiB, 1 connection"),
    "W2": dict(c=20, m=5000, l=4096, r=1, recon=False, what="4 KiB, 20 connections"),
    "W3": dict(c=20, m=1000, l=102400, r=1, recon=False, what="100 KiB, 20 connections"),
    "W4": dict(c=50, m=3000, l=4096, r=1, recon=True, what="4 KiB, 50 at once, a connection per message"),
    "W5": dict(c=20, m=500, l=4096, r=10, recon=False, what="4 KiB, 20 connections, 10 recipients per message"),
    "W6": dict(idle=True, tls=False, what="2000 idle connections"),
    "W6T": dict(idle=True, tls=True, what="2000 idle connections under TLS"),
    "W7": dict(c=200, m=5000, l=4096, r=1, recon=False, what="4 KiB, 200 connections"),
    "W8": dict(c=2000, m=6000, l=4096, r=1, recon=False, what="4 KiB, 2000 connections"),
}
# the share of the bare writer's rate that Postern is to reach
OF_LIMIT = {"W1": 0.65, "W2": 0.6, "W3": 0.5, "W4": 0.5, "W5": 0.6}
# peers that store a message before they answer, as Postern does
STORE_FIRST = ["maddy-dovecot", "maddy", "mox"]
DEFAULT_PEERS = ["postfix-dovecot", "postfix-dovecot-always", "postfix-virtual", "opensmtpd",
                 "exim", "exim-dovecot", "maddy-dovecot", "maddy", "chasquid-dovecot", "mox",
                 "postern", "limit", "limit-file", "limit-none", "sink"]
CLK = os.sysconf("SC_CLK_TCK"); PAGE = os.sysconf("SC_PAGE_SIZE")


def log(*a):
    print(time.strftime("%H:%M:%S"), *a, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lock(path):
    """The same lock as flock(1) on this file."""
    with open(path, "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(f, fcntl.LOCK_UN)


# ---------------------------------------------------------------- accounting
class Group:
    """One peer's processes: a cgroup (v1 cpuacct + memory, or v2)."""

    def __init__(self, name):
        base = "/sys/fs/cgroup"
        self.v2 = os.path.exists(base + "/cgroup.controllers")
        if self.v2:
            self.dirs = [f"{base}/{name}"]
            with contextlib.suppress(OSError):
                open(base + "/cgroup.subtree_control", "w").write("+cpu +memory")
        else:
            self.dirs = [f"{base}/cpuacct/{name}", f"{base}/memory/{name}"]
        for d in self.dirs:
            os.makedirs(d, exist_ok=True)

    def enter(self):
        return "".join(f"echo $$ >{d}/cgroup.procs; " for d in self.dirs)

    def pids(self):
        with open(self.dirs[0] + "/cgroup.procs") as f:
            return [int(x) for x in f.read().split()]

    def cpu(self):
        if self.v2:
            for line in open(self.dirs[0] + "/cpu.stat"):
                if line.startswith("usage_usec"):
                    return int(line.split()[1]) / 1e6
        with open(self.dirs[0] + "/cpuacct.usage") as f:
            return int(f.read()) / 1e9

    def anon(self):
        key = "anon" if self.v2 else "total_rss"
        with open(self.dirs[-1] + "/memory.stat") as f:
            for line in f:
                k, v = line.split()
                if k == key:
                    return int(v)
        return 0

    def rss(self):
        t = 0
        for p in self.pids():
            try:
                with open(f"/proc/{p}/statm") as f:
                    t += int(f.read().split()[1]) * PAGE
            except OSError:
                pass
        return t

    def pss(self):
        t = 0
        for p in self.pids():
            try:
                with open(f"/proc/{p}/smaps_rollup") as f:
                    for line in f:
                        if line.startswith("Pss:"):
                            t += int(line.split()[1]) * 1024
                            break
            except OSError:
                pass
        return t

    def reap(self):
        """End what is left of this peer: only processes that it started."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for _ in range(15):
                ps = self.pids()
                if not ps:
                    break
                for p in ps:
                    with contextlib.suppress(OSError):
                        os.kill(p, sig)
                time.sleep(0.2)
        for d in self.dirs:
            with contextlib.suppress(OSError):
                os.rmdir(d)


class Sampler(threading.Thread):
    def __init__(self, g):
        super().__init__(daemon=True)
        self.g, self.stop_, self.rss, self.pss, self.anon, self.procs = g, threading.Event(), 0, 0, 0, 0

    def run(self):
        n = 0
        while True:
            self.rss = max(self.rss, self.g.rss())
            self.anon = max(self.anon, self.g.anon())
            self.procs = max(self.procs, len(self.g.pids()))
            if n % 4 == 0:
                self.pss = max(self.pss, self.g.pss())
            n += 1
            if self.stop_.wait(0.4):
                return

    def stop(self):
        self.stop_.set()
        self.join()


def sys_cpu():
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:9]]
    idle = v[3] + v[4]
    return (sum(v) - idle) / CLK, v[7] / CLK  # busy incl. steal, steal


def disk(dev):
    with open("/proc/diskstats") as f:
        for line in f:
            p = line.split()
            if p[2] == dev:
                return dict(writes=int(p[7]), wsect=int(p[9]), flush=int(p[18]) if len(p) > 18 else 0)
    return dict(writes=0, wsect=0, flush=0)


# ---------------------------------------------------------------- one peer
class Peer:
    def __init__(self, name, i, a):
        self.name, self.a = name, a
        self.work = os.path.join(a.work, name)
        self.env = dict(os.environ, PEER=name, WORK=self.work, ROOT=os.path.join(self.work, "mail"),
                        PORT=str(a.port + i), PORT2=str(a.port + 100 + i), USERS=a.users, BENCH=BENCH, BIN=a.bin)
        self.port = a.port + i
        self.up = False
        self.reason = ""

    def sh(self, cmd, check=True, group=None, timeout=120):
        pre = group.enter() if group else ""
        err = os.path.join(self.a.work, self.name + ".sh.log")
        with open(err, "a") as e:
            p = subprocess.run(["bash", "-c", f'{pre}. "$BENCH/peers/lib.sh"; . "$BENCH/peers/{self.name}.sh"; {cmd}'],
                               env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=e,
                               text=True, timeout=timeout)
        if check and p.returncode:
            raise RuntimeError(f"{self.name}: {cmd}: exit {p.returncode}: {p.stdout.strip()[-600:]} (see {err})")
        return p.stdout.strip()

    def available(self):
        if not os.path.exists(os.path.join(BENCH, "peers", self.name + ".sh")):
            return f"no peers/{self.name}.sh"
        try:
            self.sh("peer_available")
        except RuntimeError as e:
            return str(e)
        v = self.sh('echo "${PEER_SINK:-}|${PEER_LIMIT:-}|$PEER_DESC"').split("|")
        self.sink, self.limit, self.desc = v[0] == "1", v[1], v[2]
        return ""

    def start(self):
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        self.group = None
        self.up = True  # from here on there may be something to stop
        self.sh("peer_setup")
        if not self.limit:
            self.group = Group("bench-" + self.name)
            # stdout of the server must not be our pipe
            self.sh(f'peer_start >"$WORK/peer_start.out" 2>&1 || {{ tail -20 "$WORK/peer_start.out"; exit 1; }}', group=self.group)
        self.globs = self.sh("peer_store_dirs").split("\n")
        self.idle_max = int(self.sh("peer_idle_max"))
        self.skip = self.sh("peer_skip").split()
        self.tls = self.sh("peer_tls")

    def stop(self):
        if not self.up:
            return
        self.up = False
        try:
            if not self.limit:
                self.sh("peer_stop", check=False)
        finally:  # also where peer_stop hangs
            if self.group:
                self.group.reap()

    # -- what has been delivered
    def dirs(self):
        return [d for g in self.globs for d in glob.glob(g)]

    def recount(self):
        self.cache = {}
        return self.count(fresh=True)

    def count(self, fresh=False):
        """Files in the store; rescans only directories whose mtime moved."""
        n = 0
        if fresh:
            self.cache = {}
            self.dirlist = self.dirs()
        elif self.rescan_dirs:
            self.dirlist = self.dirs()
        for d in self.dirlist:
            try:
                mt = os.stat(d).st_mtime_ns
            except OSError:
                continue
            c = self.cache.get(d)
            if c is None or c[0] != mt:
                try:
                    with os.scandir(d) as it:
                        c = (mt, sum(1 for e in it if not e.name.startswith(".") and e.is_file()))
                except OSError:
                    continue
                self.cache[d] = c
            n += c[1]
        return n

    rescan_dirs = False

    def last_delivery(self, since):
        """Newest ctime of the store's files (rename and link set it), and 20 files to look into."""
        last, new = 0.0, []
        for d in self.dirs():
            with os.scandir(d) as it:
                for e in it:
                    if not e.is_file():
                        continue
                    s = e.stat()
                    if s.st_ctime >= since:
                        last = max(last, s.st_ctime)
                        new.append((e.path, s.st_size))
        random.Random(1).shuffle(new)
        return last, new


def generator(peer, wl, gen, a):
    """Argument vectors of the processes to run for this workload."""
    if peer.limit:
        return [[a.bin + "/limit", "-root", peer.env["ROOT"], "-users", a.users, "-n", str(wl["c"]),
                 "-m", str(wl["m"] * wl["r"]), "-l", str(wl["l"]), "-sync", peer.limit]]
    if gen.startswith("gen"):
        v = [a.bin + "/gen", "-addr", f"127.0.0.1:{peer.port}", "-users", a.users1000, "-c", str(wl["c"]),
             "-m", str(wl["m"]), "-l", str(wl["l"]), "-r", str(wl["r"]), "-id", f"{time.time_ns()}"]
        if wl["recon"]:
            v.append("-reconnect")
        if gen == "gen+pipe":
            v.append("-pipeline")
        return [v]
    # smtp-source sends everything to one recipient; one process per connection,
    # each with its own recipient, spreads it over as many mailboxes.
    out = []
    for k in range(wl["c"]):
        m = wl["m"] // wl["c"]
        v = ["smtp-source", "-4", "-C", "40", "-s", "1", "-m", str(m), "-l", str(wl["l"]), "-M", "client.example.net",
             "-f", "sender@example.net", "-t", f"{'s' if wl['r'] > 1 else 'u'}{k}@example.com"]
        if wl["r"] > 1:
            v += ["-r", str(wl["r"])]
        if not wl["recon"]:
            v.append("-d")
        out.append(v + [f"127.0.0.1:{peer.port}"])
    return out


def wait_count(peer, target, stall=20):
    n, t_last = peer.count(), time.time()
    while n < target:
        time.sleep(0.25)
        k = peer.count()
        if k != n:
            n, t_last = k, time.time()
        elif time.time() - t_last > stall:
            break
    return n


def warm(peer, a):
    """One message to every user, so that every mailbox exists, before any timing."""
    n = peer.recount()
    if peer.limit:
        return
    p = subprocess.run([a.bin + "/gen", "-addr", f"127.0.0.1:{peer.port}", "-users", a.users, "-inorder",
                        "-c", "20", "-m", str(a.nusers), "-l", "1024"], capture_output=True, text=True)
    r = json.loads(p.stdout)
    if r["failed"]:
        raise RuntimeError(f"{peer.name}: warm-up: {r['failed']} failed: {r['error']}")
    if not peer.sink:
        peer.rescan_dirs = True
        got = wait_count(peer, n + a.nusers)
        peer.rescan_dirs = False
        if got != n + a.nusers:
            raise RuntimeError(f"{peer.name}: warm-up: {got - n} of {a.nusers} delivered")


def measure(peer, wname, gen, rnd, a, others):
    wl = WORKLOADS[wname]
    sink = peer.sink
    # a short burst of the same shape first: idle process pools may have gone
    if not peer.limit:
        b = dict(wl, m=wl["c"] * 2)
        base = 0 if sink else peer.recount()
        for v in generator(peer, b, "gen", a):
            subprocess.run(v, capture_output=True, timeout=120)
        if not sink:
            wait_count(peer, base + b["m"] * b["r"], stall=5)
    subprocess.run(["sync", "-f", a.work], check=True)  # of this file system alone: others may be slow
    time.sleep(0.2)
    before = 0 if sink else peer.recount()
    target = wl["m"] * wl["r"]
    g = peer.group
    s = Sampler(g) if g else None
    if s:
        s.start()
    oth0 = {o.name: o.group.cpu() for o in others if o.group and o is not peer}
    cpu0, sys0, dk0 = (g.cpu() if g else 0), sys_cpu(), disk(a.dev)
    ch = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    ch0 = ch()
    t0 = time.time()
    vecs = generator(peer, wl, gen, a)
    procs = [subprocess.Popen(v, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for v in vecs]
    outs, gcpu = [], 0.0
    end = time.time() + 180
    for p in procs:
        try:
            out, err = p.communicate(timeout=max(1, end - time.time()))
        except subprocess.TimeoutExpired:
            for q in procs:
                q.kill()
            raise
        outs.append((p.returncode, out, err))
    t1 = time.time()
    res = dict(peer=peer.name, workload=wname, gen="limit" if peer.limit else gen, round=rnd, msgs=wl["m"], rcpts=wl["r"])
    if gen.startswith("gen") or peer.limit:
        j = json.loads(outs[0][1])
        t0, t1 = j["start"], j["end"]
        res.update(failed=j["failed"], error=j["error"], eod_p50=j["eod_p50"], eod_p99=j["eod_p99"], eod_max=j["eod_max"],
                   redials=j.get("redials"), txn_p50=j.get("txn_p50"), txn_p99=j.get("txn_p99"), gen_cpu=j["cpu"])
    else:
        bad = [e for rc, _, e in outs if rc]
        res.update(failed=len(bad), error=(bad[0].strip()[-200:] if bad else ""), gen_cpu=ch() - ch0)
    res["acked_s"] = t1 - t0
    res["acked_rate"] = wl["m"] / (t1 - t0)
    if sink:
        n, last, new = target, t1, []
    else:
        n = wait_count(peer, before + target) - before
    time.sleep(0.3)  # let queue files be removed, so that their cost counts
    cpu1, sys1, dk1 = (g.cpu() if g else res["gen_cpu"]), sys_cpu(), disk(a.dev)
    t2 = time.time()
    if s:
        s.stop()
        res.update(rss=s.rss, pss=s.pss, anon=s.anon, procs=s.procs)
    if not sink:
        n = peer.recount() - before
        last, new = peer.last_delivery(t0 - 0.01)
        short = [p for p, z in new[:20] if z < wl["l"] * 0.97]  # CRLF may become LF
        res["short_files"] = len(short)
    res["delivered"], res["lost"] = n, target - n
    res["delivered_s"] = max(last - t0, t1 - t0 if not last else 0)
    # a message counts once all its recipients have it, so the rate is in messages
    res["delivered_rate"] = wl["m"] / max(res["delivered_s"], 1e-9)
    res["done_rate"] = wl["m"] / max(t1 - t0, res["delivered_s"])
    res["cpu_1000"] = (cpu1 - cpu0) / wl["m"] * 1000
    oth = sum(o.group.cpu() - oth0[o.name] for o in others if o.name in oth0)
    res["other_peers_cpu"] = oth
    res["sys_busy"], res["steal"], res["wall"] = sys1[0] - sys0[0], sys1[1] - sys0[1], t2 - t0
    res["sys_cpu_1000"] = (sys1[0] - sys0[0] - (res["gen_cpu"] or 0) * (0 if peer.limit else 1)) / wl["m"] * 1000
    if res["gen_cpu"] is not None:
        res["foreign_cpu"] = sys1[0] - sys0[0] - (cpu1 - cpu0) - (0 if peer.limit else res["gen_cpu"])
    res["flush_msg"] = (dk1["flush"] - dk0["flush"]) / wl["m"]
    res["wkib_msg"] = (dk1["wsect"] - dk0["wsect"]) / 2 / wl["m"]
    return res


def measure_idle(peer, wname, rnd, a):
    # a fresh server: one that has worked holds memory that hides what a connection takes
    peer.stop()
    peer.start()
    subprocess.run([a.bin + "/gen", "-addr", f"127.0.0.1:{peer.port}", "-users", a.users1000, "-c", "1", "-m", "20", "-l", "4096"], capture_output=True)
    g, n = peer.group, min(peer.idle_max, a.idle)
    time.sleep(0.5)
    r0, p0, an0, c0 = g.rss(), g.pss(), g.anon(), g.cpu()
    tls = ["-starttls"] if WORKLOADS[wname]["tls"] else []
    p = subprocess.Popen([a.bin + "/gen", "-addr", f"127.0.0.1:{peer.port}", "-idle", str(n), "-timeout", "20s"] + tls,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    j = json.loads(p.stdout.readline())
    c1 = g.cpu()
    time.sleep(1.5)
    r1, p1, an1 = g.rss(), g.pss(), g.anon()
    p.stdin.close()
    p.wait()
    k = max(j["open"], 1)
    return dict(peer=peer.name, workload=wname, gen="gen", round=rnd, asked=n, open=j["open"], failed=j["failed"], error=j["error"],
                rss_conn=(r1 - r0) / k, pss_conn=(p1 - p0) / k, anon_conn=(an1 - an0) / k, cpu_conn_ms=(c1 - c0) / k * 1000,
                rss=r1, pss=p1, anon=an1, base_rss=r0, base_pss=p0, base_anon=an0, lost=0)


def clean(r):
    return not (r.get("lost") or r.get("failed") or r.get("short_files") or "error_fatal" in r)


def attempt(p, w, gen, rnd, a, up):
    """One measurement, repeated when others used the machine meanwhile."""
    best = None
    try:
        for t in range(1, a.retries + 2):
            r = measure_idle(p, w, rnd, a) if w.startswith("W6") else measure(p, w, gen, rnd, a, up)
            r["tries"] = t
            r["noise"] = 0.0 if p.limit or w.startswith("W6") else max(0.0, r["foreign_cpu"] / r["wall"])
            if best is None or r["noise"] < best["noise"] or not clean(r):
                best = r
            if not clean(r) or r["noise"] < a.noise:
                break
    except Exception as e:
        best = dict(peer=p.name, workload=w, gen=gen, round=rnd, error_fatal=repr(e))
    return best


SYSCALLS = ["fsync", "fdatasync", "io_submit", "sync_file_range", "rename", "renameat", "renameat2", "link", "linkat",
            "unlink", "unlinkat", "openat", "clone", "clone3", "fork", "vfork", "execve", "mkdir", "mkdirat"]


def attached(peer, a, watchers, c, m):
    """Sends m messages on c connections while watchers, commands, look at the server."""
    ps = [subprocess.Popen(v, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for v in watchers]
    time.sleep(2.0)
    before = 0 if peer.sink else peer.recount()
    p = subprocess.run([a.bin + "/gen", "-addr", f"127.0.0.1:{peer.port}", "-users", a.users1000, "-c", str(c), "-m", str(m), "-l", "4096"],
                       capture_output=True, text=True)
    j = json.loads(p.stdout)
    got = m if peer.sink else wait_count(peer, before + m) - before
    time.sleep(1.0)
    for w in ps:
        w.send_signal(signal.SIGINT)
    for w in ps:
        try:
            w.wait(15)
        except subprocess.TimeoutExpired:
            w.kill()
    return dict(peer=peer.name, gen="gen", round=0, msgs=m, failed=j["failed"], error=j["error"], lost=m - got)


def process_name(pid):
    """The program, and its subcommand if it has one."""
    with contextlib.suppress(OSError):
        words = open(f"/proc/{pid}/cmdline").read().split("\0")
        sub = [w for w in words[1:2] if w.isalpha()]
        return " ".join([os.path.basename(words[0].split()[0])] + sub)
    return "?"


def strace_run(peer, a, m=400):
    """Counts system calls by kind over m messages on 20 connections. Attached to, a
    server is slow, and so waits, and makes the calls of waiting, more often than it does."""
    pids = peer.group.pids()
    out = {p: os.path.join(a.work, f"{peer.name}.{p}.strace") for p in pids}
    names = {p: process_name(p) for p in pids}
    r = attached(peer, a, [["strace", "-f", "-c", "-S", "calls", "-o", out[p], "-p", str(p)] for p in pids], 20, m)
    calls, by = collections.Counter(), collections.defaultdict(collections.Counter)
    for p in pids:
        for line in open(out[p], errors="replace"):
            f = line.split()
            if len(f) >= 5 and re.match(r"^[\d.]+$", f[0]) and f[3].isdigit() and f[-1] != "total":
                calls[f[-1]] += int(f[3])
                by[names[p]][f[-1]] += int(f[3])
    r.update(workload="strace", total=sum(calls.values()) / m, calls={k: calls[k] / m for k in SYSCALLS if calls[k]},
             by={n: {k: round(v / m, 2) for k, v in c.most_common(16)} for n, c in by.items()})
    return r


def count_run(peer, a, m=5000):
    """Counts all system calls in W2, at full speed: perf counts in the kernel."""
    pids = peer.group.pids()
    out = {p: os.path.join(a.work, f"{peer.name}.{p}.perf") for p in pids}
    names = {p: process_name(p) for p in pids}
    r = attached(peer, a, [["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o", out[p], "-p", str(p)] for p in pids], 20, m)
    by = collections.Counter()
    for p in pids:
        for line in open(out[p], errors="replace"):
            if "raw_syscalls" in line and line.split(",")[0].isdigit():
                by[names[p]] += int(line.split(",")[0])
    r.update(workload="calls", total=sum(by.values()) / m, by={n: round(c / m, 1) for n, c in by.items()})
    return r


# ---------------------------------------------------------------- the table
def med(rows, key):
    v = [r[key] for r in rows if r.get(key) is not None]
    return (statistics.median(v), min(v), max(v)) if v else None


def table(rows, out=sys.stdout):
    known = {n: i for i, n in enumerate(DEFAULT_PEERS)}
    peers = sorted(dict.fromkeys(r["peer"] for r in rows), key=lambda n: known.get(n, 99))

    def f(x, d=0, div=1):
        return "-" if x is None else f"{x[0]/div:.{d}f} ({x[1]/div:.{d}f}-{x[2]/div:.{d}f})"

    def show(head, lines):
        w = [max(len(str(l[i])) for l in [head] + lines) for i in range(len(head))]
        for l in [head] + lines:
            print("  ".join(str(c).ljust(w[i]) if i < 2 else str(c).rjust(w[i]) for i, c in enumerate(l)).rstrip(), file=out)

    for w in WORKLOADS:
        rs = [r for r in rows if r["workload"] == w and "error_fatal" not in r]
        if not rs:
            continue
        print(f"\n{w}: {WORKLOADS[w]['what']}; median (min-max) over the rounds", file=out)
        lines = []
        for p in peers:
            for gen in dict.fromkeys(r["gen"] for r in rs):
                q = [r for r in rs if r["peer"] == p and r["gen"] == gen]
                if not q:
                    continue
                if w.startswith("W6"):
                    lines.append([p, q[-1]["open"], f(med(q, "pss_conn"), 1, 1024), f(med(q, "rss_conn"), 1, 1024), f(med(q, "anon_conn"), 1, 1024),
                                  f(med(q, "base_pss"), 0, 2**20), f(med(q, "cpu_conn_ms"), 2), q[-1]["failed"] or ""])
                    continue
                lines.append([p, gen, len(q), f(med(q, "acked_rate")), f(med(q, "delivered_rate")), f(med(q, "cpu_1000"), 2),
                              f(med(q, "eod_p50"), 1), f(med(q, "eod_p99"), 0), f(med(q, "pss"), 0, 2**20), f(med(q, "rss"), 0, 2**20),
                              f"{med(q, 'flush_msg')[0]:.2f}", f"{max(r['noise'] for r in q):.2f}",
                              sum(r["lost"] for r in q) or "", sum(r["failed"] for r in q) or ""])
        show(["peer", "open", "PSS KiB/conn", "RSS KiB/conn", "anon KiB/conn", "base PSS MiB", "CPU ms/conn", "failed"] if w.startswith("W6") else
             ["peer", "gen", "n", "acked msg/s", "delivered msg/s", "CPU s/1000", "eod p50 ms", "p99 ms", "PSS MiB", "RSS MiB", "flush/msg", "noise", "lost", "failed"], lines)
    st = [r for r in rows if r["workload"] == "strace"]
    if st:
        print("\nsystem calls per message by kind (strace -c -f, 400 messages, 20 connections)", file=out)
        for r in st:
            print(f"{r['peer']:24} total {r['total']:.0f}  " + "  ".join(f"{k} {v:.2f}" for k, v in sorted(r["calls"].items(), key=lambda kv: -kv[1])) + (f"  LOST {r['lost']}" if r["lost"] else ""), file=out)
            for n, kinds in r["by"].items():
                print(f"  {n:22} total {sum(kinds.values()):.0f}  " + "  ".join(f"{k} {v:g}" for k, v in kinds.items()), file=out)
    st = [r for r in rows if r["workload"] == "calls"]
    if st:
        print("\nsystem calls per message in W2, at full speed (perf stat)", file=out)
        for r in st:
            print(f"{r['peer']:24} {r['total']:.1f}  " + "  ".join(f"{n} {v:g}" for n, v in r["by"].items()) + (f"  LOST {r['lost']}" if r["lost"] else ""), file=out)
    goals(rows, out)
    bad = [r for r in rows if not clean(r)]
    if bad:
        print("\nnot clean:", file=out)
        for r in bad:
            print(f"  {r['peer']} {r['workload']} {r.get('gen')} round {r['round']}: " + (r.get("error_fatal") or
                  f"lost {r.get('lost')} failed {r.get('failed')} short {r.get('short_files')} {r.get('error','')}"), file=out)


def goals(rows, out=sys.stdout):
    """What Postern is to reach, beside what it did; ratios are of one run."""
    def get(peer, w, key):
        rs = [r for r in rows if r["peer"] == peer and r["workload"] == w and r["gen"] in ("gen", "limit") and "error_fatal" not in r]
        m = med(rs, key)
        return m and m[0]

    if not any(r["peer"] == "postern" for r in rows):
        return
    print("\ngoals", file=out)

    def line(what, is_, goal, most=False, form="{:.2f}"):
        if is_ is None:
            return
        good = goal is None or (is_ <= goal if most else is_ >= goal)
        wants = "" if goal is None else ("at most " if most else "at least ") + form.format(goal)
        print(f"  {what:64} {form.format(is_):>10}  {wants:18} {'' if good else 'NOT MET'}".rstrip(), file=out)

    def ratio(x, y):
        return x / y if x is not None and y else None

    for w, share in OF_LIMIT.items():
        is_, limit, sink = get("postern", w, "done_rate"), get("limit", w, "done_rate"), get("sink", w, "done_rate")
        if limit and sink and 0.8 * sink < share * limit:
            line(f"{w}: rate against the generator's ceiling (sink)", ratio(is_, sink), 0.8)
        else:
            line(f"{w}: rate against the bare writer (limit)", ratio(is_, limit), share)
        line(f"{w}: rate against Postfix and Dovecot", ratio(is_, get("postfix-dovecot", w, "done_rate")), None)
        line(f"{w}: flushes a message", get("postern", w, "flush_msg"), None)
    cpu = get("postern", "W2", "cpu_1000")
    line("W2: CPU seconds per 1,000 messages, both processes", cpu, 0.55, True)
    line("W2: the same against Postfix and Dovecot", ratio(cpu, get("postfix-dovecot", "W2", "cpu_1000")), 0.1, True)
    for key in ("eod_p50", "eod_p99"):
        others = [x for x in (get(p, "W2", key) for p in STORE_FIRST) if x]
        line(f"W2: {key} in ms, against the best that stores before it answers", get("postern", "W2", key), min(others) if others else None, True)
    kib = lambda x: x and x / 1024
    line("W6: KiB of memory per idle connection", kib(get("postern", "W6", "pss_conn")), 5, True)
    line("W6T: the same under TLS", kib(get("postern", "W6T", "pss_conn")), 25, True)
    line("system calls a message, W2, both processes (perf)", get("postern", "calls", "total"), 120, True)
    line("system calls a message, both processes (strace)", get("postern", "strace", "total"), 120, True)
    for w in ("W7", "W8"):
        line(f"{w}: rate against W2", ratio(get("postern", w, "done_rate"), get("postern", "W2", "done_rate")), 0.8)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("-p", "--peers", default=",".join(DEFAULT_PEERS))
    ap.add_argument("-w", "--workloads", default=",".join(WORKLOADS))
    ap.add_argument("-r", "--rounds", type=int, default=3)
    ap.add_argument("-g", "--gens", default="gen,smtp-source", help="gen, gen+pipe, smtp-source")
    ap.add_argument("--work", default=os.environ.get("BENCH_WORK", "/var/tmp/postern-bench"))
    ap.add_argument("--lock", default="/tmp/postern-bench.lock")
    ap.add_argument("--port", type=int, default=2700)
    ap.add_argument("--idle", type=int, default=2000)
    ap.add_argument("--scale", type=float, default=1.0, help="multiply message counts")
    ap.add_argument("--noise", type=float, default=0.6, help="repeat a run in which others used more CPUs than this")
    ap.add_argument("--retries", type=int, default=2)
    ap.add_argument("--strace", action="store_true")
    ap.add_argument("-o", "--out", default="")
    ap.add_argument("--table", default="")
    ap.add_argument("--source-on", default="W1,W2,W3,W4,W5", help="workloads that smtp-source runs too")
    a = ap.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    if a.table:
        rows = [json.loads(x) for f in a.table.split(",") for x in open(f)]
        return table(rows)
    os.makedirs(a.work, exist_ok=True)
    fs = subprocess.run(["stat", "-f", "-c", "%T", a.work], capture_output=True, text=True).stdout.strip()
    if fs == "tmpfs":
        sys.exit(f"{a.work} is on tmpfs; fsync would cost nothing. Set BENCH_WORK.")
    st = os.stat(a.work).st_dev
    a.dev = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(st)}:{os.minor(st)}"))
    a.bin = os.path.join(a.work, "bin")
    os.makedirs(a.bin, exist_ok=True)
    for d in ("gen", "limit"):
        subprocess.run(["go", "build", "-o", os.path.join(a.bin, d), "./" + d], cwd=BENCH, check=True)
    # u0..u999, and the names that smtp-source -r makes of s0..s49 (it prepends 2..10)
    u = [f"u{i}" for i in range(1000)]
    s = [(str(j) if j > 1 else "") + f"s{k}" for k in range(20) for j in range(1, 11)]
    a.users1000, a.users, a.nusers = a.work + "/users1000", a.work + "/users", len(u) + len(s)
    open(a.users1000, "w").write("\n".join(u) + "\n")
    open(a.users, "w").write("\n".join(u + s) + "\n")
    for w in WORKLOADS.values():
        if "m" in w:
            w["m"] = max(w["c"], int(w["m"] * a.scale) // w["c"] * w["c"])
    out = a.out or os.path.join(a.work, time.strftime("results-%Y%m%d-%H%M%S.jsonl"))
    rows = []

    def emit(r):
        r["t"] = time.time()
        rows.append(r)
        with open(out, "a") as f:
            f.write(json.dumps(r) + "\n")
    peers = []
    for i, n in enumerate(a.peers.split(",")):
        p = Peer(n, i, a)
        why = p.available()
        if why:
            log("skip", n + ":", why)
        else:
            peers.append(p)
    log("filesystem", fs, "on", a.dev + ";", "peers:", " ".join(p.name for p in peers), "; results in", out)
    wls = a.workloads.split(",")
    try:
        for rnd in range(1, (1 if a.strace else a.rounds) + 1):
            up = []
            for p in peers:
                try:
                    with lock(a.lock):  # not timed, but it would disturb others' timings
                        p.start()
                        warm(p, a)
                    up.append(p)
                except Exception as e:
                    log("FAILED to start", p.name, e)
                    emit(dict(peer=p.name, workload="start", gen="", round=rnd, error_fatal=str(e)))
                    p.stop()
            if a.strace:
                for p in up:
                    if p.group and not p.sink:
                        emit(strace_run(p, a))
                        log(p.name, rows[-1]["calls"])
                        if shutil.which("perf"):
                            emit(count_run(p, a))
                            log(p.name, rows[-1]["by"])
            else:
                for w in wls:
                    order = up[rnd % len(up):] + up[:rnd % len(up)] if up else []
                    with lock(a.lock):  # one hold per workload: nobody else's run falls between two peers
                        for p in order:
                            gens = a.gens.split(",") if not p.limit else ["gen"]
                            if w.startswith("W6"):
                                gens = ["gen"] if not p.limit and (p.tls or w == "W6") else []
                            if w in ("W7", "W8") and (p.limit or p.idle_max < WORKLOADS[w]["c"]):
                                gens = []
                            if w in p.skip:
                                gens = []
                            if w not in a.source_on.split(","):
                                gens = [g for g in gens if g != "smtp-source"]
                            for gen in gens:
                                r = attempt(p, w, gen, rnd, a, up)
                                emit(r)
                                log(rnd, w, p.name, gen, " ".join(f"{k}={r[k]:.4g}" for k in ("acked_rate", "delivered_rate", "cpu_1000", "eod_p50", "eod_p99", "pss_conn", "open", "noise") if r.get(k) is not None),
                                    "" if clean(r) else f"NOT CLEAN {r.get('lost')} {r.get('failed')} {r.get('error', '')} {r.get('error_fatal', '')}")
            for p in up:
                p.stop()
            log("round", rnd, "done")
    finally:
        for p in peers:
            p.stop()
    table(rows)
    print("\nresults:", out)


if __name__ == "__main__":
    main()
