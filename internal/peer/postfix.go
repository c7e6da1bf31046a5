package peer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// SenderDomain is the domain of the senders. A Postfix started here is the
// host of it: it keeps the bounces that it sends there.
const SenderDomain = "sender.example"

// A PostfixConfig says how a Postfix sends.
type PostfixConfig struct {
	// Transport is where all mail but bounces goes, in Postfix's own words:
	// "smtp:[127.0.0.1]:2525", "lmtp:unix:/run/lmtp.sock" or
	// "lmtp:inet:127.0.0.1:24". See SMTPTo, LMTPToUnix and LMTPTo.
	Transport string

	// Concurrency is how many connections go to the destination at once; 0
	// means 20, as Postfix's own default is.
	Concurrency int

	// TLS is the security level of the SMTP and LMTP client: "none" (also if
	// empty), "may" or "encrypt". Certificates are not checked.
	TLS string

	// RecipientLimit is how many recipients go into one transaction; 0 means
	// 50, as Postfix's own default is.
	RecipientLimit int

	// Params are further lines of main.cf, which override the others.
	Params []string
}

// SMTPTo returns the Transport that sends by SMTP to addr, host:port.
func SMTPTo(addr string) string { return "smtp:" + bracketed(addr) }

// LMTPTo returns the Transport that sends by LMTP over TCP to addr, host:port.
func LMTPTo(addr string) string { return "lmtp:inet:" + addr }

// LMTPToUnix returns the Transport that sends by LMTP to a UNIX socket.
func LMTPToUnix(path string) string { return "lmtp:unix:" + path }

// bracketed writes host:port as [host]:port, which means no MX look-up.
func bracketed(addr string) string {
	host, port := splitAddr(addr)
	return "[" + host + "]:" + port
}

// A Postfix is a running mail system that takes mail for any address from the
// test and sends it on. What it cannot deliver it defers or bounces as it
// would anywhere: see Queue, Deliveries and Bounces.
type Postfix struct {
	*Process
	Addr string // where it takes mail by SMTP: host:port
	dir  string
	name string // what it greets with
}

const postfixSbin = "/usr/lib/postfix/sbin"

// StartPostfix starts a Postfix of its own, and waits until it takes mail. It
// tries a second port where the first is taken from it: Postfix then ends without
// a word, for the daemon that would write it to the log has not begun.
func StartPostfix(t testing.TB, cfg PostfixConfig) *Postfix {
	t.Helper()
	NeedRoot(t)
	Need(t, "postfix", "postqueue", "sendmail", filepath.Join(postfixSbin, "master"))
	p := newPostfix(t, cfg)
	if !p.greets() {
		t.Logf("peer: Postfix ended (%v): its log is %s", p.cmd.ProcessState, p.Log())
		p.expected.Store(true)
		if p = newPostfix(t, cfg); !p.greets() {
			t.Fatalf("peer: Postfix ended twice: %v", p.cmd.ProcessState)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Postfix:\n%s", tail(p.Log(), 200))
		}
	})
	return p
}

// newPostfix lays out the folders of a Postfix, and starts it.
func newPostfix(t testing.TB, cfg PostfixConfig) *Postfix {
	t.Helper()
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatalf("peer: the account of Postfix: %v", err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		t.Fatalf("peer: the account of Postfix: %v", err)
	}
	p := &Postfix{Addr: Addr(t), dir: Dir(t)}
	etc := mkdir(t, 0, p.dir, "etc")
	mkdir(t, 0, p.dir, "spool")
	mkdir(t, uid, p.dir, "data")
	mkdir(t, Vmail, p.dir, "bounces")
	conf := p.mainCF(cfg)
	_, name, _ := strings.Cut(conf, "\nmyhostname = ")
	p.name, _, _ = strings.Cut(name, "\n")
	write(t, etc, "main.cf", conf)
	write(t, etc, "master.cf", p.Addr+masterCF)
	write(t, etc, "transport", "")
	run(t, "postfix", "-c", etc, "check") // makes the queue's folders

	// The master stays in the foreground and makes itself the leader of a
	// session, all of which it ends when it is told to end.
	p.Process = Start(t, exec.Command(filepath.Join(postfixSbin, "master"), "-c", etc, "-s"))
	return p
}

