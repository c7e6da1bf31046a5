package peer

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An OpenSMTPD is a running mail system that takes mail for any address from the
// test and sends it to one SMTP server.
type OpenSMTPD struct {
	*Process
	Addr string // where it takes mail by SMTP: host:port
	dir  string
}

// StartOpenSMTPD starts an OpenSMTPD of its own that sends to the SMTP server at
// addr, host:port, and waits until it takes mail. Under TLS it insists on
// STARTTLS, without it never asks for it; certificates are not checked.
//
// The paths of its queue and its socket are compiled in: it runs in a mount
// namespace where they are folders of the test's. Of the system it needs the
// accounts opensmtpd and opensmtpq, which contrib/check makes, and an empty
// folder /var/lib/opensmtpd/empty.
func StartOpenSMTPD(t testing.TB, addr string, tls bool) *OpenSMTPD {
	t.Helper()
	NeedRoot(t)
	program := Need(t, unpackedPath("smtpd", ".tools/opensmtpd/usr/sbin/smtpd"), "unshare")[0]
	o := &OpenSMTPD{Addr: Addr(t), dir: Dir(t)}
	scheme, check := "smtp+notls", ""
	if tls {
		scheme, check = "smtp+tls", "tls no-verify"
	}
	host, port := splitAddr(o.Addr)
	conf := write(t, o.dir, "smtpd.conf", fmt.Sprintf(`smtp max-message-size 100M
listen on %s port %s hostname mail.%s
action out relay host "%s://%s" %s
match from any for any action out
`, host, port, SenderDomain, scheme, addr, check))
	mkdir(t, 0, o.dir, "spool", "smtpd")
	mkdir(t, 0, o.dir, "run")
	script := `set -e
mount --bind "$1/spool" /var/spool
mount --bind "$1/run" /run
chmod 711 /var/spool/smtpd
exec "$2" -d -f "$3"`
	o.Process = Start(t, exec.Command("unshare", "--mount", "sh", "-c", script, "sh", o.dir, program, conf))
	o.WaitListen("tcp", o.Addr)
	return o
}

// OpenSMTPDVersion returns it, as "6.8.0p2".
func OpenSMTPDVersion(t testing.TB) string {
	program := Need(t, unpackedPath("smtpd", ".tools/opensmtpd/usr/sbin/smtpd"))[0]
	out, _ := exec.Command(program, "-h").CombinedOutput() // which is a wrong option, and answered all the same
	_, version, _ := strings.Cut(string(out), "OpenSMTPD ")
	version, _, _ = strings.Cut(version, "\n")
	return strings.TrimSuffix(strings.TrimSpace(version), "-portable")
}

// WaitEmpty waits until its queue is empty, and fails the test after the limit.
func (o *OpenSMTPD) WaitEmpty(limit time.Duration) {
	o.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(o.dir, "spool/smtpd/queue/*/*"))
		if err != nil {
			o.t.Fatalf("peer: %v", err)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("peer: after %v OpenSMTPD still holds %d messages", limit, len(left))
		}
	}
}
