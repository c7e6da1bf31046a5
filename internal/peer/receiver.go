package peer

import (
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"postern/internal/certtest"
)

// ReceiverDomain is what a receiver started here is the final host of. It has the
// mailboxes u1, postmaster and abuse, and takes mail for nobody else.
const ReceiverDomain = "example.com"

// receiverSize is the largest message that a receiver takes.
const receiverSize = 1 << 20

// A Receiver is a mail system that faces the world, set up as its manual says a
// final host is: no client is trusted, and STARTTLS is offered.
type Receiver struct {
	*Process
	Addr    string // host:port
	Version string // "Postfix 3.7.11"
}

// Certificate makes a certificate of its own for localhost, and returns the paths
// of it and of its key, in PEM.
func Certificate(t testing.TB, dir string) (cert, key string) {
	t.Helper()
	chain, private := certtest.PEM(t, certtest.New(t, "localhost"))
	return write(t, dir, "cert.pem", string(chain)), write(t, dir, "key.pem", string(private))
}

// StartPostfixReceiver starts a Postfix that receives. Each of params is a further
// line of main.cf, which overrides the others.
func StartPostfixReceiver(t testing.TB, params ...string) *Receiver {
	t.Helper()
	cert, key := Certificate(t, Dir(t))
	p := StartPostfix(t, PostfixConfig{Transport: "smtp", Params: append([]string{
		"myhostname = mx." + ReceiverDomain,
		"myorigin = " + ReceiverDomain,
		"mynetworks = 192.0.2.1/32",
		"mynetworks_style = host",
		"smtpd_relay_restrictions = reject_unauth_destination",
		"smtpd_recipient_restrictions = reject_unauth_destination",
		"receive_override_options =",
		"virtual_mailbox_domains = " + ReceiverDomain,
		strings.ReplaceAll("virtual_mailbox_maps = inline:{ u1@D=u1/ postmaster@D=postmaster/ abuse@D=abuse/ }", "@D", "@"+ReceiverDomain),
		"smtpd_tls_security_level = may",
		"smtpd_tls_cert_file = " + cert,
		"smtpd_tls_key_file = " + key,
		"message_size_limit = " + strconv.Itoa(receiverSize),
	}, params...)})
	version := strings.TrimSpace(run(t, "postconf", "-d", "-h", "mail_version"))
	return &Receiver{Process: p.Process, Addr: p.Addr, Version: "Postfix " + version}
}

// StartEximReceiver starts an Exim that receives. Each of params is a further line
// of its main section.
func StartEximReceiver(t testing.TB, params ...string) *Receiver {
	t.Helper()
	NeedRoot(t)
	program, dir, addr := Need(t, eximPath())[0], Dir(t), Addr(t)
	owner, err := user.Lookup("Debian-exim")
	if err != nil {
		t.Fatalf("peer: the account of Exim: %v: contrib/check makes it", err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		t.Fatalf("peer: the account of Exim: %v", err)
	}
	for _, sub := range []string{"spool", "log", "mail"} {
		mkdir(t, uid, dir, sub)
	}
	cert, key := Certificate(t, dir)
	host, port := splitAddr(addr)
	conf := write(t, dir, "exim.conf", strings.NewReplacer(
		"$PROGRAM", program, "$DIR", dir, "$DOMAIN", ReceiverDomain, "$HOST", host, "$PORT", port,
		"$CERT", cert, "$KEY", key, "$SIZE", strconv.Itoa(receiverSize), "$PARAMS", strings.Join(params, "\n"),
	).Replace(eximReceiver))
	r := &Receiver{Process: Start(t, exec.Command(program, "-C", conf, "-bdf", "-q1m")), Addr: addr}
	r.WaitListen("tcp", addr)
	out, err := exec.Command(program, "-C", conf, "-bV").Output()
	if words := strings.Fields(string(out)); err == nil && len(words) > 2 {
		r.Version = "Exim " + words[2]
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Exim: %s", filepath.Join(dir, "log", "main"))
		}
	})
	return r
}

// eximReceiver follows the configuration that comes with Exim: what it asks at
// RCPT, in that order.
const eximReceiver = `exim_path = $PROGRAM
spool_directory = $DIR/spool
log_file_path = $DIR/log/%s
pid_file_path = $DIR/spool/exim.pid
primary_hostname = mx.$DOMAIN
qualify_domain = $DOMAIN
domainlist local_domains = $DOMAIN
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
tls_advertise_hosts = *
tls_certificate = $CERT
tls_privatekey = $KEY
message_size_limit = $SIZE
deliver_drop_privilege = true
acl_smtp_rcpt = acl_check_rcpt
acl_smtp_data = accept
$PARAMS
begin acl
acl_check_rcpt:
  deny    domains = +local_domains
          local_parts = ^[.] : ^.*[@%!/|]
          message = Restricted characters in address
  accept  local_parts = postmaster
          domains = +local_domains
  require domains = +local_domains
          message = Relay not permitted
  require verify = recipient
  accept
begin routers
mailboxes:
  driver = accept
  domains = +local_domains
  local_parts = u1 : postmaster : abuse
  transport = maildir
  cannot_route_message = Unknown user
begin transports
maildir:
  driver = appendfile
  directory = $DIR/mail/$local_part_data
  maildir_format
  user = Debian-exim
begin retry
* * F,1h,1m
`