// greets waits for the greeting of this Postfix, and tells whether it came
// before the process ended.
func (p *Postfix) greets() bool {
	p.t.Helper()
	greeted := false
	p.wait("greet on "+p.Addr, func() bool {
		if nc, err := net.Dial("tcp", p.Addr); err == nil {
			nc.SetDeadline(time.Now().Add(ready))
			line, _ := bufio.NewReader(nc).ReadString('\n')
			nc.Close()
			greeted = strings.HasPrefix(line, "220 "+p.name+" ")
		}
		return greeted || p.Ended()
	})
	return greeted
}

func (p *Postfix) mainCF(cfg PostfixConfig) string {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 20
	}
	if cfg.RecipientLimit == 0 {
		cfg.RecipientLimit = 50
	}
	if cfg.TLS == "" {
		cfg.TLS = "none"
	}
	expand := strings.NewReplacer(
		"$DIR", p.dir, "$TRANSPORT", cfg.Transport, "$SENDER", SenderDomain, "$TLS", cfg.TLS,
		"$VMAIL", strconv.Itoa(Vmail), "$CONCURRENCY", strconv.Itoa(cfg.Concurrency),
		"$RECIPIENTS", strconv.Itoa(cfg.RecipientLimit))
	return override(expand.Replace(mainCF), cfg.Params)
}

// override returns conf with params in the place of the lines for the same keys.
// Postfix would take the last of two, but every daemon warns of it, the one
// that writes the log among them; and that waits for itself to take the warning.
func override(conf string, params []string) string {
	var b strings.Builder
	key := func(line string) string {
		name, _, _ := strings.Cut(line, "=")
		return strings.TrimSpace(name)
	}
	for line := range strings.Lines(conf) {
		same := func(param string) bool { return key(param) == key(line) }
		if !slices.ContainsFunc(params, same) {
			b.WriteString(line)
		}
	}
	return b.String() + strings.Join(params, "\n") + "\n"
}

// mainCF is a sender that changes nothing of what it is given but to put its
// Received field on top, keeps lines as long as they are, and looks nothing up.
// The mail that comes back to its senders is filed in the folder bounces.
const mainCF = `compatibility_level = 3.6
queue_directory = $DIR/spool
data_directory = $DIR/data
command_directory = /usr/sbin
daemon_directory = ` + postfixSbin + `
mail_owner = postfix
setgid_group = postdrop
maillog_file = $DIR/maillog
maillog_file_prefixes = $DIR
myhostname = mail.$SENDER
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
biff = no
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = none
smtpd_client_connection_count_limit = 0
receive_override_options = no_address_mappings, no_header_body_checks
local_header_rewrite_clients =
in_flow_delay = 0
queue_minfree = 0
message_size_limit = 0
mailbox_size_limit = 0
virtual_mailbox_limit = 0
smtp_line_length_limit = 0
lmtp_line_length_limit = 0
smtp_tls_security_level = $TLS
lmtp_tls_security_level = $TLS
smtputf8_enable = yes
default_transport = $TRANSPORT
default_destination_concurrency_limit = $CONCURRENCY
initial_destination_concurrency = $CONCURRENCY
default_destination_recipient_limit = $RECIPIENTS
virtual_mailbox_domains = $SENDER
virtual_mailbox_base = $DIR
virtual_mailbox_maps = static:bounces/
virtual_minimum_uid = 1
virtual_uid_maps = static:$VMAIL
virtual_gid_maps = static:$VMAIL
`

// masterCF follows the address of the SMTP server.
const masterCF = ` inet n - n - - smtpd
pickup     unix n - n 60 1 pickup
cleanup    unix n - n - 0 cleanup
qmgr       unix n - n 300 1 qmgr
tlsmgr     unix - - n 1000? 1 tlsmgr
rewrite    unix - - n - - trivial-rewrite
bounce     unix - - n - 0 bounce
defer      unix - - n - 0 bounce
trace      unix - - n - 0 bounce
verify     unix - - n - 1 verify
flush      unix n - n 1000? 0 flush
proxymap   unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp       unix - - n - - smtp
relay      unix - - n - - smtp
showq      unix n - n - - showq
error      unix - - n - - error
retry      unix - - n - - error
discard    unix - - n - - discard
virtual    unix - n n - - virtual
lmtp       unix - - n - - lmtp
anvil      unix - - n - 1 anvil
scache     unix - - n - 1 scache
postlog    unix-dgram n - n - 1 postlogd
`

