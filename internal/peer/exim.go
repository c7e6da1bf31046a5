package peer

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An Exim is a running mail system that takes mail for any address from the
// test and sends it to one SMTP server. Unlike Postfix it sends a message in
// chunks (RFC 3030) where the server offers CHUNKING.
type Exim struct {
	*Process
	Addr    string // where it takes mail by SMTP: host:port
	program string
	dir     string
}

// StartExim starts an Exim of its own that sends to the SMTP server at addr,
// host:port, and waits until it takes mail. Each of params is a line for its
// SMTP transport.
func StartExim(t testing.TB, addr string, params ...string) *Exim {
	t.Helper()
	NeedRoot(t)
	x := &Exim{Addr: Addr(t), program: Need(t, eximPath())[0], dir: Dir(t)}
	owner, err := user.Lookup("Debian-exim")
	if err != nil {
		t.Fatalf("peer: the account of Exim: %v: contrib/check makes it", err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		t.Fatalf("peer: the account of Exim: %v", err)
	}
	mkdir(t, uid, x.dir, "spool")
	mkdir(t, uid, x.dir, "log")
	conf := write(t, x.dir, "exim.conf", x.conf(addr, params))
	x.Process = Start(t, exec.Command(x.program, "-C", conf, "-bdf", "-q1s"))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Exim:\n%s", tail(x.Log(), 200))
		}
	})
	x.WaitListen("tcp", x.Addr)
	return x
}

func eximPath() string { return unpackedPath("exim4", ".tools/exim/usr/sbin/exim4") }

// unpackedPath returns where a program is whose package cannot be installed
// beside Postfix: contrib/check unpacks it into .tools at the top of the tree.
func unpackedPath(program, unpacked string) string {
	if path, err := lookPath(program); err == nil {
		return path
	}
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if path := filepath.Join(dir, unpacked); isFile(path) {
			return path
		}
	}
	return program
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}

func (x *Exim) conf(addr string, params []string) string {
	host, port := splitAddr(x.Addr)
	to, toPort := splitAddr(addr)
	return strings.NewReplacer(
		"$PROGRAM", x.program, "$DIR", x.dir, "$SENDER", SenderDomain,
		"$HOST", host, "$PORT", port, "$NEXT", to+"::"+toPort,
	).Replace(eximConf) + "  " + strings.Join(params, "\n  ") + "\nbegin retry\n* * F,1h,1s\n"
}

// eximConf is a sender that keeps lines as long as they are and looks nothing
// up. Mail that comes back to its senders is dropped: the log tells of it.
const eximConf = `exim_path = $PROGRAM
spool_directory = $DIR/spool
log_file_path = $DIR/log/%s
pid_file_path = $DIR/spool/exim.pid
primary_hostname = mail.$SENDER
local_interfaces = $HOST
daemon_smtp_ports = $PORT
keep_environment =
host_lookup =
rfc1413_hosts =
dns_dnssec_ok = 0
check_spool_space = 0
check_spool_inodes = 0
check_log_space = 0
check_log_inodes = 0
tls_advertise_hosts =
smtputf8_advertise_hosts = *
chunking_advertise_hosts =
dsn_advertise_hosts = *
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
message_size_limit = 0
deliver_drop_privilege = true
log_selector = +smtp_confirmation +8bitmime
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin acl
begin routers
back:
  driver = redirect
  domains = $SENDER
  data = :blackhole:
out:
  driver = manualroute
  route_list = * $NEXT byname
  self = send
  transport = out
begin transports
out:
  driver = smtp
  message_linelength_limit = 1G
`

// EximVersion returns Exim's, as "4.96".
func EximVersion(t testing.TB) string {
	t.Helper()
	out := run(t, Need(t, eximPath())[0], "-bV", "-C", "/dev/null")
	_, version, found := strings.Cut(out, "Exim version ")
	if !found {
		t.Fatalf("peer: Exim does not tell its version: %s", out)
	}
	version, _, _ = strings.Cut(version, " ")
	return version
}

// Log returns Exim's main log.
func (x *Exim) Log() string {
	b, err := os.ReadFile(filepath.Join(x.dir, "log", "main"))
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(b)
}

// WaitEmpty waits until Exim has nothing more to deliver; what is deferred it
// tries again each second. The test fails after the limit.
func (x *Exim) WaitEmpty(limit time.Duration) {
	x.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		left := strings.TrimSpace(run(x.t, x.program, "-C", filepath.Join(x.dir, "exim.conf"), "-bpc"))
		if left == "0" {
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("peer: after %v Exim still holds %s messages", limit, left)
		}
	}
}