// Sendmail hands in a message by sendmail(1), which wants lines that end with
// LF and may complete the header. From may be empty, for a bounce. To have a
// message sent octet for octet, send it to Addr by SMTP instead.
func (p *Postfix) Sendmail(from string, to []string, msg []byte) {
	p.t.Helper()
	if from == "" {
		from = "<>"
	}
	cmd := exec.Command(Need(p.t, "sendmail")[0], append([]string{"-C", p.etc(), "-i", "-f", from, "--"}, to...)...)
	cmd.Stdin = bytes.NewReader(msg)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("peer: sendmail: %v\n%s", err, out)
	}
}

// Flush makes Postfix try all deferred mail at once.
func (p *Postfix) Flush() {
	p.t.Helper()
	run(p.t, "postqueue", "-c", p.etc(), "-f")
}

// A Queued is a message in Postfix's queue.
type Queued struct {
	ID         string      `json:"queue_id"`
	Queue      string      `json:"queue_name"` // "incoming", "active", "deferred", "hold", "maildrop"
	Size       int64       `json:"message_size"`
	Sender     string      `json:"sender"`
	Recipients []QueuedFor `json:"recipients"`
}

// A QueuedFor is a recipient who has not got a Queued message yet.
type QueuedFor struct {
	Address string `json:"address"`
	Delay   string `json:"delay_reason"` // what the next hop said; empty before the first attempt
}

// Queue returns what waits in the queue.
func (p *Postfix) Queue() []Queued {
	p.t.Helper()
	dec := json.NewDecoder(strings.NewReader(run(p.t, "postqueue", "-c", p.etc(), "-j")))
	var all []Queued
	for dec.More() {
		var q Queued
		if err := dec.Decode(&q); err != nil {
			p.t.Fatalf("peer: postqueue -j: %v", err)
		}
		all = append(all, q)
	}
	return all
}

// WaitEmpty waits until Postfix has nothing more to deliver, trying deferred
// mail again each second, and fails the test after the limit.
func (p *Postfix) WaitEmpty(limit time.Duration) {
	p.t.Helper()
	deadline := time.Now().Add(limit)
	for n := 1; ; n++ {
		left := p.Queue()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("peer: after %v Postfix still holds %d messages; one is %+v", limit, len(left), left[0])
		}
		if n%10 == 0 {
			p.Flush()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Log returns Postfix's log.
func (p *Postfix) Log() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "maillog"))
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(b)
}

// A Delivery is one attempt at one recipient, as Postfix logged it.
type Delivery struct {
	ID      string // the queue ID
	To      string
	Relay   string // "127.0.0.1[127.0.0.1]:2525", "none"
	DSN     string // the enhanced status code, "2.0.0"
	Status  string // "sent", "deferred", "bounced"
	Said    string // why, with the reply of the next hop
	Service string // "smtp", "lmtp", "virtual" for bounces that came back
}

var deliveryLine = regexp.MustCompile(`postfix/(\w+)\[\d+\]: (\w+): to=<([^>]*)>, (?:orig_to=<[^>]*>, )?relay=([^,]*), .*?dsn=([\d.]+), status=(\w+) \((.*)\)`)

// Deliveries returns every attempt so far, in the order of the log.
func (p *Postfix) Deliveries() []Delivery {
	var all []Delivery
	for _, m := range deliveryLine.FindAllStringSubmatch(p.Log(), -1) {
		all = append(all, Delivery{Service: m[1], ID: m[2], To: m[3], Relay: m[4], DSN: m[5], Status: m[6], Said: m[7]})
	}
	return all
}

// Bounces returns the messages that came back to senders in SenderDomain, with
// lines that end with LF.
func (p *Postfix) Bounces() [][]byte {
	p.t.Helper()
	var all [][]byte
	for _, file := range Maildir(p.t, filepath.Join(p.dir, "bounces")) {
		all = append(all, file.Read(p.t))
	}
	return all
}

func (p *Postfix) etc() string { return filepath.Join(p.dir, "etc") }
